//! Exemplars of one shard: the latest of each series, in memory and as small records.
//!
//! What is kept is a function of the log alone, so that all replicas keep the same: of a series the latest
//! [`EXEMPLARS_PER_SERIES_MAX`], and of the shard those that came last within [`EXEMPLAR_BYTES_MAX`]. They go with their series, with
//! what a deletion hides, and with what is before the retention floor. A series without exemplars costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_chunk::DecodeError;
use bellwether_chunk::varint::{read_bytes, read_i64, read_u64, write_i64, write_u64};
use bellwether_model::{Exemplar, Labels, Matcher, SeriesRef, Tenant, TimeRange, Timestamp};

use crate::error::SelectError;
use crate::shard::Shard;

/// Format of an exemplar's record.
pub const EXEMPLAR_VERSION: u8 = 1;
/// Exemplars that are kept of one series: an hour, scraped every 15 seconds.
pub const EXEMPLARS_PER_SERIES_MAX: usize = 256;
/// What the exemplars of a shard may take: some 40,000 with the id of a trace each.
pub const EXEMPLAR_BYTES_MAX: usize = 8 << 20;
/// What an exemplar counts beside its labels. Not measured: replicas of different builds must agree.
const EXEMPLAR_OVERHEAD_BYTES: usize = 160;

#[derive(Debug, Clone, Copy)]
struct Bounds {
    per_series: usize,
    bytes: usize,
}

const BOUNDS: Bounds = Bounds { per_series: EXEMPLARS_PER_SERIES_MAX, bytes: EXEMPLAR_BYTES_MAX };

/// An exemplar and its series.
pub type Record = (u32, Arc<Exemplar>);
/// What is kept now under a number; `None`: nothing any more.
pub type Change = (u64, Option<Record>);

/// The exemplars of one shard.
#[derive(Debug, Default)]
pub struct ExemplarStore {
    /// By series; in order of time, value and labels, each with the number under which it arrived.
    series: BTreeMap<u32, Vec<(u64, Arc<Exemplar>)>>,
    /// Whose arrived under a number.
    arrivals: BTreeMap<u64, u32>,
    next: u64,
    bytes: usize,
    /// Numbers from here on came since the last flush.
    unstored_from: u64,
    /// Numbers below that went since then.
    gone: Vec<u64>,
}

fn order(a: &Exemplar, b: &Exemplar) -> std::cmp::Ordering {
    let by_time = a.timestamp.cmp(&b.timestamp);
    by_time.then_with(|| a.value.total_cmp(&b.value)).then_with(|| a.labels.cmp(&b.labels))
}

fn cost(exemplar: &Exemplar) -> usize {
    EXEMPLAR_OVERHEAD_BYTES + exemplar.labels.byte_len()
}

impl ExemplarStore {
    /// What a flush has stored, by ascending numbers.
    pub fn loaded(records: impl IntoIterator<Item = (u64, Record)>) -> ExemplarStore {
        let mut store = ExemplarStore::default();
        for (number, (series, exemplar)) in records {
            store.bytes += cost(&exemplar);
            store.next = number + 1;
            store.arrivals.insert(number, series);
            store.series.entry(series).or_default().push((number, exemplar));
        }
        store.unstored_from = store.next;
        store.series.values_mut().for_each(|own| own.sort_by(|(_, a), (_, b)| order(a, b)));
        store
    }

    /// Keeps an exemplar, if its series has none that is equal nor as many that are later as it may have.
    pub fn add(&mut self, series: u32, exemplar: Exemplar) {
        self.add_within(BOUNDS, series, exemplar);
    }

    fn add_within(&mut self, bounds: Bounds, series: u32, exemplar: Exemplar) {
        let own = self.series.entry(series).or_default();
        let Err(at) = own.binary_search_by(|(_, known)| order(known, &exemplar)) else { return };
        if own.len() >= bounds.per_series {
            if at == 0 {
                return;
            }
            let (first, _) = own[0];
            self.remove(first);
        }
        let number = self.next;
        self.next += 1;
        self.bytes += cost(&exemplar);
        let own = self.series.entry(series).or_default();
        let at = own.partition_point(|(_, known)| order(known, &exemplar).is_lt());
        own.insert(at, (number, Arc::new(exemplar)));
        self.arrivals.insert(number, series);
        while self.bytes > bounds.bytes
            && let Some((first, _)) = self.arrivals.first_key_value()
        {
            self.remove(*first);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(series) = self.arrivals.remove(&number) else { return };
        let Some(own) = self.series.get_mut(&series) else { return };
        if let Some(at) = own.iter().position(|(known, _)| *known == number) {
            let (_, exemplar) = own.remove(at);
            self.bytes -= cost(&exemplar);
            if number < self.unstored_from {
                self.gone.push(number);
            }
        }
        if own.is_empty() {
            self.series.remove(&series);
        }
    }

    /// Drops those of some series inside `range`.
    pub fn delete(&mut self, series: &[u32], range: TimeRange) {
        let inside = |(number, exemplar): &(u64, Arc<Exemplar>)| range.contains(exemplar.timestamp).then_some(*number);
        let of = |series: &u32| self.series.get(series).map(|own| own.iter().filter_map(inside));
        let gone: Vec<u64> =
            if self.series.is_empty() { Vec::new() } else { series.iter().filter_map(of).flatten().collect() };
        gone.into_iter().for_each(|number| self.remove(number));
    }

    /// Drops those of series that are forgotten.
    pub fn forget(&mut self, series: &[u32]) {
        self.delete(series, TimeRange::ALL);
    }

    /// Drops what is before the retention floor.
    pub fn drop_before(&mut self, floor: Timestamp) {
        let is_old = |(_, exemplar): &&(u64, Arc<Exemplar>)| exemplar.timestamp < floor;
        let old = self.series.values().flat_map(|own| own.iter().take_while(is_old));
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        old.into_iter().for_each(|number| self.remove(number));
    }

    /// Series that have any.
    fn series(&self) -> impl Iterator<Item = u32> {
        self.series.keys().copied()
    }

    /// Those of a series inside `range`, in order of time.
    fn of(&self, series: u32, range: TimeRange) -> impl Iterator<Item = &Exemplar> {
        let own = self.series.get(&series).map(Vec::as_slice).unwrap_or_default();
        own.iter().map(|(_, exemplar)| &**exemplar).filter(move |exemplar| range.contains(exemplar.timestamp))
    }

    /// What changed since the last call, as it is now.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let gone = std::mem::take(&mut self.gone).into_iter().map(|number| (number, None));
        let came = self.arrivals.range(self.unstored_from..).filter_map(|(number, series)| {
            let (_, exemplar) = self.series.get(series)?.iter().find(|(known, _)| known == number)?;
            Some((*number, Some((*series, exemplar.clone()))))
        });
        let changes = gone.chain(came).collect();
        self.unstored_from = self.next;
        changes
    }

    /// Takes changes back that could not be stored.
    pub fn changed_still(&mut self, changes: Vec<Change>) {
        for (number, record) in changes {
            match record {
                Some(_) => self.unstored_from = self.unstored_from.min(number),
                None => self.gone.push(number),
            }
        }
    }
}

impl Shard {
    /// The exemplars inside `range` of the series that pass all matchers of any of the selectors, each series once, in order of refs.
    pub fn exemplars(
        &self,
        tenant: &Tenant,
        selectors: &[Arc<[Matcher]>],
        range: TimeRange,
        cancel: &AtomicBool,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let range = self.visible(range);
        let with_some: BTreeSet<u32> = self.state.read().exemplars.series().collect();
        if with_some.is_empty() || range.is_empty() {
            return Ok(Vec::new());
        }
        let mut wanted = BTreeSet::new();
        for matchers in selectors {
            let matching = self.matching(tenant, matchers, cancel)?;
            wanted.extend(matching.into_iter().filter(|series| with_some.contains(series)));
        }
        let mut found = Vec::new();
        for series in wanted {
            let state = self.state.read();
            let own: Vec<Exemplar> = state.exemplars.of(series, range).cloned().collect();
            if !own.is_empty() && state.index.is_living(series) {
                found.push((state.index.labels(SeriesRef(series)), own));
            }
        }
        Ok(found)
    }
}

/// A record's body.
pub fn encode((series, exemplar): &Record) -> Vec<u8> {
    let labels = exemplar.labels.canonical_bytes();
    let mut out = Vec::with_capacity(24 + labels.len());
    write_u64(&mut out, u64::from(*series));
    write_i64(&mut out, exemplar.timestamp);
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    out.extend_from_slice(labels);
    out
}

/// Reads a record's body, of one of `series_count` series.
pub fn decode(mut input: &[u8], series_count: u32) -> Result<Record, DecodeError> {
    let input = &mut input;
    let number = read_u64(input)?;
    let series = u32::try_from(number).ok().filter(|series| *series < series_count);
    let series = series.ok_or(DecodeError::Invalid { what: "series ref", got: number })?;
    let timestamp = read_i64(input)?;
    let bits = read_bytes(input, 8, "value")?.try_into().expect("eight bytes");
    let labels = Labels::from_canonical(input);
    let labels = labels.map_err(|_| DecodeError::Invalid { what: "labels", got: input.len() as u64 })?;
    let value = f64::from_bits(u64::from_le_bytes(bits));
    Ok((series, Arc::new(Exemplar { labels, value, timestamp })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exemplar(timestamp: Timestamp, trace: &str) -> Exemplar {
        Exemplar { labels: Labels::of(&[("t", trace)]), value: 0.5, timestamp }
    }

    fn kept(store: &ExemplarStore, series: u32) -> Vec<String> {
        let shown = |one: &Exemplar| format!("{} {}", one.timestamp, one.labels.get("t").unwrap_or_default());
        store.of(series, TimeRange::ALL).map(shown).collect()
    }

    #[test]
    fn the_latest_of_a_series_stay_in_whatever_order_they_come() {
        let bounds = Bounds { per_series: 3, bytes: 1 << 20 };
        let mut store = ExemplarStore::default();
        for (timestamp, trace) in [(5, "a"), (3, "b"), (5, "a"), (4, "c"), (2, "d"), (4, "e"), (5, "a")] {
            store.add_within(bounds, 1, exemplar(timestamp, trace));
        }
        assert_eq!(kept(&store, 1), ["4 c", "4 e", "5 a"]);
        let of_values = |value: f64| Exemplar { value, ..exemplar(9, "a") };
        for value in [1.0, f64::NAN, f64::NAN, 1.0, -0.0] {
            store.add_within(bounds, 2, of_values(value));
        }
        let values: Vec<f64> = store.of(2, TimeRange::ALL).map(|one| one.value).collect();
        assert!(values[0].is_sign_negative() && values[1] == 1.0 && values[2].is_nan());
    }

    #[test]
    fn a_full_shard_gives_up_what_came_first() {
        let bounds = Bounds { per_series: 10, bytes: 3 * cost(&exemplar(0, "a")) };
        let mut store = ExemplarStore::default();
        for (series, timestamp) in [(1, 9), (2, 1), (1, 2), (3, 5), (3, 6)] {
            store.add_within(bounds, series, exemplar(timestamp, "a"));
        }
        assert_eq!([1, 2, 3].map(|series| kept(&store, series).join(", ")), ["2 a", "", "5 a, 6 a"]);
        assert_eq!(store.bytes, bounds.bytes);
    }

    #[test]
    fn series_deletions_and_the_floor_take_theirs() {
        let mut store = ExemplarStore::default();
        for series in 0..4 {
            (0..10).for_each(|timestamp| store.add(series, exemplar(timestamp, "a")));
        }
        store.forget(&[0, 7]);
        store.delete(&[1], TimeRange::new(2, 8));
        store.drop_before(9);
        assert_eq!([0, 1, 2].map(|series| kept(&store, series).join(", ")), ["", "9 a", "9 a"]);
        store.forget(&[1, 2, 3]);
        assert_eq!((store.bytes, store.series.len(), store.arrivals.len()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn what_flushes_store_is_what_is_kept(
            steps in proptest::collection::vec((0u32..3, -5i64..20, 0u8..4, 0u8..9), 1..120),
        ) {
            let bounds = Bounds { per_series: 4, bytes: 8 * cost(&exemplar(0, "a")) };
            let (mut store, mut stored) = (ExemplarStore::default(), BTreeMap::new());
            for (series, timestamp, trace, step) in steps {
                match step {
                    0 => store.delete(&[series], TimeRange::new(timestamp, timestamp + 3)),
                    1 => store.drop_before(timestamp - 5),
                    2 => {
                        let changes = store.take_changes();
                        if trace == 0 {
                            store.changed_still(changes);
                            continue;
                        }
                        for (number, record) in changes {
                            match record {
                                Some(record) => drop(stored.insert(number, record)),
                                None => drop(stored.remove(&number)),
                            }
                        }
                        let loaded = ExemplarStore::loaded(stored.clone());
                        prop_assert_eq!(&loaded.series, &store.series);
                        prop_assert_eq!((&loaded.arrivals, loaded.bytes), (&store.arrivals, store.bytes));
                    }
                    _ => store.add_within(bounds, series, exemplar(timestamp, &trace.to_string())),
                }
                prop_assert!(store.bytes <= bounds.bytes);
                prop_assert!(store.series.values().all(|own| own.len() <= 4 && !own.is_empty()));
                prop_assert_eq!(store.arrivals.len(), store.series.values().map(Vec::len).sum::<usize>());
            }
        }

        #[test]
        fn records_round_trip(series in 0u32..9, timestamp in any::<i64>(), bits in any::<u64>(), trace in "\\PC{1,9}") {
            let record = (series, Arc::new(Exemplar { value: f64::from_bits(bits), ..exemplar(timestamp, &trace) }));
            let read = decode(&encode(&record), 9).unwrap();
            prop_assert_eq!((read.0, read.1.timestamp, read.1.value.to_bits()), (series, timestamp, bits));
            prop_assert_eq!(&read.1.labels, &record.1.labels);
        }

        #[test]
        fn damaged_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&bytes, 200);
        }
    }

    #[test]
    fn records_are_golden() {
        let bytes = encode(&(300, Arc::new(exemplar(-2, "ab"))));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ac0203000000000000e03f0100000074020000006162");
        assert!(decode(&bytes, 300).is_err(), "there is no such series");
    }
}
