//! Where each group's copies belong, from where they are.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bellwether_model::NodeId;

use super::draft::{Draft, NewSeat, Urgency, Wish};
use crate::placement::{PlacedGroup, Replica, ReplicaRole};
use crate::{Inventory, NodeState, Policy};

/// Gives every group its seats.
pub(super) fn settle(draft: &mut Draft) {
    // All sit where they are before anybody moves: only then can nodes be compared.
    for at in 0..draft.groups.len() {
        for node in counting(draft.groups[at].group, draft.inventory, draft.policy) {
            draft.sit(at, node);
        }
    }
    let wanted = draft.copies;
    let mut order: Vec<usize> = (0..draft.groups.len()).collect();
    order.sort_by_key(|at| (draft.groups[*at].seats.len(), draft.groups[*at].group.id));
    for at in order {
        trim(draft, at, wanted);
        fill(draft, at, wanted);
        keep(draft, at, wanted);
    }
    draft.mark_movable();
}

/// The nodes whose copies count: they are members, not lost, and no copy that counts is taking their place.
fn counting(group: &PlacedGroup, inventory: &Inventory, policy: &Policy) -> Vec<NodeId> {
    let holding = || group.replicas.iter().filter(|replica| inventory.holds(replica.node, policy));
    let replaced: BTreeSet<NodeId> = holding().filter_map(|replica| replica.replaces).collect();
    holding().map(|replica| replica.node).filter(|node| !replaced.contains(node)).collect()
}

/// Takes away seats that are too many: from the most crowded zone, rather a learner's than a voter's, from the node that
/// holds most.
fn trim(draft: &mut Draft, at: usize, wanted: usize) {
    while draft.groups[at].seats.len() > wanted {
        let learns =
            |node: NodeId| draft.groups[at].group.on(node).is_none_or(|replica| replica.role == ReplicaRole::Learner);
        let seats = draft.groups[at].seats.iter().copied();
        let worst = seats.max_by_key(|node| {
            let tally = draft.tally(*node);
            (draft.crowd(at, *node), learns(*node), tally.groups, tally.load, *node)
        });
        draft.leave(at, worst.expect("there are more seats than wanted, and so at least one"));
    }
}

/// Adds seats that are missing: in the zone that has least of the group, where a copy lies already, on the node that holds
/// least.
fn fill(draft: &mut Draft, at: usize, wanted: usize) {
    let mut gone = gone(draft, at);
    while draft.groups[at].seats.len() < wanted {
        let group = draft.groups[at].group;
        let free = draft.nodes.keys().copied().filter(|node| draft.can_take(at, *node));
        let best = free.min_by_key(|node| {
            let tally = draft.tally(*node);
            (draft.crowd(at, *node), group.on(*node).is_none(), tally.groups, tally.load, *node)
        });
        let Some(node) = best else { return };
        let have = draft.groups[at].seats.len();
        draft.sit(at, node);
        let replaces = gone.pop();
        if group.on(node).is_none() {
            let (urgency, reason) = match replaces {
                None => (Urgency::Missing, format!("{have} of {wanted} copies")),
                Some(old) if drains(draft, old) => (Urgency::Drain, draft.trouble(old)),
                Some(old) => (Urgency::Lost, draft.trouble(old)),
            };
            draft.groups[at].new.insert(node, NewSeat { replaces, urgency, reason });
        }
    }
}

/// Lets copies on nodes that should hold nothing stay while nobody can take their place: a group is never left with fewer
/// copies, and voters, than its cluster allows.
fn keep(draft: &mut Draft, at: usize, wanted: usize) {
    let missing = wanted.saturating_sub(draft.groups[at].seats.len());
    if missing == 0 {
        return;
    }
    let mut stay = who_may_stay(draft, at);
    stay.truncate(missing);
    let full = draft.nodes.keys().any(|node| draft.is_free(at, *node));
    let why = if full { "no other node has enough free disk" } else { "no other node is ready" };
    let id = draft.groups[at].group.id;
    for node in &stay {
        draft.sit(at, *node);
        let trouble = draft.trouble(*node);
        draft.held.push(format!("group {id}: {trouble}, and {why} to take its place"));
    }
    if stay.len() < missing {
        let have = draft.groups[at].seats.len();
        draft.held.push(format!("group {id}: {have} of {wanted} copies, and {why} for another"));
    }
}

/// The nodes without a seat whose copies could stay, the most useful first: what answers or votes, then what has been
/// replaced and is still as good as it was, then the copies of silent learners.
fn who_may_stay(draft: &Draft, at: usize) -> Vec<NodeId> {
    let Wish { group, seats, new, .. } = &draft.groups[at];
    let up = |node: NodeId| draft.inventory.is_up(node);
    let votes = |node: NodeId| group.on(node).is_some_and(|replica| replica.role == ReplicaRole::Voter);
    let (useful, silent): (Vec<NodeId>, Vec<NodeId>) =
        gone(draft, at).into_iter().partition(|node| up(*node) || votes(*node));
    let good =
        group.replicas.iter().filter(|replica| replica.caught_up && up(replica.node)).map(|replica| replica.node);
    let spare = good.filter(|node| !seats.contains(node) && !useful.contains(node));
    let mut stay: Vec<NodeId> = useful.iter().copied().chain(spare).chain(silent).collect();
    stay.retain(|node| new.values().all(|seat| seat.replaces != Some(*node)));
    stay
}

/// The nodes whose copies of the group do not count and have nobody to take their place: those first that should stay
/// longest.
fn gone(draft: &Draft, at: usize) -> Vec<NodeId> {
    let group = draft.groups[at].group;
    let holds = |node: NodeId| draft.inventory.holds(node, draft.policy);
    let replaced: BTreeSet<NodeId> =
        group.replicas.iter().filter(|replica| holds(replica.node)).filter_map(|replica| replica.replaces).collect();
    let mut gone: Vec<&Replica> =
        group.replicas.iter().filter(|replica| !holds(replica.node) && !replaced.contains(&replica.node)).collect();
    gone.sort_by_key(|replica| {
        let removed = draft.inventory.nodes.get(&replica.node).is_none_or(|info| info.state == NodeState::Removed);
        let votes = replica.role == ReplicaRole::Voter;
        (Reverse(draft.inventory.is_up(replica.node)), Reverse(votes), removed, replica.node)
    });
    gone.into_iter().map(|replica| replica.node).collect()
}

fn drains(draft: &Draft, node: NodeId) -> bool {
    draft.inventory.is_up(node)
        && draft.inventory.nodes.get(&node).is_some_and(|info| info.state == NodeState::Draining)
}
