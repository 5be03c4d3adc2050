//! Which shard group owns which range of the ring, and where its replicas are. The one place that says so; a small file
//! for now, later a record of the meta group with this same codec (`node/docs/format/placement.md`).

use bellwether_kv::KvDisk;
use bellwether_model::{HashRange, PlacementKey, RefEpoch, ShardGroupId};
use xxhash_rust::xxh3::xxh3_64;

use crate::env::Seed;

/// Name of the file at the top of the data directory.
pub const PLACEMENT_FILE: &str = "PLACEMENT";

const MAGIC: &[u8; 4] = b"BWPL";
const VERSION: u8 = 1;
/// How series get their point on the ring: `PlacementKey::of` as it is now.
const POINT_RULE: u8 = 1;
const HEADER_BYTES: usize = 4 + 1 + 1 + 8 + 4;
const GROUP_BYTES: usize = 4 + 8 + 8 + 8 + 8 + 8;
const CHECKSUM_BYTES: usize = 8;

/// The map of the ring.
// Invariant: groups ascend by range and cover the ring without gap or overlap; ids are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Rises with every change.
    pub epoch: u64,
    groups: Vec<PlacedGroup>,
}

/// One group of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedGroup {
    /// The group.
    pub id: ShardGroupId,
    /// What it owns.
    pub range: HashRange,
    /// Its incarnation.
    pub ref_epoch: RefEpoch,
    /// The id of its one replica.
    pub replica: u64,
    /// The node that holds the replica.
    pub node: u64,
}

/// Why a placement could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// A newer program wrote it.
    #[error("file {PLACEMENT_FILE} has format version {found}, this program reads up to {VERSION}")]
    NewerFormat {
        /// The version found.
        found: u8,
    },
    /// The bytes are not what was written.
    #[error("file {PLACEMENT_FILE} is damaged: {0}")]
    Damaged(&'static str),
    /// There is none although the directory has been founded.
    #[error("file {PLACEMENT_FILE} is missing")]
    Missing,
    /// Reading or writing failed.
    #[error("file {PLACEMENT_FILE}")]
    Storage(#[from] bellwether_kv::Error),
}

impl Placement {
    /// The map of a new cluster: `count` groups of equal range, all on `node`.
    pub fn found(count: u32, node: u64, seed: Seed) -> Placement {
        let groups = HashRange::split_ring(count).into_iter().enumerate().map(|(at, range)| PlacedGroup {
            id: ShardGroupId(at as u32),
            range,
            ref_epoch: RefEpoch(seed.split(&format!("ref epoch {at}")).0),
            replica: at as u64 + 1,
            node,
        });
        Placement { epoch: 1, groups: groups.collect() }
    }

    /// The groups in order of their ranges.
    pub fn groups(&self) -> &[PlacedGroup] {
        &self.groups
    }

    /// Reads the stored map.
    pub fn read(disk: &dyn KvDisk) -> Result<Placement, PlacementError> {
        Placement::decode(&disk.read_small_file(PLACEMENT_FILE)?.ok_or(PlacementError::Missing)?)
    }

    /// Stores the map, durably.
    pub fn write(&self, disk: &dyn KvDisk) -> Result<(), PlacementError> {
        Ok(disk.write_small_file(PLACEMENT_FILE, &self.encode())?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.groups.len() * GROUP_BYTES + CHECKSUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, POINT_RULE]);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&(self.groups.len() as u32).to_le_bytes());
        for group in &self.groups {
            bytes.extend_from_slice(&group.id.0.to_le_bytes());
            for number in [group.range.first.0, group.range.last.0, group.ref_epoch.0, group.replica, group.node] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Placement, PlacementError> {
        use PlacementError::Damaged;
        if bytes.len() < HEADER_BYTES + CHECKSUM_BYTES || bytes[..4] != *MAGIC {
            return Err(Damaged("not a placement"));
        }
        let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if xxh3_64(body).to_le_bytes() != checksum {
            return Err(Damaged("checksum mismatch"));
        }
        if body[4] > VERSION || body[5] > POINT_RULE {
            return Err(PlacementError::NewerFormat { found: body[4].max(body[5]) });
        }
        let (header, rows) = body.split_at(HEADER_BYTES);
        let number = |at: &[u8]| u64::from_le_bytes(at.try_into().expect("eight bytes"));
        let count = u32::from_le_bytes(header[14..18].try_into().expect("four bytes")) as usize;
        if rows.len() != count.saturating_mul(GROUP_BYTES) {
            return Err(Damaged("wrong length"));
        }
        let groups: Vec<PlacedGroup> = rows
            .chunks_exact(GROUP_BYTES)
            .map(|row| PlacedGroup {
                id: ShardGroupId(u32::from_le_bytes(row[..4].try_into().expect("four bytes"))),
                range: HashRange { first: PlacementKey(number(&row[4..12])), last: PlacementKey(number(&row[12..20])) },
                ref_epoch: RefEpoch(number(&row[20..28])),
                replica: number(&row[28..36]),
                node: number(&row[36..44]),
            })
            .collect();
        let placement = Placement { epoch: number(&header[6..14]), groups };
        if placement.covers_the_ring() { Ok(placement) } else { Err(Damaged("the groups do not cover the ring once")) }
    }

    fn covers_the_ring(&self) -> bool {
        let mut ids: Vec<ShardGroupId> = self.groups.iter().map(|group| group.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let ends_meet =
            self.groups.windows(2).all(|pair| pair[0].range.last.0.checked_add(1) == Some(pair[1].range.first.0));
        ids.len() == self.groups.len()
            && ends_meet
            && self.groups.first().is_some_and(|group| group.range.first.0 == 0)
            && self.groups.last().is_some_and(|group| group.range.last.0 == u64::MAX)
            && self.groups.iter().all(|group| group.range.first <= group.range.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_kv::MemDisk;

    #[test]
    fn a_placement_is_read_back() {
        let disk = MemDisk::new();
        assert!(matches!(Placement::read(&disk), Err(PlacementError::Missing)));
        let placement = Placement::found(8, 1, Seed(5));
        placement.write(&disk).unwrap();
        assert_eq!(Placement::read(&disk).unwrap(), placement);
    }

    #[test]
    fn the_bytes_are_golden() {
        let hex: String = Placement::found(1, 1, Seed(5)).encode().iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["4257504c0101010000000000000001000000000000000000000000000000ffffffffffffffff0cfa178c53d7f53901000000000000000100000000000000fb1d5eb2960c0544"].assert_eq(&hex);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let bytes = Placement::found(3, 1, Seed(5)).encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(Placement::decode(&damaged).is_err(), "byte {at}");
            assert!(Placement::decode(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn a_map_with_a_gap_is_refused() {
        let mut placement = Placement::found(3, 1, Seed(5));
        placement.groups[1].range.first.0 += 1;
        assert!(matches!(Placement::decode(&placement.encode()), Err(PlacementError::Damaged(_))));
    }
}
