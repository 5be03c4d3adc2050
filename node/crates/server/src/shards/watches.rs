//! Series whose samples somebody wants to hear of as soon as they are stored.
//!
//! What is wanted stands on the node's [`WatchBoard`], as selectors with numbers. Each replica finds out which of its series they
//! select ([`Watched`]): of a selector that is new when it applies its next entry, of a series when that is registered. While it
//! applies samples it looks at one bit for each, and at nothing while nobody wants to hear of any. Once the entry can be read, the
//! selectors that were touched are noted on the board, where whoever put them there takes them from.
//!
//! What is noted is bounded by what is wanted: a selector that is touched again before somebody has looked is there once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_model::{Labels, METRIC_NAME, MatchOp, Matcher, SeriesRef, ShardGroupId, Tenant, Timestamp};
use bellwether_tsdb::ShardWriter;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Selectors whose series are looked for before one entry is applied: the others wait for the next one, so that a replica that
/// learns of many at once goes on.
const SELECTORS_PER_ENTRY_MAX: usize = 64;

/// The number of a selector. Numbers are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u64);

/// Which series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Whose.
    pub tenant: Tenant,
    /// They pass all of these.
    pub matchers: Arc<[Matcher]>,
}

/// Samples of a selector's series were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// When the first of them was.
    pub since: Instant,
    /// No sample among them is newer.
    pub newest: Timestamp,
}

/// What was touched: where, and which.
pub type TouchedSelectors = BTreeMap<(ShardGroupId, WatchId), Touched>;

type Selectors = BTreeMap<WatchId, Selector>;

/// See the module.
#[derive(Default)]
pub struct WatchBoard {
    /// Of `wanted`; 0 before the first.
    revision: AtomicU64,
    wanted: Mutex<Arc<Selectors>>,
    touched: Mutex<TouchedSelectors>,
    news: Notify,
}

impl WatchBoard {
    /// Of what somebody wants to hear from now on.
    pub fn set(&self, wanted: BTreeMap<WatchId, Selector>) {
        *self.wanted.lock() = Arc::new(wanted);
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Waits until something was touched since the last time that it was taken.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes what was touched.
    pub fn take(&self) -> TouchedSelectors {
        std::mem::take(&mut *self.touched.lock())
    }

    fn note(&self, group: ShardGroupId, selectors: impl Iterator<Item = WatchId>, newest: Timestamp) {
        let since = Instant::now();
        let mut touched = self.touched.lock();
        for selector in selectors {
            let known = touched.entry((group, selector)).or_insert(Touched { since, newest });
            known.newest = known.newest.max(newest);
        }
        drop(touched);
        self.news.notify_one();
    }
}

/// Which series of a replica are wanted.
#[derive(Default)]
pub struct Watched {
    /// Of the board, when it was looked at last.
    revision: u64,
    wanted: Arc<Selectors>,
    /// Selectors that were looked for, and the series that they select.
    series_of: BTreeMap<WatchId, Vec<u32>>,
    /// Those of them that select one metric, by that; and the others.
    by_metric: BTreeMap<String, Vec<WatchId>>,
    of_any_metric: Vec<WatchId>,
    /// Of each series by its ref, whether a selector selects it. Empty if none selects any.
    bits: Vec<u64>,
    /// Of each such series, the number of the set of selectors.
    set_of: BTreeMap<u32, usize>,
    sets: Vec<Set>,
    numbers: BTreeMap<Arc<[WatchId]>, usize>,
    /// Sets with samples in the entry at hand.
    touched: Vec<usize>,
    /// Selectors that are new: whether there were samples while they were not looked for is unknown.
    new: BTreeSet<WatchId>,
    newest: Timestamp,
}

/// Selectors that select the same series.
struct Set {
    selectors: Arc<[WatchId]>,
    /// Whether it is among those that are touched.
    is_touched: bool,
}

impl Watched {
    /// Takes over what is wanted, if that has changed.
    pub fn follow(&mut self, board: &WatchBoard, writer: &ShardWriter<'_>) {
        let revision = board.revision.load(Ordering::Acquire);
        if revision == self.revision {
            return;
        }
        self.wanted = board.wanted.lock().clone();
        let known = self.series_of.len();
        self.series_of.retain(|selector, _| self.wanted.contains_key(selector));
        let mut is_changed = self.series_of.len() < known;
        let missing = self.wanted.iter().filter(|(selector, _)| !self.series_of.contains_key(selector));
        let mut missing: Vec<(WatchId, &Selector)> = missing.map(|(id, selector)| (*id, selector)).collect();
        if missing.len() <= SELECTORS_PER_ENTRY_MAX {
            self.revision = revision;
        }
        missing.truncate(SELECTORS_PER_ENTRY_MAX);
        for (id, Selector { tenant, matchers }) in missing {
            let series = writer.matching(tenant, matchers);
            if !series.is_empty() {
                self.new.insert(id);
            }
            self.series_of.insert(id, series);
            is_changed = true;
        }
        if is_changed {
            self.rebuild();
        }
    }

    /// Some series are gone: all selectors are looked for anew, when the next entry is applied.
    pub fn look_again(&mut self) {
        self.series_of.clear();
        self.revision = 0;
    }

    fn rebuild(&mut self) {
        self.by_metric.clear();
        self.of_any_metric.clear();
        self.bits.clear();
        self.set_of.clear();
        self.sets.clear();
        self.numbers.clear();
        for id in self.series_of.keys() {
            match self.wanted.get(id).and_then(|selector| metric(&selector.matchers)) {
                Some(metric) => self.by_metric.entry(metric.to_owned()).or_default().push(*id),
                None => self.of_any_metric.push(*id),
            }
        }
        let pairs = self.series_of.iter().flat_map(|(id, series)| series.iter().map(|series| (*series, *id)));
        let mut pairs: Vec<(u32, WatchId)> = pairs.collect();
        pairs.sort_unstable();
        for of_series in pairs.chunk_by(|one, other| one.0 == other.0) {
            self.put(of_series[0].0, of_series.iter().map(|(_, id)| *id).collect());
        }
    }

    /// Takes note of the selectors of a series; there is one at least.
    fn put(&mut self, series: u32, selectors: Arc<[WatchId]>) {
        let (word, bit) = place(series);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= bit;
        let next = self.sets.len();
        let number = *self.numbers.entry(selectors.clone()).or_insert(next);
        if number == next {
            self.sets.push(Set { selectors, is_touched: false });
        }
        self.set_of.insert(series, number);
    }

    /// A series is registered, for the first time or again.
    pub fn registered(&mut self, series: SeriesRef, tenant: &Tenant, labels: &Labels) {
        if self.series_of.is_empty() || self.is_watched(series.0) {
            return;
        }
        let of_metric = self.by_metric.get(labels.metric_name().unwrap_or_default()).into_iter().flatten();
        let selects = |id: &&WatchId| {
            let Some(selector) = self.wanted.get(id).filter(|selector| selector.tenant == *tenant) else {
                return false;
            };
            let passes = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
            selector.matchers.iter().all(passes)
        };
        let mut selectors: Vec<WatchId> = of_metric.chain(&self.of_any_metric).filter(selects).copied().collect();
        if selectors.is_empty() {
            return;
        }
        selectors.sort_unstable();
        for id in &selectors {
            if let Some(known) = self.series_of.get_mut(id) {
                known.push(series.0);
            }
        }
        self.put(series.0, selectors.into());
    }

    fn is_watched(&self, series: u32) -> bool {
        let (word, bit) = place(series);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Samples are stored of these series; `timestamps` are those of all of them, or one for each.
    pub fn note(&mut self, series: &[u32], timestamps: &[Timestamp]) {
        if self.bits.is_empty() {
            return;
        }
        let mut is_touched = false;
        for series in series {
            if !self.is_watched(*series) {
                continue;
            }
            is_touched = true;
            if self.touched.len() == self.sets.len() {
                break;
            }
            if let Some(number) = self.set_of.get(series)
                && !std::mem::replace(&mut self.sets[*number].is_touched, true)
            {
                self.touched.push(*number);
            }
        }
        if is_touched {
            self.newest = timestamps.iter().copied().fold(self.newest, Timestamp::max);
        }
    }

    /// Tells what was touched since the last time.
    pub fn tell(&mut self, board: &WatchBoard, group: ShardGroupId) {
        if self.touched.is_empty() && self.new.is_empty() {
            return;
        }
        let mut selectors = std::mem::take(&mut self.new);
        for number in self.touched.drain(..) {
            let set = &mut self.sets[number];
            set.is_touched = false;
            selectors.extend(set.selectors.iter());
        }
        let newest = std::mem::replace(&mut self.newest, Timestamp::MIN);
        board.note(group, selectors.into_iter(), newest);
    }
}

fn place(series: u32) -> (usize, u64) {
    ((series / u64::BITS) as usize, 1 << (series % u64::BITS))
}

/// The one metric that can pass the matchers, if they say so.
fn metric(matchers: &[Matcher]) -> Option<&str> {
    let of_name = matchers.iter().find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
    of_name.map(Matcher::value)
}

#[cfg(test)]
mod tests {
    use bellwether_kv::{KvDisk, MemDisk};
    use bellwether_model::{RefEpoch, SeriesHash, TimeRange};
    use bellwether_tsdb::{PackCache, SPACES, Shard, ShardMetrics, ShardOptions};

    use super::*;

    const GROUP: ShardGroupId = ShardGroupId(3);

    type Pairs<'p> = &'p [(&'p str, &'p str)];

    struct Replica {
        shard: Shard,
        watched: Watched,
        board: WatchBoard,
    }

    impl Replica {
        fn new() -> Replica {
            let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
            let engine = MemDisk::new().open("shard", SPACES).unwrap();
            let options = ShardOptions { new_ref_epoch: RefEpoch(1) };
            let shard = Shard::open(engine, options, PackCache::new(0), metrics).unwrap();
            Replica { shard, watched: Watched::default(), board: WatchBoard::default() }
        }

        fn want(&self, selectors: &[(u64, &str, Pairs<'_>)]) {
            let selector = |(id, tenant, pairs): &(u64, &str, Pairs<'_>)| {
                let matchers = pairs.iter().map(|(name, value)| Matcher::new(MatchOp::Regex, name, value).unwrap());
                let equal = pairs.iter().filter(|(name, _)| *name == METRIC_NAME);
                let equal = equal.map(|(name, value)| Matcher::equal(name, value));
                let matchers = if pairs[0].0 == METRIC_NAME { equal.collect() } else { matchers.collect() };
                (WatchId(*id), Selector { tenant: Tenant::new(tenant).unwrap(), matchers })
            };
            self.board.set(selectors.iter().map(selector).collect());
        }

        /// Applies an entry with a sample of each series; the selectors that were touched, and the newest sample of each.
        fn apply(&mut self, series: &[Pairs<'_>], timestamp: Timestamp) -> Vec<(u64, Timestamp)> {
            let tenant = Tenant::default_tenant();
            let mut writer = self.shard.writer();
            self.watched.follow(&self.board, &writer);
            let mut refs = Vec::new();
            for labels in series {
                let labels = Labels::of(labels);
                let series = writer.register(SeriesHash::of(&tenant, &labels), &tenant, &labels).unwrap();
                self.watched.registered(series, &tenant, &labels);
                refs.push(series.0);
            }
            self.watched.note(&refs, &[timestamp]);
            writer.append(&refs, &[timestamp], &vec![1.0; refs.len()], TimeRange::ALL);
            drop(writer);
            self.watched.tell(&self.board, GROUP);
            self.board.take().into_iter().map(|((_, id), touched)| (id.0, touched.newest)).collect()
        }
    }

    const A1: Pairs<'_> = &[("__name__", "a"), ("n", "1")];
    const A2: Pairs<'_> = &[("__name__", "a"), ("n", "2")];
    const B1: Pairs<'_> = &[("__name__", "b"), ("n", "1")];

    #[test]
    fn selectors_hear_of_series_that_were_there_and_of_those_that_come() {
        let mut replica = Replica::new();
        assert_eq!(replica.apply(&[A1], 5), []);
        replica.want(&[
            (1, "default", &[("__name__", "a")]),
            (2, "default", &[("n", "2|3")]),
            (3, "other", &[("__name__", "a")]),
        ]);
        let newly = replica.apply(&[B1], 6);
        assert_eq!(newly, [(1, 0)], "there may have been samples since it was wanted");
        assert_eq!(replica.apply(&[B1], 7), []);
        assert_eq!(replica.apply(&[A1], 8), [(1, 8)]);
        assert_eq!(replica.apply(&[A2, B1], 9), [(1, 9), (2, 9)]);
        assert_eq!(replica.apply(&[A2, A1], 10), [(1, 10), (2, 10)]);
        assert_eq!(replica.apply(&[A1], 11), [(1, 11)]);
        replica.want(&[(2, "default", &[("n", "2|3")])]);
        assert_eq!(replica.apply(&[A2, A1], 12), [(2, 12)]);
        replica.want(&[]);
        assert_eq!(replica.apply(&[A2, A1], 13), []);
        assert!(replica.watched.bits.is_empty());
    }

    #[test]
    fn series_that_are_gone_are_not_remembered() {
        let mut replica = Replica::new();
        replica.apply(&[A1, A2], 5);
        replica.want(&[(1, "default", &[("__name__", "a")])]);
        replica.apply(&[B1], 6);
        assert_eq!(replica.watched.series_of[&WatchId(1)].len(), 2);
        let day = 86_400_000;
        replica.shard.writer().raise_floor(day);
        assert_eq!(replica.shard.writer().expire_series(2 * day), 3);
        replica.watched.look_again();
        assert_eq!(replica.apply(&[B1], 3 * day), [], "of nothing that is left there may have been samples");
        assert!(replica.watched.series_of[&WatchId(1)].is_empty());
        assert_eq!(replica.apply(&[A1], 3 * day), [(1, 3 * day)]);
    }

    #[test]
    fn many_new_selectors_are_looked_for_a_part_with_each_entry() {
        let mut replica = Replica::new();
        replica.apply(&[A1], 5);
        let selectors: Vec<(u64, &str, Pairs<'_>)> =
            (0..150).map(|id| (id, "default", &[("__name__", "a")] as Pairs<'_>)).collect();
        replica.want(&selectors);
        let told: Vec<usize> = (0..4).map(|_| replica.apply(&[B1], 6).len()).collect();
        assert_eq!(told, [64, 64, 22, 0]);
        assert_eq!(replica.apply(&[A1], 7).len(), 150);
        assert_eq!(replica.watched.sets.len(), 1);
    }

    #[test]
    fn what_nobody_has_taken_is_there_once_with_its_first_time() {
        let board = WatchBoard::default();
        board.note(GROUP, [WatchId(1)].into_iter(), 5);
        let since = board.touched.lock()[&(GROUP, WatchId(1))].since;
        board.note(GROUP, [WatchId(1), WatchId(2)].into_iter(), 4);
        let touched = board.take();
        assert_eq!(touched.len(), 2);
        assert_eq!(touched[&(GROUP, WatchId(1))], Touched { since, newest: 5 });
        assert!(board.take().is_empty());
    }
}
