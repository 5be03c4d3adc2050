//! Aggregating where the series are: of each replica's series only what the aggregations need is kept.

use std::sync::Arc;

use bellwether_model::{Matcher, ShardGroupId, Tenant};
use bellwether_promql::{EvalError, FetchedSeries, Partial, Plan, Reducer, Selection};
use bellwether_tsdb::{SelectRequest, SelectedSeries, Wanted};

use super::read::{Fetched, NO_LIMITS, ReadContext, Stop, as_fetched};
use super::{SelectError, ShardGroup, Shards};

/// Series that are aggregated together: what is set up for each batch is shared by so many.
const BATCH_SERIES_MAX: usize = 1024;
/// A batch ends once it has so many samples: a mebibyte of values.
const BATCH_SAMPLES_MAX: usize = 128 << 10;

/// A selection of a query that aggregations alone read.
#[derive(Clone)]
pub struct Subplan {
    plan: Arc<Plan>,
    selection: usize,
    matchers: Arc<[Matcher]>,
}

/// What became of one group's series.
#[derive(Debug)]
pub struct GroupPartial {
    /// The group.
    pub group: ShardGroupId,
    /// What its series came to.
    pub partial: Partial,
    /// Series that were read.
    pub series: u64,
    /// Samples that were read.
    pub samples: u64,
}

impl Subplan {
    /// `None` where something else reads the selection too, or there is none.
    pub fn new(plan: &Arc<Plan>, selection: usize) -> Option<Subplan> {
        let reduced = plan.selections().get(selection).filter(|selection| selection.reduced)?;
        Some(Subplan { plan: plan.clone(), selection, matchers: reduced.matchers.clone().into() })
    }

    /// The whole plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Its number in the plan.
    pub fn number(&self) -> usize {
        self.selection
    }

    /// What is read.
    pub fn selection(&self) -> &Selection {
        &self.plan.selections()[self.selection]
    }

    /// The selection's matchers.
    pub fn matchers(&self) -> &Arc<[Matcher]> {
        &self.matchers
    }

    /// The result of no series.
    pub fn empty(&self, read: &ReadContext) -> Result<Partial, EvalError> {
        Partial::empty(&self.plan, self.selection, &read.account, &*read.cancel)
    }
}

impl Shards {
    /// What the aggregations make of each group's series. The query's account is charged for what remains.
    pub async fn reduce(
        &self,
        groups: Vec<Arc<ShardGroup>>,
        tenant: &Tenant,
        subplan: &Subplan,
        read: &ReadContext,
    ) -> Result<Vec<GroupPartial>, SelectError> {
        let (tenant, subplan, read) = (tenant.clone(), subplan.clone(), read.clone());
        let parts = self.scan("reduce", groups, move |group| {
            reduced(group, &tenant, &subplan, &read).map_err(|stop| stop.into_error(group))
        });
        parts.await
    }
}

fn reduced(group: &ShardGroup, tenant: &Tenant, subplan: &Subplan, read: &ReadContext) -> Result<GroupPartial, Stop> {
    let selection = subplan.selection();
    let wanted = if selection.newest { Wanted::Newest } else { Wanted::All };
    let request = SelectRequest { tenant, matchers: subplan.matchers(), range: selection.range, limits: NO_LIMITS };
    let mut batches = Batches {
        reducer: Reducer::new(&subplan.plan, subplan.selection, &read.account, &*read.cancel)?,
        batch: Fetched::new(&read.account),
        batch_samples: 0,
        series: 0,
        samples: 0,
    };
    let mut visit = |series: SelectedSeries| batches.add(as_fetched(series));
    group.shard().select_each(&request, wanted, &read.cancel, &mut visit)?;
    batches.end()?;
    let Batches { reducer, series, samples, .. } = batches;
    Ok(GroupPartial { group: group.id(), partial: reducer.finish()?, series, samples })
}

/// Series on their way into the aggregations.
struct Batches<'a> {
    reducer: Reducer<'a>,
    batch: Fetched<'a>,
    batch_samples: usize,
    series: u64,
    samples: u64,
}

impl Batches<'_> {
    fn add(&mut self, series: FetchedSeries) -> Result<(), Stop> {
        self.series += 1;
        self.samples += series.sample_count() as u64;
        self.batch_samples += series.sample_count();
        self.batch.add(series)?;
        if self.batch.series() >= BATCH_SERIES_MAX || self.batch_samples >= BATCH_SAMPLES_MAX {
            self.end()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.batch_samples = 0;
        let (batch, column_bytes) = self.batch.take();
        self.reducer.add(batch)?;
        self.batch.account().give_back(column_bytes);
        Ok(())
    }
}
