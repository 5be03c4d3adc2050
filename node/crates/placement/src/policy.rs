//! What is wanted of a plan. Any value is legal.

/// Bytes below which a copy is small, if nothing else is said.
pub const SMALL_COPY_BYTES: u64 = 4 << 20;
/// So many small copies count as one where copies under way are bounded.
pub const SMALL_COPIES: u32 = 16;

/// What is wanted of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Copies of each group, where there are as many nodes. Voters are the largest odd number of them.
    pub replication_factor: u32,
    /// How long a node may be silent before its copies are made again elsewhere.
    pub grace_ms: u64,
    /// How long a node must have answered before it is given anything.
    pub settle_ms: u64,
    /// Copies that may be under way at the same time to or from one node.
    pub copies_per_node_max: u32,
    /// Copies that may be under way at the same time in all.
    pub copies_max: u32,
    /// A copy of fewer bytes is small: it takes a moment, and [`SMALL_COPIES`] of them count as one.
    pub small_copy_bytes: u64,
    /// Leaderships that one plan moves for the sake of balance; a chain of them that has begun is completed.
    pub transfers_max: u32,
    /// How far above the mean a node's load may lie before groups move for that alone, in percent.
    pub load_tolerance_percent: u32,
    /// Bytes above which a group is split.
    pub split_bytes: u64,
    /// Samples per second above which a group is split.
    pub split_samples_per_second: u64,
    /// Groups that splitting may lead to, in all.
    pub groups_max: u32,
    /// Bytes of a disk that moves leave free.
    pub free_disk_bytes_min: u64,
    /// Percent of a disk that moves leave free.
    pub free_disk_percent_min: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            replication_factor: 3,
            grace_ms: 15 * 60 * 1000,
            settle_ms: 5 * 1000,
            copies_per_node_max: 2,
            copies_max: 8,
            small_copy_bytes: SMALL_COPY_BYTES,
            transfers_max: 8,
            load_tolerance_percent: 20,
            split_bytes: 64 << 30,
            split_samples_per_second: 500_000,
            groups_max: 1024,
            free_disk_bytes_min: 2 << 30,
            free_disk_percent_min: 10,
        }
    }
}

impl Policy {
    /// Copies of a group in a cluster of so many members.
    pub(crate) fn copies(&self, member_count: usize) -> usize {
        member_count.min(self.replication_factor.max(1) as usize).max(1)
    }
}

/// Of so many copies, how many vote: an even number of voters survives no more failures than one voter less.
pub(crate) fn voters_of(copies: usize) -> usize {
    if copies.is_multiple_of(2) { copies.saturating_sub(1).max(1) } else { copies }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_odd_and_never_none() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(voters_of), [1, 1, 1, 3, 3, 5]);
    }
}
