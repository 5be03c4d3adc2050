//! One step of each group from where its replicas are to where they belong.
//!
//! A copy is added as a learner; once all that are to vote have caught up, one joint change makes them voters; who is not
//! needed any more is removed. So voters go from {1} to {1, 2, 3} without ever being two.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::NodeId;

use super::draft::{Draft, Urgency, Wish};
use crate::placement::{PlacedGroup, ReplicaRole};
use crate::policy::{SMALL_COPIES, voters_of};
use crate::{Move, Step};

/// The next step of each group that has one, the most urgent first.
pub(super) fn next_steps(draft: &mut Draft) -> Vec<Move> {
    let mut moves = Vec::new();
    let mut copies = Vec::new();
    for at in 0..draft.groups.len() {
        match next_step(draft, at) {
            None => {}
            Some((None, step)) => moves.push(step),
            Some((Some(urgency), step)) => copies.push((urgency, live_voters(draft, at), step)),
        }
    }
    copies.sort_by_key(|(urgency, live, step)| (*urgency, *live, step.group));
    let mut throttle = Throttle::new(draft);
    moves.extend(copies.into_iter().map(|(_, _, step)| step).filter(|step| throttle.admits(draft, step)));
    moves
}

/// The next step of a group; with its urgency when it copies data.
fn next_step(draft: &mut Draft, at: usize) -> Option<(Option<Urgency>, Move)> {
    let group = draft.groups[at].group;
    if group.split.is_some() || draft.inventory.unsettled.contains(&group.id) {
        return None;
    }
    let (live, all) = (live_voters(draft, at), group.voters().count());
    if live * 2 <= all {
        draft.held.push(format!("group {}: only {live} of its {all} voters answer, it has no quorum", group.id));
        return None;
    }
    if let Some((step, reason)) = change_voters(draft, at).or_else(|| remove_replica(draft, at)) {
        return Some((None, Move { group: group.id, step, reason }));
    }
    let new = &draft.groups[at].new;
    let (node, seat) = new.iter().min_by_key(|(node, seat)| (seat.urgency, **node))?;
    let step = Step::AddLearner { node: *node, replaces: seat.replaces };
    Some((Some(seat.urgency), Move { group: group.id, step, reason: seat.reason.clone() }))
}

fn live_voters(draft: &Draft, at: usize) -> usize {
    draft.groups[at].group.voters().filter(|voter| draft.inventory.is_up(voter.node)).count()
}

/// Whether the node's replica could vote at once.
fn is_ready(draft: &Draft, group: &PlacedGroup, node: NodeId) -> bool {
    draft.inventory.is_up(node) && group.on(node).is_some_and(|replica| replica.caught_up)
}

/// The one joint change that is possible now, or the transfer of leadership that has to come before it.
fn change_voters(draft: &mut Draft, at: usize) -> Option<(Step, String)> {
    let group = draft.groups[at].group;
    let current: BTreeSet<NodeId> = group.voters().map(|voter| voter.node).collect();
    let voters = next_voters(draft, &draft.groups[at], &current)?;
    let ready = |node: &NodeId| is_ready(draft, group, *node);
    if voters.iter().filter(|node| ready(node)).count() * 2 <= voters.len() {
        draft.held.push(format!("group {}: too few of the next voters answer and have caught up", group.id));
        return None;
    }
    let leader = group.leader.filter(|leader| current.contains(leader) && !voters.contains(leader));
    if let Some(from) = leader.filter(|leader| draft.inventory.is_up(*leader)) {
        let staying = current.intersection(&voters).copied().filter(ready);
        let staying = staying.filter(|node| !draft.inventory.nodes.get(node).is_some_and(|info| info.clock_wrong));
        // Where nobody stays, the leader carries the change out and steps down.
        if let Some(to) = staying.min_by_key(|node| (draft.tally(*node).leads, *node)) {
            hand_over(draft, from, to);
            return Some((Step::TransferLeader { from, to }, format!("node {from} is about to lose its vote")));
        }
    }
    let list = |nodes: Vec<&NodeId>| nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>().join(" and ");
    let joining = list(voters.difference(&current).collect());
    let leaving = list(current.difference(&voters).collect());
    let reason = match (joining.is_empty(), leaving.is_empty()) {
        (false, false) => format!("{joining} caught up, for {leaving}"),
        (false, true) => format!("{joining} caught up"),
        (true, _) => format!("{leaving} shall not vote"),
    };
    Some((Step::ChangeVoters { voters }, reason))
}

/// The voters after the next joint change; none when it is not its time yet.
fn next_voters(draft: &Draft, wish: &Wish, current: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let group = wish.group;
    let ready = |node: NodeId| is_ready(draft, group, node);
    let stays = |node: NodeId| draft.inventory.holds(node, draft.policy);
    // Who is to go, and is only kept until somebody can take its place, gets no vote that it does not have.
    let mut seats: Vec<NodeId> =
        wish.seats.iter().copied().filter(|node| stays(*node) || current.contains(node)).collect();
    // Unless all get to vote: those that can at once, that stay, and that lead or vote already.
    let leader = group.leader.filter(|leader| current.contains(leader));
    seats.sort_by_key(|node| (!ready(*node), !stays(*node), leader != Some(*node), !current.contains(node), *node));
    let wanted: BTreeSet<NodeId> = seats.iter().copied().take(voters_of(seats.len())).collect();
    let (waiting, mut voters): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
        wanted.iter().partition(|node| !current.contains(node) && !ready(**node));
    if !waiting.is_empty() {
        // Growing waits for all. In a replacement those that are ready go ahead, and the best of the others still vote.
        if current.len() < wanted.len() || voters.is_subset(current) {
            return None;
        }
    }
    // Nobody loses a vote because somebody else cannot be given it yet, or nobody is there to be given it.
    let at_least = wanted.len().max(voters_of(draft.copies).min(current.len()));
    let mut leaving: Vec<NodeId> = current.difference(&wanted).copied().collect();
    leaving.sort_by_key(|node| (!ready(*node), *node));
    voters.extend(leaving.into_iter().take(at_least.saturating_sub(voters.len())));
    (voters != *current).then_some(voters)
}

/// A learner that nobody needs: its place is taken, or it was never of use.
fn remove_replica(draft: &Draft, at: usize) -> Option<(Step, String)> {
    let Wish { group, seats, .. } = &draft.groups[at];
    let complete = seats.len() >= draft.copies && seats.iter().all(|node| is_ready(draft, group, *node));
    let spare = group.replicas.iter().find(|replica| {
        let useless = !replica.caught_up || !draft.inventory.is_up(replica.node);
        replica.role == ReplicaRole::Learner && !seats.contains(&replica.node) && (complete || useless)
    })?;
    let node = spare.node;
    let holds = draft.inventory.holds(node, draft.policy);
    let reason = if holds { format!("node {node} is wanted elsewhere") } else { draft.trouble(node) };
    Some((Step::RemoveReplica { node }, if complete { "its place is taken".to_owned() } else { reason }))
}

pub(super) fn hand_over(draft: &mut Draft, from: NodeId, to: NodeId) {
    let tally = draft.nodes.entry(from).or_default();
    tally.leads = tally.leads.saturating_sub(1);
    draft.nodes.entry(to).or_default().leads += 1;
}

/// How many copies may be made at the same time. A node counts those that it receives and, where it leads, those that it
/// sends. What is counted are parts of a copy: a small one is one part, any other [`SMALL_COPIES`].
struct Throttle {
    all: u64,
    nodes: BTreeMap<NodeId, u64>,
}

impl Throttle {
    /// What is under way already.
    fn new(draft: &Draft) -> Throttle {
        let mut throttle = Throttle { all: 0, nodes: BTreeMap::new() };
        let moving = draft.groups.iter().filter(|wish| !draft.inventory.stuck.contains(&wish.group.id));
        for Wish { group, .. } in moving {
            let copying = group.replicas.iter().filter(|replica| {
                replica.role == ReplicaRole::Learner && !replica.caught_up && draft.inventory.is_up(replica.node)
            });
            copying.for_each(|replica| throttle.count(group, replica.node, parts(draft, group)));
        }
        throttle
    }

    fn admits(&mut self, draft: &Draft, step: &Move) -> bool {
        let Step::AddLearner { node, .. } = step.step else { return true };
        let Some(wish) = draft.groups.iter().find(|wish| wish.group.id == step.group) else { return false };
        let policy = draft.policy;
        let (parts, all_max) = (parts(draft, wish.group), parts_of(policy.copies_max));
        let node_max = parts_of(policy.copies_per_node_max);
        let concerned = [Some(node), wish.group.leader.filter(|leader| *leader != node)];
        let full = |node: &NodeId| self.nodes.get(node).is_some_and(|count| count + parts > node_max);
        let full: Vec<NodeId> = concerned.into_iter().flatten().filter(full).collect();
        if full.is_empty() && self.all + parts <= all_max {
            self.count(wish.group, node, parts);
            return true;
        }
        // Small ones that come later do not overtake a large one for ever.
        self.nodes.extend(full.into_iter().map(|node| (node, node_max)));
        if self.all + parts > all_max {
            self.all = all_max;
        }
        false
    }

    fn count(&mut self, group: &PlacedGroup, receiver: NodeId, parts: u64) {
        self.all += parts;
        for node in [Some(receiver), group.leader].into_iter().flatten() {
            *self.nodes.entry(node).or_default() += parts;
        }
    }
}

/// What a copy of the group counts.
fn parts(draft: &Draft, group: &PlacedGroup) -> u64 {
    if group.load.bytes < draft.policy.small_copy_bytes { 1 } else { parts_of(1) }
}

/// What so many copies count that are not small.
fn parts_of(copies: u32) -> u64 {
    u64::from(copies) * u64::from(SMALL_COPIES)
}
