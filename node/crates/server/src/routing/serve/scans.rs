//! Scans of this node's replicas for other nodes' queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_model::{Labels, MatchOp, Matcher, MetricMetadata, ShardGroupId, Tenant, TimeRange};
use bellwether_promql::FetchedSeries;
use bellwether_proto::peer::v1::group_read::Freshness;
use bellwether_proto::peer::v1::limit_exceeded::What as LimitKind;
use bellwether_proto::peer::v1::matcher::Op;
use bellwether_proto::peer::v1::scan_part::Part;
use bellwether_proto::peer::v1::scan_request::What;
use bellwether_proto::peer::v1::{self, Failure, GroupRead, ScanEnd, ScanPart, ScanRequest};
use bellwether_raft::GroupId;
use futures::future::try_join_all;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::rejected;
use crate::peers::error::{position, read_failure};
use crate::routing::Router;
use crate::routing::changes::{GroupChanges, served};
use crate::routing::reads::Selectors;
use crate::routing::reductions::{Reduced, subplan_of};
use crate::routing::scan_parts::Found;
use crate::shards::{
    LabelsRead, LimitError, Limits, QueryAccount, ReadContext, SelectError, SeriesExemplars, ShardGroup, Subplan,
    Wanted,
};

/// Parts that wait for the connection to take them.
const PARTS_WAITING_MAX: usize = 2;
/// Groups, selectors and matchers that one scan may name.
const NAMED_MAX: usize = 65_536;
/// How long a replica may take to come as far as it must.
const FOLLOW_WAIT: Duration = Duration::from_secs(2);

/// Raises the scan's flag when nobody waits for its parts any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a scan is about.
struct Scan {
    groups: Vec<Arc<ShardGroup>>,
    tenant: Tenant,
    selectors: Selectors,
    range: TimeRange,
    what: What,
    /// Of what is reduced.
    subplan: Option<Subplan>,
    read: ReadContext,
}

impl Router {
    /// Reads replicas of this node. Dropping the stream ends the work.
    pub async fn serve_scan(
        self: &Arc<Self>,
        request: ScanRequest,
    ) -> Result<impl Stream<Item = Result<ScanPart, Failure>> + Send + use<>, Failure> {
        let cancel = CancelOnDrop(Arc::default());
        let scan = self.scan_of(request, cancel.0.clone()).await?;
        let (parts, waiting) = mpsc::channel(PARTS_WAITING_MAX);
        let router = self.clone();
        tokio::spawn(async move {
            if let Err(failure) = router.scan_to(&scan, &parts).await {
                // Nobody may wait any more.
                let _ = parts.send(Err(failure)).await;
            }
        });
        Ok(ReceiverStream::new(waiting).map(move |part| {
            let _cancelled_with_the_stream = &cancel;
            part
        }))
    }

    async fn scan_of(&self, request: ScanRequest, cancel: Arc<AtomicBool>) -> Result<Scan, Failure> {
        let ScanRequest { tenant, groups, selectors, start_ms, end_ms, what, limits } = request;
        let named = groups.len() + selectors.iter().map(|selector| 1 + selector.matchers.len()).sum::<usize>();
        if named > NAMED_MAX {
            return Err(rejected(format!("the scan names {named} groups and matchers, {NAMED_MAX} is the limit")));
        }
        let tenant = Tenant::new(&tenant).map_err(|error| rejected(error.to_string()))?;
        let what = what.ok_or_else(|| rejected("the scan asks for nothing"))?;
        let reduced = match &what {
            What::Reduced(reduced) => Some(reduced.clone()),
            _ => None,
        };
        let parse = move || {
            let parsed = selectors.iter().map(|selector| {
                let matchers: Result<Vec<Matcher>, Failure> = selector.matchers.iter().map(matcher).collect();
                Ok::<Arc<[Matcher]>, Failure>(matchers?.into())
            });
            let subplan = reduced.as_ref().map(subplan_of).transpose()?;
            Ok::<_, Failure>((parsed.collect::<Result<Vec<_>, Failure>>()?, subplan))
        };
        let (selectors, subplan) =
            self.shards.executor().run(parse).await.map_err(|error| rejected(error.to_string()))??;
        let limits = limits.ok_or_else(|| rejected("the scan has no limits"))?;
        let limits = Limits { series: limits.series_max, samples: limits.samples_max, memory_bytes: limits.bytes_max };
        let groups = try_join_all(groups.iter().map(|group| self.fresh_here(group))).await?;
        Ok(Scan {
            groups,
            tenant,
            selectors: selectors.into(),
            range: TimeRange::new(start_ms, end_ms),
            what,
            subplan,
            read: ReadContext { cancel, ..ReadContext::new(QueryAccount::within(limits, self.scan_memory.clone())) },
        })
    }

    /// The replica here, once it has come far enough.
    async fn fresh_here(&self, read: &GroupRead) -> Result<Arc<ShardGroup>, Failure> {
        match read.freshness {
            Some(Freshness::AsLeader(_)) => {
                let local = self.led_here(read.group)?;
                let barrier = local.raft.read_barrier().await;
                barrier.map_err(|error| read_failure(GroupId(read.group), &error))?;
                Ok(local)
            }
            Some(Freshness::AtLeast(wanted)) => {
                let local = self.replica_here(read.group)?;
                let waited = local.raft.wait_applied(position(wanted), Instant::now() + FOLLOW_WAIT).await;
                waited.map_err(|error| read_failure(GroupId(read.group), &error))?;
                Ok(local)
            }
            Some(Freshness::HeardWithinMs(within)) => {
                let local = self.replica_here(read.group)?;
                match local.raft.staleness() {
                    Some(staleness) if staleness <= Duration::from_millis(within) => Ok(local),
                    staleness => {
                        let message = format!("shard group {}: the replica is {staleness:?} old", read.group);
                        Err(Failure::new(message, v1::Unavailable { group: read.group }))
                    }
                }
            }
            None => Err(rejected(format!("the scan does not say how fresh shard group {} must be", read.group))),
        }
    }

    async fn scan_to(&self, scan: &Scan, parts: &mpsc::Sender<Result<ScanPart, Failure>>) -> Result<(), Failure> {
        let Scan { groups, tenant, selectors, range, what, read, .. } = scan;
        let (range, shards) = (*range, &self.shards);
        let labels = |limit: u64| LabelsRead {
            tenant: tenant.clone(),
            selectors: selectors.clone(),
            range,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        match what {
            What::Select(select) => {
                let [matchers] = &selectors[..] else { return Err(rejected("samples are selected by one selector")) };
                let wanted = if select.newest { Wanted::Newest } else { Wanted::All };
                let found = shards.select(groups.clone(), tenant, matchers.clone(), range, wanted, read).await;
                send::<FetchedSeries>(found, parts).await?;
            }
            What::Reduced(_) => {
                let subplan = scan.subplan.as_ref().ok_or_else(|| rejected("the scan has no plan"))?;
                let at_once = shards.executor().threads().max(1);
                // Not lazily: the closure's futures would not be Send.
                let each: Vec<_> =
                    groups.iter().map(|group| shards.reduce(vec![group.clone()], tenant, subplan, read)).collect();
                let mut reduced = futures::stream::iter(each).buffered(at_once);
                while let Some(found) = reduced.next().await {
                    let found = found.map(|partials| partials.into_iter().map(Reduced::here).collect());
                    send::<Reduced>(found, parts).await?;
                }
            }
            What::Series(names) => {
                let found = shards.series(groups.clone(), &labels(names.limit), read).await;
                send::<Labels>(found, parts).await?;
            }
            What::LabelNames(names) => {
                let found = shards.label_names(groups.clone(), &labels(names.limit), read).await;
                send::<String>(found, parts).await?;
            }
            What::LabelValues(values) => {
                let found = shards.label_values(groups.clone(), &values.label, &labels(values.limit), read).await;
                send::<String>(found, parts).await?;
            }
            What::Changes(question) => {
                send::<GroupChanges>(Ok(served(groups, question, range)), parts).await?;
            }
            What::Exemplars(_) => {
                let found = shards.exemplars(groups.clone(), tenant, selectors.clone(), range, read).await;
                send::<SeriesExemplars>(found, parts).await?;
            }
            What::Metadata(_) => {
                let found = shards.metadata(groups.clone(), tenant, read).await;
                send::<(String, MetricMetadata)>(found, parts).await?;
            }
        }
        for group in groups {
            let HashRangeEnds { first_key, last_key } = ends(group);
            let range_generation = group.scope().range_generation;
            let end = ScanEnd { group: group.id().0, first_key, last_key, range_generation };
            // Nobody may wait any more.
            let _ = parts.send(Ok(ScanPart { part: Some(Part::End(end)) })).await;
        }
        Ok(())
    }
}

struct HashRangeEnds {
    first_key: u64,
    last_key: u64,
}

fn ends(group: &ShardGroup) -> HashRangeEnds {
    let range = group.range();
    HashRangeEnds { first_key: range.first.0, last_key: range.last.0 }
}

async fn send<T: Found>(
    found: Result<Vec<T>, SelectError>,
    parts: &mpsc::Sender<Result<ScanPart, Failure>>,
) -> Result<(), Failure> {
    for part in T::parts(found.map_err(|error| scan_failure(&error))?) {
        if parts.send(Ok(part)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn matcher(wire: &v1::Matcher) -> Result<Matcher, Failure> {
    let op = match Op::try_from(wire.op) {
        Ok(Op::Equal) => MatchOp::Equal,
        Ok(Op::NotEqual) => MatchOp::NotEqual,
        Ok(Op::Regex) => MatchOp::Regex,
        Ok(Op::NotRegex) => MatchOp::NotRegex,
        Err(_) => return Err(rejected(format!("matcher {} is not known here", wire.op))),
    };
    Matcher::new(op, &wire.name, &wire.value).map_err(|error| rejected(error.to_string()))
}

fn scan_failure(error: &SelectError) -> Failure {
    let message = error.to_string();
    let exceeded = |what: LimitKind, limit: u64| v1::LimitExceeded { what: what.into(), limit };
    match error {
        SelectError::Limit(LimitError::Series { limit }) => Failure::new(message, exceeded(LimitKind::Series, *limit)),
        SelectError::Limit(LimitError::Samples { limit }) => {
            Failure::new(message, exceeded(LimitKind::Samples, *limit))
        }
        SelectError::Limit(LimitError::Memory { limit }) => Failure::new(message, exceeded(LimitKind::Bytes, *limit)),
        SelectError::Limit(LimitError::TotalMemory { .. }) => {
            Failure::new(message, v1::Overloaded { retry_after_ms: super::RETRY_AFTER_MS })
        }
        SelectError::Corrupt { group, .. } => Failure::new(message, v1::Corrupt { group: group.0 }),
        SelectError::Unavailable { group: ShardGroupId(group), .. } => {
            Failure::new(message, v1::Unavailable { group: *group })
        }
        // Whoever asked finds the same in the samples.
        SelectError::Evaluation(_) | SelectError::Refused { .. } => rejected(message),
        SelectError::Cancelled | SelectError::Storage { .. } => Failure { message, reason: None },
    }
}
