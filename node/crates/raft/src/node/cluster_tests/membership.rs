//! Replicas come and go while the group goes on.

use super::*;
use crate::{LogPosition, MembershipError};

#[tokio::test(start_paused = true)]
async fn one_voter_grows_into_three_and_a_voter_is_replaced() {
    let mut cluster = Cluster::found(1, 7).await;
    cluster.propose_many(10).await;
    for id in 2..=4 {
        cluster.start(id, MemDisk::new(), Arc::default()).await;
    }
    cluster.change(members([1], [2, 3])).await;
    cluster.change(members([1, 2, 3], [])).await;
    cluster.propose_many(10).await;
    cluster.change(members([1, 2, 3], [4])).await;
    cluster.change(members([2, 3, 4], [])).await;
    sleep(Duration::from_secs(3)).await;
    cluster.hosts.remove(&1);
    cluster.propose_many(10).await;
    cluster.converge().await;
    let state = cluster.group(4).state();
    assert_eq!(state.voters.keys().copied().collect::<Vec<_>>(), [2, 3, 4].map(ReplicaId));
    assert!(state.learners.is_empty() && !state.is_joint && state.membership_committed);
}

#[tokio::test(start_paused = true)]
async fn a_change_planned_against_another_membership_is_refused() {
    let mut cluster = Cluster::found(1, 31).await;
    cluster.start(2, MemDisk::new(), Arc::default()).await;
    cluster.propose_many(1).await;
    let group = cluster.group(1);
    let first = group.state().membership.unwrap();
    let second = group.change_members(first, members([1], [2])).await.unwrap();
    assert!(second > first);
    assert_eq!(group.state().membership, Some(second));
    let stale = group.change_members(first, members([1], [])).await.unwrap_err();
    assert_eq!(stale, MembershipError::Stale { group: GROUP, expected: first, found: Some(second) });
    let future = LogPosition { index: second.index + 1, ..second };
    let stale = group.change_members(future, members([1], [])).await.unwrap_err();
    assert!(matches!(stale, MembershipError::Stale { .. }), "{stale}");
    // What holds already is no change.
    assert_eq!(group.change_members(second, members([1], [2])).await.unwrap(), second);
    // Of two that were planned against the same one, one is done.
    let both = futures::future::join(
        group.change_members(second, members([1], [])),
        group.change_members(second, members([1], [2, 3])),
    );
    let (left, right) = both.await;
    assert!(left.is_ok() != right.is_ok(), "{left:?}, {right:?}");
    let refused = left.and(right).unwrap_err();
    assert!(matches!(refused, MembershipError::Stale { .. } | MembershipError::InProgress(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_would_stop_the_group_is_refused() {
    let mut cluster = Cluster::found(1, 32).await;
    cluster.propose_many(1).await;
    let group = cluster.group(1);
    let check = async |wanted: Members, expected: &str| {
        let error = group.change_members(group.state().membership.unwrap(), wanted).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(members([], []), "the last voter cannot be removed").await;
    check(members([], [1]), "the last voter cannot be removed").await;
    check(members([1], [1]), "replica 1 cannot both vote and learn").await;
    check(members([1, 2], []), "replica 2 has not caught up").await;
    let elsewhere = Members { voters: BTreeMap::from([(ReplicaId(1), 9)]), learners: BTreeMap::new() };
    check(elsewhere, "replica 1 lives on node 1, not on 9").await;
    let many = (2..100).map(|replica| (ReplicaId(replica), replica)).collect();
    check(Members { learners: many, ..members([1], []) }, "99 members are more than 64").await;
    // Both those that come and those that go are members meanwhile.
    let learners = |from: u64, to: u64| {
        let learners = (from..=to).map(|replica| (ReplicaId(replica), replica)).collect();
        Members { learners, ..members([1], []) }
    };
    cluster.change(learners(2, 64)).await;
    check(learners(3, 65), "65 members, those that leave included, are more than 64").await;
    cluster.change(learners(3, 64)).await;
    cluster.change(learners(3, 65)).await;
    cluster.change(members([1], [])).await;
    // A learner that has not started cannot be made a voter, and harms nobody.
    cluster.change(members([1], [2])).await;
    check(members([1, 2], []), "replica 2 has not caught up").await;
    cluster.propose_many(3).await;
    cluster.start(2, MemDisk::new(), Arc::default()).await;
    cluster.change(members([1, 2], [])).await;
    cluster.propose_many(3).await;
    cluster.converge().await;
    let follower = cluster.group(cluster.follower().await);
    let error = follower.change_members(follower.state().membership.unwrap(), members([1], [])).await.unwrap_err();
    assert!(matches!(error, MembershipError::NotLeader { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn voters_can_be_demoted_and_removed_at_once() {
    let mut cluster = Cluster::found(3, 33).await;
    cluster.start(4, MemDisk::new(), Arc::default()).await;
    cluster.propose_many(2).await;
    cluster.change(members([1, 2, 3], [4])).await;
    let leader = cluster.leader().await;
    let mut others = [1, 2, 3].into_iter().filter(|id| *id != leader);
    let (demoted, removed) = (others.next().unwrap(), others.next().unwrap());
    cluster.change(members([leader, 4], [demoted])).await;
    let state = cluster.group(leader).state();
    assert_eq!(state.voters.keys().copied().collect::<BTreeSet<_>>(), [leader, 4].map(ReplicaId).into());
    assert_eq!(state.learners.keys().copied().collect::<Vec<_>>(), [ReplicaId(demoted)]);
    assert!(!state.progress.contains_key(&ReplicaId(removed)));
    cluster.hosts.remove(&removed);
    cluster.propose_many(2).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_can_remove_itself() {
    let mut cluster = Cluster::found(3, 34).await;
    cluster.propose_many(2).await;
    let old = cluster.leader().await;
    let [left, right] = [1, 2, 3].into_iter().filter(|id| *id != old).collect::<Vec<_>>().try_into().unwrap();
    cluster.change(members([left, right], [])).await;
    cluster.hosts.remove(&old);
    cluster.propose_many(5).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_vote_hands_over_and_may_have_it_back() {
    let mut cluster = Cluster::found(3, 38).await;
    cluster.propose_many(2).await;
    let old = cluster.leader().await;
    let [left, right] = [1, 2, 3].into_iter().filter(|id| *id != old).collect::<Vec<_>>().try_into().unwrap();
    cluster.change(members([left, right], [old])).await;
    let group = cluster.group(old);
    assert!(timeout(Duration::from_millis(500), group.wait_until(|state| !state.is_leader)).await.unwrap());
    cluster.propose_many(2).await;
    cluster.change(members([1, 2, 3], [])).await;
    cluster.propose_many(2).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_interrupted_by_a_crash_can_be_ended_either_way() {
    for (seed, goes_on) in [(35, true), (36, false)] {
        let mut cluster = Cluster::found(3, seed).await;
        for id in 4..=6 {
            cluster.start(id, MemDisk::new(), Arc::default()).await;
        }
        cluster.propose_many(5).await;
        cluster.change(members([1, 2, 3], [4, 5, 6])).await;
        cluster.propose_many(5).await;
        cluster.converge().await;
        // The new voters are cut off once the joint membership is on its way: it holds, and cannot be committed.
        let leader = cluster.leader().await;
        for id in 4..=6 {
            cluster.network.cut_off(id);
        }
        let changing = cluster.group(leader);
        let expected = changing.state().membership.unwrap();
        let changing = tokio::spawn(async move { changing.change_members(expected, members([4, 5, 6], [])).await });
        sleep(Duration::from_millis(500)).await;
        let state = cluster.group(leader).state();
        assert!(state.is_joint && !state.membership_committed, "{state:?}");
        let early = cluster.group(leader).change_members(state.membership.unwrap(), members([1, 2, 3], [])).await;
        assert_eq!(early, Err(MembershipError::InProgress(GROUP)));
        cluster.crash(leader, Duration::from_millis(100)).await;
        changing.await.unwrap().unwrap_err();
        cluster.network.heal();
        let wanted = if goes_on { members([4, 5, 6], []) } else { members([1, 2, 3], []) };
        cluster.change(wanted.clone()).await;
        let leader = cluster.leader().await;
        let state = cluster.group(leader).state();
        assert_eq!((state.voters, state.is_joint), (wanted.voters.clone(), false));
        for id in 1..=6 {
            if !wanted.voters.contains_key(&ReplicaId(id)) {
                cluster.hosts.remove(&id);
            }
        }
        cluster.propose_many(5).await;
        cluster.converge().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_knows_how_far_the_others_are() {
    let mut cluster = Cluster::found(3, 37).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let (leader, behind) = (cluster.leader().await, cluster.follower().await);
    assert!(cluster.group(behind).state().progress.is_empty());
    cluster.network.cut_off(behind);
    cluster.propose_many(30).await;
    sleep(Duration::from_secs(1)).await;
    let state = cluster.group(leader).state();
    assert_eq!(state.progress.len(), 2);
    let progress = state.progress[&ReplicaId(behind)];
    assert_eq!(progress.matched.unwrap() + progress.entries_behind, state.last.unwrap());
    assert!(progress.entries_behind >= 30, "{progress:?}");
    assert!((30 * 200..30 * 300).contains(&progress.bytes_behind), "{progress:?}");
    assert!(progress.silent.unwrap() > Duration::from_millis(700), "{progress:?}");
    let (_, other) = state.progress.iter().find(|(id, _)| id.0 != behind).unwrap();
    assert!((other.entries_behind, other.bytes_behind) == (0, 0), "{other:?}");
    assert!(other.silent.unwrap() < Duration::from_millis(700), "{other:?}");
}
