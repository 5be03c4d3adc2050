//! Every stored key, one constructor each. Integers are big-endian so that keys order as numbers do; times have their sign
//! bit flipped for the same reason. Layouts: `node/docs/format/shard.md`.

use bellwether_model::SeriesRef;

use crate::window::{LENGTH_CLASS_HOT, WindowStart};

/// Tier of raw samples; rollups get tiers of their own.
const TIER_RAW: u8 = 0;

/// The kinds of values inside a run, in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RunPart {
    /// Samples.
    Pack = 1,
    /// Timestamp columns: known only when all samples are written.
    Columns = 2,
    /// Which series have samples: one value, number 0.
    Series = 3,
    /// Where packs and columns begin: one value, number 0.
    Directory = 4,
}

/// Identifies a run inside its shard; rising, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Meta space: what else the shard knows at the flushed index.
pub const STATE: &[u8] = b"S";

fn ordered(time: i64) -> [u8; 8] {
    ((time as u64) ^ (1 << 63)).to_be_bytes()
}

/// Meta space: one Window's list of runs.
pub fn window(window: WindowStart) -> Vec<u8> {
    [b"W".as_slice(), &[TIER_RAW], &ordered(window.0), &[LENGTH_CLASS_HOT]].concat()
}

/// Meta space: all Windows' lists.
pub const WINDOWS: (&[u8], &[u8]) = (b"W", b"X");

/// Meta space: registry rows of the series from `first` on.
pub fn registry(first: SeriesRef) -> Vec<u8> {
    [b"R".as_slice(), &first.0.to_be_bytes()].concat()
}

/// Meta space: all registry blocks.
pub const REGISTRY: (&[u8], &[u8]) = (b"R", b"S");

/// Meta space: the last Windows of the series from `first` on.
pub fn last_windows(first: SeriesRef) -> Vec<u8> {
    [b"L".as_slice(), &first.0.to_be_bytes()].concat()
}

/// Meta space: all blocks of last Windows.
pub const LAST_WINDOWS: (&[u8], &[u8]) = (b"L", b"M");

/// Meta space: what senders say about one metric of one tenant.
pub fn metadata(tenant: &str, metric: &str) -> Vec<u8> {
    // A tenant's name never holds a zero byte.
    [b"M".as_slice(), tenant.as_bytes(), &[0], metric.as_bytes()].concat()
}

/// Meta space: all metadata.
pub const METADATA: (&[u8], &[u8]) = (b"M", b"N");

/// Meta space: one exemplar, by the number under which it arrived.
pub fn exemplar(number: u64) -> Vec<u8> {
    [b"E".as_slice(), &number.to_be_bytes()].concat()
}

/// Meta space: all exemplars.
pub const EXEMPLARS: (&[u8], &[u8]) = (b"E", b"F");

/// Meta space: one tombstone.
pub fn tombstone(log_index: u64) -> Vec<u8> {
    [b"T".as_slice(), &log_index.to_be_bytes()].concat()
}

/// Meta space: all tombstones.
pub const TOMBSTONES: (&[u8], &[u8]) = (b"T", b"U");

/// Runs space: one value of a run.
pub fn run(window: WindowStart, run: RunId, part: RunPart, number: u32) -> [u8; 23] {
    let mut key = [0; 23];
    key[0] = TIER_RAW;
    key[1..9].copy_from_slice(&ordered(window.0));
    key[9] = LENGTH_CLASS_HOT;
    key[10..18].copy_from_slice(&run.0.to_be_bytes());
    key[18] = part as u8;
    key[19..23].copy_from_slice(&number.to_be_bytes());
    key
}

/// Runs space: all values of a run, from the first key to the first key after it.
pub fn whole_run(window: WindowStart, id: RunId) -> ([u8; 23], [u8; 23]) {
    let mut first = run(window, id, RunPart::Pack, 0);
    first[18] = 0;
    let mut end = run(window, id, RunPart::Directory, u32::MAX);
    end[18] = u8::MAX;
    (first, end)
}

/// Runs space: the Window and run that a key belongs to, if it is a key of ours.
pub fn parse_run(key: &[u8]) -> Option<(WindowStart, RunId)> {
    let key: &[u8; 23] = key.try_into().ok()?;
    let time = u64::from_be_bytes(key[1..9].try_into().expect("eight bytes")) ^ (1 << 63);
    let run = u64::from_be_bytes(key[10..18].try_into().expect("eight bytes"));
    (key[0] == TIER_RAW && key[9] == LENGTH_CLASS_HOT).then_some((WindowStart(time as i64), RunId(run)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_keys_order_by_window_run_part_and_number() {
        let w = |t| WindowStart(t);
        let keys = [
            run(w(-5), RunId(9), RunPart::Pack, 1),
            run(w(0), RunId(1), RunPart::Pack, 0),
            run(w(0), RunId(1), RunPart::Pack, 256),
            run(w(0), RunId(1), RunPart::Columns, 7),
            run(w(0), RunId(1), RunPart::Directory, 0),
            run(w(0), RunId(2), RunPart::Pack, 0),
            run(w(7_200_000), RunId(1), RunPart::Pack, 0),
        ];
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        let (first, end) = whole_run(w(0), RunId(1));
        assert!(keys[1..5].iter().all(|key| first <= *key && *key < end));
        assert!(keys[0] < first && end <= keys[5]);
        assert_eq!(parse_run(&keys[0]), Some((w(-5), RunId(9))));
    }

    #[test]
    fn meta_keys_are_golden() {
        assert_eq!(window(WindowStart(7_200_000)), b"W\x00\x80\x00\x00\x00\x00\x6d\xdd\x00\x00");
        assert_eq!(registry(SeriesRef(258)), b"R\x00\x00\x01\x02");
        assert_eq!(last_windows(SeriesRef(4096)), b"L\x00\x00\x10\x00");
        assert_eq!(metadata("t", "up"), b"Mt\0up");
        assert_eq!(exemplar(258), b"E\0\0\0\0\0\0\x01\x02");
        assert_eq!(tombstone(1), b"T\0\0\0\0\0\0\0\x01");
    }
}
