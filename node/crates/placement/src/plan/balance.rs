//! What should move although every group has its copies: for the zones' sake, for even numbers of replicas, for even
//! loads, in this order. A group moves at most once in a plan, which is also why every loop here ends.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bellwether_model::NodeId;

use super::chain;
use super::draft::{Draft, Tally, Urgency};

/// An exchange for the load's sake evens out at least this part of the difference between two nodes.
const LOAD_GAIN_PART_MIN: u64 = 8;

pub(super) fn balance(draft: &mut Draft) {
    // No more is thought out than can be begun.
    let enough = |draft: &Draft| draft.new_count() >= draft.policy.copies_max as usize;
    for at in 0..draft.groups.len() {
        if draft.groups[at].movable && !enough(draft) {
            spread_over_zones(draft, at);
        }
    }
    while !enough(draft) {
        let Some(chain) = uneven_chain(draft) else { break };
        follow(draft, &chain);
    }
    while !enough(draft) && even_out_load(draft) {}
}

/// Moves a replica out of a zone that holds two more of the group than another zone with a free node does.
fn spread_over_zones(draft: &mut Draft, at: usize) {
    let takers = || draft.takers().filter(|(to, _)| draft.can_take(at, *to));
    let pairs = draft.groups[at].seats.iter().flat_map(|from| takers().map(move |(to, tally)| (*from, to, tally)));
    let better = pairs.filter(|(from, to, _)| draft.crowd(at, *from) > draft.crowd(at, *to) + 1);
    let best = better.min_by_key(|(from, to, tally)| {
        let crowds = (Reverse(draft.crowd(at, *from)), draft.crowd(at, *to));
        (crowds, tally.groups, Reverse(draft.tally(*from).groups), *from, *to)
    });
    if let Some((from, to, _)) = best {
        let (old, new) = (draft.inventory.zone(from), draft.inventory.zone(to));
        let (many, few) = (draft.crowd(at, from), draft.crowd(at, to));
        let reason = format!("zone {old:?} holds {many} of its copies, zone {new:?} {few}");
        draft.shift(at, from, to, Urgency::Zone, reason);
    }
}

/// A way from a node to one that holds at least two replicas less: over other nodes where the zones allow no direct one.
fn uneven_chain(draft: &Draft) -> Option<Vec<NodeId>> {
    let count = |node: NodeId| draft.tally(node).groups;
    let mut takers: Vec<(NodeId, Tally)> = draft.takers().collect();
    takers.sort_by_key(|(node, tally)| (tally.groups, tally.load, *node));
    let fewest = takers.first()?.1.groups;
    let on = movable_by_node(draft);
    let mut sources: Vec<NodeId> = on.keys().copied().filter(|node| count(*node) > fewest + 1).collect();
    if sources.is_empty() {
        return None;
    }
    sources.sort_by_key(|node| (Reverse(count(*node)), Reverse(draft.tally(*node).load), *node));
    let legs = on.iter().map(|(from, groups)| {
        let to = takers.iter().map(|(to, _)| *to);
        (*from, to.filter(|to| groups.iter().any(|at| draft.can_go(*at, *from, *to))).collect())
    });
    let legs: BTreeMap<NodeId, Vec<NodeId>> = legs.collect();
    sources.into_iter().find_map(|source| {
        chain::shortest(
            source,
            |node| count(node) + 1 < count(source),
            |node| legs.get(&node).cloned().unwrap_or_default(),
        )
    })
}

/// Moves one group along each leg of the chain, until a leg needs a group that an earlier one has moved: then the rest waits
/// for the next plan.
fn follow(draft: &mut Draft, chain: &[NodeId]) {
    for leg in chain.windows(2) {
        let (from, to) = (leg[0], leg[1]);
        let on = movable_by_node(draft);
        let Some(at) = on.get(&from).and_then(|groups| fitting(draft, groups, from, to)) else { return };
        let reason =
            format!("node {from} holds {} replicas, node {to} {}", draft.tally(from).groups, draft.tally(to).groups);
        draft.shift(at, from, to, Urgency::Count, reason);
    }
}

/// The groups that may move, by the nodes that hold them.
fn movable_by_node(draft: &Draft) -> BTreeMap<NodeId, Vec<usize>> {
    let mut on: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for at in (0..draft.groups.len()).filter(|at| draft.groups[*at].movable) {
        for node in &draft.groups[at].seats {
            on.entry(*node).or_default().push(at);
        }
    }
    on
}

/// The group that best goes from one node to the other: evens out their loads, is not led there, is small.
fn fitting(draft: &Draft, groups: &[usize], from: NodeId, to: NodeId) -> Option<usize> {
    let (from_load, to_load) = (draft.tally(from).load, draft.tally(to).load);
    groups.iter().copied().filter(|at| draft.can_go(*at, from, to)).min_by_key(|at| {
        let wish = &draft.groups[*at];
        let rest = (from_load - wish.weight).abs_diff(to_load + wish.weight);
        (rest, wish.group.leader == Some(from), wish.group.load.bytes, wish.group.id)
    })
}

/// One move or exchange that takes load from a node that has too much. False when there is none.
fn even_out_load(draft: &mut Draft) -> bool {
    let mut loads: Vec<(u64, NodeId)> = draft.takers().map(|(node, tally)| (tally.load, node)).collect();
    loads.sort_unstable();
    let sum: u128 = loads.iter().map(|(load, _)| u128::from(*load)).sum();
    let limit = sum * u128::from(100 + u64::from(draft.policy.load_tolerance_percent)) / 100;
    let too_much = |load: u64| u128::from(load) * loads.len() as u128 > limit;
    let on = movable_by_node(draft);
    for (high, from) in loads.iter().rev().take_while(|(load, _)| too_much(*load)) {
        for (low, to) in loads.iter().take_while(|(low, _)| low < high) {
            if let Some((gives, takes)) = exchange(draft, &on, (*from, *high), (*to, *low)) {
                let reason = |from, to| format!("node {from} carries more load than node {to}");
                draft.shift(gives, *from, *to, Urgency::Load, reason(from, to));
                if let Some(takes) = takes {
                    draft.shift(
                        takes,
                        *to,
                        *from,
                        Urgency::Load,
                        format!("in exchange for group {}", draft.groups[gives].group.id),
                    );
                }
                return true;
            }
        }
    }
    false
}

/// The group to give, and the one to take for it where the numbers of replicas demand one, that even out two nodes best.
fn exchange(
    draft: &Draft,
    on: &BTreeMap<NodeId, Vec<usize>>,
    (from, high): (NodeId, u64),
    (to, low): (NodeId, u64),
) -> Option<(usize, Option<usize>)> {
    let difference = high - low;
    let alone_too = draft.tally(from).groups > draft.tally(to).groups;
    let gifts = on.get(&from)?.iter().copied().filter(|at| draft.can_go(*at, from, to));
    let returns: Vec<usize> =
        on.get(&to).into_iter().flatten().copied().filter(|at| draft.can_go(*at, to, from)).collect();
    let pairs = gifts.flat_map(|gives| {
        let alone = alone_too.then_some((gives, None));
        alone.into_iter().chain(returns.iter().map(move |takes| (gives, Some(*takes))))
    });
    let weight = |at: usize| draft.groups[at].weight;
    let gains = pairs.filter_map(|(gives, takes)| {
        let gain = weight(gives).checked_sub(takes.map_or(0, weight))?;
        let useful = gain < difference && gain >= (difference / LOAD_GAIN_PART_MIN).max(1);
        useful.then(|| (gain.abs_diff(difference - gain), takes.is_some(), gives, takes))
    });
    gains.min().map(|(_, _, gives, takes)| (gives, takes))
}
