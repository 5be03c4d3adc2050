//! Reads of samples as they are stored, for those who evaluate for themselves: admitted, bounded and ended like queries.

use std::fmt::Write;
use std::sync::Arc;

pub use bellwether_ingest::MatcherText;
use bellwether_model::{Matcher, PatternBudget, PatternError, Tenant, TimeRange, is_stale_marker};
use bellwether_promql::{self as promql, FetchedSeries};
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::labels::listed;
use super::running::Place;
use super::{Coordinator, LabelsQuery, Listed, QueryError, SELECTIONS_IN_FLIGHT_MAX};
use crate::shards::{ReadContext, Wanted};

/// Samples inside `range` of the series that pass all matchers.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplesRead {
    /// Conditions on the labels, regular expressions not compiled yet.
    pub matchers: Vec<MatcherText>,
    /// First and last time.
    pub range: TimeRange,
}

impl Coordinator {
    /// The series of each read with their samples, stale markers included, sorted by labels. All that they hold together is
    /// bounded as for one query.
    pub async fn samples(
        &self,
        tenant: &Tenant,
        reads: Vec<SamplesRead>,
    ) -> Result<(Vec<Vec<FetchedSeries>>, Place), QueryError> {
        let text = shown(&reads);
        promql::check_length(text.len()).map_err(QueryError::Selector)?;
        let running = self.admit(tenant, &text, None, Instant::now()).await?;
        let read = &running.read;
        let found = running.within(async {
            let compiled = self.scan.run(move || compiled(reads)).await??;
            let found = self.select_each(tenant, compiled, Wanted::All, read).await?;
            Ok(self.scan.run(move || found.into_iter().map(sorted).collect()).await?)
        });
        Ok((found.await?, running.place))
    }

    /// The newest sample of each series that any of the selectors means, unless the series has ended; sorted by metric. The
    /// query's limit does not count.
    pub async fn newest(&self, query: &LabelsQuery) -> Result<Listed<FetchedSeries>, QueryError> {
        let running = self.begin(query).await?;
        let found = running.within(async {
            let selectors = self.parse_selectors(query.selectors.clone()).await?;
            let reads = selectors.iter().map(|matchers| (matchers.clone(), query.range)).collect();
            let found = self.select_each(&query.tenant, reads, Wanted::Newest, &running.read).await?;
            Ok(self.scan.run(move || newest(found)).await?)
        });
        Ok(listed(found.await?, running))
    }

    async fn select_each(
        &self,
        tenant: &Tenant,
        reads: Vec<Compiled>,
        wanted: Wanted,
        read: &ReadContext,
    ) -> Result<Vec<Vec<FetchedSeries>>, QueryError> {
        let select = |(matchers, range): Compiled| async move {
            match range.is_empty() {
                true => Ok(Vec::new()),
                false => self.router.select(tenant, matchers, range, wanted, read).await,
            }
        };
        // Not lazily: the closure's futures would not be Send.
        let selects: Vec<_> = reads.into_iter().map(select).collect();
        Ok(futures::stream::iter(selects).buffered(SELECTIONS_IN_FLIGHT_MAX).try_collect().await?)
    }
}

type Compiled = (Arc<[Matcher]>, TimeRange);

fn sorted(mut series: Vec<FetchedSeries>) -> Vec<FetchedSeries> {
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    series
}

fn newest(found: Vec<Vec<FetchedSeries>>) -> Vec<FetchedSeries> {
    let mut series: Vec<FetchedSeries> = found.into_iter().flatten().collect();
    series.retain_mut(keep_newest);
    series.sort_unstable_by(|a, b| {
        a.labels.metric_name().cmp(&b.labels.metric_name()).then_with(|| a.labels.cmp(&b.labels))
    });
    // Several selectors may mean one series.
    series.dedup_by(|a, b| a.labels == b.labels);
    series
}

/// Leaves of a series the newest sample, be it a value or a histogram; says whether it goes on.
fn keep_newest(series: &mut FetchedSeries) -> bool {
    let histogram = series.histograms.as_ref().and_then(|histograms| histograms.timestamps.last());
    if histogram < series.timestamps.last() {
        series.histograms = None;
        return series.values.last().is_some_and(|value| !is_stale_marker(*value));
    }
    (series.timestamps, series.values) = ([].into(), Vec::new());
    let newest = series.histograms.as_ref().and_then(|histograms| histograms.histograms.last());
    newest.is_some_and(|histogram| !histogram.is_stale())
}

fn compiled(reads: Vec<SamplesRead>) -> Result<Vec<Compiled>, PatternError> {
    let mut budget = PatternBudget::default();
    let mut compile = |read: SamplesRead| {
        let matchers = read.matchers.iter().map(|text| Matcher::within(text.op, &text.name, &text.value, &mut budget));
        Ok((matchers.collect::<Result<_, PatternError>>()?, read.range))
    };
    reads.into_iter().map(&mut compile).collect()
}

/// What the list of active queries shows.
fn shown(reads: &[SamplesRead]) -> String {
    let mut text = "remote read of".to_owned();
    for (at, read) in reads.iter().enumerate() {
        text.push_str(if at == 0 { " {" } else { ", {" });
        for (at, MatcherText { op, name, value }) in read.matchers.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(text, "{comma}{name}{}{value:?}", op.as_str()).expect("a string takes any text");
        }
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use bellwether_model::{Labels, MatchOp};
    use bellwether_promql::FetchedHistograms;
    use bellwether_promql::series_notation::{NotedValue, parse_values};

    use super::*;

    #[test]
    fn reads_are_shown_as_selectors() {
        let matcher = |op, name: &str, value: &str| MatcherText { op, name: name.to_owned(), value: value.to_owned() };
        let matchers = vec![matcher(MatchOp::Equal, "__name__", "up"), matcher(MatchOp::NotRegex, "a", "\"")];
        let read = SamplesRead { matchers, range: TimeRange::new(0, 1) };
        let none = SamplesRead { matchers: Vec::new(), range: TimeRange::new(0, 1) };
        assert_eq!(shown(&[read, none]), "remote read of {__name__=\"up\",a!~\"\\\"\"}, {}");
    }

    #[test]
    fn the_newest_sample_is_a_value_or_a_histogram() {
        let histogram = match &parse_values("{{}}").unwrap()[..] {
            [Some(NotedValue::Histogram(histogram))] => (**histogram).clone(),
            other => panic!("{other:?}"),
        };
        let series = |name: &str, histogram_time: Option<i64>| FetchedSeries {
            labels: Labels::of(&[("__name__", name)]),
            timestamps: [10].into(),
            values: vec![1.0],
            histograms: histogram_time.map(|time| {
                Box::new(FetchedHistograms { timestamps: [time].into(), histograms: vec![histogram.clone()] })
            }),
        };
        let found = newest(vec![vec![series("a", None), series("b", Some(20)), series("c", Some(5))]]);
        let kept: Vec<_> = found
            .iter()
            .map(|series| {
                (series.labels.metric_name().unwrap_or_default(), series.values.len(), series.histograms.is_some())
            })
            .collect();
        assert_eq!(kept, [("a", 1, false), ("b", 0, true), ("c", 1, false)]);
    }
}
