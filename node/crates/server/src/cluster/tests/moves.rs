//! The mover ends what was begun, and is stopped by nothing that concerns one group.

use bellwether_placement::ReplicaRole;
use bellwether_proto::peer::v1::MembershipRequest;
use bellwether_raft::Members;

use super::*;

fn leads(server: &Server, group: u32) -> bool {
    server.shards().local(ShardGroupId(group)).is_ok_and(|local| local.raft.state().is_leader)
}

#[tokio::test(start_paused = true)]
async fn a_change_of_voters_whose_leader_dies_in_the_middle_is_ended_by_the_next_mover() {
    let net = TestNet::default();
    let (_machines, mut servers) = three(&net).await;
    let leader = loop {
        match servers.iter().position(|server| leads(server, 0)) {
            Some(leader) => break servers.swap_remove(leader),
            None => sleep(Duration::from_millis(100)).await,
        }
    };
    let group = leader.shards().local(ShardGroupId(0)).unwrap();
    let state = group.raft.state();
    let (own, mut voters) = (group.replica(), state.voters.clone());
    voters.remove(&bellwether_raft::ReplicaId(own.0));
    let learners = [(bellwether_raft::ReplicaId(own.0), leader.meta().node().0)].into();
    let change = group.raft.change_members(state.membership.unwrap(), Members { voters: voters.clone(), learners });
    let half_done = group.raft.wait_until(|state| state.is_joint && state.membership_committed);
    tokio::select! {
        biased;
        _ = half_done => {}
        done = change => panic!("the change was not interrupted: {done:?}"),
    }
    drop(group);
    let node = leader.meta().node();
    leader.shutdown().await.unwrap();
    let local = servers[0].shards().local(ShardGroupId(0)).unwrap();
    assert!(local.raft.state().is_joint);
    let ended = local.raft.wait_until(|state| !state.is_joint && state.membership_committed && state.voters == voters);
    assert!(timeout(LONG, ended).await.expect("somebody ends it"));
    let voters_on_map = || {
        let state = servers[0].meta().now();
        let placed = state.placement.group(ShardGroupId(0)).unwrap();
        placed.on(node).map(|replica| replica.role)
    };
    until("the map says so", || voters_on_map() == Some(ReplicaRole::Learner)).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_members_cannot_be_changed_stops_no_other_group() {
    let net = TestNet::default();
    let founder = machine(1, &[]).start(&net).await.unwrap();
    // As if a later mover had been there: nothing that this cluster's mover asks of group 0 is done.
    let later = MembershipRequest { group: 0, mover_epoch: u64::MAX, ..MembershipRequest::default() };
    founder.router().serve_membership(later).await.unwrap_err();
    let mut others = Vec::new();
    for at in [2, 3] {
        others.push(machine(at, &[1]).start(&net).await.unwrap());
    }
    spread(&founder, 1, 3, 3).await;
    let state = founder.meta().now();
    assert_eq!(state.placement.group(ShardGroupId(0)).unwrap().voters().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_empty_groups_are_spread_within_seconds() {
    const GROUPS: u32 = 30;
    let net = TestNet::default();
    let mut founder = machine(1, &[]);
    founder.config.shard_groups = GROUPS;
    let founder = founder.start(&net).await.unwrap();
    let _others = [machine(2, &[1]).start(&net).await.unwrap(), machine(3, &[1]).start(&net).await.unwrap()];
    let began = tokio::time::Instant::now();
    until("every group has three voters", || {
        let state = founder.meta().now();
        state.placement.groups().iter().all(|group| group.voters().count() == 3)
    })
    .await;
    // Two at a time took 2.2 s for each group.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
