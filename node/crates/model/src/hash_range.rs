//! The ring of placement keys and its ranges.

use std::fmt;

/// A point on the ring of series. How a series gets its point: [`PlacementKey::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementKey(pub u64);

/// A range of placement keys, first and last included, so that the last key can be owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// Lowest key inside.
    pub first: PlacementKey,
    /// Highest key inside.
    pub last: PlacementKey,
}

impl fmt::Display for PlacementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl HashRange {
    /// The whole ring.
    pub const ALL: HashRange = HashRange { first: PlacementKey(0), last: PlacementKey(u64::MAX) };

    /// Whether `key` lies inside.
    pub fn contains(self, key: PlacementKey) -> bool {
        self.first <= key && key <= self.last
    }

    /// Whether some key lies in both.
    pub fn overlaps(self, other: HashRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ring cut into `parts` ranges of equal size, in ascending order.
    ///
    /// # Panics
    /// If `parts` is zero.
    pub fn split_ring(parts: u32) -> Vec<HashRange> {
        assert!(parts > 0, "a ring has at least one range");
        let cut = |i: u32| ((u128::from(i) << 64) / u128::from(parts)) as u64;
        (0..parts)
            .map(|i| HashRange {
                first: PlacementKey(cut(i)),
                last: PlacementKey(if i + 1 == parts { u64::MAX } else { cut(i + 1) - 1 }),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_covered_without_gap_or_overlap() {
        for parts in [1, 2, 3, 7, 8, 250] {
            let ranges = HashRange::split_ring(parts);
            assert_eq!(ranges[0].first.0, 0);
            assert_eq!(ranges[ranges.len() - 1].last.0, u64::MAX);
            assert!(ranges.windows(2).all(|pair| pair[0].last.0 + 1 == pair[1].first.0));
        }
    }
}
