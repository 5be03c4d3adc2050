//! Which group to cut in two: one that holds or takes in too much and has nothing else to do.

use std::collections::BTreeSet;

use bellwether_model::{PlacementKey, ShardGroupId};

use super::draft::Draft;
use crate::placement::PlacedGroup;
use crate::{Move, Step};

/// One split at a time in the whole cluster: the child is placed before the next one.
pub(super) fn next_split(draft: &Draft, busy: &mut BTreeSet<ShardGroupId>) -> Option<Move> {
    let pending = draft.groups.iter().any(|wish| wish.group.split.is_some());
    if pending || draft.groups.len() >= draft.policy.groups_max as usize {
        return None;
    }
    let free = draft.groups.iter().filter(|wish| wish.movable).map(|wish| wish.group);
    let groups = free.filter(|group| !busy.contains(&group.id));
    let splits = groups.filter_map(|group| Some((excess(draft, group)?, group, cut(group)?)));
    let ((_, reason), group, at) = splits.max_by_key(|((times, _), group, _)| (*times, std::cmp::Reverse(group.id)))?;
    busy.insert(group.id);
    Some(Move { group: group.id, step: Step::Split { at }, reason })
}

/// By how many thousandths of a threshold the group is too large, and what to say of it.
fn excess(draft: &Draft, group: &PlacedGroup) -> Option<(u128, String)> {
    let over = |value: u64, limit: u64| (value > limit).then(|| u128::from(value) * 1000 / u128::from(limit.max(1)));
    let (load, policy) = (group.load, draft.policy);
    let bytes = over(load.bytes, policy.split_bytes)
        .map(|times| (times, format!("it holds {} bytes, the limit is {}", load.bytes, policy.split_bytes)));
    let rate = over(load.samples_per_second, policy.split_samples_per_second).map(|times| {
        let (rate, limit) = (load.samples_per_second, policy.split_samples_per_second);
        (times, format!("it takes {rate} samples per second, the limit is {limit}"))
    });
    bytes.max(rate)
}

/// Where to cut: where half of the load lies if that is known, else in the middle. None for a single key.
fn cut(group: &PlacedGroup) -> Option<PlacementKey> {
    let (first, last) = (group.range.first.0, group.range.last.0);
    let middle = PlacementKey(first + (last - first).div_ceil(2));
    group.load.middle.filter(|at| group.can_split_at(*at)).or(Some(middle).filter(|at| group.can_split_at(*at)))
}
