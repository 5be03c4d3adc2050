//! What of the stored data has changed since they were read: asked of every group that a read concerns, and as fresh as a read.
//!
//! A cheap question: nothing is scanned, and the answer of a group is a few spans of time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{HashRange, Matcher, PlacementKey, RefEpoch, ShardGroupId, Tenant, TimeRange};
use bellwether_proto::peer::v1::scan_part::Part;
use bellwether_proto::peer::v1::scan_request::What;
use bellwether_proto::peer::v1::{KnownGroup, ScanChanges, ScanPart, SelectChanges, TimeSpan};

use super::Router;
use super::reads::Scope;
use super::scan_parts::{Found, TakeError, part, unreadable};
use crate::shards::{ReadContext, SelectError, ShardGroup};

/// Up to where what was read of a group includes its log: without later changes it is what would be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// Its incarnation.
    pub epoch: RefEpoch,
    /// What it owned.
    pub range: HashRange,
    /// The place of the last entry.
    pub log_index: u64,
}

/// That of all groups that something was read from.
pub type ReadPlaces = BTreeMap<ShardGroupId, ReadAt>;

/// What a group says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChanges {
    /// Which.
    pub group: ShardGroupId,
    /// Up to where it includes its log now.
    pub at: ReadAt,
    /// Times in which something may have changed.
    pub times: Vec<TimeRange>,
}

impl Router {
    /// What has changed inside `range` since something was read at `known`, for all groups that the selectors concern.
    pub async fn changes(
        &self,
        tenant: &Tenant,
        selectors: &[Arc<[Matcher]>],
        range: TimeRange,
        known: &ReadPlaces,
        read: &ReadContext,
    ) -> Result<Vec<GroupChanges>, SelectError> {
        let wire = |(group, at): (&ShardGroupId, &ReadAt)| KnownGroup {
            group: group.0,
            ref_epoch: at.epoch.0,
            log_index: at.log_index,
        };
        let question = SelectChanges { known: known.iter().map(wire).collect() };
        let scope = Scope { tenant, selectors, range, read };
        let local = |groups: Vec<Arc<ShardGroup>>| {
            let answers = groups.iter().map(|group| changes_here(group, known.get(&group.id()), range)).collect();
            std::future::ready(Ok(answers))
        };
        self.everywhere(&scope, What::Changes(question), local).await
    }
}

fn changes_here(group: &ShardGroup, known: Option<&ReadAt>, range: TimeRange) -> GroupChanges {
    let shard = group.shard();
    let epoch = shard.ref_epoch();
    let is_another = known.is_some_and(|known| known.epoch != epoch);
    let changed = shard.changed_since(known.map_or(u64::MAX, |known| known.log_index), range);
    let times = if is_another { vec![range] } else { changed.times };
    GroupChanges { group: group.id(), at: ReadAt { epoch, range: group.range(), log_index: changed.as_of }, times }
}

/// What replicas here answer to another node.
pub(super) fn served(groups: &[Arc<ShardGroup>], question: &SelectChanges, range: TimeRange) -> Vec<GroupChanges> {
    let known: BTreeMap<u32, &KnownGroup> = question.known.iter().map(|known| (known.group, known)).collect();
    let answer = |group: &Arc<ShardGroup>| {
        let known = known.get(&group.id().0).map(|known| ReadAt {
            epoch: RefEpoch(known.ref_epoch),
            range: group.range(),
            log_index: known.log_index,
        });
        changes_here(group, known.as_ref(), range)
    };
    groups.iter().map(answer).collect()
}

impl Found for GroupChanges {
    fn parts(found: Vec<GroupChanges>) -> impl Iterator<Item = ScanPart> + Send {
        found.into_iter().map(|GroupChanges { group, at, times }| {
            part(Part::Changes(ScanChanges {
                group: group.0,
                ref_epoch: at.epoch.0,
                first_key: at.range.first.0,
                last_key: at.range.last.0,
                log_index: at.log_index,
                times: times.iter().map(|range| TimeSpan { first_ms: range.first, last_ms: range.last }).collect(),
            }))
        })
    }

    fn take(part: Part, so_far: &mut Vec<GroupChanges>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Changes(changes) = part else { return Err(unreadable("a part is not of changes")) };
        read.account.take(size_of_val(&changes.times[..]) as u64)?;
        let range = HashRange { first: PlacementKey(changes.first_key), last: PlacementKey(changes.last_key) };
        so_far.push(GroupChanges {
            group: ShardGroupId(changes.group),
            at: ReadAt { epoch: RefEpoch(changes.ref_epoch), range, log_index: changes.log_index },
            times: changes.times.iter().map(|span| TimeRange::new(span.first_ms, span.last_ms)).collect(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{Limits, QueryAccount};

    #[test]
    fn what_a_group_says_travels() {
        let changes = |group: u32, times: &[(i64, i64)]| GroupChanges {
            group: ShardGroupId(group),
            at: ReadAt { epoch: RefEpoch(u64::MAX - 1), range: HashRange::ALL, log_index: 7 },
            times: times.iter().map(|(first, last)| TimeRange::new(*first, *last)).collect(),
        };
        let said = vec![changes(1, &[]), changes(2, &[(-5, 9), (11, i64::MAX)])];
        let read = ReadContext::new(QueryAccount::new(Limits::default()));
        let mut arrived = Vec::new();
        for part in GroupChanges::parts(said.clone()) {
            GroupChanges::take(part.part.unwrap(), &mut arrived, &read).unwrap();
        }
        assert_eq!(arrived, said);
        assert!(GroupChanges::take(Part::Texts(Default::default()), &mut arrived, &read).is_err());
    }
}
