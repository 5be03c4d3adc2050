//! The pieces that a scan's result travels in: series as packed columns, labels, texts, metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_chunk::{Scratch, decode_histograms, encode_histograms, histograms_that_fit};
use bellwether_model::{Exemplar, Histogram, Labels, MetricKind, MetricMetadata};
use bellwether_promql::{FetchedHistograms, FetchedSeries};
use bellwether_proto::peer::v1::scan_part::Part;
use bellwether_proto::peer::v1::{
    self, ScanColumns, ScanExemplars, ScanHistograms, ScanLabels, ScanMetadata, ScanPart, ScanSeries, ScanTexts,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::shards::{Fetched, LimitError, ReadContext, SeriesExemplars, metadata_bytes};

/// A part ends once it has so many bytes.
const PART_BYTES: usize = 512 << 10;
/// Samples of one series in one part; more go on in the next.
const PART_SAMPLES_MAX: usize = 64 << 10;

/// Why a part was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum TakeError {
    /// A limit of the query was reached.
    Limit(LimitError),
    /// The part is not one.
    Unreadable(String),
}

impl From<LimitError> for TakeError {
    fn from(error: LimitError) -> TakeError {
        TakeError::Limit(error)
    }
}

/// What scans find.
pub trait Found: Sized + Send + 'static {
    /// Cuts what was found into parts.
    fn parts(found: Vec<Self>) -> impl Iterator<Item = ScanPart> + Send;
    /// Adds a part to what has come, paid for from the query's account.
    fn take(part: Part, so_far: &mut Vec<Self>, read: &ReadContext) -> Result<(), TakeError>;
}

pub(super) fn unreadable(reason: impl ToString) -> TakeError {
    TakeError::Unreadable(reason.to_string())
}

pub(super) fn part(part: Part) -> ScanPart {
    ScanPart { part: Some(part) }
}

/// Cuts items into runs of about [`PART_BYTES`].
fn runs<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut run = Vec::new();
        let mut bytes = 0;
        while let Some(item) = items.next_if(|_| bytes < PART_BYTES) {
            bytes += size(&item);
            run.push(item);
        }
        (!run.is_empty()).then_some(run)
    })
}

/// A stretch of one series.
struct Stretch {
    series: Arc<FetchedSeries>,
    samples: std::ops::Range<usize>,
    histograms: std::ops::Range<usize>,
}

impl Stretch {
    /// A series' samples in stretches of what a part may have of one, floats first.
    fn all_of(series: FetchedSeries) -> Vec<Stretch> {
        let series = Arc::new(series);
        let count = series.values.len();
        let starts = (0..count.max(1)).step_by(PART_SAMPLES_MAX);
        let of_floats = starts.map(|start| Stretch {
            series: series.clone(),
            samples: start..count.min(start + PART_SAMPLES_MAX),
            histograms: 0..0,
        });
        let mut stretches: Vec<Stretch> = of_floats.collect();
        let histograms = series.histograms.as_ref().map_or(&[][..], |own| &own.histograms[..]);
        let mut from = 0;
        while from < histograms.len() {
            let end = from + histograms_that_fit(&histograms[from..]);
            match stretches.last_mut().filter(|_| from == 0) {
                Some(last) => last.histograms = from..end,
                None => {
                    stretches.push(Stretch { series: series.clone(), samples: count..count, histograms: from..end })
                }
            }
            from = end;
        }
        stretches
    }

    fn packed_histograms(&self) -> Option<ScanHistograms> {
        let own = self.series.histograms.as_ref().filter(|_| !self.histograms.is_empty())?;
        let timestamps = packed(own.timestamps[self.histograms.clone()].iter().map(|time| time.to_le_bytes()));
        let mut chunk = Vec::new();
        encode_histograms(&own.histograms[self.histograms.clone()], &mut Scratch::default(), &mut chunk);
        Some(ScanHistograms { timestamps, chunk: chunk.into() })
    }
}

fn unpacked(histograms: &ScanHistograms) -> Result<Box<FetchedHistograms>, TakeError> {
    let timestamps = times(&histograms.timestamps)?;
    let mut decoded = Vec::new();
    decode_histograms(&histograms.chunk, timestamps.len(), &mut decoded).map_err(unreadable)?;
    decoded.iter().try_for_each(Histogram::validate).map_err(unreadable)?;
    Ok(Box::new(FetchedHistograms { timestamps, histograms: decoded }))
}

impl Found for FetchedSeries {
    fn parts(found: Vec<FetchedSeries>) -> impl Iterator<Item = ScanPart> + Send {
        let mut stretches = found.into_iter().flat_map(Stretch::all_of).peekable();
        std::iter::from_fn(move || {
            let mut columns = ScanColumns { timestamps: Vec::new(), series: Vec::new() };
            // By address and start: series that were scraped together share a column.
            let mut known: BTreeMap<(usize, usize), u32> = BTreeMap::new();
            let mut bytes = 0;
            while let Some(stretch) = stretches.next_if(|_| bytes < PART_BYTES) {
                let histograms = stretch.packed_histograms();
                bytes += histograms.as_ref().map_or(0, |own| own.timestamps.len() + own.chunk.len());
                let Stretch { series, samples, .. } = stretch;
                let id = (series.timestamps.as_ptr() as usize, samples.start);
                let timestamps = *known.entry(id).or_insert_with(|| {
                    let packed = packed(series.timestamps[samples.clone()].iter().map(|time| time.to_le_bytes()));
                    bytes += packed.len();
                    columns.timestamps.push(packed);
                    columns.timestamps.len() as u32 - 1
                });
                let values = packed(series.values[samples].iter().map(|value| value.to_bits().to_le_bytes()));
                let labels = Bytes::copy_from_slice(series.labels.canonical_bytes());
                bytes += values.len() + labels.len();
                columns.series.push(ScanSeries { labels, timestamps, values, histograms });
            }
            (!columns.series.is_empty()).then(|| part(Part::Columns(columns)))
        })
    }

    fn take(part: Part, so_far: &mut Vec<FetchedSeries>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Columns(columns) = part else { return Err(unreadable("a part is not of series with samples")) };
        let times: Result<Vec<Arc<[i64]>>, TakeError> = columns.timestamps.iter().map(|packed| times(packed)).collect();
        let times = times?;
        let mut fetched = Fetched::new(&read.account);
        for ScanSeries { labels, timestamps, values, histograms } in columns.series {
            let labels = Labels::from_canonical(&labels).map_err(unreadable)?;
            let timestamps = times.get(timestamps as usize).ok_or_else(|| unreadable("a series has no times"))?;
            let (values, rest) = values.as_chunks::<8>();
            if !rest.is_empty() || values.len() != timestamps.len() {
                return Err(unreadable(format!("{} times and {} values", timestamps.len(), values.len())));
            }
            let values = values.iter().map(|bits| f64::from_bits(u64::from_le_bytes(*bits))).collect();
            let histograms = histograms.as_ref().map(unpacked).transpose()?;
            fetched.add(FetchedSeries { labels, timestamps: timestamps.clone(), values, histograms })?;
        }
        for series in fetched.into_series() {
            match so_far.last_mut().filter(|last| last.labels == series.labels) {
                Some(last) => {
                    if !series.values.is_empty() {
                        last.timestamps = last.timestamps.iter().chain(&*series.timestamps).copied().collect();
                        last.values.extend(series.values);
                    }
                    match (&mut last.histograms, series.histograms) {
                        (Some(own), Some(more)) => {
                            own.timestamps = own.timestamps.iter().chain(&*more.timestamps).copied().collect();
                            own.histograms.extend(more.histograms);
                        }
                        (own, more) => *own = own.take().or(more),
                    }
                }
                None => so_far.push(series),
            }
        }
        Ok(())
    }
}

fn packed(numbers: impl ExactSizeIterator<Item = [u8; 8]>) -> Bytes {
    let mut bytes = BytesMut::with_capacity(numbers.len() * 8);
    numbers.for_each(|number| bytes.put_slice(&number));
    bytes.freeze()
}

fn times(packed: &[u8]) -> Result<Arc<[i64]>, TakeError> {
    let (times, rest) = packed.as_chunks::<8>();
    let times: Arc<[i64]> = times.iter().map(|time| i64::from_le_bytes(*time)).collect();
    if !rest.is_empty() || !times.is_sorted_by(|earlier, later| earlier < later) {
        return Err(unreadable("times do not ascend"));
    }
    Ok(times)
}

impl Found for Labels {
    fn parts(found: Vec<Labels>) -> impl Iterator<Item = ScanPart> + Send {
        let bytes = |labels: Labels| Bytes::copy_from_slice(labels.canonical_bytes());
        let runs = runs(found, |labels| labels.byte_len());
        runs.map(move |run| part(Part::Labels(ScanLabels { labels: run.into_iter().map(bytes).collect() })))
    }

    fn take(part: Part, so_far: &mut Vec<Labels>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Labels(ScanLabels { labels }) = part else { return Err(unreadable("a part is not of labels")) };
        for bytes in labels {
            let labels = Labels::from_canonical(&bytes).map_err(unreadable)?;
            read.account.take((size_of::<Labels>() + labels.byte_len()) as u64)?;
            so_far.push(labels);
        }
        Ok(())
    }
}

impl Found for String {
    fn parts(found: Vec<String>) -> impl Iterator<Item = ScanPart> + Send {
        runs(found, String::len).map(|texts| part(Part::Texts(ScanTexts { texts })))
    }

    fn take(part: Part, so_far: &mut Vec<String>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Texts(ScanTexts { texts }) = part else { return Err(unreadable("a part is not of texts")) };
        read.account.take(texts.iter().map(|text| (size_of::<String>() + text.len()) as u64).sum())?;
        so_far.extend(texts);
        Ok(())
    }
}

impl Found for (String, MetricMetadata) {
    fn parts(found: Vec<Self>) -> impl Iterator<Item = ScanPart> + Send {
        let wire = |(metric, about): Self| {
            let kind = MetricKind::ALL.iter().position(|kind| *kind == about.kind).unwrap_or_default() as u32;
            v1::MetricMetadata { metric, kind, help: about.help, unit: about.unit }
        };
        let runs = runs(found, |(metric, about)| metric.len() + about.help.len() + about.unit.len());
        runs.map(move |run| part(Part::Metadata(ScanMetadata { metrics: run.into_iter().map(wire).collect() })))
    }

    fn take(part: Part, so_far: &mut Vec<Self>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Metadata(ScanMetadata { metrics }) = part else {
            return Err(unreadable("a part is not of metadata"));
        };
        for v1::MetricMetadata { metric, kind, help, unit } in metrics {
            let kind = *MetricKind::ALL.get(kind as usize).ok_or_else(|| unreadable("an unknown type of metric"))?;
            let known = (metric, MetricMetadata { kind, help, unit });
            read.account.take(metadata_bytes(&known))?;
            so_far.push(known);
        }
        Ok(())
    }
}

impl Found for SeriesExemplars {
    fn parts(found: Vec<SeriesExemplars>) -> impl Iterator<Item = ScanPart> + Send {
        let bytes = |labels: &Labels| Bytes::copy_from_slice(labels.canonical_bytes());
        let exemplar = move |Exemplar { labels, value, timestamp }: &Exemplar| v1::Exemplar {
            labels: bytes(labels),
            value: *value,
            timestamp_ms: *timestamp,
        };
        let series = move |SeriesExemplars { labels, exemplars }: SeriesExemplars| v1::SeriesExemplars {
            labels: bytes(&labels),
            exemplars: exemplars.iter().map(exemplar).collect(),
        };
        // A shard keeps so few of a series that one is never more than a part.
        let runs = runs(found, |one| one.bytes() as usize);
        runs.map(move |run| part(Part::Exemplars(ScanExemplars { series: run.into_iter().map(series).collect() })))
    }

    fn take(part: Part, so_far: &mut Vec<SeriesExemplars>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Exemplars(ScanExemplars { series }) = part else {
            return Err(unreadable("a part is not of exemplars"));
        };
        let labels = |bytes: &[u8]| Labels::from_canonical(bytes).map_err(unreadable);
        for one in series {
            let exemplar = |v1::Exemplar { labels: own, value, timestamp_ms }| {
                Ok::<_, TakeError>(Exemplar { labels: labels(&own)?, value, timestamp: timestamp_ms })
            };
            let exemplars = one.exemplars.into_iter().map(exemplar).collect::<Result<Vec<_>, _>>()?;
            let taken = SeriesExemplars { labels: labels(&one.labels)?, exemplars };
            read.account.fetch(1, taken.exemplars.len() as u64)?;
            read.account.take(taken.bytes())?;
            so_far.push(taken);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bellwether_model::{CounterResetHint, Counts};

    use super::*;
    use crate::shards::{Limits, QueryAccount};

    fn read(limits: Limits) -> ReadContext {
        ReadContext::new(QueryAccount::new(limits))
    }

    fn travelled<T: Found>(found: Vec<T>, limits: Limits) -> Result<(Vec<T>, usize), TakeError> {
        let (mut so_far, mut parts) = (Vec::new(), 0);
        for part in T::parts(found) {
            parts += 1;
            T::take(part.part.unwrap(), &mut so_far, &read(limits))?;
        }
        Ok((so_far, parts))
    }

    fn series(number: usize, timestamps: Arc<[i64]>) -> FetchedSeries {
        let values = (0..timestamps.len()).map(|at| f64::from_bits((at * 7919 + number) as u64)).collect();
        FetchedSeries {
            labels: Labels::of(&[("__name__", "m"), ("n", &number.to_string())]),
            timestamps,
            values,
            histograms: None,
        }
    }

    #[test]
    fn series_travel_bit_for_bit_and_share_their_times() {
        let shared: Arc<[i64]> = (0..1000).collect();
        let own: Arc<[i64]> = (500..200_000).collect();
        let found = vec![series(1, shared.clone()), series(2, shared.clone()), series(3, own), series(4, shared)];
        let (arrived, parts) = travelled(found.clone(), Limits::default()).unwrap();
        assert!(parts > 3, "{parts}");
        for (sent, got) in found.iter().zip(&arrived) {
            assert_eq!((&sent.labels, &sent.timestamps), (&got.labels, &got.timestamps));
            let bits = |series: &FetchedSeries| series.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(sent), bits(got));
        }
        assert_eq!(arrived.len(), 4);
        assert!(Arc::ptr_eq(&arrived[0].timestamps, &arrived[1].timestamps));
    }

    fn histogram(number: usize) -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::NotCounterReset,
            schema: 1,
            zero_threshold: 0.0,
            sum: number as f64,
            counts: Counts::Integer {
                count: number as u64,
                zero_count: number as u64,
                positive: vec![],
                negative: vec![],
            },
            positive_spans: vec![],
            negative_spans: vec![],
            custom_values: vec![],
        }
    }

    #[test]
    fn histograms_travel_in_as_many_parts_as_they_need() {
        let with = |number: usize, floats: i64, count: usize| FetchedSeries {
            histograms: Some(Box::new(FetchedHistograms {
                timestamps: (0..count as i64).map(|at| at * 2).collect(),
                histograms: (0..count).map(histogram).collect(),
            })),
            ..series(number, (0..floats).map(|at| at * 2 + 1).collect())
        };
        let found = vec![with(1, 10, 5), series(2, (0..3).collect()), with(3, 0, 3000), with(4, 100_000, 1)];
        let (arrived, parts) = travelled(found.clone(), Limits::default()).unwrap();
        assert!(parts > 1 && arrived.len() == 4, "{parts}");
        for (sent, got) in found.iter().zip(&arrived) {
            assert_eq!((&sent.labels, &sent.timestamps), (&got.labels, &got.timestamps));
            let own = |series: &FetchedSeries| {
                series.histograms.as_ref().map(|own| (own.timestamps.clone(), own.histograms.clone()))
            };
            assert_eq!(own(sent), own(got));
        }
        let read = read(Limits::default());
        let whole = FetchedSeries::parts(vec![with(1, 1, 1)]).next().unwrap().part.unwrap();
        let Part::Columns(columns) = whole else { panic!("series travel as columns") };
        for at in 0..2 {
            let mut damaged = columns.clone();
            let own = damaged.series[0].histograms.as_mut().unwrap();
            if at == 0 {
                own.chunk = own.chunk.slice(1..)
            } else {
                own.timestamps = Bytes::new()
            }
            let taken = FetchedSeries::take(Part::Columns(damaged), &mut Vec::new(), &read);
            assert!(matches!(taken, Err(TakeError::Unreadable(_))));
        }
    }

    #[test]
    fn labels_texts_and_metadata_travel() {
        let labels: Vec<Labels> = (0..30_000).map(|n| Labels::of(&[("__name__", &format!("metric_{n}"))])).collect();
        assert_eq!(travelled(labels.clone(), Limits::default()).unwrap().0, labels);
        let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(travelled(texts.clone(), Limits::default()).unwrap().0, texts);
        let about = MetricMetadata { kind: MetricKind::Summary, help: "h".to_owned(), unit: "u".to_owned() };
        let metadata = vec![("m".to_owned(), about)];
        assert_eq!(travelled(metadata.clone(), Limits::default()).unwrap().0, metadata);
        let exemplar = |timestamp| Exemplar { labels: Labels::of(&[("t", "a")]), value: f64::INFINITY, timestamp };
        let of =
            |labels: &Labels| SeriesExemplars { labels: labels.clone(), exemplars: (0..9).map(exemplar).collect() };
        let exemplars: Vec<SeriesExemplars> = labels.iter().map(of).collect();
        let (arrived, parts) = travelled(exemplars.clone(), Limits::default()).unwrap();
        assert!(arrived == exemplars && parts > 1);
        assert_eq!(travelled(Vec::<String>::new(), Limits::default()).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn what_a_query_may_not_use_is_not_taken() {
        let limits = Limits { samples: 10, ..Limits::default() };
        let error = travelled(vec![series(1, (0..11).collect())], limits).unwrap_err();
        assert_eq!(error, TakeError::Limit(LimitError::Samples { limit: 10 }));
    }

    #[test]
    fn damaged_parts_are_refused() {
        let read = read(Limits::default());
        let whole = FetchedSeries::parts(vec![series(1, (0..9).collect())]).next().unwrap().part.unwrap();
        let Part::Columns(columns) = whole else { panic!("series travel as columns") };
        let damage = |change: &dyn Fn(&mut ScanColumns)| {
            let mut damaged = columns.clone();
            change(&mut damaged);
            FetchedSeries::take(Part::Columns(damaged), &mut Vec::new(), &read)
        };
        assert_eq!(damage(&|_| ()), Ok(()));
        let changes: [&dyn Fn(&mut ScanColumns); 5] = [
            &|columns| columns.series[0].timestamps = 1,
            &|columns| columns.series[0].values = columns.series[0].values.slice(8..),
            &|columns| columns.timestamps[0] = columns.timestamps[0].slice(..9),
            &|columns| columns.timestamps[0] = Bytes::from(vec![7; 72]),
            &|columns| columns.series[0].labels = Bytes::from_static(b"none"),
        ];
        for change in changes {
            assert!(matches!(damage(change), Err(TakeError::Unreadable(_))));
        }
        assert!(String::take(Part::Columns(columns.clone()), &mut Vec::new(), &read).is_err());
    }
}
