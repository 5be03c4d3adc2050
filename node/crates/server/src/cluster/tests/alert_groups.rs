//! The alert groups: every node is a member, and who evaluates rules follows who is there.

use std::collections::BTreeSet;

use super::*;

fn ring(server: &Server, at: usize) -> Vec<u64> {
    server.alerting().groups()[at].read(|state| state.ring.nodes.iter().map(|node| node.0).collect())
}

async fn agreed(servers: &[&Server], nodes: &[u64]) {
    let groups = servers[0].alerting().groups().len();
    let agreed = || servers.iter().all(|server| (0..groups).all(|at| ring(server, at) == nodes));
    until("all groups know who evaluates", agreed).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_there_evaluates() {
    let net = TestNet::default();
    let (mut machines, servers) = three(&net).await;
    let [first, second, third] = <[Server; 3]>::try_from(servers).ok().unwrap();
    agreed(&[&first, &second, &third], &[1, 2, 3]).await;

    first.shutdown().await.unwrap();
    let before = tokio::time::Instant::now();
    agreed(&[&second, &third], &[2, 3]).await;
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    let epochs = |server: &Server| -> Vec<u64> {
        server.alerting().groups().iter().map(|group| group.read(|state| state.ring.epoch)).collect()
    };
    let old = epochs(&second);

    let first = machines[0].start(&net).await.unwrap();
    agreed(&[&first, &second, &third], &[1, 2, 3]).await;
    assert!(epochs(&first).iter().zip(&old).all(|(new, old)| new > old), "an epoch never comes again");

    let state = NodeState::Draining;
    let drain = MetaCommand::SetNodeState { node: NodeId(2), state, force: false };
    first.meta().propose(MetaCommand::SetSetting { key: SettingKey::ReplicationFactor, value: 1 }).await.unwrap();
    first.meta().propose(drain).await.unwrap();
    agreed(&[&first, &second, &third], &[1, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn states_are_there_after_a_start_and_come_to_who_joins() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[]), machine(2, &[1])];
    let first = machines[0].start(&net).await.unwrap();
    agreed(&[&first], &[1]).await;
    first.shutdown().await.unwrap();
    let first = machines[0].start(&net).await.unwrap();
    assert_eq!(ring(&first, 0), [1], "known at once");
    let second = machines[1].start(&net).await.unwrap();
    agreed(&[&first, &second], &[1, 2]).await;
    let members: BTreeSet<u64> = {
        let state = first.alerting().groups()[3].common().replica().state();
        state.voters.values().chain(state.learners.values()).copied().collect()
    };
    assert_eq!(members, BTreeSet::from([1, 2]));
}

#[tokio::test(start_paused = true)]
async fn the_alert_groups_survive_the_loss_of_a_majority_with_the_meta_group() {
    let net = TestNet::default();
    let (mut machines, servers) = three(&net).await;
    let [first, second, third] = <[Server; 3]>::try_from(servers).ok().unwrap();
    agreed(&[&first, &second, &third], &[1, 2, 3]).await;
    for server in [third, second, first] {
        server.shutdown().await.unwrap();
    }
    machines[1].config.cluster.recover_meta_group = true;
    let survivor = machines[1].start(&net).await.unwrap();
    agreed(&[&survivor], &[2]).await;
}
