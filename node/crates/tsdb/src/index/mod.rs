//! Which series exist and which of them a query means.
//!
//! A *pair* is one tenant's (label name, value); a series is the list of its pairs in the order of label names. Each pair knows the
//! refs of its series, ascending because refs only rise. Tenants share texts and nothing else: a pair belongs to one tenant, so no
//! lookup can cross. A series that has expired is in no list of a pair any more; texts and pairs that nobody uses go when the index is
//! made anew from the living ones, once they are many.
//!
//! Storage order: a series sorts by (first ref of its tenant, first ref of its metric, own ref). Neighbours in that order are of one
//! metric, so they compress together and are read together; the keys never change, since they are stored with the series.

pub mod lookup;
pub mod postings;
pub mod remembered;
pub mod rows;
pub mod symbols;

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{Label, Labels, METRIC_NAME, SeriesHash, SeriesRef, Tenant};
use hashbrown::HashTable;

use self::rows::{Row, Rows};
use self::symbols::{Symbol, Symbols};

/// What living series may take; the last one that fits adds at most its own labels.
const SIZE_MAX: Size = Size { tenants: u16::MAX as usize, text_bytes: 3 << 30, series_pairs: 1 << 31 };
/// The index is made anew when more pairs than this are without a series, and more than those with one.
const UNUSED_PAIRS_MAX: usize = 1 << 14;

/// What the living series take. It alone decides whether one more fits: it is the same on every replica, while texts and pairs that nobody uses
/// any more stay until the index is made anew, at another time on each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// Tenants with a series.
    tenants: usize,
    /// Bytes of names and values of the pairs with a series.
    text_bytes: usize,
    /// Label pairs over all series.
    series_pairs: usize,
}

/// One tenant's (label name, value).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u32);

/// Position of a tenant in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

/// Where a series stands in runs: see the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey {
    /// First ref of the series' tenant.
    pub tenant: u32,
    /// First ref of the series' metric.
    pub metric: u32,
    /// The series' own ref.
    pub series: u32,
}

struct Pair {
    tenant: TenantId,
    name: Symbol,
    value: Symbol,
    /// Ascending.
    series: Vec<u32>,
}

struct TenantIndex {
    tenant: Tenant,
    /// First ref ever given to this tenant.
    first: u32,
    /// Ascending.
    series: Vec<u32>,
    names: BTreeMap<Symbol, Vec<PairId>>,
}

/// All series of a shard.
#[derive(Default)]
pub struct Index {
    symbols: Symbols,
    pairs: Vec<Pair>,
    pair_of: HashTable<u32>,
    tenants: Vec<TenantIndex>,
    tenant_ids: BTreeMap<Tenant, TenantId>,
    rows: Rows,
    /// Living series.
    by_hash: HashTable<u32>,
    /// Pairs that no series has any more.
    unused_pairs: usize,
    size: Size,
    /// How often the index was made anew: numbers of pairs belong to one time.
    generation: u64,
}

impl Index {
    /// An empty index to take the place of this one.
    pub(crate) fn successor(&self) -> Index {
        Index { generation: self.generation + 1, ..Index::default() }
    }

    /// Rises when the numbers of pairs change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many refs were given; also the next one.
    pub fn len(&self) -> u32 {
        self.rows.len()
    }

    /// How many series there are.
    pub fn living(&self) -> u32 {
        self.rows.living()
    }

    /// Whether a ref is in use.
    #[inline]
    pub fn is_living(&self, series: u32) -> bool {
        self.rows.is_living(series)
    }

    /// Whoever ever had a series here.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenant_ids.keys()
    }

    /// The rows.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The rows, to note Windows.
    pub(crate) fn rows_mut(&mut self) -> &mut Rows {
        &mut self.rows
    }

    /// The ref of a series.
    pub fn find(&self, hash: SeriesHash) -> Option<SeriesRef> {
        let found = self.by_hash.find(hash.0 as u64, |series| hash_of(&self.rows, *series) == hash);
        found.map(|series| SeriesRef(*series))
    }

    /// Whether one more series of `tenant` fits; if not, says what there is too much of.
    pub fn has_room(&self, tenant: &Tenant) -> Result<(), &'static str> {
        self.has_room_within(SIZE_MAX, tenant)
    }

    fn has_room_within(&self, max: Size, tenant: &Tenant) -> Result<(), &'static str> {
        if self.size.tenants >= max.tenants && self.tenant_series_count(tenant) == 0 {
            return Err("tenants");
        }
        if self.size.text_bytes >= max.text_bytes || self.size.series_pairs >= max.series_pairs {
            return Err("label text");
        }
        Ok(())
    }

    /// Adds a series that is not there yet and for which there is room; its ref is the next one. `window` is the number of the Window that
    /// counts as its last one until it has samples.
    pub fn add(&mut self, hash: SeriesHash, tenant: &Tenant, labels: &Labels, window: i32) -> SeriesRef {
        let series = self.len();
        let tenant = self.tenant_or_new(tenant, series);
        let mut pairs = Vec::with_capacity(labels.iter().count());
        for label in labels.iter() {
            let (name, value) = (self.symbols.intern(label.name), self.symbols.intern(label.value));
            pairs.push(self.pair_or_new(tenant, name, value));
        }
        let metric_name = self.symbols.find(METRIC_NAME);
        let metric = pairs.iter().find(|pair| Some(self.pairs[pair.0 as usize].name) == metric_name);
        let first = metric.and_then(|metric| self.pairs[metric.0 as usize].series.first());
        let metric = first.and_then(|first| self.rows.get(*first)).map_or(series, |row| row.sort.1);
        let sort = (self.tenants[tenant.0 as usize].first, metric);
        self.push(tenant, Row { hash, sort, last_window: window, pairs: &pairs })
    }

    /// Adds a series whose pairs are known, as the registry stores it. `sort` is its stored sort key.
    pub(crate) fn add_stored(
        &mut self,
        hash: SeriesHash,
        tenant: TenantId,
        pairs: &[PairId],
        sort: (u32, u32),
    ) -> SeriesRef {
        self.push(tenant, Row { hash, sort, last_window: i32::MIN, pairs })
    }

    /// Adds a ref whose series the registry has forgotten.
    pub(crate) fn add_forgotten(&mut self) {
        self.rows.push_forgotten();
    }

    fn push(&mut self, tenant: TenantId, row: Row<'_>) -> SeriesRef {
        let series = self.rows.push(row);
        self.size.series_pairs += row.pairs.len();
        for pair in row.pairs {
            if self.pairs[pair.0 as usize].series.is_empty() {
                self.size.text_bytes += self.pair_bytes(*pair);
            }
            self.pairs[pair.0 as usize].series.push(series);
        }
        let of_tenant = &mut self.tenants[tenant.0 as usize].series;
        self.size.tenants += usize::from(of_tenant.is_empty());
        of_tenant.push(series);
        let rows = &self.rows;
        self.by_hash.insert_unique(row.hash.0 as u64, series, |series| hash_of(rows, *series).0 as u64);
        SeriesRef(series)
    }

    /// Takes living series, ascending, out of all lists: from now on their refs are unknown.
    pub(crate) fn expire(&mut self, expired: &[u32]) {
        let (mut pairs, mut tenants) = (BTreeSet::new(), BTreeSet::new());
        for series in expired {
            let Some(row) = self.rows.get(*series) else { continue };
            self.size.series_pairs -= row.pairs.len();
            pairs.extend(row.pairs);
            tenants.extend(row.pairs.first().map(|pair| self.pairs[pair.0 as usize].tenant));
            if let Ok(found) = self.by_hash.find_entry(row.hash.0 as u64, |found| found == series) {
                found.remove();
            }
        }
        expired.iter().for_each(|series| self.rows.expire(*series));
        for tenant in tenants {
            let of_tenant = &mut self.tenants[tenant.0 as usize].series;
            of_tenant.retain(|series| self.rows.is_living(*series));
            self.size.tenants -= usize::from(of_tenant.is_empty());
        }
        let mut unused = BTreeSet::new();
        for PairId(at) in pairs {
            let Pair { tenant, name, value, series } = &mut self.pairs[at as usize];
            series.retain(|series| self.rows.is_living(*series));
            if series.is_empty() {
                *series = Vec::new();
                if let Ok(found) = self.pair_of.find_entry(pair_hash(*tenant, *name, *value), |found| *found == at) {
                    found.remove();
                }
                unused.insert((*tenant, *name));
                self.unused_pairs += 1;
                self.size.text_bytes -= self.pair_bytes(PairId(at));
            }
        }
        for (tenant, name) in unused {
            let names = &mut self.tenants[tenant.0 as usize].names;
            if let Some(of_name) = names.get_mut(&name) {
                of_name.retain(|pair| !self.pairs[pair.0 as usize].series.is_empty());
                if of_name.is_empty() {
                    names.remove(&name);
                }
            }
        }
    }

    /// Whether making the index anew would give back much.
    pub(crate) fn has_much_unused(&self) -> bool {
        self.unused_pairs > UNUSED_PAIRS_MAX && self.unused_pairs > self.pairs.len() / 2
    }

    /// Adds the next refs, to before `end`, as `from` has them. Expired series that are in `kept` live here until they are
    /// [expired](Self::expire) here as well.
    pub(crate) fn copy(&mut self, from: &Index, end: u32, kept: &BTreeSet<u32>) {
        for series in self.len()..end.min(from.len()) {
            let row = from.rows.get(series).filter(|_| from.is_living(series) || kept.contains(&series));
            let Some(row) = row else {
                self.add_forgotten();
                continue;
            };
            let old_tenant = &from.tenants[from.tenant_of(series).0 as usize];
            let tenant = self.tenant_or_new(&old_tenant.tenant, old_tenant.first);
            let mut pairs = Vec::with_capacity(row.pairs.len());
            for pair in row.pairs {
                let (name, value) = from.pair_text(*pair);
                let (name, value) = (self.symbols.intern(name), self.symbols.intern(value));
                pairs.push(self.pair_or_new(tenant, name, value));
            }
            self.push(tenant, Row { pairs: &pairs, ..row });
        }
    }

    pub(crate) fn tenant_or_new(&mut self, tenant: &Tenant, first: u32) -> TenantId {
        if let Some(id) = self.tenant(tenant) {
            return id;
        }
        let id = TenantId(u32::try_from(self.tenants.len()).expect("each has had a series, and refs are u32"));
        self.tenants.push(TenantIndex { tenant: tenant.clone(), first, series: Vec::new(), names: BTreeMap::new() });
        self.tenant_ids.insert(tenant.clone(), id);
        id
    }

    pub(crate) fn intern(&mut self, text: &str) -> Symbol {
        self.symbols.intern(text)
    }

    pub(crate) fn pair_or_new(&mut self, tenant: TenantId, name: Symbol, value: Symbol) -> PairId {
        let hash = pair_hash(tenant, name, value);
        let pairs = &self.pairs;
        let same = |pair: &u32| {
            let pair = &pairs[*pair as usize];
            (pair.tenant, pair.name, pair.value) == (tenant, name, value)
        };
        if let Some(found) = self.pair_of.find(hash, same) {
            return PairId(*found);
        }
        let pair = PairId(
            u32::try_from(self.pairs.len()).expect("`has_room` bounds the living, an index made anew the others"),
        );
        self.pairs.push(Pair { tenant, name, value, series: Vec::new() });
        let pairs = &self.pairs;
        self.pair_of.insert_unique(hash, pair.0, |pair| {
            let pair = &pairs[*pair as usize];
            pair_hash(pair.tenant, pair.name, pair.value)
        });
        self.tenants[tenant.0 as usize].names.entry(name).or_default().push(pair);
        pair
    }

    pub(crate) fn tenant(&self, tenant: &Tenant) -> Option<TenantId> {
        self.tenant_ids.get(tenant).copied()
    }

    /// How many series a tenant has.
    pub(crate) fn tenant_series_count(&self, tenant: &Tenant) -> u64 {
        self.tenant(tenant).map_or(0, |id| self.tenants[id.0 as usize].series.len() as u64)
    }

    pub(crate) fn tenant_name(&self, id: TenantId) -> &Tenant {
        &self.tenants[id.0 as usize].tenant
    }

    /// The tenant of a series.
    pub(crate) fn tenant_of(&self, series: u32) -> TenantId {
        let first = self.pairs_of(series).first().expect("a series has a metric name, so at least one pair");
        self.pairs[first.0 as usize].tenant
    }

    pub(crate) fn pairs_of(&self, series: u32) -> &[PairId] {
        self.rows.get(series).map_or(&[], |row| row.pairs)
    }

    /// The pair with the name of a series' metric.
    pub(crate) fn metric_of(&self, series: u32) -> Option<PairId> {
        let name = self.symbols.find(METRIC_NAME)?;
        self.pairs_of(series).iter().copied().find(|pair| self.pairs[pair.0 as usize].name == name)
    }

    /// Whether any living series has a pair.
    pub(crate) fn has_series(&self, pair: PairId) -> bool {
        !self.pairs[pair.0 as usize].series.is_empty()
    }

    /// Whose a pair is, and its value.
    pub(crate) fn metric_key(&self, pair: PairId) -> (Tenant, String) {
        let tenant = self.tenant_name(self.pairs[pair.0 as usize].tenant);
        (tenant.clone(), self.pair_text(pair).1.to_owned())
    }

    /// Name and value of a pair.
    pub(crate) fn pair_text(&self, pair: PairId) -> (&str, &str) {
        let pair = &self.pairs[pair.0 as usize];
        (self.symbols.text(pair.name), self.symbols.text(pair.value))
    }

    /// Bytes of a pair's name and value.
    fn pair_bytes(&self, pair: PairId) -> usize {
        let (name, value) = self.pair_text(pair);
        name.len() + value.len()
    }

    /// The labels of a series.
    pub fn labels(&self, series: SeriesRef) -> Labels {
        Labels::from_sorted(self.pairs_of(series.0).iter().map(|pair| {
            let (name, value) = self.pair_text(*pair);
            Label { name, value }
        }))
    }

    /// The place of a series in runs.
    pub fn sort_key(&self, series: SeriesRef) -> SortKey {
        let (tenant, metric) = self.rows.get(series.0).map_or((series.0, series.0), |row| row.sort);
        SortKey { tenant, metric, series: series.0 }
    }

    /// Bytes held, without the allocator's overhead.
    pub fn bytes(&self) -> usize {
        let postings: usize = self.pairs.iter().map(|pair| pair.series.capacity() * 4).sum();
        self.symbols.bytes()
            + self.pairs.capacity() * size_of::<Pair>()
            + self.pair_of.capacity() * 5
            + self.rows.bytes()
            + self.by_hash.capacity() * 5
            + postings
            + self.tenants.iter().map(|tenant| tenant.series.capacity() * 4).sum::<usize>()
    }
}

fn hash_of(rows: &Rows, series: u32) -> SeriesHash {
    rows.get(series).map_or(SeriesHash(0), |row| row.hash)
}

fn pair_hash(tenant: TenantId, name: Symbol, value: Symbol) -> u64 {
    // The finaliser of splitmix64 over the three numbers.
    let mut x = (u64::from(name.0) << 32 | u64::from(value.0)) ^ u64::from(tenant.0).rotate_right(16);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn series_sort_by_tenant_then_metric_then_ref() {
        let mut index = Index::default();
        let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
        let mut add = |tenant: &Tenant, metric: &str, host: &str| {
            let labels = Labels::of(&[("__name__", metric), ("host", host)]);
            index.add(SeriesHash::of(tenant, &labels), tenant, &labels, 0)
        };
        let cpu_a = add(&one, "cpu", "a");
        let other = add(&two, "cpu", "a");
        let mem_a = add(&one, "mem", "a");
        let cpu_b = add(&one, "cpu", "b");
        let mut order = [cpu_a, other, mem_a, cpu_b];
        order.sort_by_key(|series| index.sort_key(*series));
        assert_eq!(order, [cpu_a, cpu_b, mem_a, other]);
        assert_eq!(index.labels(cpu_b).to_string(), r#"cpu{host="b"}"#);
        assert_eq!(index.tenant_name(index.tenant_of(other.0)), &two);
    }

    fn numbered(index: &mut Index, series: u32) -> SeriesRef {
        let tenant = Tenant::default_tenant();
        let labels = Labels::of(&[("__name__", "m"), ("id", &series.to_string()), ("odd", &(series % 2).to_string())]);
        index.add(SeriesHash::of(&tenant, &labels), &tenant, &labels, 0)
    }

    /// The values that a label has in any series.
    fn values(index: &Index, name: &str) -> Vec<String> {
        let all = index.matching(&Tenant::default_tenant(), &[]);
        index.label_values(name, &all).into_iter().collect()
    }

    #[test]
    fn an_expired_series_is_in_no_answer_and_its_labels_may_come_again() {
        let (mut index, tenant) = (Index::default(), Tenant::default_tenant());
        for series in 0..10 {
            numbered(&mut index, series);
        }
        index.expire(&[1, 3, 5, 7, 9]);
        assert_eq!(index.matching(&tenant, &[]), [0, 2, 4, 6, 8]);
        assert_eq!(values(&index, "odd"), ["0"]);
        assert_eq!((index.len(), index.living()), (10, 5));
        assert_eq!(numbered(&mut index, 1), SeriesRef(10));
        assert_eq!(index.sort_key(SeriesRef(10)).metric, 0, "it is of the metric of the living ones");
        assert_eq!(values(&index, "odd"), ["0", "1"]);
        index.expire(&[0, 2, 4, 6, 8, 10]);
        assert!(values(&index, "odd").is_empty());
        assert!(index.matching(&tenant, &[]).is_empty());
    }

    /// Replicas flush, restart and make their index anew at different times, and must refuse the same registrations.
    #[test]
    fn what_bounds_registration_does_not_depend_on_how_the_index_came_about() {
        let (mut index, other) = (Index::default(), Tenant::new("other").unwrap());
        for series in 0..100 {
            numbered(&mut index, series);
        }
        let labels = Labels::of(&[("__name__", "only"), ("here", "a long text that is nowhere else")]);
        index.add(SeriesHash::of(&other, &labels), &other, &labels, 0);
        let full = index.size;
        index.expire(&(10..101).collect::<Vec<u32>>());
        let mut anew = Index::default();
        anew.copy(&index, 50, &BTreeSet::from([20]));
        anew.copy(&index, u32::MAX, &BTreeSet::new());
        anew.expire(&[20]);
        let mut loaded = Index::default();
        registry::decode_into(&registry::encode(&index, 0, index.len(), &BTreeSet::new()).0, &mut loaded).unwrap();
        let mut never_more = Index::default();
        for series in 0..10 {
            numbered(&mut never_more, series);
        }
        assert_eq!(index.size, Size { tenants: 1, text_bytes: 9 + 10 * 3 + 2 * 4, series_pairs: 30 });
        assert!(full.tenants == 2 && full.text_bytes > index.size.text_bytes);
        for (at, same) in [anew, loaded, never_more].into_iter().enumerate() {
            assert_eq!(same.size, index.size, "index {at}");
        }

        let room = |max: Size| index.has_room_within(max, &other);
        assert_eq!(room(full), Ok(()));
        assert_eq!(room(Size { tenants: 1, ..full }), Err("tenants"));
        assert_eq!(index.has_room_within(Size { tenants: 1, ..full }, &Tenant::default_tenant()), Ok(()));
        assert_eq!(room(Size { text_bytes: index.size.text_bytes, ..full }), Err("label text"));
        assert_eq!(room(Size { series_pairs: 30, ..full }), Err("label text"));
    }

    #[test]
    fn an_index_made_anew_answers_the_same_and_is_smaller() {
        let (mut index, tenant) = (Index::default(), Tenant::default_tenant());
        for series in 0..40_000 {
            numbered(&mut index, series);
        }
        let expired: Vec<u32> = (0..40_000).filter(|series| series % 100 != 0).collect();
        index.expire(&expired);
        assert!(index.has_much_unused());
        let mut anew = Index::default();
        anew.copy(&index, 20_000, &BTreeSet::from([1]));
        anew.copy(&index, u32::MAX, &BTreeSet::new());
        anew.expire(&[1]);
        assert!(!anew.has_much_unused());
        assert_eq!(anew.matching(&tenant, &[]), index.matching(&tenant, &[]));
        assert_eq!(values(&anew, "id"), values(&index, "id"));
        for series in [100, 200, 1].map(SeriesRef) {
            assert_eq!(anew.labels(series), index.labels(series));
            assert_eq!(anew.sort_key(series), index.sort_key(series));
        }
        assert!(anew.labels(SeriesRef(2)).iter().next().is_none());
        assert!(!anew.is_living(1) && anew.living() == 400);
        assert!(anew.bytes() < index.bytes() / 3, "{} of {} bytes", anew.bytes(), index.bytes());
    }
}
