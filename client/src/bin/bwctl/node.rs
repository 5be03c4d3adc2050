//! `bwctl node`: nodes come and go.

use std::collections::BTreeSet;

use bellwether_client::is_loopback;
use bellwether_client::v1::{NodeInfo, NodeState, Operation, SetNodeStateResponse, TokenKind};
use serde_json::json;

use crate::Context;
use crate::arguments::NodeCommand;
use crate::ask::confirm;
use crate::failure::Failure;
use crate::names::node_state;
use crate::operation::carried_through;
use crate::watch::{Progress, until};

/// Whether the cluster takes new nodes with a token only.
const JOIN_NEEDS_TOKEN: &str = "nodes.join_needs_token";

pub async fn run(context: &Context, command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Add { with_token, wait } => add(context, with_token, wait).await,
        NodeCommand::Drain { node, wait } => {
            let begun = drain(context, node).await?;
            if wait { drained(context, node, begun).await } else { Ok(()) }
        }
        NodeCommand::Undrain { node } => set(context, node, NodeState::Active, false).await,
        NodeCommand::Remove { node, force } => {
            let what = if force {
                format!("Node {node} is removed for ever, with the replicas that it holds")
            } else {
                format!("Node {node} is removed for ever")
            };
            confirm(context.yes, &what)?;
            set(context, node, NodeState::Removed, force).await
        }
        NodeCommand::Replace { old, new, detach } => replace(context, old, new, detach).await,
    }
}

async fn set(context: &Context, node: u64, state: NodeState, force: bool) -> Result<(), Failure> {
    let answer = context.client.cluster().set_node_state(node, state, force).await?;
    let json = json!({"id": node, "state": node_state(answer.state()), "replicas": answer.replicas});
    Ok(context.output.print_line(&state_text(node, &answer), &json)?)
}

fn state_text(node: u64, answer: &SetNodeStateResponse) -> String {
    let left = match answer.replicas {
        0 => String::new(),
        1 => ", with 1 replica".to_owned(),
        left => format!(", with {left} replicas"),
    };
    format!("node {node} is {}{left}", node_state(answer.state()))
}

/// Begins a drain, or goes on with it.
async fn drain(context: &Context, node: u64) -> Result<Operation, Failure> {
    let answer = context.client.cluster().set_node_state(node, NodeState::Draining, false).await?;
    let begun = context.client.operations().drain_node(node).await?;
    let state = node_state(answer.state());
    let json = json!({"id": node, "state": state, "replicas": answer.replicas, "operation": begun.id});
    context.output.print_line(&format!("{}: operation {}", state_text(node, &answer), begun.id), &json)?;
    Ok(begun)
}

/// Waits until a node is empty.
async fn drained(context: &Context, node: u64, begun: Operation) -> Result<(), Failure> {
    let again = async || context.client.operations().drain_node(node).await;
    let ended = carried_through(context, begun, again).await?;
    eprintln!("{}", ended.outcome);
    Ok(())
}

async fn add(context: &Context, wants_token: bool, wait: bool) -> Result<(), Failure> {
    let cluster = context.client.cluster();
    let known = cluster.nodes().await?;
    let needed = cluster.settings(&[JOIN_NEEDS_TOKEN.to_owned()]).await?;
    let present: Vec<&NodeInfo> = known.iter().filter(|node| node.state() == NodeState::Active).collect();
    let mut addresses: Vec<&str> = present.iter().map(|node| node.address.as_str()).collect();
    if addresses.is_empty() {
        addresses = context.addresses.iter().map(String::as_str).collect();
    }
    // Nodes that other machines reach take nobody without.
    let is_open = addresses.iter().any(|address| !is_loopback(address));
    let needs_token = is_open || needed.first().is_some_and(|setting| setting.value == "true");
    let token = if wants_token || needs_token {
        Some(cluster.create_token(TokenKind::Join, None, 1).await?.token)
    } else {
        None
    };
    let mut command = "bellwether --data-dir DIR".to_owned();
    if is_open {
        command.push_str(" --http HOST:9480 --grpc HOST:9481");
        ["ca", "cert", "key"].iter().for_each(|file| command.push_str(&format!(" --set tls.{file}=FILE")));
    }
    addresses.iter().for_each(|address| command.push_str(&format!(" --join {address}")));
    if let Some(token) = &token {
        command.push_str(&format!(" --set cluster.join_token={token}"));
    }
    let files = if is_open { " (its files are made by bwctl tls node HOST)" } else { "" };
    let text = format!("on the new machine, with a directory that is empty{files}:\n  {command}");
    context.output.print_line(&text, &json!({"command": command, "join": addresses, "token": token}))?;
    if !wait {
        return Ok(());
    }
    let known: BTreeSet<u64> = known.iter().map(|node| node.id).collect();
    let said = until(
        async || context.client.cluster().nodes().await,
        |nodes| {
            Ok(match nodes.iter().find(|node| !known.contains(&node.id)) {
                Some(new) => Progress::Done(format!("node {} has joined, at {}", new.id, new.address)),
                None => Progress::Waiting("waiting for it to join".to_owned()),
            })
        },
    )
    .await?;
    eprintln!("{said}");
    Ok(())
}

/// A node that answers is emptied, then removed; one that is gone is removed at once. Either way it ends once every group
/// has its copies again. Said again, it goes on where it was.
async fn replace(context: &Context, old: u64, new: u64, detach: bool) -> Result<(), Failure> {
    let nodes = context.client.cluster().nodes().await?;
    let find = |id: u64| {
        let unknown = || Failure::Refused(format!("there is no node {id}: see bwctl cluster nodes"));
        nodes.iter().find(|node| node.id == id).ok_or_else(unknown)
    };
    let (going, fresh) = (find(old)?, find(new)?);
    if old == new || fresh.state() != NodeState::Active || !fresh.up {
        let text = format!("node {new} is no active node that answers: start one with --join (bwctl node add)");
        return Err(Failure::Refused(text));
    }
    if going.state() != NodeState::Removed {
        let what = if going.up {
            format!("Node {old} is emptied and removed for ever")
        } else {
            format!("Node {old} is removed for ever, with the replicas that it holds")
        };
        confirm(context.yes, &what)?;
        if going.up {
            let begun = drain(context, old).await?;
            if detach {
                return Ok(());
            }
            drained(context, old, begun).await?;
        }
        set(context, old, NodeState::Removed, !going.up).await?;
    }
    if detach { Ok(()) } else { copied(context).await }
}

/// Says how many groups lack copies whenever that changes.
pub async fn copied(context: &Context) -> Result<(), Failure> {
    let said = until(
        async || context.client.cluster().status().await,
        |status| {
            let (short, moving) = (status.groups_short_of_copies, status.groups_in_motion);
            Ok(if short + moving == 0 {
                Progress::Done("every shard group has its copies".to_owned())
            } else {
                Progress::Waiting(format!("{short} shard groups lack copies, {moving} are getting one"))
            })
        },
    )
    .await?;
    eprintln!("{said}");
    Ok(())
}
