//! Reads of replicas that are here, within what their query may use. Whoever asks has made sure that the replicas have come
//! far enough.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_model::{Exemplar, Labels, Matcher, MetricMetadata, Tenant, TimeRange};
use bellwether_promql::{EvalError, FetchedHistograms, FetchedSeries, LimitError, QueryAccount};
use bellwether_tsdb::{
    LabelsRequest, SelectError as ShardError, SelectLimits, SelectRequest, SelectedHistograms, SelectedSeries, Wanted,
};

use super::{Missing, SelectError, ShardGroup, Shards};

/// What all reads of one query share.
#[derive(Clone)]
pub struct ReadContext {
    /// What the query has used and may use.
    pub account: Arc<QueryAccount>,
    /// Raised once nobody needs the result.
    pub cancel: Arc<AtomicBool>,
    /// If given, any replica may answer that heard its leader so lately. Otherwise everything is seen that was
    /// acknowledged before the read.
    pub stale: Option<Duration>,
    /// If given, what is read goes on without groups that cannot be read, which are noted here. Otherwise they are an error.
    pub missing: Option<Arc<Missing>>,
}

/// Which series' labels to read.
#[derive(Clone)]
pub struct LabelsRead {
    /// Whose series.
    pub tenant: Tenant,
    /// Series that pass all matchers of any of these.
    pub selectors: Arc<[Arc<[Matcher]>]>,
    /// Series with data in it.
    pub range: TimeRange,
    /// Bounds what one group gives.
    pub limit: usize,
}

impl ReadContext {
    /// Of a query that sees everything acknowledged, and that nobody ends.
    pub fn new(account: QueryAccount) -> ReadContext {
        ReadContext { account: Arc::new(account), cancel: Arc::default(), stale: None, missing: None }
    }
}

impl LabelsRead {
    fn request(&self) -> LabelsRequest<'_> {
        let LabelsRead { tenant, selectors, range, limit } = self;
        LabelsRequest { tenant, selectors, range: *range, limit: *limit }
    }
}

/// A series and exemplars of it, in order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub labels: Labels,
    /// At least one.
    pub exemplars: Vec<Exemplar>,
}

impl SeriesExemplars {
    /// What it costs.
    pub fn bytes(&self) -> u64 {
        let each = |exemplar: &Exemplar| size_of::<Exemplar>() + exemplar.labels.byte_len();
        let own: usize = self.exemplars.iter().map(each).sum();
        (size_of::<SeriesExemplars>() + self.labels.byte_len() + own) as u64
    }
}

/// The account is asked instead.
pub(super) const NO_LIMITS: SelectLimits = SelectLimits { series: usize::MAX, samples: usize::MAX };

impl Shards {
    /// Samples of the matching series inside `range`, in an order that is the same every time but not that of their
    /// labels. The query's account is charged.
    pub async fn select(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        tenant: &Tenant,
        matchers: Arc<[Matcher]>,
        range: TimeRange,
        wanted: Wanted,
        read: &ReadContext,
    ) -> Result<Vec<FetchedSeries>, SelectError> {
        let (tenant, read) = (tenant.clone(), read.clone());
        let parts = self.scan("select", groups, move |group| {
            let request = SelectRequest { tenant: &tenant, matchers: &matchers, range, limits: NO_LIMITS };
            let mut fetched = Fetched::new(&read.account);
            let mut visit = |series: SelectedSeries| fetched.add(as_fetched(series)).map_err(Stop::from);
            let selected = group.shard().select_each(&request, wanted, &read.cancel, &mut visit);
            selected.map_err(|stop| stop.into_error(group))?;
            Ok(fetched.into_series())
        });
        let mut parts = parts.await?.into_iter();
        let mut all = parts.next().unwrap_or_default();
        parts.for_each(|part| all.extend(part));
        Ok(all)
    }

    /// Labels of series that any of the selectors means, with data in `range`; of each group at most `limit`, the first.
    pub async fn series(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        labels: &LabelsRead,
        read: &ReadContext,
    ) -> Result<Vec<Labels>, SelectError> {
        let (labels, read) = (labels.clone(), read.clone());
        let parts = self.scan("series", groups, move |group| {
            let found = group.shard().series(&labels.request(), &read.cancel);
            let found = found.map_err(|error| shard_error(group, error))?;
            read.account.take(found.iter().map(|labels| (size_of::<Labels>() + labels.byte_len()) as u64).sum())?;
            Ok(found)
        });
        Ok(parts.await?.into_iter().flatten().collect())
    }

    /// Names of the labels that those series have, each once per group.
    pub async fn label_names(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        labels: &LabelsRead,
        read: &ReadContext,
    ) -> Result<Vec<String>, SelectError> {
        let (labels, read) = (labels.clone(), read.clone());
        let parts = self.scan("label_names", groups, move |group| {
            let found = group.shard().label_names(&labels.request(), &read.cancel);
            charged(found.map_err(|error| shard_error(group, error))?, &read)
        });
        Ok(parts.await?.into_iter().flatten().collect())
    }

    /// What senders said about metrics.
    pub async fn metadata(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        tenant: &Tenant,
        read: &ReadContext,
    ) -> Result<Vec<(String, MetricMetadata)>, SelectError> {
        let (tenant, read) = (tenant.clone(), read.clone());
        let parts = self.scan("metadata", groups, move |group| {
            if read.cancel.load(Ordering::Relaxed) {
                return Err(SelectError::Cancelled);
            }
            let found = group.shard().metadata(&tenant);
            read.account.take(found.iter().map(metadata_bytes).sum())?;
            Ok(found)
        });
        Ok(parts.await?.into_iter().flatten().collect())
    }

    /// Exemplars inside `range` of the series that any of the selectors means.
    pub async fn exemplars(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        tenant: &Tenant,
        selectors: Arc<[Arc<[Matcher]>]>,
        range: TimeRange,
        read: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SelectError> {
        let (tenant, read) = (tenant.clone(), read.clone());
        let parts = self.scan("exemplars", groups, move |group| {
            let found = group.shard().exemplars(&tenant, &selectors, range, &read.cancel);
            let found = found.map_err(|error| shard_error(group, error))?;
            let series = |(labels, exemplars)| SeriesExemplars { labels, exemplars };
            let found: Vec<SeriesExemplars> = found.into_iter().map(series).collect();
            read.account.fetch(found.len() as u64, found.iter().map(|one| one.exemplars.len() as u64).sum())?;
            read.account.take(found.iter().map(SeriesExemplars::bytes).sum())?;
            Ok(found)
        });
        Ok(parts.await?.into_iter().flatten().collect())
    }

    /// Values of a label that those series have, each once per group.
    pub async fn label_values(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        name: &str,
        labels: &LabelsRead,
        read: &ReadContext,
    ) -> Result<Vec<String>, SelectError> {
        let (labels, name, read) = (labels.clone(), name.to_owned(), read.clone());
        let parts = self.scan("label_values", groups, move |group| {
            let found = group.shard().label_values(&name, &labels.request(), &read.cancel);
            charged(found.map_err(|error| shard_error(group, error))?, &read)
        });
        Ok(parts.await?.into_iter().flatten().collect())
    }
}

/// A series on its way into an evaluation.
pub(super) fn as_fetched(series: SelectedSeries) -> FetchedSeries {
    let SelectedSeries { labels, timestamps, values, histograms } = series;
    let histograms = histograms.map(|selected| {
        let SelectedHistograms { timestamps, histograms } = *selected;
        Box::new(FetchedHistograms { timestamps, histograms })
    });
    FetchedSeries { labels, timestamps, values, histograms }
}

/// What has come for a selection so far, paid for from the query's account.
pub struct Fetched<'a> {
    account: &'a QueryAccount,
    series: Vec<FetchedSeries>,
    /// Addresses of the timestamp columns that are paid for: series share them.
    columns: BTreeSet<usize>,
    column_bytes: u64,
}

impl<'a> Fetched<'a> {
    /// Nothing yet.
    pub fn new(account: &'a QueryAccount) -> Fetched<'a> {
        Fetched { account, series: Vec::new(), columns: BTreeSet::new(), column_bytes: 0 }
    }

    /// Adds a series.
    pub fn add(&mut self, series: FetchedSeries) -> Result<(), LimitError> {
        self.account.fetch(1, series.sample_count() as u64)?;
        let known = self.series.last().is_some_and(|last| Arc::ptr_eq(&last.timestamps, &series.timestamps));
        if !known && self.columns.insert(series.timestamps.as_ptr() as usize) {
            let bytes = size_of_val(&*series.timestamps) as u64;
            self.account.take(bytes)?;
            self.column_bytes += bytes;
        }
        self.account.hold(std::slice::from_ref(&series))?;
        self.series.push(series);
        Ok(())
    }

    /// Series so far.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Who pays.
    pub fn account(&self) -> &'a QueryAccount {
        self.account
    }

    /// All of it, and what its timestamps cost; goes on with nothing.
    pub fn take(&mut self) -> (Vec<FetchedSeries>, u64) {
        let Fetched { series, column_bytes, .. } = std::mem::replace(self, Fetched::new(self.account));
        (series, column_bytes)
    }

    /// All of it.
    pub fn into_series(self) -> Vec<FetchedSeries> {
        self.series
    }
}

/// Why the reading of one group ended early.
pub(super) enum Stop {
    Shard(ShardError),
    Limit(LimitError),
    Evaluation(EvalError),
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Stop {
        Stop::Evaluation(error)
    }
}

impl From<ShardError> for Stop {
    fn from(error: ShardError) -> Stop {
        Stop::Shard(error)
    }
}

impl From<LimitError> for Stop {
    fn from(error: LimitError) -> Stop {
        Stop::Limit(error)
    }
}

impl Stop {
    pub(super) fn into_error(self, group: &ShardGroup) -> SelectError {
        match self {
            Stop::Shard(error) => shard_error(group, error),
            Stop::Limit(error) | Stop::Evaluation(EvalError::Limit(error)) => error.into(),
            Stop::Evaluation(EvalError::Cancelled) => SelectError::Cancelled,
            Stop::Evaluation(error) => SelectError::Evaluation(error),
        }
    }
}

fn shard_error(of: &ShardGroup, error: ShardError) -> SelectError {
    let group = of.id();
    match error {
        ShardError::Cancelled => SelectError::Cancelled,
        ShardError::Storage(error) if error.is_corrupt() => {
            of.note(&error);
            SelectError::Corrupt { group, place: error.to_string() }
        }
        other => SelectError::Storage { group, reason: other.to_string() },
    }
}

/// What is known of a metric costs so much.
pub fn metadata_bytes(known: &(String, MetricMetadata)) -> u64 {
    let (metric, about) = known;
    (size_of_val(known) + metric.len() + about.help.len() + about.unit.len()) as u64
}

fn charged(texts: Vec<String>, read: &ReadContext) -> Result<Vec<String>, SelectError> {
    read.account.take(texts.iter().map(|text| (size_of::<String>() + text.len()) as u64).sum())?;
    Ok(texts)
}
