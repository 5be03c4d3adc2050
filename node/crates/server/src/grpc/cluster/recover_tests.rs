//! A shard group loses its majority for ever, and begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_client::v1::{EventKind, NodeState, ReplicaRole, ShardInfo};
use bellwether_client::{Client, Value, series};
use bellwether_ingest::{ControlCommand, SplitCommand};
use bellwether_model::ShardGroupId;
use tokio::time::{sleep, timeout};

use super::tests::{client, refusal, start, until};
use crate::Server;
use crate::peers::testing::TestNet;
use crate::testing::NOW_MS;

const METRICS: usize = 40;

/// All shard groups with three voters that have applied everything, none moving.
async fn settled(client: &Client, voters: usize) -> Vec<ShardInfo> {
    until(async || {
        let status = client.cluster().status().await.ok()?;
        let shards = client.cluster().shards().await.ok()?.shards;
        let voting = shards.iter().all(|shard| {
            let voting = shard.replicas.iter().filter(|replica| replica.role() == ReplicaRole::Voter);
            voting.count() == 3 && shard.replicas.iter().all(|replica| replica.lag == Some(0))
        });
        let is_still = status.groups_short_of_copies + status.groups_in_motion + status.groups_without_leader == 0;
        (voting && is_still && status.meta_voters.len() == voters).then_some(shards)
    })
    .await
}

async fn write(client: &Client, at_ms: i64, value: f64) {
    let name = |number: usize| format!("metric_{number}");
    let all = (0..METRICS).map(|number| series([("__name__", name(number).as_str())], [(at_ms, value)])).collect();
    client.write(all).await.unwrap();
}

async fn count(client: &Client, expression: &str) -> Option<usize> {
    match client.instant(expression, Some(NOW_MS)).await.ok()?.value {
        Value::Vector(found) => Some(found.len()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_without_its_majority_begins_anew_with_what_one_node_has() {
    let net = TestNet::default();
    let mut servers: BTreeMap<u64, Server> = BTreeMap::new();
    for at in 1..=5 {
        servers.insert(at.into(), start(&net, at).await);
    }
    let shards = settled(&client(&net, 1), 5).await;
    write(&client(&net, 1), NOW_MS - 60_000, 1.0).await;
    let group = &shards[0];
    let refused = refusal(client(&net, 1).cluster().recover_group(group.id, None, true).await);
    assert!(refused.contains("3 of the 3 voters of shard group"), "{refused}");

    // What was acknowledged is applied everywhere a little later.
    sleep(Duration::from_secs(1)).await;
    // Two of its three nodes are gone; the meta group goes on with three of five.
    let lost: BTreeSet<u64> = group.replicas[..2].iter().map(|replica| replica.node).collect();
    let survivor = group.replicas[2].node;
    for node in &lost {
        servers.remove(node).unwrap().shutdown().await.unwrap();
    }
    let client = client(&net, u16::try_from(survivor).unwrap());
    let found = until(async || client.cluster().recover_group(group.id, None, true).await.ok()).await;
    assert_eq!((found.node, found.replica), (survivor, 0));
    assert!(found.last >= found.applied && found.time_ms.is_some(), "{found:?}");
    let wrong = refusal(client.cluster().recover_group(group.id, lost.first().copied(), true).await);
    assert!(wrong.contains("does not serve"), "{wrong}");

    let done = client.cluster().recover_group(group.id, None, false).await.unwrap();
    assert_eq!(done.node, survivor);
    // The other group may have lost the same nodes.
    let without_majority = |shard: &&ShardInfo| {
        shard.replicas.iter().filter(|replica| lost.contains(&replica.node)).count() >= 2 && shard.id != group.id
    };
    for shard in shards.iter().filter(without_majority) {
        client.cluster().recover_group(shard.id, None, false).await.unwrap();
    }
    let names = "count by (__name__) ({__name__=~\"metric_.*\"})";
    until(async || (count(&client, names).await == Some(METRICS)).then_some(())).await;
    until(async || {
        let written = series([("__name__", "after")], [(NOW_MS, 2.0)]);
        client.write(vec![written]).await.ok()
    })
    .await;
    write(&client, NOW_MS, 3.0).await;
    let again = "count by (__name__) ({__name__=~\"metric_.*\"} == 3)";
    until(async || (count(&client, again).await == Some(METRICS)).then_some(())).await;
    let mut events = client.cluster().events(0, 0, false).await.unwrap();
    let mut told = false;
    while let Some(event) = events.next().await.unwrap() {
        told |= event.kind() == EventKind::Trouble && event.text.contains("begins anew with what node");
    }
    assert!(told, "it is kept for operators");

    // The lost nodes are given up, and copies are made again by themselves.
    for node in &lost {
        until(async || client.cluster().set_node_state(*node, NodeState::Removed, true).await.ok()).await;
    }
    let shards = settled(&client, 3).await;
    assert!(shards.iter().all(|shard| shard.replicas.iter().all(|replica| !lost.contains(&replica.node))));
    until(async || (count(&client, again).await == Some(METRICS)).then_some(())).await;
}

/// A group that is to be split and has lost all voters but `survivor`.
struct BeingSplit {
    servers: BTreeMap<u64, Server>,
    client: Client,
    group: u32,
    other: u32,
    survivor: u64,
}

impl BeingSplit {
    async fn with(survives: impl Fn(&ShardInfo) -> u64) -> BeingSplit {
        let net = TestNet::default();
        let mut servers: BTreeMap<u64, Server> = BTreeMap::new();
        for at in 1..=5 {
            servers.insert(at.into(), start(&net, at).await);
        }
        let shards = settled(&client(&net, 1), 5).await;
        write(&client(&net, 1), NOW_MS - 60_000, 1.0).await;
        let group = &shards[0];
        let survivor = survives(group);
        let client = client(&net, u16::try_from(survivor).unwrap());
        let lost = group.replicas.iter().map(|replica| replica.node).filter(|node| *node != survivor);
        for node in lost.collect::<Vec<_>>() {
            servers.remove(&node).unwrap().shutdown().await.unwrap();
        }
        // The map has its ids, and nobody can settle it.
        let at = group.first_key + (group.last_key - group.first_key) / 2;
        until(async || client.cluster().split_shard(group.id, Some(at)).await.ok()).await;
        BeingSplit { servers, client, group: group.id, other: shards[1].id, survivor }
    }

    /// Has the survivor, if it led the group, append the split to its log, though nobody else can take it.
    async fn propose_split(&self) {
        let server = &self.servers[&self.survivor];
        let (id, state) = (ShardGroupId(self.group), server.meta.now());
        let (placed, local) = (state.placement.group(id).unwrap(), server.shards.local(id).unwrap());
        let split = placed.split.as_ref().unwrap();
        let replica_on = |node| split.replicas.iter().find(|own| own.node == node).unwrap().id;
        let command = ControlCommand::Split(SplitCommand {
            child: split.child,
            at: split.at,
            ref_epoch: split.ref_epoch,
            replicas: placed.replicas.iter().map(|parent| (parent.id, replica_on(parent.node))).collect(),
        });
        let entry = command.encode(local.owned().entry_version(), local.shard().group_time());
        let answer = timeout(Duration::from_secs(1), local.propose(entry.into())).await;
        assert!(!matches!(answer, Ok(Ok(_))), "nobody else has it");
        let remains = server.shards.remains(id).unwrap();
        assert!(remains.last > remains.applied, "{remains:?}, {answer:?}");
    }

    /// Begins it anew with what else has lost the same nodes; returns the child, and how many groups there are.
    async fn recover(&self) -> (Option<u32>, usize) {
        let client = &self.client;
        let done = until(async || client.cluster().recover_group(self.group, None, false).await.ok()).await;
        assert_eq!(done.node, self.survivor);
        // Its child has lost the same nodes, and the other group may have.
        for group in done.child.into_iter().chain([self.other]) {
            until(async || match client.cluster().recover_group(group, None, false).await {
                Ok(_) => Some(()),
                Err(error) => error.to_string().contains("a majority").then_some(()),
            })
            .await;
        }
        let names = "count by (__name__) ({__name__=~\"metric_.*\"})";
        until(async || (count(client, names).await == Some(METRICS)).then_some(())).await;
        let shards = client.cluster().shards().await.unwrap().shards;
        assert!(shards.iter().all(|shard| shard.split.is_none()), "{shards:?}");
        write(client, NOW_MS, 3.0).await;
        assert_eq!(count(client, names).await, Some(METRICS));
        (done.child, shards.len())
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_lost_its_majority_while_it_was_being_split_begins_anew_without_the_split() {
    let follower = |group: &ShardInfo| group.replicas.iter().find(|it| it.node != group.leader).unwrap().node;
    let being_split = BeingSplit::with(follower).await;
    assert_eq!(being_split.recover().await, (None, 2));
}

#[tokio::test(start_paused = true)]
async fn a_split_that_is_in_the_survivor_s_log_is_done() {
    let being_split = BeingSplit::with(|group| group.leader).await;
    being_split.propose_split().await;
    let (child, groups) = being_split.recover().await;
    assert_eq!((child.is_some(), groups), (true, 3));
}
