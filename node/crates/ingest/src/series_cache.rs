//! Which group and SeriesRef a known series has, by the hash of its labels as they came off the wire.
//!
//! 1. Entries lie in pages, in the order of their arrival, and never move. Each remembers its successor: the series that
//!    followed it in a request. Senders repeat their series in the same order, so the successor's hash is compared first;
//!    it lies in the next cache line, and the table, a random access, is not asked.
//! 2. Many requests read at once, each under one read guard for a whole body. What reading changes (successors, the mark
//!    of use) is relaxed atomics: a lost update costs one table look-up.
//! 3. An entry belongs to a group's generation. When a group's ref epoch or range changes, its generation does, and all
//!    its entries are dead at once; their places are taken first.
//! 4. The cache has a byte cap. When it is full, a CLOCK hand looks for an entry that was not used since it last came by,
//!    but takes only [`HAND_STEPS_MAX`] chances for a new entry, and else refuses it: with somewhat more series than
//!    places, sent round and round, plain CLOCK would evict each series just before it returns and never hit.
//! 5. A tenant's share is the cap divided by the tenants present. Below it, a tenant takes the places of those above it;
//!    at or above it, its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use bellwether_model::SeriesRef;
use bellwether_probe::{Bug, planted};
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::key_hasher::{CacheKey, KeyHash, KeyHasher, TenantKey};
use crate::shard_batch::RefScope;

/// Entries of a page: 128 KiB.
const PAGE_ENTRIES: usize = 4096;
/// Bytes that an entry costs: itself, and its share of the table (5 bytes a bucket, at worst 7/16 full).
const ENTRY_COST_BYTES: usize = size_of::<Entry>() + 12;
/// Entries in use that the hand spares before it refuses a newcomer.
const HAND_STEPS_MAX: usize = 2;
/// Entries of other tenants, not to be taken, that the hand steps over.
const HAND_SKIPS_MAX: usize = 256;
/// Tenants that are told apart; all others together are one more, number 0.
const TENANTS_MAX: usize = (USED - 1) as usize;
/// The mark of use, beside the tenant's number.
const USED: u16 = 1 << 15;
/// No group has this index: an entry that has it is dead.
const NO_GROUP: u16 = u16::MAX;
/// No entry has this index.
const NO_ENTRY: u32 = u32::MAX;

/// What a known series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The index of its group.
    pub group: u16,
    /// Its number there.
    pub series_ref: SeriesRef,
}

/// A series to be known from now on.
#[derive(Debug, Clone, Copy)]
pub struct CacheEntry {
    /// Its key, from the miss.
    pub key: CacheKey,
    /// The index of its group.
    pub group: u16,
    /// The group's incarnation that gave the number; ignored if it is not the current one any more.
    pub scope: RefScope,
    /// Its number there.
    pub series_ref: SeriesRef,
}

/// How full the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Entries, dead ones included.
    pub entries: usize,
    /// Entries that there can be.
    pub entries_max: usize,
    /// Memory held.
    pub bytes: usize,
    /// Tenants with entries.
    pub tenants: usize,
}

/// See the top of the file.
#[derive(Debug)]
pub struct SeriesCache {
    seed: u64,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: Pages,
    table: HashTable<u32>,
    entries_max: usize,
    hand: u32,
    groups: Vec<Group>,
    /// How often an incarnation was replaced by another.
    scope_changes: u64,
    tenants: Tenants,
}

#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    series_ref: SeriesRef,
    successor: AtomicU32,
    group: u16,
    generation: u16,
    tenant_and_used: AtomicU16,
    /// [`CacheKey::raw_bytes`].
    raw_bytes: u16,
}

const _: () = assert!(size_of::<Entry>() == 32);

#[derive(Debug, Clone, Copy, Default)]
struct Group {
    scope: Option<RefScope>,
    generation: u16,
}

impl SeriesCache {
    /// An empty cache. The seed must be a secret of this process: see [`crate::KeyHasher`].
    pub fn new(seed: u64, bytes_max: usize) -> SeriesCache {
        let entries_max = (bytes_max / ENTRY_COST_BYTES).clamp(1, NO_ENTRY as usize - 1);
        let inner = Inner {
            entries: Pages::default(),
            table: HashTable::new(),
            entries_max,
            hand: 0,
            groups: Vec::new(),
            scope_changes: 0,
            tenants: Tenants::default(),
        };
        SeriesCache { seed, inner: RwLock::new(inner) }
    }

    /// The seed that keys must be made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Says which incarnation of a group is the current one. If it is another than before, all that was known about the
    /// group's series is forgotten.
    pub fn set_scope(&self, group: u16, scope: RefScope) {
        assert_ne!(group, NO_GROUP, "group indexes are below GROUPS_MAX");
        let mut inner = self.inner.write();
        let index = usize::from(group);
        if inner.groups.len() <= index {
            inner.groups.resize(index + 1, Group::default());
        }
        let known = inner.groups[index];
        if known.scope == Some(scope) {
            return;
        }
        let (generation, wrapped) = known.generation.overflowing_add(1);
        if wrapped {
            inner.entries.iter_mut().filter(|entry| entry.group == group).for_each(|entry| entry.group = NO_GROUP);
        }
        inner.groups[index] = Group { scope: Some(scope), generation };
        inner.scope_changes += 1;
    }

    /// The current incarnation of a group, if it was said.
    pub fn scope(&self, group: u16) -> Option<RefScope> {
        self.inner.read().groups.get(usize::from(group)).and_then(|group| group.scope)
    }

    /// Looks up the series of one body. Inserting waits for the reader to be dropped.
    pub fn read(&self) -> CacheReader<'_> {
        let inner = self.inner.read();
        let scope_changes = inner.scope_changes;
        CacheReader { inner, previous: NO_ENTRY, predicted: NO_ENTRY, scope_changes }
    }

    /// Remembers series of one tenant, best in the order in which they were sent. What does not fit is left out.
    pub fn insert(&self, tenant: TenantKey, entries: &[CacheEntry]) {
        if entries.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        let tenant = inner.tenants.number(tenant.0);
        for entry in entries {
            inner.insert(tenant, entry);
        }
        inner.tenants.release_if_empty(tenant);
    }

    /// How full it is.
    pub fn stats(&self) -> CacheStats {
        let inner = self.inner.read();
        CacheStats {
            entries: inner.entries.len(),
            entries_max: inner.entries_max,
            bytes: inner.entries.bytes() + inner.table.allocation_size(),
            tenants: inner.tenants.present(),
        }
    }
}

/// The cache, held still for the look-ups of one body's series, in their order.
#[derive(Debug)]
pub struct CacheReader<'a> {
    inner: RwLockReadGuard<'a, Inner>,
    /// The entry that was found last.
    previous: u32,
    /// The entry that followed it last time.
    predicted: u32,
    /// [`Inner::scope_changes`] when the reader was made.
    scope_changes: u64,
}

impl CacheReader<'_> {
    /// One more than the largest group index that a look-up can give.
    pub fn group_count(&self) -> usize {
        self.inner.groups.len()
    }

    /// The incarnation of a group.
    pub fn scope(&self, group: u16) -> Option<RefScope> {
        self.inner.groups.get(usize::from(group)).and_then(|group| group.scope)
    }

    /// What is known about the next series.
    #[inline]
    pub fn find(&mut self, key: CacheKey) -> Option<Known> {
        let at = match self.inner.entries.get(self.predicted) {
            Some(entry) if entry.hash == key.hash || planted(Bug::TrustPrediction) => self.predicted,
            _ => self.find_in_table(key)?,
        };
        self.step_to(at)
    }

    /// As [`find`](Self::find), if the bytes `series` begin with the raw labels of the series that is expected next, and the
    /// byte `follows` comes after them. Also says how long the labels are.
    #[inline]
    pub(crate) fn find_predicted(&mut self, hasher: &KeyHasher, series: &[u8], follows: u8) -> Option<(usize, Known)> {
        let entry = self.inner.entries.get(self.predicted)?;
        let length = usize::from(entry.raw_bytes);
        if series.get(length) != Some(&follows) || entry.hash != hasher.raw_hash(&series[..length]) {
            return None;
        }
        Some((length, self.step_to(self.predicted)?))
    }

    /// Makes an entry the one that was found last.
    #[inline]
    fn step_to(&mut self, at: u32) -> Option<Known> {
        let inner = &*self.inner;
        let entry = &inner.entries[at];
        self.previous = at;
        self.predicted = entry.successor.load(Ordering::Relaxed);
        // A dead entry keeps its place in the chain: it will be revived under its key.
        if !inner.is_alive(entry) {
            return None;
        }
        let tenant_and_used = entry.tenant_and_used.load(Ordering::Relaxed);
        if tenant_and_used & USED == 0 {
            entry.tenant_and_used.store(tenant_and_used | USED, Ordering::Relaxed);
        }
        Some(Known { group: entry.group, series_ref: entry.series_ref })
    }

    #[inline(never)]
    fn find_in_table(&self, key: CacheKey) -> Option<u32> {
        // An incarnation changed while writers were let in: refs of both must not meet in one batch.
        if self.inner.scope_changes != self.scope_changes {
            return None;
        }
        let at = self.inner.find(key.hash)?;
        if let Some(previous) = self.inner.entries.get(self.previous) {
            previous.successor.store(at, Ordering::Relaxed);
        }
        Some(at)
    }

    /// Lets writers in while `work` runs. If one of them changes a group's incarnation, nothing is found from then on.
    pub fn unlocked<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let result = RwLockReadGuard::unlocked(&mut self.inner, work);
        if self.inner.scope_changes != self.scope_changes {
            (self.previous, self.predicted) = (NO_ENTRY, NO_ENTRY);
        }
        result
    }
}

impl Inner {
    fn find(&self, hash: KeyHash) -> Option<u32> {
        self.table.find(hash.low, |at| self.entries[*at].hash == hash).copied()
    }

    #[inline]
    fn is_alive(&self, entry: &Entry) -> bool {
        self.groups.get(usize::from(entry.group)).is_some_and(|group| group.generation == entry.generation)
    }

    fn insert(&mut self, tenant: u16, new: &CacheEntry) {
        let Some(group) = self.groups.get(usize::from(new.group)).filter(|group| group.scope == Some(new.scope)) else {
            return;
        };
        let generation = group.generation;
        if let Some(at) = self.find(new.key.hash) {
            let entry = &mut self.entries[at];
            (entry.group, entry.generation, entry.series_ref) = (new.group, generation, new.series_ref);
            return;
        }
        let entry = Entry {
            hash: new.key.hash,
            series_ref: new.series_ref,
            successor: AtomicU32::new(NO_ENTRY),
            group: new.group,
            generation,
            tenant_and_used: AtomicU16::new(tenant),
            raw_bytes: new.key.raw_bytes,
        };
        // Before a victim is taken: if it is the tenant's last entry, the tenant still keeps its number.
        let at = if self.entries.len() < self.entries_max {
            self.tenants.add(tenant);
            self.entries.push(entry)
        } else {
            let Some(at) = self.victim(tenant) else {
                return;
            };
            self.tenants.add(tenant);
            let old = std::mem::replace(&mut self.entries[at], entry);
            if let Ok(found) = self.table.find_entry(old.hash.low, |candidate| *candidate == at) {
                found.remove();
            }
            self.tenants.remove(old.tenant());
            at
        };
        self.table.insert_unique(new.key.hash.low, at, |at| self.entries[*at].hash.low);
    }

    /// The entry whose place a newcomer of `tenant` takes, if the hand finds one.
    fn victim(&mut self, tenant: u16) -> Option<u32> {
        let share = self.entries_max / self.tenants.present().max(1);
        let below_share = self.tenants.count(tenant) < share;
        let mut spared = 0;
        for _ in 0..HAND_SKIPS_MAX {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.entries.len() as u32;
            let entry = &self.entries[at];
            let owner = entry.tenant();
            if !self.is_alive(entry) || (below_share && owner != tenant && self.tenants.count(owner) > share) {
                return Some(at);
            }
            if owner != tenant {
                continue;
            }
            // Nobody reads while we write, so the mark can be taken in two steps.
            if entry.tenant_and_used.load(Ordering::Relaxed) & USED == 0 {
                return Some(at);
            }
            entry.tenant_and_used.store(owner, Ordering::Relaxed);
            spared += 1;
            if spared == HAND_STEPS_MAX {
                return None;
            }
        }
        None
    }
}

impl Entry {
    fn tenant(&self) -> u16 {
        self.tenant_and_used.load(Ordering::Relaxed) & !USED
    }
}

/// Entries that never move: growing copies nothing.
#[derive(Debug, Default)]
struct Pages {
    // Invariant: all pages but the last hold PAGE_ENTRIES.
    pages: Vec<Vec<Entry>>,
}

impl Pages {
    fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE_ENTRIES + last.len())
    }

    fn bytes(&self) -> usize {
        self.pages.len() * PAGE_ENTRIES * size_of::<Entry>()
    }

    fn push(&mut self, entry: Entry) -> u32 {
        let at = self.len();
        if at.is_multiple_of(PAGE_ENTRIES) {
            self.pages.push(Vec::with_capacity(PAGE_ENTRIES));
        }
        self.pages.last_mut().expect("a page was just made").push(entry);
        at as u32
    }

    #[inline]
    fn get(&self, at: u32) -> Option<&Entry> {
        self.pages.get(at as usize / PAGE_ENTRIES)?.get(at as usize % PAGE_ENTRIES)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.pages.iter_mut().flatten()
    }
}

impl std::ops::Index<u32> for Pages {
    type Output = Entry;

    #[inline]
    fn index(&self, at: u32) -> &Entry {
        &self.pages[at as usize / PAGE_ENTRIES][at as usize % PAGE_ENTRIES]
    }
}

impl std::ops::IndexMut<u32> for Pages {
    fn index_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.pages[at as usize / PAGE_ENTRIES][at as usize % PAGE_ENTRIES]
    }
}

/// Small numbers for the tenants that have entries, and how many they have.
#[derive(Debug, Default)]
struct Tenants {
    numbers: BTreeMap<KeyHash, u16>,
    /// By number; number 0 stands for all tenants that got none of their own.
    counts: Vec<TenantCount>,
    free: Vec<u16>,
}

#[derive(Debug, Clone, Copy, Default)]
struct TenantCount {
    key: Option<KeyHash>,
    entries: usize,
}

impl Tenants {
    fn number(&mut self, key: KeyHash) -> u16 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.counts.is_empty() {
            self.counts.push(TenantCount::default());
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.counts.len() <= TENANTS_MAX => {
                self.counts.push(TenantCount::default());
                (self.counts.len() - 1) as u16
            }
            None => return 0,
        };
        self.counts[usize::from(number)].key = Some(key);
        self.numbers.insert(key, number);
        number
    }

    fn present(&self) -> usize {
        self.numbers.len() + usize::from(self.count(0) > 0)
    }

    fn count(&self, number: u16) -> usize {
        self.counts.get(usize::from(number)).map_or(0, |tenant| tenant.entries)
    }

    fn add(&mut self, number: u16) {
        self.counts[usize::from(number)].entries += 1;
    }

    fn remove(&mut self, number: u16) {
        self.counts[usize::from(number)].entries -= 1;
        self.release_if_empty(number);
    }

    fn release_if_empty(&mut self, number: u16) {
        let tenant = &mut self.counts[usize::from(number)];
        if tenant.entries == 0
            && let Some(key) = tenant.key.take()
        {
            self.numbers.remove(&key);
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_model::{RefEpoch, Tenant};

    const SCOPE: RefScope = RefScope { epoch: RefEpoch(1), range_generation: 0 };

    fn cache(entries: usize) -> SeriesCache {
        let cache = SeriesCache::new(9, entries * ENTRY_COST_BYTES);
        cache.set_scope(0, SCOPE);
        cache.set_scope(1, SCOPE);
        cache
    }

    fn hasher(tenant: &str) -> KeyHasher {
        KeyHasher::new(9, &Tenant::new(tenant).unwrap())
    }

    fn key(tenant: &str, series: u32) -> CacheKey {
        hasher(tenant).raw_labels(&series.to_le_bytes())
    }

    fn insert(cache: &SeriesCache, tenant: &str, series: impl Iterator<Item = u32>) {
        let entry = |at| CacheEntry { key: key(tenant, at), group: 0, scope: SCOPE, series_ref: SeriesRef(at) };
        let entries: Vec<CacheEntry> = series.map(entry).collect();
        cache.insert(hasher(tenant).tenant_key(), &entries);
    }

    fn found(cache: &SeriesCache, tenant: &str, series: impl Iterator<Item = u32>) -> usize {
        let mut reader = cache.read();
        series.filter_map(|at| Some((at, reader.find(key(tenant, at))?))).fold(0, |count, (at, known)| {
            assert_eq!(known, Known { group: 0, series_ref: SeriesRef(at) });
            count + 1
        })
    }

    #[test]
    fn series_are_found_in_any_order_and_by_their_tenant_only() {
        let cache = cache(20_000);
        insert(&cache, "a", 0..10_000);
        for _ in 0..2 {
            assert_eq!(found(&cache, "a", 0..10_001), 10_000);
            assert_eq!(found(&cache, "a", (0..10_000).rev()), 10_000);
            assert_eq!(found(&cache, "b", 0..10_000), 0);
        }
    }

    #[test]
    fn the_predicted_series_is_found_by_its_bytes() {
        let cache = cache(100);
        insert(&cache, "a", 0..3);
        assert_eq!(found(&cache, "a", 0..3), 3);
        let hasher = hasher("a");
        let mut reader = cache.read();
        let find = |reader: &mut CacheReader<'_>, series: u32, follows: u8| {
            let bytes = [&series.to_le_bytes()[..], &[follows, 1, 2, 3]].concat();
            reader.find_predicted(&hasher, &bytes, 0x12)
        };
        assert_eq!(find(&mut reader, 0, 0x12), None, "nothing is predicted for the first series of a body");
        reader.find(key("a", 0)).unwrap();
        assert_eq!(find(&mut reader, 2, 0x12), None);
        assert_eq!(find(&mut reader, 1, 0x0a), None, "another label follows");
        assert_eq!(find(&mut reader, 1, 0x12), Some((4, Known { group: 0, series_ref: SeriesRef(1) })));
        assert_eq!(find(&mut reader, 2, 0x12), Some((4, Known { group: 0, series_ref: SeriesRef(2) })));
    }

    #[test]
    fn a_new_incarnation_of_a_group_forgets_its_series_only() {
        let cache = cache(100);
        insert(&cache, "a", 0..10);
        let other = CacheEntry { key: key("a", 99), group: 1, scope: SCOPE, series_ref: SeriesRef(7) };
        cache.insert(hasher("a").tenant_key(), &[other]);
        let next = RefScope { epoch: RefEpoch(2), ..SCOPE };
        cache.set_scope(0, next);
        assert_eq!(cache.scope(0), Some(next));
        assert_eq!(found(&cache, "a", 0..10), 0);
        assert_eq!(cache.read().find(other.key), Some(Known { group: 1, series_ref: SeriesRef(7) }));
        // What the old incarnation answered late is not taken.
        insert(&cache, "a", 0..10);
        assert_eq!(found(&cache, "a", 0..10), 0);
        let entry = CacheEntry { key: key("a", 3), group: 0, scope: next, series_ref: SeriesRef(3) };
        cache.insert(hasher("a").tenant_key(), &[entry]);
        assert_eq!(found(&cache, "a", 0..10), 1);
        assert_eq!(cache.stats().entries, 11, "a dead entry is revived in its place");
    }

    #[test]
    fn generations_that_wrap_around_revive_nothing() {
        let cache = cache(100);
        insert(&cache, "a", 0..10);
        for epoch in 2..=1 << 16 | 1 {
            cache.set_scope(0, RefScope { epoch: RefEpoch(epoch), ..SCOPE });
        }
        assert_eq!(found(&cache, "a", 0..10), 0);
    }

    #[test]
    fn a_reader_that_let_a_new_incarnation_in_finds_nothing_more() {
        let cache = cache(100);
        insert(&cache, "a", 0..10);
        let mut reader = cache.read();
        assert!(reader.find(key("a", 1)).is_some());
        reader.unlocked(|| insert(&cache, "a", 10..11));
        assert!(reader.find(key("a", 10)).is_some());
        reader.unlocked(|| cache.set_scope(1, RefScope { epoch: RefEpoch(5), ..SCOPE }));
        assert!((0..11).all(|at| reader.find(key("a", at)).is_none()));
        drop(reader);
        assert_eq!(found(&cache, "a", 0..11), 11);
    }

    #[test]
    fn the_cap_holds_and_dead_series_make_room_for_live_ones() {
        let cache = cache(1000);
        for round in 0..40 {
            // Half of the series are new in every fourth round.
            let first = round / 4 * 400;
            let series = first..first + 800;
            let missing: Vec<u32> = series.clone().filter(|at| cache.read().find(key("a", *at)).is_none()).collect();
            insert(&cache, "a", missing.into_iter());
            assert!(cache.stats().entries <= 1000);
        }
        let last = 9 * 400;
        assert!(found(&cache, "a", last..last + 800) > 700);
    }

    #[test]
    fn more_series_than_places_sent_round_and_round_still_hit() {
        let cache = cache(1000);
        let mut hits = 0;
        for _ in 0..20 {
            hits = found(&cache, "a", 0..1200);
            let missing: Vec<u32> = (0..1200).filter(|at| cache.read().find(key("a", *at)).is_none()).collect();
            insert(&cache, "a", missing.into_iter());
        }
        assert!(hits > 900, "{hits}");
    }

    #[test]
    fn a_tenant_cannot_push_another_below_its_share() {
        let cache = cache(1000);
        insert(&cache, "big", 0..1000);
        for round in 0..10 {
            assert_eq!(found(&cache, "small", 0..300), if round == 0 { 0 } else { 300 });
            insert(&cache, "small", 0..300);
            found(&cache, "big", 0..5000);
            insert(&cache, "big", 1000..5000);
        }
        assert_eq!(found(&cache, "small", 0..300), 300);
        assert_eq!(cache.stats().tenants, 2);
        assert!(found(&cache, "big", 0..5000) >= 650);
    }

    #[test]
    fn tenants_without_entries_are_forgotten() {
        let cache = cache(10);
        for tenant in 0..100 {
            insert(&cache, &format!("t{tenant}"), 0..10);
            assert!(cache.stats().tenants <= 11);
        }
    }

    #[test]
    fn a_million_series_take_less_than_sixty_megabytes() {
        let cache = SeriesCache::new(9, 64 << 20);
        cache.set_scope(0, SCOPE);
        for first in (0..1_000_000).step_by(5000) {
            insert(&cache, "a", first..first + 5000);
        }
        let stats = cache.stats();
        assert_eq!(stats.entries, 1_000_000);
        assert!(stats.bytes < 60 << 20, "{}", stats.bytes);
        assert!(stats.bytes <= stats.entries_max * ENTRY_COST_BYTES);
    }

    #[test]
    fn readers_and_writers_share_the_cache() {
        let cache = cache(2000);
        insert(&cache, "a", 0..1000);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(found(&cache, "a", 0..1000), 1000)));
            }
            scope.spawn(|| (1000..1900).for_each(|at| insert(&cache, "a", at..at + 1)));
        });
        assert_eq!(found(&cache, "a", 0..1900), 1900);
    }
}
