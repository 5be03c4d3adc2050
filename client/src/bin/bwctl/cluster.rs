//! `bwctl cluster` and `doctor`: what there is, and how it fares.

use std::time::Duration;

use bellwether_client::v1::{
    ClusterStatusResponse, Event, NodeInfo, NodeState, ReplicaInfo, ReplicaRole, Severity, ShardInfo,
};
use serde_json::json;
use tokio::time::sleep;

use crate::Context;
use crate::arguments::ClusterCommand;
use crate::ask::confirm;
use crate::failure::Failure;
use crate::json;
use crate::names::{bytes, event_kind, key_range, known, node_or_none, node_state, severity};
use crate::table::{Column, Table};
use crate::times::print_time;
use crate::watch::INTERVAL;

/// How often it is looked whether a founded cluster answers.
const FOUNDING_LOOKS_MAX: u32 = 30;

pub async fn run(context: &Context, command: ClusterCommand) -> Result<(), Failure> {
    let cluster = context.client.cluster();
    let output = context.output;
    match command {
        ClusterCommand::Init { shard_groups, settings, join_token_valid } => {
            init(context, shard_groups, &settings, join_token_valid).await?;
        }
        ClusterCommand::Status => {
            let status = cluster.status().await?;
            if output.json {
                output.print_json(&json::status(&status))?
            } else {
                output.print_text(&status_text(&status))?
            }
        }
        ClusterCommand::Nodes { all } => {
            let mut nodes = cluster.nodes().await?;
            nodes.retain(|node| all || node.state() != NodeState::Removed);
            output.print(|| nodes_table(&nodes), || nodes.iter().map(json::node).collect())?;
        }
        ClusterCommand::Shards { node } => {
            let mut shards = cluster.shards().await?.shards;
            shards.retain(|shard| node.is_none_or(|node| shard.replicas.iter().any(|replica| replica.node == node)));
            output.print(|| shards_table(&shards), || shards.iter().map(json::shard).collect())?;
        }
        ClusterCommand::Events { follow, limit, after } => events(context, follow, limit, after).await?,
        ClusterCommand::Finalize => {
            confirm(context.yes, "After this, programs older than the newest format cannot come back")?;
            let done = cluster.finalize().await?;
            let text = if done.previous_version == done.active_version {
                format!("nothing to do: all nodes use version {} already", done.active_version)
            } else {
                format!("all nodes use version {} now, it was {}", done.active_version, done.previous_version)
            };
            let json = json!({"previous_version": done.previous_version, "active_version": done.active_version});
            output.print_line(&text, &json)?;
        }
    }
    Ok(())
}

/// Founds a cluster, and waits until it answers.
async fn init(
    context: &Context,
    shard_groups: u32,
    settings: &[String],
    join_token_valid: Option<Duration>,
) -> Result<(), Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(Failure::Usage(format!("--set {text}: it is not NAME=VALUE"))),
    };
    let settings = settings.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let cluster = context.client.cluster();
    cluster.init(shard_groups, &settings, join_token_valid).await?;
    let mut failures = 0;
    let status = loop {
        match cluster.status().await {
            Ok(status) => break status,
            // Between the node that waits and the one that serves nobody answers, or somebody who knows only one call.
            Err(_) if failures < FOUNDING_LOOKS_MAX => failures += 1,
            Err(error) => return Err(error.into()),
        }
        sleep(INTERVAL).await;
    };
    let text = format!("cluster {} is founded, with {} shard groups", status.cluster, status.shard_groups);
    let json = json!({"cluster": status.cluster, "shard_groups": status.shard_groups});
    Ok(context.output.print_line(&text, &json)?)
}

fn status_text(status: &ClusterStatusResponse) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<16}{value}\n"));
    line("cluster", status.cluster.clone());
    line("founded", print_time(status.founded_ms));
    let mut version = status.active_version.to_string();
    if status.finalize_version > status.active_version {
        version.push_str(&format!(" ({} is possible: bwctl cluster finalize)", status.finalize_version));
    } else if !status.nodes_behind.is_empty() {
        version.push_str(&format!(" (a later one once these are upgraded: {})", ids(&status.nodes_behind)));
    }
    line("format version", version);
    let counts = [
        ("active", status.nodes_active),
        ("draining", status.nodes_draining),
        ("joining", status.nodes_joining),
        ("down", status.nodes_down),
    ];
    line("nodes", some_of(counts).unwrap_or_else(|| "none".to_owned()));
    if !status.nodes_clock_wrong.is_empty() {
        line("wrong clocks", format!("{}: lead nothing until that is set right", ids(&status.nodes_clock_wrong)));
    }
    let voters = ids(&status.meta_voters);
    line("meta group", format!("leader {}, voters {voters}", node_or_none(status.meta_leader)));
    let trouble = [
        ("without leader", status.groups_without_leader),
        ("short of copies", status.groups_short_of_copies),
        ("in motion", status.groups_in_motion),
    ];
    let trouble = some_of(trouble).map_or_else(String::new, |text| format!(": {text}"));
    line("shard groups", format!("{} of {} copies{trouble}", status.shard_groups, status.copies_wanted));
    line("data", format!("{} series, {} in one copy", status.series, bytes(status.bytes)));
    lines.concat()
}

/// `1 2 3`
fn ids(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// How a node's clock differs from that of the node that was asked, or from most if that is why it leads nothing.
fn clock(node: &NodeInfo) -> String {
    let wrong = node.clock_off_ms.map(|ms| format!("wrong: {ms:+} ms"));
    wrong.unwrap_or_else(|| known(node.clock_offset_ms, |ms| format!("{ms:+} ms")))
}

/// Those counts that are not zero.
fn some_of<const N: usize>(counts: [(&str, u32); N]) -> Option<String> {
    let some: Vec<String> =
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect();
    Some(some.join(", ")).filter(|text| !text.is_empty())
}

fn nodes_table(nodes: &[NodeInfo]) -> Table {
    let mut table = Table::new([
        Column::Right("ID"),
        Column::Left("ADDRESS"),
        Column::Left("STATE"),
        Column::Left("UP"),
        Column::Left("ZONE"),
        Column::Left("VERSION"),
        Column::Right("LEADERS"),
        Column::Right("REPLICAS"),
        Column::Right("SERIES"),
        Column::Right("BYTES"),
        Column::Right("FREE"),
        Column::Right("CLOCK"),
    ]);
    for node in nodes {
        table.row([
            node.id.to_string(),
            node.address.clone(),
            node_state(node.state()).to_owned(),
            if node.up { "yes" } else { "no" }.to_owned(),
            node.zone.clone(),
            node.version.clone(),
            node.leaders.to_string(),
            node.replicas.to_string(),
            known(node.series, |series| series.to_string()),
            known(node.bytes, bytes),
            known(node.free_bytes, bytes),
            clock(node),
        ]);
    }
    table
}

fn shards_table(shards: &[ShardInfo]) -> Table {
    let mut table = Table::new([
        Column::Right("ID"),
        Column::Left("RANGE"),
        Column::Right("LEADER"),
        Column::Left("REPLICAS"),
        Column::Right("SERIES"),
        Column::Right("BYTES"),
        Column::Left("NOTES"),
    ]);
    for shard in shards {
        table.row([
            shard.id.to_string(),
            key_range(shard.first_key, shard.last_key),
            node_or_none(shard.leader),
            shard.replicas.iter().map(replica_text).collect::<Vec<_>>().join(" "),
            known(shard.series, |series| series.to_string()),
            known(shard.bytes, bytes),
            notes(shard),
        ]);
    }
    table
}

/// The node, and what is special about its replica: `2`, `3(learner, 17 behind)`.
fn replica_text(replica: &ReplicaInfo) -> String {
    let mut special = Vec::new();
    if replica.role() == ReplicaRole::Learner {
        special.push("learner".to_owned());
    }
    match replica.lag {
        Some(0) => {}
        Some(lag) => special.push(format!("{lag} behind")),
        None => special.push("?".to_owned()),
    }
    if special.is_empty() { replica.node.to_string() } else { format!("{}({})", replica.node, special.join(", ")) }
}

fn notes(shard: &ShardInfo) -> String {
    let replaced = shard
        .replicas
        .iter()
        .filter_map(|replica| replica.replaces.map(|old| format!("node {} replaces node {old}", replica.node)));
    let troubled = shard.replicas.iter().filter(|replica| !replica.trouble.is_empty());
    let split = shard.split.iter().map(|split| format!("splits at {:016x} into {}", split.at, split.child));
    let troubled = troubled.map(|replica| format!("node {}: {}", replica.node, replica.trouble));
    replaced.chain(split).chain(troubled).collect::<Vec<_>>().join("; ")
}

async fn events(context: &Context, follow: bool, limit: u32, after: u64) -> Result<(), Failure> {
    let output = context.output;
    let mut stream = context.client.cluster().events(after, limit, follow).await?;
    if !follow {
        let mut events = Vec::new();
        while let Some(event) = stream.next().await? {
            events.push(event);
        }
        let table = || {
            let columns =
                [Column::Right("NUMBER"), Column::Left("TIME"), Column::Left("ABOUT"), Column::Left("WHAT HAPPENED")];
            let mut table = Table::new(columns);
            for event in &events {
                let kind = event_kind(event.kind()).to_owned();
                table.row([event.number.to_string(), print_time(event.at_ms), kind, event.text.clone()]);
            }
            table
        };
        return Ok(output.print(table, || events.iter().map(json::event).collect())?);
    }
    let mut last = after;
    loop {
        match stream.next().await {
            Ok(Some(event)) => {
                last = last.max(event.number);
                output.print_line(&event_line(&event), &json::event(&event))?;
            }
            // The node stops or went away: others go on from there, the client finds one.
            Ok(None) => stream = context.client.cluster().events(last, 0, true).await?,
            Err(error) if error.is_transient() => stream = context.client.cluster().events(last, 0, true).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn event_line(event: &Event) -> String {
    format!("{}  {:<9}  {}", print_time(event.at_ms), event_kind(event.kind()), event.text)
}

pub async fn doctor(context: &Context) -> Result<(), Failure> {
    let findings = context.client.cluster().doctor().await?;
    if findings.is_empty() && !context.output.json {
        context.output.print_text("nothing is wrong\n")?;
        return Ok(());
    }
    let text = || {
        let columns =
            [Column::Left("SEVERITY"), Column::Left("ABOUT"), Column::Left("PROBLEM"), Column::Left("ADVICE")];
        let mut table = Table::new(columns);
        for found in &findings {
            let severity = severity(found.severity()).to_owned();
            table.row([severity, found.subject.clone(), found.problem.clone(), found.advice.clone()]);
        }
        table
    };
    context.output.print(text, || findings.iter().map(json::finding).collect())?;
    let serious = findings.iter().any(|found| found.severity() == Severity::Error);
    if serious { Err(Failure::Found) } else { Ok(()) }
}
