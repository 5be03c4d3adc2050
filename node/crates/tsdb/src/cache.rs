//! Decompressed parts of runs, shared by all shards of a node and bounded in bytes.
//!
//! Replacement is CLOCK: a part that was used since the hand last passed stays for another round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3Builder;

use crate::keys::{RunId, RunPart};
use crate::pack::Pack;
use crate::run::{ColumnBlock, RunDirectory};

/// Locks, so that queries on different cores rarely wait for each other.
const STRIPES: usize = 8;

/// Names a part of a run of one opened shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PartId {
    pub owner: u32,
    pub run: RunId,
    pub part: RunPart,
    pub number: u32,
}

/// A part of a run, ready for use.
#[derive(Clone)]
pub(crate) enum Part {
    Pack(Arc<Pack>),
    Columns(Arc<ColumnBlock>),
    Directory(Arc<RunDirectory>),
}

struct Entry {
    id: PartId,
    part: Part,
    bytes: usize,
    used: bool,
}

#[derive(Default)]
struct Stripe {
    at: HashMap<PartId, usize, Xxh3Builder>,
    entries: Vec<Entry>,
    hand: usize,
    bytes: usize,
}

/// See the module's documentation.
pub struct PackCache {
    stripes: [Mutex<Stripe>; STRIPES],
    stripe_bytes_max: usize,
    next_owner: AtomicU32,
}

impl PackCache {
    /// A cache that holds at most about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<PackCache> {
        let stripes = std::array::from_fn(|_| Mutex::default());
        Arc::new(PackCache { stripes, stripe_bytes_max: bytes_max / STRIPES, next_owner: AtomicU32::new(0) })
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.lock().bytes).sum()
    }

    /// A number for an opened shard, so that equal run ids of different shards stay apart.
    pub(crate) fn new_owner(&self) -> u32 {
        self.next_owner.fetch_add(1, Ordering::Relaxed)
    }

    fn stripe(&self, id: &PartId) -> &Mutex<Stripe> {
        &self.stripes[(id.number as usize).wrapping_add(id.owner as usize) % STRIPES]
    }

    pub(crate) fn get(&self, id: &PartId) -> Option<Part> {
        let mut stripe = self.stripe(id).lock();
        let at = *stripe.at.get(id)?;
        let entry = &mut stripe.entries[at];
        entry.used = true;
        Some(entry.part.clone())
    }

    pub(crate) fn put(&self, id: PartId, part: Part, bytes: usize) {
        if bytes > self.stripe_bytes_max {
            return;
        }
        let mut stripe = self.stripe(&id).lock();
        let stripe = &mut *stripe;
        if stripe.at.contains_key(&id) {
            return;
        }
        while stripe.bytes + bytes > self.stripe_bytes_max {
            stripe.evict_one();
        }
        stripe.bytes += bytes;
        stripe.at.insert(id, stripe.entries.len());
        stripe.entries.push(Entry { id, part, bytes, used: false });
    }
}

impl Stripe {
    /// Removes one entry; there is one whenever bytes are held.
    fn evict_one(&mut self) {
        loop {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            if !std::mem::take(&mut self.entries[self.hand].used) {
                break;
            }
            self.hand += 1;
        }
        let evicted = self.entries.swap_remove(self.hand);
        self.at.remove(&evicted.id);
        self.bytes -= evicted.bytes;
        if let Some(moved) = self.entries.get(self.hand) {
            self.at.insert(moved.id, self.hand);
        }
        // What moved here is the newest entry: it waits for the hand's next round.
        self.hand += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> PartId {
        // One stripe only: eviction order is visible.
        PartId { owner: 0, run: RunId(0), part: RunPart::Pack, number: number * STRIPES as u32 }
    }

    fn part() -> Part {
        Part::Directory(Arc::new(RunDirectory::default()))
    }

    #[test]
    fn the_cache_stays_inside_its_bytes_and_keeps_what_is_used() {
        let cache = PackCache::new(STRIPES * 100);
        for number in 0..10 {
            cache.put(id(number), part(), 10);
        }
        assert_eq!(cache.bytes(), 100);
        assert!(cache.get(&id(3)).is_some());
        for number in 10..19 {
            cache.put(id(number), part(), 10);
        }
        assert_eq!(cache.bytes(), 100);
        assert!(cache.get(&id(3)).is_some());
        assert!(cache.get(&id(4)).is_none());
        cache.put(id(99), part(), 101);
        assert!(cache.get(&id(99)).is_none());
    }
}
