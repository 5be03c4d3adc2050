//! Range queries through the cache of results: what is kept and still stands is taken, the rest is computed, and the whole is kept.

use std::sync::Arc;

use bellwether_model::{Matcher, TimeRange};
use bellwether_probe::{Bug, planted, reached};
use bellwether_promql::{EvalTimes, MatrixSeries, Outcome, StepReach, Value};

use super::cache::{
    CacheKey, Extent, Found, Notes, Steps, Stretch, append, beside, is_of_one_map, kept_count, matrix_bytes, places,
    stretches,
};
use super::{Coordinator, Planned, QueryCost, QueryError, QueryRequest, QueryTimes};
use crate::shards::{ReadContext, SelectError};

/// A query whose steps can be kept.
pub(super) struct Cacheable {
    key: CacheKey,
    steps: Steps,
    reach: StepReach,
}

/// What was put together of kept and computed steps.
struct Assembled {
    series: Vec<MatrixSeries>,
    notes: Notes,
}

impl Coordinator {
    /// The query as one whose steps can be kept, if it is.
    pub(super) fn cacheable(&self, request: &QueryRequest, planned: &Planned) -> Option<Cacheable> {
        let QueryTimes::Range { .. } = request.times else { return None };
        let is_whole = request.stale.is_none() && !request.partial;
        if !(self.cache.is_on() && request.cached && !request.traced && is_whole)
            || planned.plan.selections().is_empty()
        {
            return None;
        }
        let times = planned.plan.times();
        let steps = Steps::aligned(times.start(), times.end(), times.step_ms()).filter(|steps| steps.count() > 1)?;
        let options = self.options(request);
        let reach = bellwether_promql::step_reach(&planned.expr, times, options)?;
        let (tenant, text) = (request.tenant.clone(), request.text.clone());
        let key = CacheKey { tenant, text, step_ms: steps.step_ms, lookback_ms: options.lookback_ms };
        Some(Cacheable { key, steps, reach })
    }

    /// Answers with as little work as what is kept allows.
    pub(super) async fn through_cache(
        &self,
        of: Cacheable,
        request: &QueryRequest,
        planned: &Planned,
        read: &ReadContext,
        cost: &mut QueryCost,
    ) -> Result<Outcome, QueryError> {
        let Cacheable { key, steps, reach } = of;
        let known = self.cache.get(&key);
        let all = known.as_ref().map_or(steps, |known| hull(steps, known.steps));
        let selectors: Vec<Arc<[Matcher]>> =
            planned.plan.selections().iter().map(|selection| selection.matchers.clone().into()).collect();
        let range = reach.of_steps(all.first, all.last);
        let nothing = Default::default();
        let read_at = known.as_ref().map_or(&nothing, |known| &known.read_at);
        let changes = match self.router.changes(&request.tenant, &selectors, range, read_at, read).await {
            // A node of an earlier version does not say.
            Err(SelectError::Refused { .. }) => return self.compute(request, planned, read, cost).await,
            changes => changes?,
        };
        if !is_of_one_map(&changes) {
            return self.compute(request, planned, read, cost).await;
        }
        let standing = match &known {
            Some(known) if planted(Bug::KeptStepsAlwaysStand) => vec![known.steps],
            Some(known) => known.standing(&changes, &reach),
            None => Vec::new(),
        };
        let parts = stretches(steps, &standing);
        let kept = kept_count(&parts);
        if let Some(known) = &known
            && kept > 0
            && let Some(Assembled { series, notes }) =
                self.assembled(&parts, known, request, planned, read, cost).await?
        {
            reached("steps of a query were taken from the cache");
            cost.cached_steps = kept.unsigned_abs();
            self.cache.observe(if kept == steps.count() { Found::Hit } else { Found::Partial }, kept);
            // What all stands is kept already.
            if kept < steps.count() {
                let around = match known.notes.is_empty() && notes.is_empty() {
                    true => beside(steps, known.steps, &standing),
                    false => [None, None],
                };
                self.keep(key, steps, (&series, &notes), Some((known, around)), places(&changes));
            }
            let Notes { warnings, infos } = notes;
            return Ok(Outcome { value: Value::Matrix(series), warnings, infos, samples_per_step: Vec::new() });
        }
        self.cache.observe(Found::Miss, 0);
        let outcome = self.compute(request, planned, read, cost).await?;
        if let Value::Matrix(series) = &outcome.value
            && outcome.is_told_step_by_step()
        {
            let notes = Notes { warnings: outcome.warnings.clone(), infos: outcome.infos.clone() };
            self.keep(key, steps, (series, &notes), None, places(&changes));
        }
        Ok(outcome)
    }

    /// The answer of its stretches; none if what is said about them might not be what would be said about the whole.
    async fn assembled(
        &self,
        parts: &[Stretch],
        known: &Extent,
        request: &QueryRequest,
        planned: &Planned,
        read: &ReadContext,
        cost: &mut QueryCost,
    ) -> Result<Option<Assembled>, QueryError> {
        let mut series = Vec::new();
        let mut told: Vec<Notes> = Vec::new();
        for part in parts {
            let more = match part {
                Stretch::Kept(steps) => {
                    read.account.take(known.part_bytes(*steps) as u64)?;
                    known.part(*steps)
                }
                Stretch::Fresh(steps) => {
                    let times = EvalTimes::range(steps.first, steps.last, steps.step_ms)?;
                    let part = self.plan_again(request, planned, times).await?;
                    let outcome = self.compute(request, &part, read, cost).await?;
                    if !outcome.is_told_step_by_step() {
                        return Ok(None);
                    }
                    told.push(Notes { warnings: outcome.warnings, infos: outcome.infos });
                    let Value::Matrix(series) = outcome.value else { return Ok(None) };
                    series
                }
            };
            series = append(series, more);
        }
        let mut exact: Vec<&Notes> = told.iter().collect();
        let uses_all = parts.contains(&Stretch::Kept(known.steps));
        exact.extend(uses_all.then_some(&known.notes));
        let notes = Notes::together(&exact, (!uses_all).then_some(&known.notes));
        Ok(notes.map(|notes| Assembled { series, notes }))
    }

    /// Keeps an answer, with steps beside it that still stand.
    fn keep(
        &self,
        key: CacheKey,
        steps: Steps,
        (series, notes): (&[MatrixSeries], &Notes),
        around: Option<(&Extent, [Option<Steps>; 2])>,
        read_at: crate::routing::ReadPlaces,
    ) {
        // Looked at before it is copied.
        if !self.cache.has_room_for(matrix_bytes(series)) {
            return;
        }
        let mut kept = Extent { steps, series: series.to_vec(), notes: notes.clone(), read_at };
        if let Some((known, [before, behind])) = around {
            if let Some(before) = before {
                kept.series = append(known.part(before), kept.series);
                kept.steps.first = before.first;
            }
            if let Some(behind) = behind {
                kept.series = append(kept.series, known.part(behind));
                kept.steps.last = behind.last;
            }
        }
        self.cache.put(key, kept);
    }
}

fn hull(one: Steps, other: Steps) -> Steps {
    let TimeRange { first, last } = TimeRange::new(one.first.min(other.first), one.last.max(other.last));
    Steps { first, last, ..one }
}
