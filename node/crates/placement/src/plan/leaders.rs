//! Who leads: nobody on a node that drains, has no disk left or a wrong clock, and otherwise every node about as many groups.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{NodeId, ShardGroupId};

use super::chain;
use super::draft::Draft;
use super::steps::hand_over;
use crate::placement::ReplicaRole;
use crate::{Move, NodeState, Step};

/// The transfers for groups that have nothing else to do.
pub(super) fn transfers(draft: &mut Draft, busy: &BTreeSet<ShardGroupId>) -> Vec<Move> {
    let mut free: BTreeSet<usize> = (0..draft.groups.len())
        .filter(|at| draft.groups[*at].group.split.is_none() && !busy.contains(&draft.groups[*at].group.id))
        .collect();
    let mut moves = flee(draft, &mut free);
    let end = moves.len() + draft.policy.transfers_max as usize;
    while moves.len() < end {
        let Some(chain) = uneven_chain(draft, &free) else { break };
        for leg in chain.windows(2) {
            let (from, to) = (leg[0], leg[1]);
            let at = free.iter().copied().find(|at| can_go(draft, *at, from, to));
            let at =
                at.expect("a leg was found by the group that can go along it, and each node hands on one of its own");
            let reason = format!("node {from} leads {}, node {to} {}", draft.tally(from).leads, draft.tally(to).leads);
            moves.push(transfer(draft, &mut free, at, from, to, reason));
        }
    }
    moves
}

/// Leaderships that must go from where they are, whatever the balance.
fn flee(draft: &mut Draft, free: &mut BTreeSet<usize>) -> Vec<Move> {
    let mut moves = Vec::new();
    for at in free.clone() {
        let Some(from) = draft.groups[at].group.leader else { continue };
        let Some(reason) = unfit(draft, from) else { continue };
        let better = draft.groups[at].seats.iter().copied().filter(|to| can_lead(draft, at, *to));
        if let Some(to) = better.min_by_key(|to| (draft.tally(*to).leads, *to)) {
            moves.push(transfer(draft, free, at, from, to, reason));
        }
    }
    moves
}

/// Why a node that answers should lead nothing.
fn unfit(draft: &Draft, node: NodeId) -> Option<String> {
    let info = draft.inventory.nodes.get(&node).filter(|info| info.is_up())?;
    if info.state != NodeState::Active {
        return Some(draft.trouble(node));
    }
    if info.clock_wrong {
        return Some(format!("the clock of node {node} is wrong"));
    }
    info.disk_full.then(|| format!("node {node} has too little free disk"))
}

fn can_lead(draft: &Draft, at: usize, node: NodeId) -> bool {
    let group = draft.groups[at].group;
    draft.inventory.takes(node, draft.policy)
        && unfit(draft, node).is_none()
        && draft.groups[at].seats.contains(&node)
        && group.on(node).is_some_and(|replica| replica.role == ReplicaRole::Voter && replica.caught_up)
}

fn can_go(draft: &Draft, at: usize, from: NodeId, to: NodeId) -> bool {
    from != to && draft.groups[at].group.leader == Some(from) && draft.inventory.is_up(from) && can_lead(draft, at, to)
}

fn transfer(
    draft: &mut Draft,
    free: &mut BTreeSet<usize>,
    at: usize,
    from: NodeId,
    to: NodeId,
    reason: String,
) -> Move {
    free.remove(&at);
    hand_over(draft, from, to);
    Move { group: draft.groups[at].group.id, step: Step::TransferLeader { from, to }, reason }
}

/// A way from a node to one that leads at least two groups less, each leg a group that can go along it.
fn uneven_chain(draft: &Draft, free: &BTreeSet<usize>) -> Option<Vec<NodeId>> {
    let leads = |node: NodeId| draft.tally(node).leads;
    // Who can hand something over, and to whom.
    let mut legs: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for at in free {
        let wish = &draft.groups[*at];
        if let Some(from) = wish.group.leader {
            let to = wish.seats.iter().copied().filter(|to| can_go(draft, *at, from, *to));
            legs.entry(from).or_default().extend(to);
        }
    }
    let mut sources: Vec<NodeId> = legs.keys().copied().collect();
    sources.sort_by_key(|node| (Reverse(leads(*node)), *node));
    let next = |node: NodeId| {
        let mut next: Vec<NodeId> = legs.get(&node).into_iter().flatten().copied().collect();
        next.sort_by_key(|node| (leads(*node), *node));
        next
    };
    sources.into_iter().find_map(|source| chain::shortest(source, |node| leads(node) + 1 < leads(source), next))
}
