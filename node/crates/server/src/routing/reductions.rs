//! Aggregations that are computed where the series are, whichever nodes that may be.
//!
//! What each shard group's series come to is merged in the order of the groups' ids, whoever computed it: where a group is
//! led shows in no digit of the result. A node that does not make the same plan of the query as this one does (another
//! version, say) is asked for the samples, and so are the others then.

use std::sync::Arc;

use bellwether_model::{ShardGroupId, Tenant};
use bellwether_promql::{EvalError, EvalTimes, LabelNames, Partial, Plan, PlanOptions, Reducer};
use bellwether_proto::peer::v1::scan_part::Part;
use bellwether_proto::peer::v1::scan_request::What;
use bellwether_proto::peer::v1::{Failure, ScanPart, ScanReduced, SelectReduced};
use bytes::Bytes;

use super::Router;
use super::reads::{Scope, evaluation_error};
use super::scan_parts::{Found, TakeError, part, unreadable};
use super::serve::rejected;
use crate::shards::{GroupPartial, ReadContext, SelectError, Subplan, Wanted};

/// Up to so many bytes of partial results are merged without a hop to the scan executor.
const INLINE_BYTES_MAX: u64 = 64 << 10;
/// Series that are aggregated together where samples came instead of partial results.
const BATCH_SERIES: usize = 1024;

/// Whom errors blame that are of no group.
const NO_GROUP: ShardGroupId = ShardGroupId(0);

/// A part of a query, and the text of the whole.
pub struct Reduction<'a> {
    /// The query.
    pub text: &'a str,
    /// What is not in the text.
    pub options: PlanOptions,
    /// What it was planned to, and which part is meant.
    pub subplan: Subplan,
}

/// What became of a group's series, from this node or another.
#[derive(Debug)]
pub struct Reduced {
    group: ShardGroupId,
    what: Arrived,
}

#[derive(Debug)]
enum Arrived {
    Here(GroupPartial),
    /// Pieces as they travel.
    Elsewhere(Vec<Bytes>),
}

impl Reduced {
    /// From a replica here.
    pub fn here(partial: GroupPartial) -> Reduced {
        Reduced { group: partial.group, what: Arrived::Here(partial) }
    }

    fn byte_len(&self) -> u64 {
        match &self.what {
            Arrived::Here(part) => part.partial.byte_len(),
            Arrived::Elsewhere(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        }
    }
}

impl Router {
    /// What the aggregations of a query make of one of its selections. The query's account is charged.
    pub async fn reduce(
        &self,
        tenant: &Tenant,
        reduction: Reduction<'_>,
        read: &ReadContext,
    ) -> Result<Partial, SelectError> {
        let subplan = reduction.subplan.clone();
        let selection = subplan.selection();
        let scope = Scope { tenant, selectors: std::slice::from_ref(subplan.matchers()), range: selection.range, read };
        let (shards, here) = (&self.shards, &subplan);
        let local = |groups| async move {
            let partials = shards.reduce(groups, tenant, here, read).await?;
            Ok(partials.into_iter().map(Reduced::here).collect())
        };
        match self.everywhere(&scope, What::Reduced(request(&reduction)), local).await {
            Ok(parts) => self.merged(parts, subplan, read).await,
            Err(SelectError::Refused { group, reason }) => {
                tracing::debug!(group = group.0, reason, "a node does not aggregate for this one");
                self.reduce_here(tenant, subplan, read).await
            }
            Err(error) => Err(error),
        }
    }

    async fn merged(
        &self,
        mut parts: Vec<Reduced>,
        subplan: Subplan,
        read: &ReadContext,
    ) -> Result<Partial, SelectError> {
        parts.sort_by_key(|part| part.group);
        let first = parts.first().map_or(NO_GROUP, |part| part.group);
        let is_small = parts.iter().map(Reduced::byte_len).sum::<u64>() <= INLINE_BYTES_MAX;
        let read = read.clone();
        let merge = move || merge(first, parts, &subplan, &read);
        if is_small {
            return merge();
        }
        let merged = self.shards.executor().run(merge).await;
        merged.map_err(|error| SelectError::Storage { group: first, reason: error.to_string() })?
    }

    /// Fetches the series themselves.
    async fn reduce_here(&self, tenant: &Tenant, subplan: Subplan, read: &ReadContext) -> Result<Partial, SelectError> {
        let selection = subplan.selection();
        let wanted = if selection.newest { Wanted::Newest } else { Wanted::All };
        let series = self.select(tenant, subplan.matchers().clone(), selection.range, wanted, read).await?;
        let read = read.clone();
        let reduce = move || {
            let mut merged = subplan.empty(&read)?;
            let mut reducer = Reducer::new(subplan.plan(), subplan.number(), &read.account, &*read.cancel)?;
            let mut series = series.into_iter();
            loop {
                let batch: Vec<_> = series.by_ref().take(BATCH_SERIES).collect();
                if batch.is_empty() {
                    break;
                }
                reducer.add(batch)?;
            }
            merged.merge(reducer.finish()?, &read.account, &*read.cancel)?;
            Ok(merged)
        };
        let group = NO_GROUP;
        let reduced: Result<Result<Partial, EvalError>, _> = self.shards.executor().run(reduce).await;
        let reduced = reduced.map_err(|error| SelectError::Storage { group, reason: error.to_string() })?;
        reduced.map_err(|error| evaluation_error(group, error))
    }
}

/// Merges what came, in the order of the groups.
fn merge(
    first: ShardGroupId,
    parts: Vec<Reduced>,
    subplan: &Subplan,
    read: &ReadContext,
) -> Result<Partial, SelectError> {
    let mut merged = subplan.empty(read).map_err(|error| evaluation_error(first, error))?;
    for Reduced { group, what } in parts {
        let failed = |error: EvalError| evaluation_error(group, error);
        let partial = match what {
            Arrived::Here(part) => part.partial,
            Arrived::Elsewhere(pieces) => {
                let mut partial = subplan.empty(read).map_err(failed)?;
                for piece in pieces {
                    partial.read_piece(&piece, &read.account).map_err(|error| match error {
                        bellwether_promql::Damage::Limit(error) => SelectError::Limit(error),
                        error => SelectError::Storage { group, reason: error.to_string() },
                    })?;
                    read.account.give_back(piece.len() as u64);
                }
                partial
            }
        };
        merged.merge(partial, &read.account, &*read.cancel).map_err(failed)?;
    }
    Ok(merged)
}

fn request(reduction: &Reduction<'_>) -> SelectReduced {
    let Reduction { text, options, subplan } = reduction;
    let (plan, selection) = (subplan.plan(), subplan.number());
    let times = plan.times();
    SelectReduced {
        query: (*text).to_owned(),
        start_ms: times.start(),
        end_ms: times.end(),
        step_ms: if times.is_instant() { 0 } else { times.step_ms() },
        lookback_ms: options.lookback_ms,
        subquery_step_ms: options.subquery_step_ms,
        utf8_names: options.label_names == LabelNames::Utf8,
        delayed_name_removal: options.delayed_name_removal,
        samples_per_step: options.samples_per_step,
        selection: selection as u32,
        fingerprint: plan.fingerprint(selection),
    }
}

/// What another node means by a part of a query, if that is the same here.
pub(super) fn subplan_of(request: &SelectReduced) -> Result<Subplan, Failure> {
    let expr = bellwether_promql::parse(&request.query).map_err(|error| rejected(error.to_string()))?;
    let times = match request.step_ms {
        0 => Ok(EvalTimes::instant(request.start_ms)),
        step_ms => EvalTimes::range(request.start_ms, request.end_ms, step_ms),
    };
    let options = PlanOptions {
        lookback_ms: request.lookback_ms,
        subquery_step_ms: request.subquery_step_ms,
        label_names: if request.utf8_names { LabelNames::Utf8 } else { LabelNames::Classic },
        delayed_name_removal: request.delayed_name_removal,
        samples_per_step: request.samples_per_step,
    };
    let plan = times.and_then(|times| Plan::with_options(&expr, times, options));
    let plan = Arc::new(plan.map_err(|error| rejected(error.to_string()))?);
    let selection = request.selection as usize;
    let subplan = Subplan::new(&plan, selection).filter(|_| plan.fingerprint(selection) == request.fingerprint);
    subplan.ok_or_else(|| rejected(format!("selection {selection} of the query means something else here")))
}

impl Found for Reduced {
    fn parts(found: Vec<Reduced>) -> impl Iterator<Item = ScanPart> + Send {
        found.into_iter().flat_map(|Reduced { group, what }| {
            let (pieces, mut series, mut samples): (Box<dyn Iterator<Item = Bytes> + Send>, u64, u64) = match what {
                Arrived::Here(part) => {
                    (Box::new(part.partial.into_pieces().map(Bytes::from)), part.series, part.samples)
                }
                Arrived::Elsewhere(pieces) => (Box::new(pieces.into_iter()), 0, 0),
            };
            pieces.map(move |piece| {
                let (series, samples) = (std::mem::take(&mut series), std::mem::take(&mut samples));
                part(Part::Reduced(ScanReduced { group: group.0, piece, series, samples }))
            })
        })
    }

    fn take(part: Part, so_far: &mut Vec<Reduced>, read: &ReadContext) -> Result<(), TakeError> {
        let Part::Reduced(ScanReduced { group, piece, series, samples }) = part else {
            return Err(unreadable("a part is not of a partial result"));
        };
        let group = ShardGroupId(group);
        read.account.fetch(series, samples)?;
        read.account.take(piece.len() as u64)?;
        match so_far.last_mut().filter(|last| last.group == group) {
            Some(Reduced { what: Arrived::Elsewhere(pieces), .. }) => pieces.push(piece),
            _ => so_far.push(Reduced { group, what: Arrived::Elsewhere(vec![piece]) }),
        }
        Ok(())
    }
}
