//! Reads of series, within what their query may use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{Labels, Matcher, ShardGroupId, Tenant, TimeRange};
use bellwether_promql::{FetchedSeries, LimitError, QueryAccount};
use bellwether_tsdb::{LabelsRequest, SelectError as ShardError, SelectLimits, SelectRequest, SelectedSeries, Wanted};

use super::{SelectError, Shards};

/// What all reads of one query share.
#[derive(Clone)]
pub struct ReadContext {
    /// What the query has used and may use.
    pub account: Arc<QueryAccount>,
    /// Raised once nobody needs the result.
    pub cancel: Arc<AtomicBool>,
}

/// The account is asked instead.
const NO_LIMITS: SelectLimits = SelectLimits { series: usize::MAX, samples: usize::MAX };

impl Shards {
    /// Samples of the matching series inside `range`, in an order that is the same every time but not that of their
    /// labels. Sees everything that was acknowledged before the call. The query's account is charged.
    pub async fn select(
        &self,
        tenant: &Tenant,
        matchers: Arc<[Matcher]>,
        range: TimeRange,
        wanted: Wanted,
        read: &ReadContext,
    ) -> Result<Vec<FetchedSeries>, SelectError> {
        let (tenant, read) = (tenant.clone(), read.clone());
        let groups = self.groups_for(&tenant, std::slice::from_ref(&matchers))?;
        let parts = self.scan("select", groups, move |group| {
            let request = SelectRequest { tenant: &tenant, matchers: &matchers, range, limits: NO_LIMITS };
            let mut fetched = Fetched { account: &read.account, series: Vec::new(), columns: BTreeSet::new() };
            let mut visit = |series: SelectedSeries| fetched.add(series);
            let selected = group.shard().select_each(&request, wanted, &read.cancel, &mut visit);
            selected.map_err(|stop| stop.into_error(group.id()))?;
            Ok(fetched.series)
        });
        let mut parts = parts.await?.into_iter();
        let mut all = parts.next().unwrap_or_default();
        parts.for_each(|part| all.extend(part));
        Ok(all)
    }

    /// Labels of series that any of the selectors means, with data in `range`, sorted; at most `limit`. To know whether
    /// there are more, ask for one more than needed.
    pub async fn series(
        &self,
        tenant: &Tenant,
        selectors: Arc<[Arc<[Matcher]>]>,
        range: TimeRange,
        limit: usize,
        read: &ReadContext,
    ) -> Result<Vec<Labels>, SelectError> {
        let (tenant, read) = (tenant.clone(), read.clone());
        let groups = self.groups_for(&tenant, &selectors)?;
        let parts = self.scan("series", groups, move |group| {
            let request = LabelsRequest { tenant: &tenant, selectors: &selectors, range, limit };
            let found = group.shard().series(&request, &read.cancel);
            let found = found.map_err(|error| shard_error(group.id(), error))?;
            read.account.take(found.iter().map(|labels| (size_of::<Labels>() + labels.byte_len()) as u64).sum())?;
            Ok(found)
        });
        let mut all: Vec<Labels> = parts.await?.into_iter().flatten().collect();
        all.sort_unstable();
        all.truncate(limit);
        Ok(all)
    }

    /// Names of the labels that those series have, sorted; at most `limit`.
    pub async fn label_names(
        &self,
        tenant: &Tenant,
        selectors: Arc<[Arc<[Matcher]>]>,
        range: TimeRange,
        limit: usize,
        read: &ReadContext,
    ) -> Result<Vec<String>, SelectError> {
        let (tenant, read) = (tenant.clone(), read.clone());
        let groups = self.groups_for(&tenant, &selectors)?;
        let parts = self.scan("label_names", groups, move |group| {
            let request = LabelsRequest { tenant: &tenant, selectors: &selectors, range, limit };
            let found = group.shard().label_names(&request, &read.cancel);
            charged(found.map_err(|error| shard_error(group.id(), error))?, &read)
        });
        Ok(merged(parts.await?, limit))
    }

    /// Values of a label that those series have, sorted; at most `limit`.
    pub async fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        selectors: Arc<[Arc<[Matcher]>]>,
        range: TimeRange,
        limit: usize,
        read: &ReadContext,
    ) -> Result<Vec<String>, SelectError> {
        let (tenant, name, read) = (tenant.clone(), name.to_owned(), read.clone());
        let groups = self.groups_for(&tenant, &selectors)?;
        let parts = self.scan("label_values", groups, move |group| {
            let request = LabelsRequest { tenant: &tenant, selectors: &selectors, range, limit };
            let found = group.shard().label_values(&name, &request, &read.cancel);
            charged(found.map_err(|error| shard_error(group.id(), error))?, &read)
        });
        Ok(merged(parts.await?, limit))
    }
}

/// What one group has given for a selection.
struct Fetched<'a> {
    account: &'a QueryAccount,
    series: Vec<FetchedSeries>,
    /// Addresses of the timestamp columns that are paid for: series share them.
    columns: BTreeSet<usize>,
}

impl Fetched<'_> {
    fn add(&mut self, series: SelectedSeries) -> Result<(), Stop> {
        let SelectedSeries { labels, timestamps, values } = series;
        let series = FetchedSeries { labels, timestamps, values };
        self.account.fetch(1, series.values.len() as u64)?;
        let known = self.series.last().is_some_and(|last| Arc::ptr_eq(&last.timestamps, &series.timestamps));
        if !known && self.columns.insert(series.timestamps.as_ptr() as usize) {
            self.account.take(size_of_val(&*series.timestamps) as u64)?;
        }
        self.account.hold(std::slice::from_ref(&series))?;
        self.series.push(series);
        Ok(())
    }
}

/// Why the reading of one group ended early.
enum Stop {
    Shard(ShardError),
    Limit(LimitError),
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
    fn into_error(self, group: ShardGroupId) -> SelectError {
        match self {
            Stop::Shard(error) => shard_error(group, error),
            Stop::Limit(error) => error.into(),
        }
    }
}

fn shard_error(group: ShardGroupId, error: ShardError) -> SelectError {
    match error {
        ShardError::Cancelled => SelectError::Cancelled,
        ShardError::Storage(error) if error.is_corrupt() => {
            tracing::error!(group = group.0, %error, "stored data is damaged");
            SelectError::Corrupt { group, place: error.to_string() }
        }
        other => SelectError::Storage { group, reason: other.to_string() },
    }
}

fn charged(texts: Vec<String>, read: &ReadContext) -> Result<Vec<String>, SelectError> {
    read.account.take(texts.iter().map(|text| (size_of::<String>() + text.len()) as u64).sum())?;
    Ok(texts)
}

fn merged(parts: Vec<Vec<String>>, limit: usize) -> Vec<String> {
    let all: BTreeSet<String> = parts.into_iter().flatten().collect();
    all.into_iter().take(limit).collect()
}
