//! `bwctl shard` and `rebalance`: where replicas are, and who leads.

use bellwether_client::v1::{PlanResponse, SplitShardResponse};
use serde_json::{Value, json};

use crate::Context;
use crate::arguments::ShardCommand;
use crate::failure::Failure;
use crate::json;
use crate::table::{Column, Table};
use crate::watch::{Progress, until};

pub async fn run(context: &Context, command: ShardCommand) -> Result<(), Failure> {
    let cluster = context.client.cluster();
    match command {
        ShardCommand::Move { group, from, to, wait } => {
            let replica = cluster.move_shard(group, from, to).await?.replica;
            let text = format!("shard group {group} moves from node {from} to node {to}");
            let json = json!({"group": group, "from": from, "to": to, "replica": replica});
            context.output.print_line(&text, &json)?;
            if wait { moved(context, group, from, replica).await } else { Ok(()) }
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

/// Says how far a move has come whenever that changes.
async fn moved(context: &Context, group: u32, from: u64, new: u64) -> Result<(), Failure> {
    let look = async || context.client.cluster().shards().await;
    let said = until(look, |answer| {
        let gone =
            || Failure::Refused(format!("the move of shard group {group} was given up: see bwctl cluster events"));
        let shard = answer.shards.into_iter().find(|shard| shard.id == group).ok_or_else(gone)?;
        let replica = shard.replicas.iter().find(|replica| replica.id == new).ok_or_else(gone)?;
        if !shard.replicas.iter().any(|replica| replica.node == from) {
            return Ok(Progress::Done(format!("shard group {group} has moved")));
        }
        Ok(Progress::Waiting(match replica.lag {
            None => "the copy is being made".to_owned(),
            Some(0) => "the copy has caught up".to_owned(),
            Some(lag) => format!("the copy is {lag} entries behind"),
        }))
    })
    .await?;
    eprintln!("{said}");
    Ok(())
}

pub async fn rebalance(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let output = context.output;
    let plan = if dry_run {
        context.client.cluster().plan().await?
    } else {
        let look = async || context.client.cluster().plan().await;
        until(look, |plan| {
            let left = plan.moves.len();
            Ok(if left == 0 { Progress::Done(plan) } else { Progress::Waiting(format!("{left} moves left")) })
        })
        .await?
    };
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
