//! `bwctl backup`, `restore` and `operation`: what takes long. It goes on in the cluster, whether somebody watches or not.
//! Drains and moves are watched here, too.

use bellwether_client::v1::{BackupInfo, Operation, OperationState, Restore};
use bellwether_client::{Error, RefusalKind};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Context;
use crate::arguments::{BackupCommand, OperationCommand, RestoreArguments};
use crate::ask::confirm;
use crate::failure::Failure;
use crate::names::{bytes, operation_state};
use crate::table::{Column, Table};
use crate::times::print_time;
use crate::watch::{FAILURES_MAX, INTERVAL};

pub async fn backup(context: &Context, command: BackupCommand) -> Result<(), Failure> {
    let operations = context.client.operations();
    match command {
        BackupCommand::Create { url, detach } => {
            let begun = operations.create_backup(&url).await?;
            to_its_end(context, begun, detach).await
        }
        BackupCommand::List { url } => {
            let backups = operations.backups(&url).await?;
            Ok(context.output.print(|| backups_table(&backups), || backups.iter().map(backup_json).collect())?)
        }
        BackupCommand::Verify { url, id, detach } => {
            let begun = operations.verify_backup(&url, id.as_deref()).await?;
            to_its_end(context, begun, detach).await
        }
        BackupCommand::Delete { url, id } => {
            confirm(context.yes, &format!("Backup {id} at {url} is deleted for ever"))?;
            let begun = operations.delete_backup(&url, &id).await?;
            to_its_end(context, begun, false).await
        }
    }
}

pub async fn restore(context: &Context, arguments: RestoreArguments) -> Result<(), Failure> {
    let RestoreArguments { url, id, merge, skip_verify, skip_settings, detach } = arguments;
    if merge {
        confirm(context.yes, "Samples of the backup are written over those that the cluster has at the same times")?;
    }
    let id = id.unwrap_or_default();
    let begun = context.client.operations().restore(Restore { url, id, merge, skip_verify, skip_settings }).await?;
    to_its_end(context, begun, detach).await
}

pub async fn run(context: &Context, command: OperationCommand) -> Result<(), Failure> {
    let operations = context.client.operations();
    match command {
        OperationCommand::List => {
            let answer = operations.list().await?;
            for node in &answer.silent_nodes {
                eprintln!("node {node} does not answer: its operations are not shown");
            }
            let all = &answer.operations;
            Ok(context.output.print(|| operations_table(all), || all.iter().map(operation_json).collect())?)
        }
        OperationCommand::Watch { id } => watch(context, &id).await,
        OperationCommand::Cancel { id } => {
            let operation = operations.cancel(&id).await?;
            let state = operation_state(operation.state());
            let outcome = Some(&operation.outcome).filter(|outcome| !outcome.is_empty() && *outcome != state);
            let left = outcome.map_or_else(String::new, |outcome| format!(": {outcome}"));
            let text = format!("operation {id} is {state}{left}");
            Ok(context.output.print_line(&text, &operation_json(&operation))?)
        }
    }
}

/// Waits for its end, unless that is not wanted.
pub async fn to_its_end(context: &Context, begun: Operation, detach: bool) -> Result<(), Failure> {
    if detach {
        let text = format!("operation {}: bwctl operation watch {}", begun.id, begun.id);
        return Ok(context.output.print_line(&text, &operation_json(&begun))?);
    }
    watch(context, &begun.id).await
}

async fn watch(context: &Context, id: &str) -> Result<(), Failure> {
    let operation = followed(id, follow(context, id)).await?;
    Ok(context.output.print_line(&operation.outcome, &operation_json(&operation))?)
}

/// Watches what the cluster does by itself, to its end. Where the node that follows it is lost, `begin` has another one follow
/// it.
pub async fn carried_through(
    context: &Context,
    begun: Operation,
    begin: impl AsyncFn() -> Result<Operation, Error>,
) -> Result<Operation, Failure> {
    let mut id = begun.id;
    let mut begun_again = 0;
    loop {
        let ended = followed(&id, follow(context, &id)).await;
        let is_lost = match &ended {
            Err(Failure::Client(Error::Refused { kind, .. })) => *kind == RefusalKind::NotFound,
            Err(Failure::Client(error)) => error.is_transient(),
            _ => false,
        };
        if !is_lost || begun_again == FAILURES_MAX {
            return ended;
        }
        begun_again += 1;
        id = begin().await?.id;
        eprintln!("its node is gone, another one follows: operation {id}");
    }
}

/// Unless an interruption comes first, which leaves the operation as it is.
async fn followed(id: &str, following: impl Future<Output = Result<Operation, Failure>>) -> Result<Operation, Failure> {
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        biased;
        _ = interrupted => {
            eprintln!("operation {id} goes on: bwctl operation watch {id}, or cancel {id}");
            Err(Failure::Interrupted)
        }
        ended = following => ended,
    }
}

async fn follow(context: &Context, id: &str) -> Result<Operation, Failure> {
    let mut failures = 0;
    let mut said = String::new();
    loop {
        match follow_once(context, id, &mut said, &mut failures).await {
            Ok(operation) => return ended(operation),
            Err(error) if error.is_transient() && failures < FAILURES_MAX => failures += 1,
            Err(error) => return Err(error.into()),
        }
        sleep(INTERVAL).await;
    }
}

async fn follow_once(context: &Context, id: &str, said: &mut String, failures: &mut u32) -> Result<Operation, Error> {
    let mut watched = context.client.operations().watch(id).await?;
    loop {
        let Some(operation) = watched.next().await? else {
            let address = context.addresses.join(",");
            return Err(Error::Malformed { address, missing: "the end of the operation" });
        };
        *failures = 0;
        if operation.state() != OperationState::Running {
            return Ok(operation);
        }
        let text = progress(&operation);
        if *said != text && !text.is_empty() {
            eprintln!("{text}");
            *said = text;
        }
    }
}

fn ended(operation: Operation) -> Result<Operation, Failure> {
    match operation.state() {
        OperationState::Done => Ok(operation),
        OperationState::Cancelled => {
            // Backups have nothing else to say.
            let left = match &*operation.outcome {
                "" | "cancelled" => "the same command goes on where it was",
                outcome => outcome,
            };
            Err(Failure::Refused(format!("operation {} was cancelled: {left}", operation.id)))
        }
        _ => Err(Failure::Refused(operation.outcome)),
    }
}

/// How far an operation has come.
fn progress(operation: &Operation) -> String {
    let Operation { done_bytes, total_bytes, progress, .. } = operation;
    match total_bytes {
        0 => progress.clone(),
        total => {
            let percent = u128::from(*done_bytes) * 100 / u128::from(*total);
            let counted = format!("{percent:>3}%  {} of {}", bytes(*done_bytes), bytes(*total));
            if progress.is_empty() { counted } else { format!("{counted}  {progress}") }
        }
    }
}

fn operations_table(operations: &[Operation]) -> Table {
    let mut table = Table::new([
        Column::Left("ID"),
        Column::Left("STATE"),
        Column::Left("BEGAN"),
        Column::Left("WHAT"),
        Column::Left("PROGRESS"),
    ]);
    for operation in operations {
        let state = operation_state(operation.state());
        let is_running = operation.state() == OperationState::Running;
        table.row([
            operation.id.clone(),
            state.to_owned(),
            print_time(operation.began_ms),
            operation.what.clone(),
            if is_running { progress(operation) } else { operation.outcome.clone() },
        ]);
    }
    table
}

fn backups_table(backups: &[BackupInfo]) -> Table {
    let mut table = Table::new([
        Column::Left("BACKUP"),
        Column::Left("MADE"),
        Column::Right("GROUPS"),
        Column::Right("SERIES"),
        Column::Right("SAMPLES"),
        Column::Right("SIZE"),
        Column::Right("NEW"),
        Column::Left("CLUSTER"),
    ]);
    for backup in backups {
        if !backup.trouble.is_empty() {
            let none = String::new;
            table.row([backup.id.clone(), backup.trouble.clone(), none(), none(), none(), none(), none(), none()]);
            continue;
        }
        table.row([
            backup.id.clone(),
            print_time(backup.started_ms),
            backup.shard_groups.to_string(),
            backup.series.to_string(),
            backup.samples.to_string(),
            bytes(backup.bytes),
            bytes(backup.own_bytes),
            backup.cluster.clone(),
        ]);
    }
    table
}

fn operation_json(operation: &Operation) -> Value {
    json!({
        "id": operation.id,
        "what": operation.what,
        "state": operation_state(operation.state()),
        "began_ms": operation.began_ms,
        "ended_ms": Some(operation.ended_ms).filter(|at| *at != 0),
        "done_bytes": operation.done_bytes,
        "total_bytes": operation.total_bytes,
        "progress": operation.progress,
        "outcome": operation.outcome,
        "backup": Some(&operation.backup).filter(|backup| !backup.is_empty()),
    })
}

fn backup_json(backup: &BackupInfo) -> Value {
    json!({
        "id": backup.id,
        "trouble": Some(&backup.trouble).filter(|trouble| !trouble.is_empty()),
        "cluster": backup.cluster,
        "started_ms": backup.started_ms,
        "finished_ms": backup.finished_ms,
        "shard_groups": backup.shard_groups,
        "series": backup.series,
        "samples": backup.samples,
        "bytes": backup.bytes,
        "own_bytes": backup.own_bytes,
        "program": backup.program,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_counted_where_it_can_be() {
        let operation = |done_bytes, total_bytes, text: &str| Operation {
            done_bytes,
            total_bytes,
            progress: text.to_owned(),
            ..Operation::default()
        };
        assert_eq!(progress(&operation(0, 0, "waiting")), "waiting");
        assert_eq!(progress(&operation(1 << 20, 3 << 20, "2 of 8")), " 33%  1.0 MiB of 3.0 MiB  2 of 8");
        assert_eq!(progress(&operation(5, 5, "")), "100%  5 B of 5 B");
    }
}
