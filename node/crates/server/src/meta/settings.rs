//! What an operator may choose for the whole cluster, one table. All values are whole numbers; units say how they are
//! written.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_placement::{Policy, SMALL_COPY_BYTES};

use crate::config::{ByteSize, Setting as _};
use crate::peers::limits::COPY_BYTES_PER_SECOND_MIN;

use super::state::NODES_MAX;

/// A setting. The number is stored: it stays the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
#[allow(missing_docs, reason = "the table says what each is")]
pub enum SettingKey {
    ReplicationFactor = 1,
    NodesMax = 2,
    JoinNeedsToken = 3,
    RepairGrace = 4,
    NodeSettle = 5,
    CopiesPerNode = 6,
    Copies = 7,
    CopyBytesPerSecond = 8,
    Transfers = 9,
    LoadTolerance = 10,
    SplitBytes = 11,
    SplitSamplesPerSecond = 12,
    GroupsMax = 13,
    FreeDiskBytes = 14,
    FreeDiskPercent = 15,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Count,
    /// Per cent.
    Percent,
    /// `64GB`.
    Bytes,
    /// `15m`; kept in milliseconds.
    Duration,
    /// `true` or `false`; kept as 1 or 0.
    Switch,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct SettingInfo {
    /// Which.
    pub key: SettingKey,
    /// What people call it.
    pub name: &'static str,
    /// How its values are written.
    pub unit: Unit,
    /// What holds while nobody has chosen.
    pub default: u64,
    /// Least.
    pub min: u64,
    /// Most.
    pub max: u64,
    /// What it is for.
    pub help: &'static str,
}

const SECOND_MS: u64 = 1000;
const DAY_MS: u64 = 24 * 3600 * SECOND_MS;

const fn row(
    key: SettingKey,
    name: &'static str,
    unit: Unit,
    default: u64,
    (min, max): (u64, u64),
    help: &'static str,
) -> SettingInfo {
    SettingInfo { key, name, unit, default, min, max, help }
}

/// All settings, in the order of the documentation.
#[rustfmt::skip]
pub const SETTINGS: &[SettingInfo] = &[
    row(SettingKey::ReplicationFactor, "replication.factor", Unit::Count, 3, (1, 7), "copies of each shard group, where there are as many nodes"),
    row(SettingKey::NodesMax, "nodes.max", Unit::Count, NODES_MAX as u64, (1, NODES_MAX as u64), "nodes that the cluster may have; a further one is refused"),
    row(SettingKey::JoinNeedsToken, "nodes.join_needs_token", Unit::Switch, 0, (0, 1), "whether a new node must show a token"),
    row(SettingKey::NodeSettle, "nodes.settle", Unit::Duration, 5 * SECOND_MS, (0, DAY_MS), "how long a node must have answered before it is given anything"),
    row(SettingKey::RepairGrace, "repair.grace", Unit::Duration, 900 * SECOND_MS, (SECOND_MS, 30 * DAY_MS), "how long a node may be silent before its copies are made again elsewhere"),
    row(SettingKey::CopiesPerNode, "move.copies_per_node", Unit::Count, 2, (1, 64), "copies under way at the same time to or from one node; of those up to 4 MiB 16 count as one"),
    row(SettingKey::Copies, "move.copies", Unit::Count, 8, (0, 1024), "copies under way at the same time in all; 0 stops moving"),
    row(SettingKey::CopyBytesPerSecond, "move.bytes_per_second", Unit::Bytes, 64 << 20, (COPY_BYTES_PER_SECOND_MIN, 1 << 40), "bytes per second that a node sends of copies"),
    row(SettingKey::Transfers, "move.transfers", Unit::Count, 8, (0, 1024), "leaderships moved at a time for the sake of balance"),
    row(SettingKey::LoadTolerance, "move.load_tolerance", Unit::Percent, 20, (1, 1000), "how far above the mean a node's load may lie before groups move for that alone"),
    row(SettingKey::SplitBytes, "split.bytes", Unit::Bytes, 64 << 30, (1 << 20, 1 << 50), "size above which a shard group is split"),
    row(SettingKey::SplitSamplesPerSecond, "split.samples_per_second", Unit::Count, 500_000, (1, 1 << 40), "rate of samples above which a shard group is split"),
    row(SettingKey::GroupsMax, "split.groups_max", Unit::Count, 1024, (1, 65_000), "shard groups that splitting may lead to"),
    row(SettingKey::FreeDiskBytes, "disk.free_bytes", Unit::Bytes, 2 << 30, (0, 1 << 50), "bytes of a disk that moves leave free"),
    row(SettingKey::FreeDiskPercent, "disk.free_percent", Unit::Percent, 10, (0, 90), "per cent of a disk that moves leave free; the larger of both holds"),
];

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Only what differs from the default by choice.
    pub chosen: BTreeMap<SettingKey, u64>,
}

impl SettingKey {
    /// Its row.
    pub fn info(self) -> &'static SettingInfo {
        SETTINGS.iter().find(|info| info.key == self).expect("every setting has its row")
    }

    /// By what people call it.
    pub fn named(name: &str) -> Option<SettingKey> {
        SETTINGS.iter().find(|info| info.name == name).map(|info| info.key)
    }

    /// By its stored number.
    pub fn numbered(number: u16) -> Option<SettingKey> {
        SETTINGS.iter().find(|info| info.key as u16 == number).map(|info| info.key)
    }
}

impl SettingInfo {
    /// Reads a value as people write it; the error completes the sentence `"<value>" ...`.
    pub fn parse(&self, text: &str) -> Result<u64, String> {
        match self.unit {
            Unit::Count => u64::parse(text),
            Unit::Percent => u64::parse(text.trim().trim_end_matches('%')),
            Unit::Bytes => ByteSize::parse(text).map(|size| size.0),
            Unit::Duration => Duration::parse(text).map(|duration| duration.as_millis() as u64),
            Unit::Switch => bool::parse(text).map(u64::from),
        }
    }

    /// Writes a value so that [`parse`](Self::parse) reads it back.
    pub fn print(&self, value: u64) -> String {
        match self.unit {
            Unit::Count => value.to_string(),
            Unit::Percent => format!("{value}%"),
            Unit::Bytes => ByteSize(value).print(),
            Unit::Duration => Duration::from_millis(value).print(),
            Unit::Switch => (value != 0).print(),
        }
    }
}

impl Settings {
    /// What holds.
    pub fn get(&self, key: SettingKey) -> u64 {
        self.chosen.get(&key).copied().unwrap_or_else(|| key.info().default)
    }

    /// What a plan is to keep to.
    pub fn policy(&self) -> Policy {
        let small = |key| u32::try_from(self.get(key)).unwrap_or(u32::MAX);
        Policy {
            replication_factor: small(SettingKey::ReplicationFactor),
            grace_ms: self.get(SettingKey::RepairGrace),
            settle_ms: self.get(SettingKey::NodeSettle),
            copies_per_node_max: small(SettingKey::CopiesPerNode),
            copies_max: small(SettingKey::Copies),
            small_copy_bytes: SMALL_COPY_BYTES,
            transfers_max: small(SettingKey::Transfers),
            load_tolerance_percent: small(SettingKey::LoadTolerance),
            split_bytes: self.get(SettingKey::SplitBytes),
            split_samples_per_second: self.get(SettingKey::SplitSamplesPerSecond),
            groups_max: small(SettingKey::GroupsMax),
            free_disk_bytes_min: self.get(SettingKey::FreeDiskBytes),
            free_disk_percent_min: small(SettingKey::FreeDiskPercent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_together() {
        for info in SETTINGS {
            assert_eq!(SettingKey::named(info.name), Some(info.key));
            assert_eq!(SettingKey::numbered(info.key as u16), Some(info.key), "{}", info.name);
            assert!((info.min..=info.max).contains(&info.default), "{}", info.name);
            for value in [info.default, info.min, info.max] {
                assert_eq!(info.parse(&info.print(value)), Ok(value), "{}", info.name);
            }
        }
    }

    #[test]
    fn a_plan_keeps_to_the_defaults_of_the_policy() {
        assert_eq!(Settings::default().policy(), Policy::default());
        let chosen = [(SettingKey::ReplicationFactor, 5)].into();
        assert_eq!(Settings { chosen }.policy().replication_factor, 5);
    }

    #[test]
    fn values_are_written_with_their_units() {
        let check = |key: SettingKey, text: &str, value| assert_eq!(key.info().parse(text), Ok(value), "{text}");
        check(SettingKey::RepairGrace, "15m", 900_000);
        check(SettingKey::SplitBytes, "64GB", 64 << 30);
        check(SettingKey::FreeDiskPercent, "10%", 10);
        check(SettingKey::JoinNeedsToken, "true", 1);
        assert!(SettingKey::Copies.info().parse("many").is_err());
    }
}
