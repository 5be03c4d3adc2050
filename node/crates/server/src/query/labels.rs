//! Reads of series and their labels without samples: admitted, bounded and ended like queries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{Labels, Matcher, MetricMetadata, Tenant, TimeRange};
use bellwether_promql as promql;
use tokio::time::Instant;

use super::running::{Place, Running};
use super::{Coordinator, QueryError};
use crate::shards::SeriesExemplars;

/// Which series are meant, and how much is wanted of them.
#[derive(Debug, Clone)]
pub struct LabelsQuery {
    /// Whose series.
    pub tenant: Tenant,
    /// The series that any of these selectors means; all, if there is none.
    pub selectors: Vec<String>,
    /// Whether there must be a selector, and each must say something.
    pub selective: bool,
    /// Series with data in it.
    pub range: TimeRange,
    /// Bounds the answer, over all selectors.
    pub limit: usize,
    /// Gives up after this long; the configured limit holds as well.
    pub timeout: Option<Duration>,
    /// Goes on without groups that cannot be read; warnings name them.
    pub partial: bool,
}

/// What was found.
pub struct Listed<T> {
    /// Sorted.
    pub items: Vec<T>,
    /// What should be known about them.
    pub warnings: Vec<String>,
    /// To be kept until the answer is sent.
    pub place: Place,
}

/// Matchers of several selectors.
pub type Selectors = Arc<[Arc<[Matcher]>]>;

impl Coordinator {
    /// Their labels, sorted.
    pub async fn series(&self, query: &LabelsQuery) -> Result<Listed<Labels>, QueryError> {
        let running = self.begin(query).await?;
        let found = running.within(async {
            let selectors = self.selectors(query).await?;
            Ok(self.router.series(&query.tenant, selectors, query.range, query.limit, &running.read).await?)
        });
        Ok(listed(found.await?, running))
    }

    /// The names of their labels, sorted.
    pub async fn label_names(&self, query: &LabelsQuery) -> Result<Listed<String>, QueryError> {
        let running = self.begin(query).await?;
        let found = running.within(async {
            let selectors = self.selectors(query).await?;
            Ok(self.router.label_names(&query.tenant, selectors, query.range, query.limit, &running.read).await?)
        });
        Ok(listed(found.await?, running))
    }

    /// The values of one of their labels, sorted.
    pub async fn label_values(&self, query: &LabelsQuery, name: &str) -> Result<Listed<String>, QueryError> {
        let running = self.begin(query).await?;
        let found = running.within(async {
            let selectors = self.selectors(query).await?;
            let (tenant, range) = (&query.tenant, query.range);
            Ok(self.router.label_values(tenant, name, selectors, range, query.limit, &running.read).await?)
        });
        Ok(listed(found.await?, running))
    }

    /// What senders said about metrics, by metric name.
    pub async fn metadata(
        &self,
        tenant: &Tenant,
        timeout: Option<Duration>,
    ) -> Result<(BTreeMap<String, MetricMetadata>, Place), QueryError> {
        let running = self.admit(tenant, "metadata", timeout, Instant::now()).await?;
        let found = running.within(async { Ok(self.router.metadata(tenant, &running.read).await?) });
        Ok((found.await?, running.place))
    }

    /// The exemplars of the series that any of the selectors means, by labels. The query's own selectors only name it.
    pub async fn exemplars(
        &self,
        query: &LabelsQuery,
        selectors: Selectors,
    ) -> Result<Listed<SeriesExemplars>, QueryError> {
        let running = self.begin(query).await?;
        let found = running
            .within(async { Ok(self.router.exemplars(&query.tenant, selectors, query.range, &running.read).await?) });
        Ok(listed(found.await?, running))
    }

    async fn selectors(&self, query: &LabelsQuery) -> Result<Selectors, QueryError> {
        if query.selective {
            return self.required_selectors(query.selectors.clone()).await;
        }
        let selectors = self.parse_selectors(query.selectors.clone()).await?;
        // Without selectors no matchers, which every series passes.
        Ok(if selectors.is_empty() { Arc::from([Arc::from([])]) } else { selectors })
    }

    /// Parses selectors where scans run: hostile ones take their time.
    pub(super) async fn parse_selectors(&self, texts: Vec<String>) -> Result<Selectors, QueryError> {
        let parse = move || promql::parse_selectors(texts.iter().map(String::as_str));
        let parsed = self.scan.run(parse).await?.map_err(QueryError::Selector)?;
        Ok(parsed.into_iter().map(Arc::from).collect())
    }

    /// Parses selectors of which there must be one, and none that means every series.
    pub async fn required_selectors(&self, texts: Vec<String>) -> Result<Selectors, QueryError> {
        if texts.is_empty() {
            return Err(QueryError::Selectors("no match[] parameter provided"));
        }
        let selectors = self.parse_selectors(texts).await?;
        if selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
            return Err(QueryError::Selectors("match[] must contain at least one non-empty matcher"));
        }
        Ok(selectors)
    }

    pub(super) async fn begin(&self, query: &LabelsQuery) -> Result<Running, QueryError> {
        let bytes = query.selectors.iter().map(String::len).sum();
        promql::check_length(bytes).map_err(QueryError::Selector)?;
        let text = format!("series of {}", query.selectors.join(", "));
        let mut running = self.admit(&query.tenant, &text, query.timeout, Instant::now()).await?;
        running.read.missing = query.partial.then(Arc::default);
        Ok(running)
    }
}

pub(super) fn listed<T>(items: Vec<T>, running: Running) -> Listed<T> {
    let warnings = running.read.missing.iter().flat_map(|missing| missing.warnings()).collect();
    Listed { items, warnings, place: running.place }
}
