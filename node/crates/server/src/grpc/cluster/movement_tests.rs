//! Tests of drains and moves as operations, with the client library against whole nodes.

use std::time::Duration;

use bellwether_client::v1::{NodeState, Operation, OperationState};
use bellwether_client::{Client, Error};

use super::tests::{client, start, until};
use crate::Server;
use crate::peers::testing::TestNet;

/// Four nodes with two groups of three copies each, and a client of each node.
async fn four(net: &TestNet) -> (Vec<Server>, Vec<Client>) {
    let mut servers = Vec::new();
    for at in 1..=4 {
        servers.push(start(net, at).await);
    }
    let clients: Vec<Client> = (1..=4).map(|at| client(net, at)).collect();
    until(async || {
        let plan = clients[0].cluster().plan().await.ok()?;
        let nodes = clients[0].cluster().nodes().await.ok()?;
        let replicas: u32 = nodes.iter().map(|node| node.replicas).sum();
        (replicas == 6 && plan.moves.is_empty()).then_some(())
    })
    .await;
    (servers, clients)
}

async fn ended(client: &Client, id: &str) -> Result<Operation, Error> {
    let mut watched = client.operations().watch(id).await?;
    let mut last = None;
    while let Some(operation) = watched.next().await? {
        last = Some(operation);
    }
    Ok(last.expect("a stream tells at least where it is"))
}

async fn state_of(client: &Client, node: u64) -> NodeState {
    let nodes = client.cluster().nodes().await.unwrap();
    nodes.iter().find(|found| found.id == node).unwrap().state()
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_followed_taken_back_and_begun_again() {
    let net = TestNet::default();
    let (_servers, clients) = four(&net).await;
    clients[0].cluster().set_setting("move.copies", Some("0")).await.unwrap();
    let begun = clients[1].operations().drain_node(4).await.unwrap();
    assert_eq!((&*begun.id, &*begun.what, begun.state()), ("2-1", "node drain 4", OperationState::Running));
    assert_eq!(clients[1].operations().drain_node(4).await.unwrap().id, "2-1", "it is begun once");
    let progress = until(async || {
        let listed = clients[2].operations().list().await.ok()?.operations;
        listed.into_iter().map(|operation| operation.progress).find(|text| text.contains("replicas left"))
    })
    .await;
    assert!(progress.starts_with("node 4: "), "{progress}");
    // Whoever watches is told now and then, though nothing changes: here, and through another node.
    for client in &clients[1..3] {
        let mut watched = client.operations().watch("2-1").await.unwrap();
        for _ in 0..12 {
            let told = tokio::time::timeout(Duration::from_secs(10), watched.next()).await;
            assert_eq!(told.unwrap().unwrap().unwrap().state(), OperationState::Running);
        }
    }
    let cancelled = clients[2].operations().cancel("2-1").await.unwrap();
    assert_eq!((cancelled.state(), &*cancelled.outcome), (OperationState::Cancelled, "node 4 is active again"));
    assert_eq!(state_of(&clients[0], 4).await, NodeState::Active);

    clients[0].cluster().set_setting("move.copies", None).await.unwrap();
    let again = clients[1].operations().drain_node(4).await.unwrap();
    let done = ended(&clients[2], &again.id).await.unwrap();
    assert_eq!((done.state(), &*done.outcome), (OperationState::Done, "node 4 is empty: bwctl node remove 4"));
    // Whoever asks later, and elsewhere, is told the same.
    let other = clients[0].operations().drain_node(4).await.unwrap();
    assert_eq!(ended(&clients[0], &other.id).await.unwrap().outcome, done.outcome);
    let refused = clients[0].operations().drain_node(3).await.unwrap_err().to_string();
    assert!(refused.starts_with("without node 3 there are 2 active nodes, for 3 copies"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_once_it_votes_nowhere() {
    let net = TestNet::default();
    let (_servers, clients) = four(&net).await;
    let cluster = clients[0].cluster();
    cluster.set_setting("replication.factor", Some("1")).await.unwrap();
    let idle = until(async || {
        let nodes = cluster.nodes().await.ok()?;
        nodes.into_iter().find(|node| node.replicas == 0 && node.meta_voter).map(|node| node.id)
    })
    .await;
    let refused = cluster.set_node_state(idle, NodeState::Removed, false).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("node {idle} votes in the meta group: leave it running")), "{refused}");
    let begun = clients[0].operations().drain_node(idle).await.unwrap();
    assert_eq!(ended(&clients[0], &begun.id).await.unwrap().state(), OperationState::Done);
    cluster.set_node_state(idle, NodeState::Removed, false).await.unwrap();
    assert!(!cluster.status().await.unwrap().meta_voters.contains(&idle));
}

#[tokio::test(start_paused = true)]
async fn a_move_is_followed_and_given_up() {
    let net = TestNet::default();
    let (mut servers, clients) = four(&net).await;
    // The cluster itself moves nothing meanwhile.
    clients[0].cluster().set_setting("move.copies", Some("0")).await.unwrap();
    let group = clients[0].cluster().shards().await.unwrap().shards.swap_remove(0);
    let holders: Vec<u64> = group.replicas.iter().map(|replica| replica.node).collect();
    let to = (1..=4).find(|node| !holders.contains(node)).unwrap();
    let from = holders.iter().copied().find(|node| *node != group.leader).unwrap();
    let watcher = &clients[group.leader as usize - 1];
    let begun = watcher.operations().move_shard(0, from, to).await.unwrap();
    assert_eq!(begun.what, format!("shard move 0 --from {from} --to {to}"));
    let done = ended(watcher, &begun.id).await.unwrap();
    assert_eq!(
        (done.state(), done.outcome),
        (OperationState::Done, format!("shard group 0 has moved from node {from} to node {to}"))
    );
    let again = watcher.operations().move_shard(0, from, to).await.unwrap();
    assert_eq!(ended(watcher, &again.id).await.unwrap().outcome, "it has moved already");

    // Back again, to a node that has gone meanwhile.
    servers.remove(from as usize - 1).shutdown().await.unwrap();
    let begun = watcher.operations().move_shard(0, to, from).await.unwrap();
    let same = watcher.operations().move_shard(0, to, from).await.unwrap();
    assert_eq!(begun.id, same.id);
    let cancelled = watcher.operations().cancel(&begun.id).await.unwrap();
    assert_eq!(
        (cancelled.state(), &*cancelled.outcome),
        (OperationState::Cancelled, "shard group 0 stays where it was")
    );
    let group = watcher.cluster().shards().await.unwrap().shards.swap_remove(0);
    assert!(group.replicas.iter().all(|replica| replica.node != from && replica.replaces.is_none()), "{group:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_followed_until_nothing_is_left_to_move() {
    let net = TestNet::default();
    let _first = start(&net, 1).await;
    let _others = [start(&net, 2).await, start(&net, 3).await];
    let client = client(&net, 2);
    until(async || client.cluster().plan().await.ok().filter(|plan| !plan.moves.is_empty())).await;
    let begun = client.operations().rebalance().await.unwrap();
    let done = ended(&client, &begun.id).await.unwrap();
    assert_eq!((done.state(), &*done.outcome), (OperationState::Done, "nothing is to be moved"));
    assert!(client.cluster().nodes().await.unwrap().iter().all(|node| node.replicas == 2));
}
