//! A shard that is cut in two against one that is not: whatever is written, deleted, flushed, sealed and reopened before and after, both
//! parts together give what the whole one gives, each series from one of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_kv::{KvDisk, MemDisk};
use bellwether_model::{
    Exemplar, HashRange, Labels, Matcher, MetricKind, MetricMetadata, PlacementKey, RefEpoch, SeriesHash, Tenant,
    TimeRange, Timestamp, limits::WINDOW_MS,
};
use bellwether_tsdb::{
    AppliedMark, PackCache, SPACES, SealWhen, SelectLimits, SelectRequest, Shard, ShardMetrics, ShardOptions, install,
    metadata_key,
};
use proptest::prelude::*;

/// Half an hour: four steps of time make a Window.
const STEP_MS: i64 = WINDOW_MS / 4;
const METRICS: u32 = 3;
const SERIES: u32 = 12;
/// Later than all that is written.
const LATER: Timestamp = 100 * WINDOW_MS;

#[derive(Debug, Clone)]
enum Step {
    Write { series: u32, time: i64, value: u8 },
    Delete { metric: u32, first: i64, last: i64 },
    Describe { metric: u32, text: u8 },
    RaiseFloor(i64),
    Expire(i64),
    Flush,
    Seal(bool),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = -4i64..20;
    let step = prop_oneof![
        12 => (0..SERIES, time.clone(), any::<u8>()).prop_map(|(series, time, value)| Step::Write { series, time, value }),
        2 => (0..METRICS, time.clone(), time.clone()).prop_map(|(metric, first, last)| Step::Delete { metric, first, last }),
        1 => (0..METRICS, any::<u8>()).prop_map(|(metric, text)| Step::Describe { metric, text }),
        1 => (-5i64..8).prop_map(Step::RaiseFloor),
        1 => (-5i64..24).prop_map(Step::Expire),
        2 => Just(Step::Flush),
        1 => any::<bool>().prop_map(Step::Seal),
        2 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..40)
}

fn metric(number: u32) -> String {
    format!("m{number}")
}

fn labels(series: u32) -> Labels {
    Labels::of(&[("__name__", &metric(series % METRICS)), ("host", &format!("h{series}"))])
}

fn key(series: u32) -> PlacementKey {
    let (tenant, labels) = (Tenant::default_tenant(), labels(series));
    PlacementKey::of(&tenant, &metric(series % METRICS), SeriesHash::of(&tenant, &labels))
}

/// A shard that is opened again and again, and what it owns.
struct Part {
    path: String,
    owned: HashRange,
    shard: Option<Shard>,
    log_index: u64,
}

struct Fixture {
    disk: MemDisk,
    cache: Arc<PackCache>,
    metrics: Arc<ShardMetrics>,
    tenant: Tenant,
}

type Contents = BTreeMap<String, Vec<(Timestamp, u64)>>;

impl Fixture {
    fn new() -> Fixture {
        let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
        Fixture { disk: MemDisk::new(), cache: PackCache::new(1 << 16), metrics, tenant: Tenant::default_tenant() }
    }

    fn open(&self, path: &str) -> Shard {
        let engine = self.disk.open(path, SPACES).unwrap();
        let options = ShardOptions { new_ref_epoch: RefEpoch(7) };
        Shard::open(engine, options, self.cache.clone(), self.metrics.clone()).unwrap()
    }

    fn part(&self, path: &str, owned: HashRange) -> Part {
        Part { path: path.to_owned(), owned, shard: Some(self.open(path)), log_index: 0 }
    }

    fn take(&self, part: &mut Part, step: &Step) {
        part.log_index += 1;
        let (index, mark) = (part.log_index, AppliedMark(part.log_index.to_string().into()));
        let shard = part.shard.as_ref().unwrap();
        let mut writer = shard.writer();
        match step {
            Step::Write { series, time, value } => {
                if !part.owned.contains(key(*series)) {
                    return;
                }
                let hash = SeriesHash::of(&self.tenant, &labels(*series));
                let known = writer.register(hash, &self.tenant, &labels(*series)).unwrap();
                let timestamps: Vec<i64> = (0..5).map(|at| time * STEP_MS + at * 15_000).collect();
                writer.append(&[known.0; 5], &timestamps, &[f64::from(*value); 5], TimeRange::ALL);
                let own = Labels::of(&[("trace_id", &value.to_string())]);
                let exemplar = Exemplar { labels: own, value: 0.5, timestamp: timestamps[2] };
                writer.append_exemplars([(known.0, Some(exemplar))].into_iter(), TimeRange::ALL);
            }
            Step::Delete { metric: number, first, last } => {
                let range = TimeRange::new(first * STEP_MS, last * STEP_MS);
                writer.delete(&self.tenant, &[Matcher::equal("__name__", &metric(*number))], range, index);
            }
            Step::Describe { metric: number, text } => {
                if part.owned.contains(metadata_key(&self.tenant, &metric(*number))) {
                    let about = MetricMetadata { kind: MetricKind::Gauge, help: text.to_string(), unit: String::new() };
                    writer.set_metadata(&self.tenant, &metric(*number), about);
                }
            }
            Step::RaiseFloor(time) => writer.raise_floor(time * STEP_MS),
            Step::Expire(time) => {
                writer.expire_series(time * STEP_MS);
            }
            Step::Flush => {
                drop(writer);
                shard.flush().unwrap();
                return;
            }
            Step::Seal(all) => {
                drop(writer);
                shard.seal(LATER, if *all { SealWhen::AllClosed } else { SealWhen::Quiet }).unwrap();
                return;
            }
            Step::Restart => {
                drop(writer);
                // What is not flushed is applied again from the log: here it is flushed.
                shard.flush().unwrap();
                part.shard = None;
                part.shard = Some(self.open(&part.path));
                return;
            }
        }
        writer.mark_applied(mark, 0, 1);
    }

    fn split(&self, parent: &mut Part, at: PlacementKey) -> Part {
        let shard = parent.shard.as_ref().unwrap();
        shard.flush().unwrap();
        let copy = shard.checkpoint(&self.disk, "copies/1").unwrap();
        install(&self.disk, "copies/1", &copy.applied, "child").unwrap();
        let owned = HashRange { first: at, last: parent.owned.last };
        let mut child = self.part("child", owned);
        let mark = AppliedMark("founded".into());
        child.shard.as_ref().unwrap().become_child(RefEpoch(8), owned, mark).unwrap();
        // The child's log goes on where the parent's was cut, or tombstones would share a place in it.
        child.log_index = parent.log_index;
        parent.owned.last = PlacementKey(at.0 - 1);
        shard.writer().disown(parent.owned);
        child
    }

    fn contents(&self, part: &Part, matchers: &[Matcher]) -> Contents {
        let limits = SelectLimits { series: 1000, samples: 1_000_000 };
        let request = SelectRequest { tenant: &self.tenant, matchers, range: TimeRange::ALL, limits };
        let selected = part.shard.as_ref().unwrap().select(&request, &AtomicBool::new(false)).unwrap();
        let found = selected.into_iter().map(|series| {
            let samples = series.timestamps.iter().copied().zip(series.values.iter().map(|value| value.to_bits()));
            (series.labels.to_string(), samples.collect::<Vec<_>>())
        });
        found.filter(|(_, samples)| !samples.is_empty()).collect()
    }

    fn exemplars(&self, part: &Part) -> BTreeMap<String, Vec<Exemplar>> {
        let shard = part.shard.as_ref().unwrap();
        let found = shard.exemplars(&self.tenant, &[Arc::from([])], TimeRange::ALL, &AtomicBool::new(false)).unwrap();
        found.into_iter().map(|(labels, own)| (labels.to_string(), own)).collect()
    }

    fn metadata(&self, part: &Part) -> BTreeMap<String, String> {
        let told = part.shard.as_ref().unwrap().metadata(&self.tenant);
        told.into_iter().map(|(metric, about)| (metric, about.help)).collect()
    }

    /// Once series have expired, a metric's metadata go with the last series of the part that keeps them, whatever the other part has.
    fn check(&self, whole: &Part, parts: &[Part], expired: bool) {
        for number in 0..METRICS {
            let matchers = [Matcher::equal("__name__", &metric(number))];
            let mut both = Contents::new();
            for part in parts {
                for (labels, samples) in self.contents(part, &matchers) {
                    assert!(both.insert(labels.clone(), samples).is_none(), "{labels} is in both");
                }
            }
            assert_eq!(both, self.contents(whole, &matchers));
        }
        let mut both = BTreeMap::new();
        for part in parts {
            for (metric, help) in self.metadata(part) {
                assert!(both.insert(metric.clone(), help).is_none(), "both describe {metric}");
            }
        }
        assert!(expired || both == self.metadata(whole), "{both:?} is not what the whole tells of metrics");
        let mut both = BTreeMap::new();
        for part in parts {
            for (labels, own) in self.exemplars(part) {
                assert!(both.insert(labels.clone(), own).is_none(), "both have exemplars of {labels}");
            }
        }
        assert_eq!(both, self.exemplars(whole));
        let series = |part: &Part| part.shard.as_ref().unwrap().stats().series;
        assert_eq!(parts.iter().map(series).sum::<u64>(), series(whole));
        let counted = |part: &Part| part.shard.as_ref().unwrap().writer().tenant_series_count(&self.tenant);
        assert_eq!(parts.iter().map(counted).sum::<u64>(), counted(whole));
        let floor = |part: &Part| part.shard.as_ref().unwrap().floor();
        assert!(parts.iter().all(|part| floor(part) == floor(whole)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_parts_together_are_what_the_whole_is(before in steps(), at in 0..SERIES, after in steps()) {
        let at = key(at);
        prop_assume!(at.0 > 0);
        let fixture = Fixture::new();
        let mut whole = fixture.part("whole", HashRange::ALL);
        let mut parent = fixture.part("parent", HashRange::ALL);
        // A replica of the parent that flushes and seals at other times.
        let mut replica = fixture.part("replica", HashRange::ALL);
        for step in &before {
            fixture.take(&mut whole, step);
            fixture.take(&mut parent, step);
            if !matches!(step, Step::Flush | Step::Seal(_) | Step::Restart) {
                replica.log_index = parent.log_index - 1;
                fixture.take(&mut replica, step);
            }
        }
        let child = fixture.split(&mut parent, at);
        replica.shard.as_ref().unwrap().writer().disown(parent.owned);
        let hash = |part: &Part| part.shard.as_ref().unwrap().state_hash();
        prop_assert_eq!(hash(&parent), hash(&replica), "replicas agree on what is given up");
        let mut parts = [parent, child];
        fixture.check(&whole, &parts, false);
        for step in &after {
            fixture.take(&mut whole, step);
            for part in &mut parts {
                fixture.take(part, step);
            }
        }
        let expired = after.iter().any(|step| matches!(step, Step::Expire(_)));
        fixture.check(&whole, &parts, expired);
        for part in &mut parts {
            fixture.take(part, &Step::Restart);
            fixture.take(part, &Step::Seal(true));
            prop_assert_eq!(part.shard.as_ref().unwrap().stats().foreign_bytes, 0);
        }
        fixture.check(&whole, &parts, expired);
    }
}

#[test]
fn half_of_the_series_lie_below_the_middle() {
    let fixture = Fixture::new();
    let mut part = fixture.part("shard", HashRange::ALL);
    assert_eq!(part.shard.as_ref().unwrap().middle_key(), None);
    for series in 0..SERIES {
        fixture.take(&mut part, &Step::Write { series, time: 0, value: 1 });
    }
    let middle = part.shard.as_ref().unwrap().middle_key().unwrap();
    assert_eq!((0..SERIES).filter(|series| key(*series) < middle).count() as u32, SERIES / 2);
}

#[test]
fn what_was_given_up_leaves_quiet_windows_one_after_the_other() {
    let fixture = Fixture::new();
    let mut parent = fixture.part("shard", HashRange::ALL);
    for series in 0..SERIES {
        for window in 0..3 {
            fixture.take(&mut parent, &Step::Write { series, time: window * 4, value: 1 });
        }
    }
    fixture.take(&mut parent, &Step::Seal(true));
    let middle = parent.shard.as_ref().unwrap().middle_key().unwrap();
    fixture.split(&mut parent, middle);
    fixture.take(&mut parent, &Step::Seal(false));
    let shard = parent.shard.as_ref().unwrap();
    assert_eq!(shard.stats().foreign_bytes, shard.stats().run_bytes, "not before it is durable what was given up");
    shard.flush().unwrap();
    for left in (0..3).rev() {
        let report = shard.seal(LATER, SealWhen::Quiet).unwrap();
        assert_eq!((report.cleaned_windows, shard.stats().foreign_bytes > 0), (1, left > 0));
    }
    assert_eq!(shard.seal(LATER, SealWhen::Quiet).unwrap().cleaned_windows, 0);
    assert_eq!(shard.stats().run_samples, u64::from(SERIES / 2) * 3 * 5);
}
