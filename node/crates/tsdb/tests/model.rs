//! A shard against a model: whatever is written, deleted, flushed, sealed, merged and reopened, a read gives what the model says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_kv::{KvDisk, MemDisk};
use bellwether_model::{
    Exemplar, Labels, Matcher, MetricKind, MetricMetadata, RefEpoch, SeriesHash, SeriesRef, Tenant, TimeRange,
    Timestamp, limits::WINDOW_MS,
};
use bellwether_tsdb::{
    AppliedMark, LabelsRequest, PackCache, SPACES, SealWhen, SelectError, SelectLimits, SelectRequest, SelectedSeries,
    Shard, ShardMetrics, ShardOptions, Wanted,
};
use proptest::prelude::*;

#[path = "support/histograms.rs"]
mod histograms;

use histograms::{chunk, code, code_of, histogram};

struct Fixture {
    disk: MemDisk,
    shard: Option<Shard>,
    cache: Arc<PackCache>,
    metrics: Arc<ShardMetrics>,
    log_index: u64,
    /// Refs given so far.
    refs: u32,
}

const LIMITS: SelectLimits = SelectLimits { series: 1000, samples: 10_000_000 };

impl Fixture {
    fn new() -> Fixture {
        let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
        let mut fixture = Fixture {
            disk: MemDisk::new(),
            shard: None,
            cache: PackCache::new(1 << 16),
            metrics,
            log_index: 0,
            refs: 0,
        };
        fixture.reopen();
        fixture
    }

    /// Opens the shard again; only what was flushed is there.
    fn reopen(&mut self) {
        self.shard = None;
        let engine = self.disk.open("shard", SPACES).unwrap();
        let options = ShardOptions { new_ref_epoch: RefEpoch(7) };
        self.shard = Some(Shard::open(engine, options, self.cache.clone(), self.metrics.clone()).unwrap());
    }

    fn shard(&self) -> &Shard {
        self.shard.as_ref().unwrap()
    }

    fn mark(&mut self) -> AppliedMark {
        self.log_index += 1;
        AppliedMark(self.log_index.to_string().into())
    }

    fn write(&mut self, tenant: &Tenant, labels: &Labels, timestamp: Timestamp, value: f64) -> SeriesRef {
        self.write_value(tenant, labels, timestamp, Value::Float(value))
    }

    fn write_value(&mut self, tenant: &Tenant, labels: &Labels, timestamp: Timestamp, value: Value) -> SeriesRef {
        let mark = self.mark();
        let mut writer = self.shard().writer();
        let is_new = !writer.is_registered(SeriesHash::of(tenant, labels));
        let series = writer.register(SeriesHash::of(tenant, labels), tenant, labels).unwrap();
        assert_eq!(is_new, series.0 == self.refs, "a new series gets the next ref, a known one its own");
        let appended = match value {
            Value::Float(value) => writer.append(&[series.0], &[timestamp], &[value], TimeRange::ALL),
            Value::Histogram(number) => {
                let chunk = chunk(&histogram(number));
                writer.append_histograms([(series.0, timestamp, &chunk[..])].into_iter(), TimeRange::ALL)
            }
        };
        assert_eq!(appended.accepted + appended.unchanged + appended.too_old, 1);
        writer.mark_applied(mark, 0, series.0.into());
        drop(writer);
        self.refs += u32::from(is_new);
        series
    }

    /// Writes an exemplar of a series that is there.
    fn write_exemplar(&mut self, tenant: &Tenant, labels: &Labels, timestamp: Timestamp, trace: u8) {
        let mark = self.mark();
        let Some(series) = self.shard().lookup(SeriesHash::of(tenant, labels)) else { return };
        let own = Labels::of(&[("trace_id", &trace.to_string())]);
        let exemplar = Exemplar { labels: own, value: f64::from(trace), timestamp };
        let mut writer = self.shard().writer();
        let appended = writer.append_exemplars([(series.0, Some(exemplar))].into_iter(), TimeRange::ALL);
        assert_eq!(appended.accepted + appended.too_old, 1);
        writer.mark_applied(mark, 0, 4);
    }

    fn exemplars(&self, tenant: &Tenant, metric: &str, range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let selectors = [Arc::from([Matcher::equal("__name__", metric)]), Arc::from([Matcher::equal("host", "h2")])];
        self.shard().exemplars(tenant, &selectors, range, &AtomicBool::new(false)).unwrap()
    }

    fn delete(&mut self, tenant: &Tenant, matcher: Matcher, range: TimeRange) {
        let mark = self.mark();
        let index = self.log_index;
        let mut writer = self.shard().writer();
        writer.delete(tenant, &[matcher], range, index);
        writer.mark_applied(mark, 0, 1);
    }

    fn raise_floor(&mut self, floor: Timestamp) {
        let mark = self.mark();
        let mut writer = self.shard().writer();
        writer.raise_floor(floor);
        writer.mark_applied(mark, 0, 2);
    }

    fn expire(&mut self, idle_since: Timestamp) -> u64 {
        let mark = self.mark();
        let has_some = self.shard().has_expired_series(idle_since);
        let mut writer = self.shard().writer();
        let expired = writer.expire_series(idle_since);
        writer.mark_applied(mark, 0, 3);
        assert_eq!(has_some, expired > 0);
        expired
    }

    fn read(&self, tenant: &Tenant, matchers: &[Matcher], range: TimeRange) -> BTreeMap<String, Vec<(Timestamp, u64)>> {
        let request = SelectRequest { tenant, matchers, range, limits: LIMITS };
        let selected = self.shard().select(&request, &AtomicBool::new(false)).unwrap();
        self.check_newest(&request, &selected);
        selected
            .into_iter()
            .map(|series| {
                let samples = samples_of(&series);
                (series.labels.to_string(), samples.into_iter().filter(|(t, _)| range.contains(*t)).collect())
            })
            .filter(|(_, samples): &(String, Vec<_>)| !samples.is_empty())
            .collect()
    }
}

/// All samples of a series by time, histograms by their code.
fn samples_of(series: &SelectedSeries) -> Vec<(Timestamp, u64)> {
    assert_eq!(series.timestamps.len(), series.values.len());
    let floats = series.timestamps.iter().copied().zip(series.values.iter().map(|v| v.to_bits()));
    let mut samples: Vec<(Timestamp, u64)> = floats.collect();
    if let Some(found) = &series.histograms {
        assert_eq!(found.timestamps.len(), found.histograms.len());
        assert!(!found.histograms.is_empty() && found.timestamps.is_sorted());
        samples.extend(found.timestamps.iter().copied().zip(found.histograms.iter().map(code_of)));
    }
    samples.sort_unstable();
    assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0), "a time has one sample");
    assert_eq!(samples.len(), series.sample_count());
    samples
}

/// What can be written.
#[derive(Debug, Clone, Copy)]
enum Value {
    Float(f64),
    /// By its number.
    Histogram(u8),
}

impl Fixture {
    /// The newest samples are the last of all.
    fn check_newest(&self, request: &SelectRequest<'_>, all: &[SelectedSeries]) {
        let mut newest = Vec::new();
        let read = self.shard().select_each(request, Wanted::Newest, &AtomicBool::new(false), &mut |series| {
            newest.push((series.labels.to_string(), samples_of(&series)));
            Ok::<(), SelectError>(())
        });
        read.unwrap();
        let last = |series: &SelectedSeries| {
            let samples = samples_of(series);
            let at = samples.partition_point(|(t, _)| *t <= request.range.last).checked_sub(1)?;
            (samples[at].0 >= request.range.first).then(|| (series.labels.to_string(), vec![samples[at]]))
        };
        assert_eq!(newest, all.iter().filter_map(last).collect::<Vec<_>>());
    }
}

fn labels(series: u32) -> Labels {
    Labels::of(&[("__name__", &format!("m{}", series % 3)), ("host", &format!("h{series}"))])
}

#[derive(Debug, Clone)]
enum Step {
    Write { series: u32, time: i64, value: u8, count: u8 },
    WriteHistograms { series: u32, time: i64, number: u8, count: u8 },
    Delete { metric: u32, first: i64, last: i64 },
    WriteExemplars { series: u32, time: i64, trace: u8, count: u8 },
    Flush,
    Seal(bool),
    Restart,
    RaiseFloor(i64),
    Expire(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = -4i64..20;
    let step = prop_oneof![
        10 => (0u32..7, time.clone(), any::<u8>(), 1u8..9).prop_map(|(series, time, value, count)| Step::Write { series, time, value, count }),
        6 => (0u32..4, time.clone(), any::<u8>(), 1u8..9).prop_map(|(series, time, number, count)| Step::WriteHistograms { series, time, number, count }),
        1 => (0u32..3, time.clone(), time.clone()).prop_map(|(metric, first, last)| Step::Delete { metric, first, last }),
        3 => (0u32..7, time.clone(), any::<u8>(), 1u8..9).prop_map(|(series, time, trace, count)| Step::WriteExemplars { series, time, trace, count }),
        2 => Just(Step::Flush),
        1 => any::<bool>().prop_map(Step::Seal),
        1 => Just(Step::Restart),
        1 => (-5i64..16).prop_map(Step::RaiseFloor),
        2 => (-5i64..24).prop_map(Step::Expire),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Half an hour: four steps of time make a Window.
const STEP_MS: i64 = WINDOW_MS / 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn reads_agree_with_a_model(steps in steps()) {
        let tenant = Tenant::default_tenant();
        let mut fixture = Fixture::new();
        // Applies the same and never flushes, seals or restarts.
        let mut twin = Fixture::new();
        // Per series: the last Window that it was written to.
        let mut last_windows: BTreeMap<String, i64> = BTreeMap::new();
        let mut group_window = i64::MIN;
        let mut model: BTreeMap<String, BTreeMap<Timestamp, u64>> = BTreeMap::new();
        let mut floor = Timestamp::MIN;
        for step in steps {
            match step {
                Step::Write { series, time, value, count } => {
                    for at in 0..i64::from(count) {
                        let timestamp = time * STEP_MS + at * 15_000;
                        // Floats that look like the marks of histograms stay floats.
                        let looks_like_a_mark = f64::from_bits(0xfff4 << 48 | at as u64);
                        let value = if value == 7 { looks_like_a_mark } else { f64::from(value) + at as f64 / 10.0 };
                        fixture.write(&tenant, &labels(series), timestamp, value);
                        twin.write(&tenant, &labels(series), timestamp, value);
                        let last = last_windows.entry(labels(series).to_string()).or_insert(group_window);
                        group_window = 0;
                        if timestamp >= floor {
                            *last = (*last).max(timestamp.div_euclid(WINDOW_MS));
                            model.entry(labels(series).to_string()).or_default().insert(timestamp, value.to_bits());
                        }
                    }
                }
                Step::WriteHistograms { series, time, number, count } => {
                    for at in 0..count {
                        let timestamp = time * STEP_MS + i64::from(at) * 15_000;
                        let number = number.wrapping_add(at / 3);
                        fixture.write_value(&tenant, &labels(series), timestamp, Value::Histogram(number));
                        twin.write_value(&tenant, &labels(series), timestamp, Value::Histogram(number));
                        let last = last_windows.entry(labels(series).to_string()).or_insert(group_window);
                        group_window = 0;
                        if timestamp >= floor {
                            *last = (*last).max(timestamp.div_euclid(WINDOW_MS));
                            model.entry(labels(series).to_string()).or_default().insert(timestamp, code(number));
                        }
                    }
                }
                Step::WriteExemplars { series, time, trace, count } => {
                    for at in 0..i64::from(count) {
                        let timestamp = time * STEP_MS + at * 15_000;
                        fixture.write_exemplar(&tenant, &labels(series), timestamp, trace);
                        twin.write_exemplar(&tenant, &labels(series), timestamp, trace);
                    }
                }
                Step::Delete { metric, first, last } => {
                    let range = TimeRange::new(first * STEP_MS, last * STEP_MS);
                    let name = format!("m{metric}");
                    fixture.delete(&tenant, Matcher::equal("__name__", &name), range);
                    twin.delete(&tenant, Matcher::equal("__name__", &name), range);
                    group_window = 0;
                    for (labels, samples) in &mut model {
                        if labels.starts_with(&name) {
                            samples.retain(|t, _| !range.contains(*t));
                        }
                    }
                }
                Step::Flush => { fixture.shard().flush().unwrap(); }
                Step::Seal(all) => {
                    let when = if all { SealWhen::AllClosed } else { SealWhen::Quiet };
                    fixture.shard().seal(9 * STEP_MS, when).unwrap();
                }
                // Everything is flushed first: what is not would come back through the log.
                Step::Restart => {
                    let hash = fixture.shard().state_hash();
                    let mark = fixture.shard().flush().unwrap();
                    fixture.reopen();
                    prop_assert_eq!(fixture.shard().flushed(), mark);
                    prop_assert_eq!(fixture.shard().state_hash(), hash);
                    prop_assert_eq!(fixture.shard().ref_epoch(), RefEpoch(7));
                }
                Step::RaiseFloor(time) => {
                    fixture.raise_floor(time * STEP_MS);
                    twin.raise_floor(time * STEP_MS);
                    group_window = 0;
                    floor = floor.max(time * STEP_MS);
                    for samples in model.values_mut() {
                        samples.retain(|t, _| *t >= floor);
                    }
                }
                Step::Expire(time) => {
                    let before = last_windows.len();
                    let first_kept = floor.min(time * STEP_MS).div_euclid(WINDOW_MS);
                    last_windows.retain(|_, last| *last >= first_kept);
                    group_window = 0;
                    let expired = fixture.expire(time * STEP_MS);
                    prop_assert_eq!(expired, (before - last_windows.len()) as u64);
                    prop_assert_eq!(twin.expire(time * STEP_MS), expired);
                }
            }
            prop_assert_eq!(fixture.shard().stats().series, last_windows.len() as u64);
            prop_assert_eq!(fixture.shard().state_hash(), twin.shard().state_hash());
            for (metric, range) in [("m0", TimeRange::ALL), ("m1", TimeRange::new(0, 9 * STEP_MS))] {
                let found = fixture.exemplars(&tenant, metric, range);
                prop_assert_eq!(&found, &twin.exemplars(&tenant, metric, range));
                let inside = |one: &Exemplar| range.contains(one.timestamp) && one.timestamp >= floor;
                prop_assert!(found.iter().all(|(_, own)| !own.is_empty() && own.iter().all(inside)));
            }
            for range in [TimeRange::ALL, TimeRange::new(-STEP_MS, 5 * STEP_MS), TimeRange::new(STEP_MS + 15_000, STEP_MS + 30_000)] {
                let expected: BTreeMap<String, Vec<(Timestamp, u64)>> = model
                    .iter()
                    .map(|(labels, samples)| {
                        let inside = samples.iter().filter(|(t, _)| range.contains(**t)).map(|(t, v)| (*t, *v));
                        (labels.clone(), inside.collect())
                    })
                    .filter(|(_, samples): &(String, Vec<_>)| !samples.is_empty())
                    .collect();
                prop_assert_eq!(fixture.read(&tenant, &[], range), expected);
            }
        }
    }
}

#[test]
fn an_expired_series_is_unknown_and_comes_back_under_a_new_ref() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    let (old, kept) = (labels(0), labels(1));
    let gone = fixture.write(&tenant, &old, 0, 1.0);
    fixture.write(&tenant, &kept, 0, 1.0);
    fixture.write(&tenant, &kept, 5 * WINDOW_MS, 1.0);
    fixture.shard().flush().unwrap();
    assert_eq!(fixture.expire(5 * WINDOW_MS), 0, "no Window is gone");
    fixture.raise_floor(2 * WINDOW_MS);
    assert_eq!(fixture.expire(0), 0, "the command names an earlier time");
    assert_eq!(fixture.expire(5 * WINDOW_MS), 1);
    for _ in 0..2 {
        let shard = fixture.shard();
        assert_eq!(
            (shard.stats().series, shard.lookup(SeriesHash::of(&tenant, &old)), shard.labels(gone)),
            (1, None, None)
        );
        let all = [Arc::from([])];
        let request = LabelsRequest { tenant: &tenant, selectors: &all, range: TimeRange::ALL, limit: 10 };
        assert_eq!(shard.label_values("host", &request, &AtomicBool::new(false)).unwrap(), ["h1"]);
        assert_eq!(shard.series_matching(&tenant, &[Matcher::equal("host", "h0")]), 0);
        let appended = shard.writer().append(&[gone.0], &[5 * WINDOW_MS], &[1.0], TimeRange::ALL);
        assert_eq!(appended.unknown_ref, 1);
        fixture.shard().flush().unwrap();
        fixture.reopen();
    }
    assert_eq!(fixture.write(&tenant, &old, 5 * WINDOW_MS, 2.0), SeriesRef(2));
    assert_eq!(fixture.read(&tenant, &[], TimeRange::ALL).len(), 2);
}

#[test]
fn a_series_that_is_written_again_before_it_expires_stays() {
    let tenant = Tenant::default_tenant();
    for flushes in [false, true] {
        let mut fixture = Fixture::new();
        fixture.write(&tenant, &labels(0), 0, 1.0);
        fixture.shard().flush().unwrap();
        fixture.write(&tenant, &labels(0), 9 * WINDOW_MS, 1.0);
        if flushes {
            fixture.shard().flush().unwrap();
            fixture.reopen();
        }
        fixture.raise_floor(5 * WINDOW_MS);
        assert_eq!(fixture.expire(5 * WINDOW_MS), 0);
        fixture.raise_floor(10 * WINDOW_MS);
        assert_eq!(fixture.expire(10 * WINDOW_MS), 1);
    }
}

#[test]
fn metadata_goes_with_the_last_series_of_its_metric() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    let about = || MetricMetadata { kind: MetricKind::Gauge, help: "h".to_owned(), unit: String::new() };
    for (series, window) in [(0, 0), (3, 4), (1, 0)] {
        fixture.write(&tenant, &labels(series), window * WINDOW_MS, 1.0);
    }
    for metric in ["m0", "m1", "without series"] {
        fixture.shard().writer().set_metadata(&tenant, metric, about());
    }
    fixture.shard().flush().unwrap();
    let kept = |fixture: &Fixture| -> Vec<String> {
        fixture.shard().metadata(&tenant).into_iter().map(|(metric, _)| metric).collect()
    };
    fixture.raise_floor(2 * WINDOW_MS);
    assert_eq!(fixture.expire(2 * WINDOW_MS), 2);
    assert_eq!(kept(&fixture), ["m0", "without series"], "m0 has one more series");
    fixture.reopen();
    assert_eq!(kept(&fixture).len(), 3, "not flushed: the log has it again");
    fixture.raise_floor(2 * WINDOW_MS);
    fixture.expire(2 * WINDOW_MS);
    fixture.shard().flush().unwrap();
    fixture.reopen();
    assert_eq!(kept(&fixture), ["m0", "without series"]);
    fixture.raise_floor(5 * WINDOW_MS);
    assert_eq!(fixture.expire(5 * WINDOW_MS), 1);
    assert_eq!(kept(&fixture), ["without series"]);
}

#[test]
fn memory_and_stored_bytes_shrink_as_series_come_and_go() {
    const SERIES: i64 = 20_000;
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    let (mut bytes, mut stored) = (Vec::new(), Vec::new());
    for generation in 0..6 {
        for series in 0..SERIES {
            let labels = Labels::of(&[("__name__", "m"), ("pod", &format!("pod-{generation}-{series}"))]);
            fixture.write(&tenant, &labels, generation * WINDOW_MS, 1.0);
        }
        fixture.raise_floor(generation * WINDOW_MS);
        assert_eq!(fixture.expire(generation * WINDOW_MS), if generation == 0 { 0 } else { SERIES as u64 });
        fixture.shard().flush().unwrap();
        bytes.push(fixture.shard().stats().index_bytes);
        stored.push(fixture.disk.used_bytes());
    }
    assert!(bytes[5] < bytes[0] * 3, "{bytes:?}");
    assert!(stored[5] < stored[0] * 3, "{stored:?}");
    fixture.reopen();
    assert_eq!(fixture.shard().stats().series, SERIES as u64);
    let request = SelectRequest {
        tenant: &tenant,
        matchers: &[Matcher::equal("pod", "pod-5-7")],
        range: TimeRange::ALL,
        limits: LIMITS,
    };
    assert_eq!(fixture.shard().select(&request, &AtomicBool::new(false)).unwrap().len(), 1);
}

#[test]
fn samples_of_thousands_of_windows_are_flushed_and_read() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    for window in (0..3000).chain([5, 1000, 2999, 7]) {
        for series in 0..3 {
            fixture.write(&tenant, &labels(series), window * WINDOW_MS + i64::from(series), window as f64);
            fixture.write(&tenant, &labels(series), window * WINDOW_MS + 100, f64::from(series));
        }
    }
    let before = fixture.read(&tenant, &[], TimeRange::ALL);
    fixture.shard().flush().unwrap();
    assert_eq!(fixture.shard().stats().runs, 3000);
    assert_eq!(fixture.read(&tenant, &[], TimeRange::ALL), before);
    assert!(before.values().all(|samples| samples.len() == 6000));
}

#[test]
fn series_that_were_scraped_together_share_one_column() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    for row in 0..50 {
        for series in 0..7 {
            fixture.write(&tenant, &labels(series), row * 15_000 + row % 7, f64::from(series));
        }
        if row == 20 {
            fixture.shard().flush().unwrap();
        }
    }
    let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits: LIMITS };
    let selected = fixture.shard().select(&request, &AtomicBool::new(false)).unwrap();
    assert_eq!(selected.len(), 7);
    assert!(selected.iter().all(|series| Arc::ptr_eq(&series.timestamps, &selected[0].timestamps)));
}

#[test]
fn limits_name_themselves() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    for series in 0..3 {
        for row in 0..4 {
            fixture.write(&tenant, &labels(series), row, 1.0);
        }
    }
    let error = |limits| {
        let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits };
        fixture.shard().select(&request, &AtomicBool::new(false)).unwrap_err().to_string()
    };
    assert_eq!(error(SelectLimits { series: 2, samples: 100 }), "the query touches more than 2 series");
    assert_eq!(error(SelectLimits { series: 9, samples: 11 }), "the query touches more than 11 samples");
    let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits: LIMITS };
    let cancelled = fixture.shard().select(&request, &AtomicBool::new(true)).unwrap_err();
    assert_eq!(cancelled.to_string(), "the query was cancelled");
}

#[test]
fn tenants_with_equal_labels_stay_apart() {
    let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
    let mut fixture = Fixture::new();
    for row in 0..10 {
        fixture.write(&one, &labels(0), row, 1.0);
        fixture.write(&two, &labels(0), row, 2.0);
    }
    for _ in 0..2 {
        for (tenant, value) in [(&one, 1f64), (&two, 2f64)] {
            let read = fixture.read(tenant, &[], TimeRange::ALL);
            assert_eq!(read.len(), 1);
            assert!(read.values().flatten().all(|(_, bits)| *bits == value.to_bits()));
        }
        fixture.shard().flush().unwrap();
        fixture.reopen();
    }
    let never = AtomicBool::new(false);
    let all = [Arc::from([])];
    let request = LabelsRequest { tenant: &one, selectors: &all, range: TimeRange::ALL, limit: 10 };
    assert_eq!(fixture.shard().label_values("host", &request, &never).unwrap(), ["h0"]);
    let later = LabelsRequest { range: TimeRange::new(100, 200), ..request };
    assert!(fixture.shard().series(&later, &never).unwrap().is_empty());
}

#[test]
fn series_of_several_selectors_come_once_and_within_one_limit() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    for series in 0..6 {
        fixture.write(&tenant, &labels(series), 1, 1.0);
    }
    let equal = |name: &str, value: &str| -> Arc<[Matcher]> { Arc::from([Matcher::equal(name, value)]) };
    let selectors = [equal("__name__", "m0"), equal("host", "h3"), equal("host", "h1")];
    let request = LabelsRequest { tenant: &tenant, selectors: &selectors, range: TimeRange::ALL, limit: 10 };
    let never = AtomicBool::new(false);
    let shard = fixture.shard();
    assert_eq!(shard.series(&request, &never).unwrap(), [labels(0), labels(1), labels(3)]);
    assert_eq!(shard.label_values("host", &request, &never).unwrap(), ["h0", "h1", "h3"]);
    let two = LabelsRequest { limit: 2, ..request };
    assert_eq!(shard.series(&two, &never).unwrap().len(), 2);
    assert_eq!(shard.label_values("host", &two, &never).unwrap(), ["h0", "h1"]);
    assert_eq!(shard.label_names(&two, &never).unwrap(), ["__name__", "host"]);
    let raised = AtomicBool::new(true);
    assert!(matches!(shard.series(&request, &raised), Err(SelectError::Cancelled)));
    assert!(matches!(shard.label_names(&request, &raised), Err(SelectError::Cancelled)));
    let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits: LIMITS };
    assert!(matches!(shard.select(&request, &raised), Err(SelectError::Cancelled)));
}

#[test]
fn a_series_with_more_samples_than_a_chunk_holds_is_kept_whole() {
    const SAMPLES: i64 = (1 << 20) + 1000;
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    let series = fixture.write(&tenant, &labels(0), 0, 0.0);
    let mut writer = fixture.shard().writer();
    for timestamp in 1..SAMPLES {
        writer.append(&[series.0], &[timestamp], &[(timestamp % 1000) as f64], TimeRange::ALL);
    }
    drop(writer);
    fixture.shard().flush().unwrap();
    fixture.write(&tenant, &labels(0), 5, 77.0);
    fixture.shard().seal(WINDOW_MS, SealWhen::AllClosed).unwrap();
    let read = fixture.read(&tenant, &[], TimeRange::ALL);
    let samples = &read[&labels(0).to_string()];
    assert_eq!(samples.len(), SAMPLES as usize);
    assert_eq!(samples[5].1, 77f64.to_bits());
    assert!(
        samples
            .iter()
            .enumerate()
            .all(|(at, (t, v))| at == 5 || (*t, f64::from_bits(*v)) == (at as i64, (at % 1000) as f64))
    );
}

#[test]
fn a_second_deletion_without_a_write_between_hides_as_well() {
    let tenant = Tenant::default_tenant();
    for restart in [false, true] {
        let mut fixture = Fixture::new();
        for series in [0, 1] {
            fixture.write(&tenant, &labels(series), 0, 1.0);
        }
        let delete = |fixture: &mut Fixture, name: &str| {
            let mark = fixture.mark();
            let index = fixture.log_index;
            let mut writer = fixture.shard().writer();
            writer.delete(&tenant, &[Matcher::equal("__name__", name)], TimeRange::ALL, index);
            writer.mark_applied(mark, 0, 1);
        };
        fixture.shard().flush().unwrap();
        delete(&mut fixture, "m0");
        fixture.shard().seal(WINDOW_MS, SealWhen::AllClosed).unwrap();
        if restart {
            fixture.shard().flush().unwrap();
            fixture.reopen();
        }
        assert_eq!(fixture.read(&tenant, &[], TimeRange::ALL).len(), 1);
        delete(&mut fixture, "m1");
        assert!(fixture.read(&tenant, &[], TimeRange::ALL).is_empty());
    }
}

#[test]
fn series_with_the_largest_labels_allowed_can_be_flushed() {
    use bellwether_model::limits;
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    for series in 0..120 {
        let texts: Vec<(String, String)> = (0..limits::LABELS_PER_SERIES_MAX - 1)
            .map(|label| {
                (format!("{:a<1024}", format!("{label}x{series}y")), format!("{:b<4096}", format!("{label}-{series}")))
            })
            .collect();
        let mut pairs: Vec<(&str, &str)> = texts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.push(("__name__", "wide"));
        fixture.write(&tenant, &Labels::of(&pairs), 0, f64::from(series));
    }
    fixture.shard().flush().unwrap();
    fixture.reopen();
    assert_eq!(fixture.read(&tenant, &[], TimeRange::ALL).len(), 120);
}

#[test]
fn a_histogram_that_is_written_again_changes_nothing_and_another_replaces_it() {
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    let series = fixture.write_value(&tenant, &labels(0), 1000, Value::Histogram(1));
    let (same, other) = (chunk(&histogram(1)), chunk(&histogram(2)));
    let append = |fixture: &Fixture, chunk: &[u8]| {
        fixture.shard().writer().append_histograms([(series.0, 1000, chunk)].into_iter(), TimeRange::ALL)
    };
    assert_eq!(append(&fixture, &same).unchanged, 1);
    assert_eq!(append(&fixture, &other).accepted, 1);
    assert_eq!(append(&fixture, &other).unchanged, 1);
    assert_eq!(append(&fixture, &same[..same.len() - 1]).damaged, 1);
    let mut invalid = histogram(3);
    invalid.schema = 100;
    assert_eq!(append(&fixture, &chunk(&invalid)).damaged, 1);
    let unknown = fixture.shard().writer().append_histograms([(9, 1000, &same[..])].into_iter(), TimeRange::ALL);
    assert_eq!(unknown.unknown_ref, 1);
    for _ in 0..2 {
        let read = fixture.read(&tenant, &[], TimeRange::ALL);
        assert_eq!(read[&labels(0).to_string()], [(1000, code(2))]);
        fixture.shard().flush().unwrap();
        fixture.reopen();
    }
}

#[test]
fn floats_and_histograms_of_one_time_replace_each_other() {
    let tenant = Tenant::default_tenant();
    for flushes in [false, true] {
        let mut fixture = Fixture::new();
        let values = [Value::Histogram(1), Value::Float(2.0), Value::Histogram(1), Value::Float(2.0)];
        for (at, value) in values.into_iter().enumerate() {
            fixture.write_value(&tenant, &labels(0), 5, value);
            if flushes {
                fixture.shard().flush().unwrap();
            }
            let expected = match value {
                Value::Float(value) => value.to_bits(),
                Value::Histogram(number) => code(number),
            };
            assert_eq!(fixture.read(&tenant, &[], TimeRange::ALL)[&labels(0).to_string()], [(5, expected)], "{at}");
        }
        fixture.shard().seal(WINDOW_MS, SealWhen::AllClosed).unwrap();
        assert_eq!(fixture.read(&tenant, &[], TimeRange::ALL)[&labels(0).to_string()], [(5, 2f64.to_bits())]);
    }
}

#[test]
fn a_series_with_more_histograms_than_a_pack_holds_is_kept_whole() {
    // As many parts as may be: a chunk holds sixteen of them.
    let large = |number: i64| {
        let buckets = bellwether_model::limits::HISTOGRAM_BUCKETS_MAX - 1;
        let noise = |at: usize| (at as u64 * 977 + number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
        let counts: Vec<u64> = (0..buckets).map(|at| if at < 4096 { noise(at) } else { number as u64 }).collect();
        bellwether_model::Histogram {
            sum: number as f64,
            counts: bellwether_model::Counts::Integer {
                count: counts.iter().sum(),
                zero_count: 0,
                positive: counts,
                negative: vec![],
            },
            positive_spans: vec![bellwether_model::Span { offset: 0, length: buckets as u32 }],
            ..histogram(3)
        }
    };
    let tenant = Tenant::default_tenant();
    let mut fixture = Fixture::new();
    let refs = [0, 1, 2].map(|series| fixture.write(&tenant, &labels(series * 3), 0, 1.0));
    for at in 1..400 {
        let chunk = chunk(&large(at));
        let rows = refs.iter().filter(|series| series.0 != 1 || at == 5).map(|series| (series.0, at, &chunk[..]));
        assert_eq!(fixture.shard().writer().append_histograms(rows, TimeRange::ALL).damaged, 0);
    }
    for _ in 0..3 {
        let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits: LIMITS };
        let selected = fixture.shard().select(&request, &AtomicBool::new(false)).unwrap();
        for (series, count) in selected.iter().zip([399, 1, 399]) {
            let found = series.histograms.as_ref().unwrap();
            assert_eq!((series.values.len(), found.histograms.len()), (1, count));
            assert!(found.timestamps.iter().zip(&found.histograms).all(|(at, found)| *found == large(*at)));
        }
        fixture.shard().seal(WINDOW_MS, SealWhen::AllClosed).unwrap();
        fixture.reopen();
        fixture.write(&tenant, &labels(0), 1, 1.0);
        fixture.write(&tenant, &labels(0), 1, 1.0);
        let mut writer = fixture.shard().writer();
        writer.append_histograms([(refs[0].0, 1, &chunk(&large(1))[..])].into_iter(), TimeRange::ALL);
    }
}
