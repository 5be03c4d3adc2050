//! `bwctl shard` and `rebalance`: where replicas are, and who leads.

use bellwether_client::v1::{PlanResponse, SplitShardResponse};
use serde_json::{Value, json};

use crate::Context;
use crate::arguments::ShardCommand;
use crate::failure::Failure;
use crate::json;
use crate::operation::{carried_through, to_its_end};
use crate::table::{Column, Table};
use crate::watch::{Progress, until};

pub async fn run(context: &Context, command: ShardCommand) -> Result<(), Failure> {
    let cluster = context.client.cluster();
    match command {
        ShardCommand::Move { group, from, to, wait } => {
            let operations = context.client.operations();
            let begun = operations.move_shard(group, from, to).await?;
            let text = format!("shard group {group} moves from node {from} to node {to}: operation {}", begun.id);
            context
                .output
                .print_line(&text, &json!({"group": group, "from": from, "to": to, "operation": begun.id}))?;
            if !wait {
                return Ok(());
            }
            let ended = carried_through(context, begun, async || operations.move_shard(group, from, to).await).await?;
            eprintln!("{}", ended.outcome);
            Ok(())
        }
        ShardCommand::Split { group, at, wait } => {
            let SplitShardResponse { child, at } = cluster.split_shard(group, at).await?;
            let text = format!("shard group {group} is split at {at:016x}: the upper part goes to shard group {child}");
            let json = json!({"group": group, "child": child, "at": format!("{at:016x}")});
            context.output.print_line(&text, &json)?;
            if wait { split(context, group, child).await } else { Ok(()) }
        }
        ShardCommand::TransferLeader { group, node } => {
            cluster.transfer_leader(group, node).await?;
            let text = format!("node {node} leads shard group {group}");
            Ok(context.output.print_line(&text, &json!({"group": group, "leader": node}))?)
        }
    }
}

/// Says how far a split has come whenever that changes.
async fn split(context: &Context, group: u32, child: u32) -> Result<(), Failure> {
    let look = async || context.client.cluster().shards().await;
    let said = until(look, |answer| {
        let is_pending = answer.shards.iter().any(|shard| shard.split.is_some_and(|split| split.child == child));
        match answer.shards.iter().find(|shard| shard.id == child) {
            _ if is_pending => Ok(Progress::Waiting(format!("shard group {group} cuts its range"))),
            Some(found) if found.leader == 0 => Ok(Progress::Waiting(format!("shard group {child} elects its leader"))),
            Some(_) => Ok(Progress::Done(format!("shard group {group} was split"))),
            None => {
                let text = format!("the split of shard group {group} was given up: see bwctl cluster events");
                Err(Failure::Refused(text))
            }
        }
    })
    .await?;
    eprintln!("{said}");
    Ok(())
}

pub async fn rebalance(context: &Context, dry_run: bool, detach: bool) -> Result<(), Failure> {
    let output = context.output;
    if !dry_run {
        let operations = context.client.operations();
        let begun = operations.rebalance().await?;
        if detach {
            return to_its_end(context, begun, detach).await;
        }
        carried_through(context, begun, async || operations.rebalance().await).await?;
    }
    let plan = context.client.cluster().plan().await?;
    if output.json {
        let moves: Value = plan.moves.iter().map(json::planned).collect();
        return Ok(output.print_json(&json!({"moves": moves, "held": plan.held}))?);
    }
    Ok(output.print_text(&plan_text(&plan))?)
}

fn plan_text(plan: &PlanResponse) -> String {
    if plan.moves.is_empty() && plan.held.is_empty() {
        return "nothing is to be moved\n".to_owned();
    }
    let mut table = Table::new([Column::Right("GROUP"), Column::Left("STEP"), Column::Left("REASON")]);
    for planned in &plan.moves {
        table.row([planned.group.to_string(), planned.step.clone(), planned.reason.clone()]);
    }
    let moves = if plan.moves.is_empty() { String::new() } else { table.to_string() };
    let held: String = plan.held.iter().map(|text| format!("not possible now: {text}\n")).collect();
    moves + &held
}
