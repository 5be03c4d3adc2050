//! The newest entries of one replica's log, in memory, and what those of all replicas of the node occupy.

use std::collections::VecDeque;
use std::ops::Range;

use prometheus::IntGauge;

use crate::types::{Entry, Payload};

/// What tails may occupy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailLimits {
    /// Applied entries of one replica.
    pub applied_bytes: usize,
    /// All entries of one replica.
    pub unapplied_bytes: usize,
    /// Those of all replicas together. Above this each keeps no more than applied ones may take.
    pub node_bytes: usize,
}

/// Entries without gaps up to the end of the log.
pub(crate) struct LogTail {
    entries: VecDeque<Entry>,
    bytes: usize,
    limits: TailLimits,
    /// Bytes of all replicas' tails.
    of_node: IntGauge,
}

impl LogTail {
    pub fn new(limits: TailLimits, of_node: IntGauge) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limits, of_node }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn push(&mut self, entry: Entry) {
        self.grew(memory_bytes(&entry));
        self.entries.push_back(entry);
    }

    /// The entries of a range of places, the oldest one's being zero.
    pub fn range(&self, places: Range<usize>) -> Vec<Entry> {
        self.entries.range(places).cloned().collect()
    }

    /// Drops the oldest `count` entries.
    pub fn drop_oldest(&mut self, count: usize) {
        let bytes = self.entries.drain(..count.min(self.entries.len())).map(|entry| memory_bytes(&entry)).sum();
        self.shrank(bytes);
    }

    /// Keeps the oldest `count` entries.
    pub fn keep_oldest(&mut self, count: usize) {
        let bytes = self.entries.drain(count.min(self.entries.len())..).map(|entry| memory_bytes(&entry)).sum();
        self.shrank(bytes);
    }

    /// Drops what need not be in memory, of the oldest `written` entries, the first `applied` of which are applied.
    pub fn trim(&mut self, written: usize, applied: usize) {
        for place in 0..written {
            let is_crowded = usize::try_from(self.of_node.get()).unwrap_or(0) > self.limits.node_bytes;
            let limit =
                if place < applied || is_crowded { self.limits.applied_bytes } else { self.limits.unapplied_bytes };
            if self.bytes <= limit {
                return;
            }
            self.drop_oldest(1);
        }
    }

    fn grew(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.of_node.add(bytes as i64);
    }

    fn shrank(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.of_node.sub(bytes as i64);
    }
}

impl Drop for LogTail {
    fn drop(&mut self) {
        self.of_node.sub(self.bytes as i64);
    }
}

/// About what an entry occupies.
fn memory_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        Payload::Normal(command) => command.0.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    };
    payload + size_of::<Entry>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::{Command, Leader, LogId};

    fn entry(index: u64) -> Entry {
        let log_id = LogId { leader_id: Leader { term: 1, node_id: 1 }, index };
        Entry { log_id, payload: Payload::Normal(Command(Bytes::from(vec![0; 1000]))) }
    }

    #[test]
    fn tails_together_stay_within_what_the_node_may_take_and_keep_what_is_not_written() {
        let limits = TailLimits { applied_bytes: 3000, unapplied_bytes: 20_000, node_bytes: 30_000 };
        let of_node = IntGauge::new("tails", "of tails").unwrap();
        let mut tails: Vec<LogTail> = (0..4).map(|_| LogTail::new(limits, of_node.clone())).collect();
        for index in 0..100 {
            for tail in &mut tails {
                tail.push(entry(index));
                // The last one is still on its way to the disk.
                tail.trim(tail.len() - 1, 0);
                assert!(of_node.get() < 35_000 && tail.bytes < 22_000, "{} {}", of_node.get(), tail.bytes);
            }
        }
        for tail in &mut tails {
            assert_eq!(tail.range(tail.len() - 1..tail.len())[0].log_id.index, 99);
            tail.trim(tail.len(), tail.len());
            assert!(tail.bytes <= 3000);
        }
        drop(tails);
        assert_eq!(of_node.get(), 0);
    }

    #[test]
    fn a_tail_that_is_cut_gives_its_bytes_back() {
        let limits = TailLimits { applied_bytes: 0, unapplied_bytes: 1 << 20, node_bytes: 1 << 20 };
        let of_node = IntGauge::new("tails", "of tails").unwrap();
        let mut tail = LogTail::new(limits, of_node.clone());
        (0..10).for_each(|index| tail.push(entry(index)));
        let each = of_node.get() / 10;
        tail.drop_oldest(2);
        tail.keep_oldest(5);
        assert_eq!((tail.len(), of_node.get()), (5, 5 * each));
        assert_eq!(tail.range(0..5).iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        tail.keep_oldest(9);
        tail.drop_oldest(9);
        assert_eq!((tail.len(), of_node.get()), (0, 0));
    }
}
