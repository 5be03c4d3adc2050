//! What a backup consists of: a small text, written last, so that a backup without it is none
//! (`node/docs/format/backup.md`). It ends in a checksum of itself and names every object with its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bellwether_kv::check_file_name;
use bellwether_model::{HashRange, NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId, Timestamp};
use sha2::{Digest, Sha256};

/// Version that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a manifest, at most.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;

const FIRST_LINE: &str = "bellwether backup";

/// SHA-256 of an object's content, which is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectHash(pub [u8; 32]);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The backup.
    pub id: BackupId,
    /// The cluster that it is of.
    pub cluster: u128,
    /// When it was begun: everything acknowledged before is in it.
    pub started_ms: Timestamp,
    /// When its last group was copied.
    pub finished_ms: Timestamp,
    /// The version of what was replicated.
    pub active_version: u32,
    /// The program that made it.
    pub program: String,
    /// Settings that an operator had chosen, by name.
    pub settings: BTreeMap<String, String>,
    /// The nodes that there were: id, address, zone. For people.
    pub nodes: Vec<(NodeId, String, String)>,
    /// The shard groups, by range; together they own all keys.
    pub groups: Vec<GroupPart>,
}

/// One shard group of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPart {
    /// The group.
    pub group: ShardGroupId,
    /// What it owned.
    pub range: HashRange,
    /// The incarnation that its refs belonged to.
    pub ref_epoch: RefEpoch,
    /// The node and the replica that was copied: the next backup prefers it, because its files are there already.
    pub node: NodeId,
    /// See `node`.
    pub replica: ReplicaId,
    /// The last log entry that is in it.
    pub term: u64,
    /// See `term`.
    pub index: u64,
    /// Series in its registry.
    pub series: u64,
    /// Samples in its runs.
    pub samples: u64,
    /// The engine's files, ascending by name.
    pub files: Vec<FilePart>,
}

/// One file of a group, and the object that has its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The object.
    pub object: ObjectHash,
}

/// What a backup is called: when it was begun, and a few digits that were drawn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupId(String);

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A newer program wrote it.
    #[error("it has format version {found}, this program reads up to {FORMAT_VERSION}: use a newer bellwether")]
    NewerFormat {
        /// The version found.
        found: u32,
    },
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl ObjectHash {
    /// Of some bytes.
    pub fn of(content: &[u8]) -> ObjectHash {
        ObjectHash(Sha256::digest(content).into())
    }

    /// 64 hexadecimal digits.
    pub fn print(self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Reads what [`print`](Self::print) wrote.
    pub fn parse(text: &str) -> Option<ObjectHash> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(ObjectHash(hash))
    }
}

impl BackupId {
    /// A backup begun at `started_ms`.
    pub fn new(started_ms: Timestamp, drawn: u64) -> BackupId {
        let seconds = started_ms.div_euclid(1000);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let drawn = drawn as u32;
        BackupId(format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{drawn:08x}"))
    }

    /// Reads an id that a person or an object's key gave.
    pub fn parse(text: &str) -> Option<BackupId> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=64).contains(&text.len()) && text.bytes().all(legal)).then(|| BackupId(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for BackupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Year, month and day of a day counted from 1970: Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl GroupPart {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Manifest {
    /// Every object once, with its length.
    pub fn objects(&self) -> BTreeMap<ObjectHash, u64> {
        self.groups.iter().flat_map(|group| &group.files).map(|file| (file.object, file.bytes)).collect()
    }

    /// Bytes of all files, also those whose content is the same.
    pub fn bytes(&self) -> u64 {
        self.groups.iter().map(GroupPart::bytes).sum()
    }

    /// Whether the groups own every key once.
    pub fn is_whole_ring(&self) -> bool {
        let mut next = Some(0u64);
        for HashRange { first, last } in self.groups.iter().map(|group| group.range) {
            if next != Some(first.0) || last < first {
                return false;
            }
            next = last.0.checked_add(1);
        }
        next.is_none() && !self.groups.is_empty()
    }

    /// As it is stored.
    pub fn print(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nformat {FORMAT_VERSION}\nid {}\ncluster {:032x}\nstarted_ms {}\nfinished_ms {}\nversion {}\n\
             program {}\n",
            self.id, self.cluster, self.started_ms, self.finished_ms, self.active_version, self.program
        );
        for (name, value) in &self.settings {
            let _ = writeln!(text, "setting {name} {value}");
        }
        for (node, address, zone) in &self.nodes {
            let _ = writeln!(text, "node {node} {address} {zone}");
        }
        for group in &self.groups {
            let _ = writeln!(
                text,
                "group {} {} {:016x} {} {} {} {} {} {} {}",
                group.group,
                group.range,
                group.ref_epoch.0,
                group.node,
                group.replica,
                group.term,
                group.index,
                group.series,
                group.samples,
                group.files.len()
            );
            for FilePart { name, bytes, object } in &group.files {
                let _ = writeln!(text, "file {} {bytes} {name}", object.print());
            }
        }
        let checksum = ObjectHash::of(text.as_bytes()).print();
        let _ = writeln!(text, "end {checksum}");
        text
    }

    /// Reads what [`print`](Self::print) wrote.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let damaged = |reason: &str| ManifestError::Damaged(reason.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let mut lines = Lines { lines: text.lines(), number: 0 };
        if lines.next_line() != Some(FIRST_LINE) {
            return Err(damaged("its first line is not that of a backup"));
        }
        // A newer format may have other lines and another end: only the version is promised to stay where it is.
        let found = lines.value("format")?;
        if found > FORMAT_VERSION {
            return Err(ManifestError::NewerFormat { found });
        }
        let end = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
        let checksum = text[end..].strip_prefix("end ").and_then(|rest| ObjectHash::parse(rest.trim_end()));
        if checksum != Some(ObjectHash::of(&bytes[..end])) {
            return Err(damaged("its checksum is missing or another: it was cut off or changed"));
        }
        let id: String = lines.value("id")?;
        let cluster: String = lines.value("cluster")?;
        let mut manifest = Manifest {
            id: BackupId::parse(&id).ok_or_else(|| damaged("its id is none"))?,
            cluster: u128::from_str_radix(&cluster, 16).map_err(|_| damaged("its cluster is not hexadecimal"))?,
            started_ms: lines.value("started_ms")?,
            finished_ms: lines.value("finished_ms")?,
            active_version: lines.value("version")?,
            program: lines.value("program")?,
            settings: BTreeMap::new(),
            nodes: Vec::new(),
            groups: Vec::new(),
        };
        while let Some(line) = lines.next_line() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let number = lines.number;
            let line_damaged = || damaged_line(number);
            match kind {
                "setting" => {
                    let (name, value) = rest.split_once(' ').ok_or_else(line_damaged)?;
                    manifest.settings.insert(name.to_owned(), value.to_owned());
                }
                "node" => {
                    let mut words = rest.splitn(3, ' ');
                    let mut word = || words.next().ok_or_else(line_damaged);
                    let node = NodeId(word()?.parse().map_err(|_| line_damaged())?);
                    manifest.nodes.push((node, word()?.to_owned(), word()?.to_owned()));
                }
                "group" => {
                    let (mut part, files) = group_line(rest).ok_or_else(line_damaged)?;
                    for _ in 0..files {
                        let file = lines.next_line().and_then(|line| file_line(line.strip_prefix("file ")?));
                        part.files.push(file.ok_or_else(|| lines.damaged())?);
                    }
                    manifest.groups.push(part);
                }
                "end" if lines.next_line().is_none() => break,
                _ => return Err(line_damaged()),
            }
        }
        if !manifest.is_whole_ring() {
            return Err(damaged("its shard groups do not own every key once"));
        }
        Ok(manifest)
    }
}

struct Lines<'a> {
    lines: std::str::Lines<'a>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.lines.next()
    }

    fn value<T: std::str::FromStr>(&mut self, key: &str) -> Result<T, ManifestError> {
        let line = self.next_line().and_then(|line| line.strip_prefix(key)).and_then(|rest| rest.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> ManifestError {
        damaged_line(self.number)
    }
}

fn damaged_line(number: usize) -> ManifestError {
    ManifestError::Damaged(format!("line {number} is not what it should be"))
}

fn group_line(rest: &str) -> Option<(GroupPart, usize)> {
    let mut words = rest.split(' ');
    let group = ShardGroupId(words.next()?.parse().ok()?);
    let (first, last) = words.next()?.split_once('-')?;
    let key = |text: &str| Some(PlacementKey(u64::from_str_radix(text, 16).ok()?));
    let range = HashRange { first: key(first)?, last: key(last)? };
    let ref_epoch = RefEpoch(u64::from_str_radix(words.next()?, 16).ok()?);
    let mut number = || words.next()?.parse::<u64>().ok();
    let (node, replica) = (NodeId(number()?), ReplicaId(number()?));
    let (term, index, series, samples) = (number()?, number()?, number()?, number()?);
    let files = usize::try_from(number()?).ok().filter(|files| *files <= bellwether_kv::ENGINE_FILES_MAX)?;
    if words.next().is_some() {
        return None;
    }
    Some((GroupPart { group, range, ref_epoch, node, replica, term, index, series, samples, files: Vec::new() }, files))
}

fn file_line(rest: &str) -> Option<FilePart> {
    let mut words = rest.split(' ');
    let object = ObjectHash::parse(words.next()?)?;
    let bytes = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    check_file_name(&name).ok()?;
    words.next().is_none().then_some(FilePart { name, bytes, object })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
