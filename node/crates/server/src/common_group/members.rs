//! Who is in such a group and who votes there, kept by its leader: every node that is there learns, 1, 3 or 5 of them
//! vote, those that were removed leave. One small change at a time, each planned against the membership that holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId};
use bellwether_placement::{Inventory, Liveness, NodeInfo, meta_voters};
use bellwether_raft::limits::MEMBERS_MAX;
use bellwether_raft::{GroupState, Members, MembershipError, RaftGroup};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::{CommonGroup, Voters, WeakGroup};
use crate::meta::MetaState;

/// How often the leader looks.
const TICK: Duration = Duration::from_secs(1);
/// Silence after which a node counts as down.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a quorum may take to take a change.
const CHANGE_WAIT: Duration = Duration::from_secs(5);
/// How long handing the lead over may take.
const TRANSFER_WAIT: Duration = Duration::from_secs(5);

/// What has to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Change(Members),
    /// The leader is to leave: one of these leads first.
    HandOver(BTreeSet<bellwether_raft::ReplicaId>),
}

/// Adds a replica that learns, if it is no member yet.
pub async fn add_learner(group: &RaftGroup, node: NodeId, replica: ReplicaId) -> Result<(), MembershipError> {
    let state = group.state();
    let replica = bellwether_raft::ReplicaId(replica.0);
    if state.voters.contains_key(&replica) || state.learners.contains_key(&replica) {
        return Ok(());
    }
    if state.is_joint {
        return Err(MembershipError::InProgress(group.group()));
    }
    let mut members = Members { voters: state.voters.clone(), learners: state.learners.clone() };
    members.learners.insert(replica, node.0);
    change(group, &state, members).await
}

async fn change(group: &RaftGroup, state: &GroupState, members: Members) -> Result<(), MembershipError> {
    let Some(expected) = state.membership.filter(|_| state.is_leader) else {
        return Err(MembershipError::NotLeader { hint: state.leader });
    };
    if !state.membership_committed {
        return Err(MembershipError::InProgress(group.group()));
    }
    // A leader that nobody hears waits for ever.
    let changed = timeout(CHANGE_WAIT, group.change_members(expected, members)).await;
    changed.unwrap_or(Err(MembershipError::Unknown { hint: None })).map(drop)
}

/// Looks after the members for as long as the group runs.
pub(super) async fn keep(group: WeakGroup) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    loop {
        ticks.tick().await;
        let Some(group) = group.get() else { return };
        let raft = group.replica().state();
        if !raft.is_leader {
            seen = Seen::default();
            continue;
        }
        let state = group.cluster();
        let voters = match &group.0.voters {
            Voters::Chosen => {
                let inventory = seen.inventory(&state, &raft, group.node());
                Some(chosen(&state, &raft, &inventory))
            }
            Voters::Like(other) => settled_voters(&other.replica().state()),
        };
        let step = voters.map_or(Step::Nothing, |voters| next(&state, &raft, voters, group.node()));
        if let Err(error) = carry_out(&group, step, &raft).await {
            tracing::debug!(group = group.name(), error, "its members are changed later");
        }
    }
}

async fn carry_out(group: &CommonGroup, step: Step, state: &GroupState) -> Result<(), String> {
    match step {
        Step::Nothing => Ok(()),
        Step::Change(members) => {
            let (voters, learners) = (members.voters.values(), members.learners.values());
            tracing::info!(group = group.name(), ?voters, ?learners, "its members change");
            change(&group.replica(), state, members).await.map_err(|error| error.to_string())
        }
        Step::HandOver(to) => {
            let mut failed = Ok(());
            for successor in to {
                match group.replica().transfer_leadership(successor, TRANSFER_WAIT).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failed = Err(error.to_string()),
                }
            }
            failed
        }
    }
}

/// Since when nodes answer or do not, as this leader has seen it.
#[derive(Default)]
struct Seen(BTreeMap<NodeId, (bool, Instant)>);

impl Seen {
    fn inventory(&mut self, state: &MetaState, group: &GroupState, own: NodeId) -> Inventory {
        let now = Instant::now();
        let nodes = state.present_nodes().map(|(id, node)| {
            let progress = group.progress.get(&bellwether_raft::ReplicaId(node.meta_replica.0));
            let silent = progress.and_then(|progress| progress.silent);
            let is_up = id == own || silent.is_some_and(|silent| silent < SILENCE_MAX);
            let (was_up, since) = self.0.entry(id).or_insert((is_up, now));
            if *was_up != is_up {
                (*was_up, *since) = (is_up, now);
            }
            let for_ms = now.duration_since(*since).as_millis() as u64;
            let liveness = if is_up { Liveness::Up { for_ms } } else { Liveness::Down { for_ms } };
            let info = NodeInfo {
                zone: node.facts.zone.clone(),
                state: node.state,
                liveness,
                disk_bytes: node.facts.capacity_bytes,
                disk_used_bytes: 0,
                disk_full: false,
                clock_wrong: false,
            };
            (id, info)
        });
        let inventory = Inventory { nodes: nodes.collect(), ..Inventory::default() };
        self.0.retain(|id, _| inventory.nodes.contains_key(id));
        inventory
    }
}

/// Who is to vote, by what is known of the nodes.
fn chosen(state: &MetaState, group: &GroupState, inventory: &Inventory) -> BTreeSet<NodeId> {
    meta_voters(&voting(group), inventory, &state.settings.policy())
}

/// Who votes in a group where nobody is changing that.
fn settled_voters(group: &GroupState) -> Option<BTreeSet<NodeId>> {
    (group.membership_committed && !group.is_joint).then(|| voting(group))
}

fn voting(group: &GroupState) -> BTreeSet<NodeId> {
    group.voters.values().map(|node| NodeId(*node)).collect()
}

/// What leads from the members that are to every node as a member, with these voters.
fn next(state: &MetaState, group: &GroupState, mut wanted: BTreeSet<NodeId>, own: NodeId) -> Step {
    let replicas: BTreeMap<NodeId, bellwether_raft::ReplicaId> =
        state.present_nodes().map(|(id, node)| (id, bellwether_raft::ReplicaId(node.meta_replica.0))).collect();
    let voting = voting(group);
    let present: BTreeSet<_> = group.voters.keys().chain(group.learners.keys()).copied().collect();
    let new = wanted.iter().filter_map(|node| Some((*replicas.get(node)?, node.0)));
    let new: BTreeMap<_, _> = new.filter(|(replica, _)| !present.contains(replica)).collect();
    if !new.is_empty() && !group.is_joint && present.len() + new.len() <= MEMBERS_MAX {
        // Who is to vote learns first.
        let learners = group.learners.clone().into_iter().chain(new).collect();
        return Step::Change(Members { voters: group.voters.clone(), learners });
    }
    // Nobody is better than who is there, and only a member can vote.
    wanted.retain(|node| replicas.get(node).is_some_and(|replica| present.contains(replica)));
    if wanted.is_empty() {
        wanted = voting.intersection(&replicas.keys().copied().collect()).copied().collect();
    }
    if wanted.is_empty() {
        return Step::Nothing;
    }
    let is_leaving = !wanted.contains(&own);
    if is_leaving {
        let others = wanted.clone();
        wanted.insert(own);
        if voting == wanted {
            return Step::HandOver(others.iter().map(|node| replicas[node]).collect());
        }
    }
    let own_replica = group.leader.map(|leader| (leader.replica, leader.node)).filter(|_| is_leaving);
    let voters: BTreeMap<_, _> =
        wanted.iter().filter_map(|node| Some((*replicas.get(node)?, node.0))).chain(own_replica).collect();
    let learners = replicas.iter().map(|(node, replica)| (*replica, node.0));
    let mut learners: BTreeMap<_, _> = learners.filter(|(replica, _)| !voters.contains_key(replica)).collect();
    if present.iter().chain(voters.keys()).chain(learners.keys()).collect::<BTreeSet<_>>().len() > MEMBERS_MAX {
        // Those that come and those that go do not fit into one membership: first the ones go.
        learners.retain(|replica, _| present.contains(replica));
    }
    let is_same = !group.is_joint && voters == group.voters && learners == group.learners;
    if is_same { Step::Nothing } else { Step::Change(Members { voters, learners }) }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
