//! Who votes in the meta group: 1, 3 or 5 nodes, spread over the zones, changed as little as possible.

use std::collections::BTreeSet;

use bellwether_model::NodeId;

use crate::policy::voters_of;
use crate::{Inventory, Policy};

/// More voters cost more than they protect.
const META_VOTERS_MAX: usize = 5;

/// The nodes that are to vote in the meta group, given those that do. A node that does not answer keeps its vote for the
/// grace period; that one, and one that is to be emptied, keep it longer while nobody can take their place. The result is
/// empty only when there is no active node.
pub fn meta_voters(current: &BTreeSet<NodeId>, inventory: &Inventory, policy: &Policy) -> BTreeSet<NodeId> {
    let wanted = voters_of(inventory.member_count().min(META_VOTERS_MAX));
    let mut chosen: BTreeSet<NodeId> = current.iter().copied().filter(|node| inventory.holds(*node, policy)).collect();
    let mut free: BTreeSet<NodeId> = inventory
        .nodes
        .keys()
        .copied()
        .filter(|node| inventory.takes(*node, policy) && !chosen.contains(node))
        .collect();

    while chosen.len() < wanted {
        let Some(next) = least_crowded(&chosen, &free, inventory) else { break };
        free.remove(&next);
        chosen.insert(next);
    }
    // Nobody can take the place of those that go: without them the others would be a smaller quorum of fewer.
    let mut going: Vec<NodeId> =
        current.iter().copied().filter(|node| inventory.nodes.contains_key(node) && !chosen.contains(node)).collect();
    going.sort_by_key(|node| (!inventory.is_up(*node), *node));
    let missing = wanted.saturating_sub(chosen.len());
    chosen.extend(going.into_iter().take(missing));

    let odd = voters_of(chosen.len()).min(wanted);
    while chosen.len() > odd {
        // Two of three that are left stay two: on one disk what they decided would be less safe.
        let mut spare = chosen.clone();
        spare.retain(|node| chosen.len() > wanted || !current.contains(node));
        let Some(worst) = most_crowded(&spare, current, inventory) else { break };
        chosen.remove(&worst);
    }
    spread(&mut chosen, &free, inventory);
    chosen
}

/// Exchanges voters as long as that spreads them better over the zones.
fn spread(chosen: &mut BTreeSet<NodeId>, free: &BTreeSet<NodeId>, inventory: &Inventory) {
    let mut free = free.clone();
    let crowd = |chosen: &BTreeSet<NodeId>, node: NodeId| in_zone(chosen, inventory.zone(node), inventory);
    while let Some(worst) = most_crowded(chosen, &BTreeSet::new(), inventory) {
        let Some(better) = least_crowded(chosen, &free, inventory) else { return };
        // Each exchange lowers the sum of squares of voters per zone, so this ends.
        if crowd(chosen, better) + 1 >= crowd(chosen, worst) {
            return;
        }
        free.remove(&better);
        chosen.remove(&worst);
        chosen.insert(better);
    }
}

/// The candidate whose zone has the fewest of the chosen, the lowest id of them.
fn least_crowded(chosen: &BTreeSet<NodeId>, candidates: &BTreeSet<NodeId>, inventory: &Inventory) -> Option<NodeId> {
    candidates.iter().copied().min_by_key(|node| (in_zone(chosen, inventory.zone(*node), inventory), *node))
}

/// The first to go: of the zone with the most, rather silent than answering, rather new than old, the highest id.
fn most_crowded(chosen: &BTreeSet<NodeId>, old: &BTreeSet<NodeId>, inventory: &Inventory) -> Option<NodeId> {
    chosen.iter().copied().max_by_key(|node| {
        let silent = !inventory.is_up(*node);
        (silent, in_zone(chosen, inventory.zone(*node), inventory), !old.contains(node), *node)
    })
}

fn in_zone(chosen: &BTreeSet<NodeId>, zone: &str, inventory: &Inventory) -> usize {
    chosen.iter().filter(|node| inventory.zone(**node) == zone).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Liveness, NodeInfo, NodeState};

    /// `1a 2b! 3c-`: nodes with their zones; `!` is silent for ever, `?` for a moment, `-` draining.
    fn inventory(text: &str) -> Inventory {
        let nodes = text.split(' ').map(|word| {
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
            let zone = word[digits.len()..].trim_end_matches(['!', '?', '-']).to_owned();
            let liveness = match word.chars().last() {
                Some('!') => Liveness::Down { for_ms: u64::MAX },
                Some('?') => Liveness::Down { for_ms: 1 },
                _ => Liveness::Up { for_ms: u64::MAX },
            };
            let state = if word.ends_with('-') { NodeState::Draining } else { NodeState::Active };
            let info = NodeInfo {
                zone,
                state,
                liveness,
                disk_bytes: 1,
                disk_used_bytes: 0,
                disk_full: false,
                clock_wrong: false,
            };
            (NodeId(digits.parse().unwrap()), info)
        });
        Inventory { nodes: nodes.collect(), ..Inventory::default() }
    }

    #[track_caller]
    fn check(current: &[u64], nodes: &str, expected: &[u64]) {
        let set = |ids: &[u64]| -> BTreeSet<NodeId> { ids.iter().copied().map(NodeId).collect() };
        let (inventory, policy) = (inventory(nodes), Policy::default());
        let voters = meta_voters(&set(current), &inventory, &policy);
        assert_eq!(voters, set(expected));
        assert_eq!(meta_voters(&voters, &inventory, &policy), voters, "a second look changes nothing");
    }

    #[test]
    fn one_then_three_then_five_vote() {
        check(&[1], "1", &[1]);
        check(&[1], "1 2", &[1]);
        check(&[1], "1 2 3", &[1, 2, 3]);
        check(&[1, 2, 3], "1 2 3 4", &[1, 2, 3]);
        check(&[1, 2, 3], "1 2 3 4 5", &[1, 2, 3, 4, 5]);
        check(&[1, 2, 3, 4, 5], "1 2 3 4 5 6 7 8", &[1, 2, 3, 4, 5]);
        check(&[1, 2, 3, 4, 5], "1 2 3- 4 5-", &[1, 2, 4]);
        check(&[1, 2, 3], "1- 2 3-", &[2]);
    }

    #[test]
    fn zones_are_spread() {
        check(&[1], "1a 2a 3a 4b 5b 6c 7c 8c", &[1, 2, 4, 5, 6]);
        check(&[1, 2, 3], "1a 2a 3a 4b", &[1, 2, 4]);
        check(&[1, 2, 4], "1a 2a 3a 4b", &[1, 2, 4]);
    }

    #[test]
    fn a_silent_voter_is_replaced_after_the_grace_period() {
        check(&[1, 2, 3], "1 2 3? 4", &[1, 2, 3]);
        check(&[1, 2, 3], "1 2 3! 4", &[1, 2, 4]);
    }

    #[test]
    fn a_silent_voter_stays_while_nobody_can_take_its_place() {
        check(&[1, 2, 3], "1 2 3!", &[1, 2, 3]);
        check(&[1, 2, 3, 4, 5], "1 2 3 4! 5!", &[1, 2, 3, 4, 5]);
        check(&[1, 2, 3, 4, 5], "1 2 3 4! 5-", &[1, 2, 3]);
    }

    #[test]
    fn those_that_are_left_keep_their_votes_while_there_is_no_third() {
        check(&[1, 2, 9], "1 2 3?", &[1, 2]);
        check(&[1, 2], "1 2 3", &[1, 2, 3]);
        check(&[1], "1 2 3?", &[1]);
    }

    #[test]
    fn a_voter_that_is_to_be_emptied_stays_until_somebody_answers_who_can_take_its_place() {
        check(&[1, 2, 3], "1- 2 3 4?", &[1, 2, 3]);
        check(&[1, 2, 3], "1- 2 3 4", &[2, 3, 4]);
        check(&[1, 2, 3], "1- 2 3! 4?", &[1, 2, 3]);
        check(&[1, 2, 3], "1- 2 3", &[2]);
    }
}
