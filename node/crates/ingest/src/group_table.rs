//! Which shard group owns a point of the ring: the sorted ranges of one Placement epoch.

use bellwether_model::{HashRange, PlacementKey};

/// The largest number of groups that a gateway can tell apart.
pub const GROUPS_MAX: usize = u16::MAX as usize;

/// Ranges in ascending order, each with the index of its group. The index is the caller's: it is what the series cache
/// and the distributor call a group by.
// Invariant: sorted, no two ranges overlap, none is empty. Gaps are allowed: nobody owns them at the moment.
#[derive(Debug, Clone, Default)]
pub struct GroupTable {
    ranges: Vec<(HashRange, u16)>,
}

/// Why ranges cannot be a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupTableError {
    /// Two groups own one key.
    #[error("groups {first} and {second} both own the key {key:#x}")]
    Overlap {
        /// The group of the lower range.
        first: u16,
        /// The group of the higher range.
        second: u16,
        /// The first key that both own.
        key: u64,
    },
    /// A range without keys.
    #[error("the range of group {group} is empty")]
    Empty {
        /// Whose.
        group: u16,
    },
}

impl GroupTable {
    /// A table of ranges in any order.
    pub fn new(mut ranges: Vec<(HashRange, u16)>) -> Result<GroupTable, GroupTableError> {
        if let Some((_, group)) = ranges.iter().find(|(range, _)| range.first > range.last) {
            return Err(GroupTableError::Empty { group: *group });
        }
        ranges.sort_by_key(|(range, _)| range.first);
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].0.last >= pair[1].0.first) {
            return Err(GroupTableError::Overlap { first: pair[0].1, second: pair[1].1, key: pair[1].0.first.0 });
        }
        Ok(GroupTable { ranges })
    }

    /// The index of the group that owns `key`, if one does.
    pub fn group_of(&self, key: PlacementKey) -> Option<u16> {
        let after = self.ranges.partition_point(|(range, _)| range.first <= key);
        let (range, group) = self.ranges[..after].last()?;
        range.contains(key).then_some(*group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> HashRange {
        HashRange { first: PlacementKey(first), last: PlacementKey(last) }
    }

    #[test]
    fn keys_find_their_group_and_gaps_have_none() {
        let table = GroupTable::new(vec![(range(100, u64::MAX), 2), (range(0, 9), 0), (range(20, 99), 1)]).unwrap();
        let group = |key| table.group_of(PlacementKey(key));
        assert_eq!([group(0), group(9), group(10), group(19)], [Some(0), Some(0), None, None]);
        assert_eq!([group(20), group(99), group(100), group(u64::MAX)], [Some(1), Some(1), Some(2), Some(2)]);
        assert_eq!(GroupTable::default().group_of(PlacementKey(1)), None);
    }

    #[test]
    fn overlapping_and_empty_ranges_are_refused() {
        let overlap = GroupTable::new(vec![(range(5, 9), 1), (range(0, 5), 0)]).unwrap_err();
        assert_eq!(overlap.to_string(), "groups 0 and 1 both own the key 0x5");
        assert_eq!(GroupTable::new(vec![(range(1, 0), 3)]).unwrap_err(), GroupTableError::Empty { group: 3 });
    }
}
