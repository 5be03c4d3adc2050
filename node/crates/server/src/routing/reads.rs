//! Reads of the whole cluster. Each sees everything that was acknowledged before it, and is complete or an error.
//!
//! Groups that can be read here are read here; the others are scanned where they are led, all groups of one node in one
//! call. Who answers says which range it covered: an answer counts only if that is the range that the ring gives to the group.
//! What fails because a leader has changed, or is not known yet, is asked again before anything of it has come; likewise
//! where a group has been split, by the newer ring once that is there, and only for the keys that nothing has come for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_ingest::{ControlCommand, MatcherText};
use bellwether_model::{
    HashRange, Labels, MatchOp, Matcher, MetricMetadata, PlacementKey, ShardGroupId, Tenant, TimeRange,
};
use bellwether_probe::{Bug, planted, reached};
use bellwether_promql::{EvalError, FetchedSeries};
use bellwether_proto::peer::v1::group_read::Freshness;
use bellwether_proto::peer::v1::matcher::Op;
use bellwether_proto::peer::v1::scan_part::Part;
use bellwether_proto::peer::v1::scan_request::What;
use bellwether_proto::peer::v1::{self, GroupRead, ScanLimits, ScanRequest, Selector};
use bellwether_raft::{NodeId, ReadError};
use futures::StreamExt;
use futures::future::{join, join_all, try_join_all};

use super::Router;
use super::commands::NotReplicated;
use super::concerned::concerned;
use super::error::RouteError;
use super::pace::Pace;
use super::remote::unreadable;
use super::scan_parts::{Found, TakeError};
use super::sources::Sources;
use crate::peers::{LimitKind, PeerError};
use crate::shards::{
    Cause, LabelsRead, LimitError, Limits, NotServed, Quarantined, ReadContext, Ring, RingGroup, SelectError,
    SeriesExemplars, ShardGroup, Wanted,
};

/// Matchers of several selectors: series that pass all of any of them.
pub type Selectors = Arc<[Arc<[Matcher]>]>;

/// Which series a read is about.
pub(super) struct Scope<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) selectors: &'a [Arc<[Matcher]>],
    pub(super) range: TimeRange,
    pub(super) read: &'a ReadContext,
}

impl Scope<'_> {
    /// The group that an error is about, if the read may go on without it.
    fn left_out(&self, error: SelectError, wanted: &[ShardGroupId]) -> Result<ShardGroupId, SelectError> {
        if planted(Bug::SilentPartial)
            && let Some(first) = wanted.first()
        {
            return Ok(*first);
        }
        let group = self.read.missing.as_ref().and_then(|missing| missing.leave_out(&error));
        group.filter(|group| wanted.contains(group)).ok_or(error)
    }
}

impl Router {
    /// Samples of the matching series inside `range`, in an order that is not that of their labels. The query's account is
    /// charged.
    pub async fn select(
        &self,
        tenant: &Tenant,
        matchers: Arc<[Matcher]>,
        range: TimeRange,
        wanted: Wanted,
        read: &ReadContext,
    ) -> Result<Vec<FetchedSeries>, SelectError> {
        let what = What::Select(v1::SelectSamples { newest: wanted == Wanted::Newest });
        let scope = Scope { tenant, selectors: std::slice::from_ref(&matchers), range, read };
        self.everywhere(&scope, what, |groups| {
            self.shards.select(groups, tenant, matchers.clone(), range, wanted, read)
        })
        .await
    }

    /// Labels of series that any of the selectors means, with data in `range`, sorted; at most `limit`. To know whether
    /// there are more, ask for one more than needed.
    pub async fn series(
        &self,
        tenant: &Tenant,
        selectors: Selectors,
        range: TimeRange,
        limit: usize,
        read: &ReadContext,
    ) -> Result<Vec<Labels>, SelectError> {
        let what = What::Series(v1::SelectNames { limit: limit as u64 });
        let labels = LabelsRead { tenant: tenant.clone(), selectors, range, limit };
        let scope = Scope { tenant, selectors: &labels.selectors, range, read };
        let found = self.everywhere(&scope, what, |groups| self.shards.series(groups, &labels, read));
        let mut all: Vec<Labels> = found.await?;
        all.sort_unstable();
        all.truncate(limit);
        Ok(all)
    }

    /// Names of the labels that those series have, sorted; at most `limit`.
    pub async fn label_names(
        &self,
        tenant: &Tenant,
        selectors: Selectors,
        range: TimeRange,
        limit: usize,
        read: &ReadContext,
    ) -> Result<Vec<String>, SelectError> {
        let what = What::LabelNames(v1::SelectNames { limit: limit as u64 });
        let labels = LabelsRead { tenant: tenant.clone(), selectors, range, limit };
        let scope = Scope { tenant, selectors: &labels.selectors, range, read };
        let found = self.everywhere(&scope, what, |groups| self.shards.label_names(groups, &labels, read));
        Ok(merged(found.await?, limit))
    }

    /// Values of a label that those series have, sorted; at most `limit`.
    pub async fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        selectors: Selectors,
        range: TimeRange,
        limit: usize,
        read: &ReadContext,
    ) -> Result<Vec<String>, SelectError> {
        let what = What::LabelValues(v1::SelectValues { label: name.to_owned(), limit: limit as u64 });
        let labels = LabelsRead { tenant: tenant.clone(), selectors, range, limit };
        let scope = Scope { tenant, selectors: &labels.selectors, range, read };
        let found = self.everywhere(&scope, what, |groups| self.shards.label_values(groups, name, &labels, read));
        Ok(merged(found.await?, limit))
    }

    /// What senders said about metrics, by metric name.
    pub async fn metadata(
        &self,
        tenant: &Tenant,
        read: &ReadContext,
    ) -> Result<BTreeMap<String, MetricMetadata>, SelectError> {
        let scope = Scope { tenant, selectors: &[Arc::from([])], range: TimeRange::ALL, read };
        let what = What::Metadata(v1::SelectMetadata {});
        let found = self.everywhere(&scope, what, |groups| self.shards.metadata(groups, tenant, read));
        Ok(found.await?.into_iter().collect())
    }

    /// Exemplars inside `range` of the series that any of the selectors means, by their labels.
    pub async fn exemplars(
        &self,
        tenant: &Tenant,
        selectors: Selectors,
        range: TimeRange,
        read: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SelectError> {
        let scope = Scope { tenant, selectors: &selectors, range, read };
        let what = What::Exemplars(v1::SelectExemplars {});
        let local = |groups| self.shards.exemplars(groups, tenant, selectors.clone(), range, read);
        let mut all = self.everywhere(&scope, what, local).await?;
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    /// Deletes samples of matching series inside `range`, through the log; returns how many series matched.
    pub async fn delete_series(
        &self,
        tenant: &Tenant,
        matchers: Arc<[Matcher]>,
        range: TimeRange,
    ) -> Result<u64, NotReplicated> {
        let written = |matcher: &Matcher| MatcherText {
            op: matcher.op(),
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
        };
        let command =
            ControlCommand::Delete { tenant: tenant.clone(), matchers: matchers.iter().map(written).collect(), range };
        let mut pace = Pace::begin(&self.jitter);
        loop {
            let ring = self.shards.ring();
            let groups = concerned(&ring, tenant, std::slice::from_ref(&matchers));
            let command = &command;
            let deleted = groups.map(|group| async move {
                let (count, owned) = self.command_owned(group.id, command).await?;
                Ok((group, count, owned))
            });
            let deleted: Vec<(&RingGroup, u64, HashRange)> = try_join_all(deleted).await?;
            // What a group gave away in a split meanwhile is deleted where it is now.
            match deleted.iter().find(|(group, _, owned)| *owned != group.range) {
                None => return Ok(deleted.into_iter().map(|(_, count, _)| count).sum()),
                Some((group, _, _)) if !pace.pause().await => {
                    return Err(NotReplicated { group: group.id, error: RouteError::Moved(group.id) });
                }
                Some(_) => reached("a deletion was done again after a split"),
            }
        }
    }

    /// Reads all groups that the selectors concern, `local` those of them that can be read here.
    pub(super) async fn everywhere<T: Found, L: Future<Output = Result<Vec<T>, SelectError>>>(
        &self,
        scope: &Scope<'_>,
        what: What,
        local: impl Fn(Vec<Arc<ShardGroup>>) -> L,
    ) -> Result<Vec<T>, SelectError> {
        let mut all = Vec::new();
        let mut pace = Pace::begin(&self.jitter);
        let mut attempt = 0;
        // Groups are only ever split: each later range lies in one of these, or in none.
        let mut covered: Vec<HashRange> = Vec::new();
        loop {
            let ring = self.shards.ring();
            let is_missing = |group: &&RingGroup| !covered.iter().any(|range| range.contains(group.range.first));
            let missing = concerned(&ring, scope.tenant, scope.selectors).filter(is_missing);
            let missing: Vec<ShardGroupId> = missing.map(|group| group.id).collect();
            if missing.is_empty() {
                return Ok(all);
            }
            if !covered.is_empty() {
                reached("a read went on by a newer map");
            }
            let Sources { here, there, nowhere } = self.sources(&missing, scope.read.stale, attempt).await;
            let own = self.shards.node();
            let moved = |group: &Arc<ShardGroup>| (group.id(), own, RouteError::Moved(group.id()));
            let (here, behind): (Vec<_>, Vec<_>) = here.into_iter().partition(|group| owns_as(&ring, group));
            let mut failed = nowhere;
            if !behind.is_empty() {
                reached("a read by another map than the group's");
            }
            failed.extend(behind.iter().map(moved));
            let scans = there.into_iter().map(|(node, groups)| self.scan_there(&ring, scope, &what, node, groups));
            let (found, there) = match (here.is_empty(), scans.len()) {
                (false, 0) => (local(here.clone()).await, Vec::new()),
                (true, _) => (Ok(Vec::new()), join_all(scans).await),
                (false, _) => join(local(here.clone()), join_all(scans)).await,
            };
            let left_out =
                |error| Ok::<_, SelectError>(ranges(&ring, std::iter::once(scope.left_out(error, &missing)?)));
            // A group that was split meanwhile may not have given everything; which part is its, nobody can tell here.
            let split: Vec<_> = here.iter().filter(|group| !owns_as(&ring, group)).map(moved).collect();
            match found {
                Ok(found) if split.is_empty() => {
                    covered.extend(ranges(&ring, here.iter().map(|group| group.id())));
                    append(&mut all, found);
                }
                Ok(_) => {
                    reached("a group was split while it was read");
                    failed.extend(split);
                }
                Err(SelectError::Corrupt { group, .. })
                    if here.iter().any(|local| local.id() == group && local.is_worse_than_others()) =>
                {
                    failed.push((group, own, RouteError::Damaged(group)));
                }
                Err(error) => covered.extend(left_out(error)?),
            }
            for scanned in there {
                match scanned {
                    Ok((groups, found)) => {
                        covered.extend(ranges(&ring, groups.into_iter()));
                        append(&mut all, found);
                    }
                    Err(ScanFailure::Again(groups, node, error)) => {
                        let concerned = error_concerns(&error, groups);
                        failed.extend(concerned.into_iter().map(|group| (group, node, error.clone())));
                    }
                    Err(ScanFailure::Ends(error)) => covered.extend(left_out(error)?),
                }
            }
            for (group, asked, error) in &failed {
                self.learn(*group, error, *asked);
            }
            if let Some((group, asked, error)) = failed.first()
                && !self.try_again(*group, error, *asked, &mut pace).await
            {
                for (group, _, error) in failed {
                    covered.extend(left_out(unavailable(group, error))?);
                }
            }
            attempt += 1;
        }
    }

    /// Scans groups on the node that leads them.
    async fn scan_there<T: Found>(
        &self,
        ring: &Ring,
        scope: &Scope<'_>,
        what: &What,
        node: NodeId,
        groups: Vec<ShardGroupId>,
    ) -> Result<(Vec<ShardGroupId>, Vec<T>), ScanFailure> {
        let Some(first) = groups.first().copied() else { return Ok((groups, Vec::new())) };
        let ends = |error| ScanFailure::Ends(scan_error(first, error, scope.read.account.limits()));
        let mut parts = match self.remote.scan(node, request(scope, what, &groups)).await {
            Ok(parts) => parts,
            Err(error) if error.is_transient() => return Err(ScanFailure::Again(groups, node, error.into())),
            Err(error) => return Err(ends(error)),
        };
        let mut found = Vec::new();
        let mut covered = BTreeMap::new();
        let mut began = false;
        while let Some(part) = parts.next().await {
            match part {
                Ok(v1::ScanPart { part: Some(Part::End(end)) }) => {
                    let range = HashRange { first: PlacementKey(end.first_key), last: PlacementKey(end.last_key) };
                    covered.insert(ShardGroupId(end.group), range);
                }
                Ok(v1::ScanPart { part: Some(part) }) => {
                    began = true;
                    T::take(part, &mut found, scope.read).map_err(|error| match error {
                        TakeError::Limit(error) => ScanFailure::Ends(error.into()),
                        TakeError::Unreadable(reason) => ends(unreadable(node, reason)),
                    })?;
                }
                Ok(v1::ScanPart { part: None }) => return Err(ends(unreadable(node, "an empty part".to_owned()))),
                Err(error) if (error.is_transient() || is_of_one_copy(ring, &error)) && !began => {
                    return Err(ScanFailure::Again(groups, node, error.into()));
                }
                // What came before is counted, and cannot be asked for again.
                Err(PeerError::Corrupt { group, .. }) if others_have(ring, ShardGroupId(group.0)) => {
                    let damaged = RouteError::Damaged(ShardGroupId(group.0));
                    return Err(ScanFailure::Ends(unavailable(ShardGroupId(group.0), damaged)));
                }
                Err(error) => return Err(ends(error)),
            }
        }
        if let Some(group) = groups.iter().find(|group| !covered.contains_key(group)) {
            let reason = format!("node {node} ended its answer before it was whole");
            return Err(ScanFailure::Ends(SelectError::Unavailable { group: *group, reason }));
        }
        let is_as_known = |(group, range): (&ShardGroupId, &HashRange)| {
            planted(Bug::ReadAcrossSplit) || ring.group(*group).is_some_and(|known| known.range == *range)
        };
        match covered.iter().find(|covered| !is_as_known(*covered)) {
            Some((group, _)) => Err(ScanFailure::Again(groups.clone(), node, RouteError::Moved(*group))),
            None => Ok((groups, found)),
        }
    }
}

/// Why a scan gave nothing.
enum ScanFailure {
    /// It can be tried again: nothing of it has come.
    Again(Vec<ShardGroupId>, NodeId, RouteError),
    /// It cannot.
    Ends(SelectError),
}

/// Whether an error is about one copy of several.
fn is_of_one_copy(ring: &Ring, error: &PeerError) -> bool {
    matches!(error, PeerError::Corrupt { group, .. } if others_have(ring, ShardGroupId(group.0)))
}

/// Whether a group has several copies.
fn others_have(ring: &Ring, group: ShardGroupId) -> bool {
    ring.group(group).is_some_and(|group| group.replicas.len() > 1)
}

/// The groups of a scan that its failure is about. Where one of them is led elsewhere, nothing follows for the others: were
/// they all looked for there, they would be sent to and fro for ever.
fn error_concerns(error: &RouteError, groups: Vec<ShardGroupId>) -> Vec<ShardGroupId> {
    let named = match error {
        RouteError::Remote(
            PeerError::NotLeader { group: Some(group), .. }
            | PeerError::UnknownGroup { group, .. }
            | PeerError::Corrupt { group, .. },
        ) => Some(ShardGroupId(group.0)),
        _ => None,
    };
    match named.filter(|named| groups.contains(named)) {
        Some(named) => vec![named],
        None => groups,
    }
}

fn append<T>(all: &mut Vec<T>, more: Vec<T>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.extend(more);
    }
}

fn merged(texts: Vec<String>, limit: usize) -> Vec<String> {
    let all: BTreeSet<String> = texts.into_iter().collect();
    all.into_iter().take(limit).collect()
}

/// The answers cover the ring once if each group covered what the ring says that it owns.
fn owns_as(ring: &Ring, group: &ShardGroup) -> bool {
    planted(Bug::ReadAcrossSplit) || ring.group(group.id()).is_some_and(|known| known.range == group.range())
}

/// What groups own.
fn ranges(ring: &Ring, groups: impl Iterator<Item = ShardGroupId>) -> impl Iterator<Item = HashRange> {
    groups.filter_map(|group| Some(ring.group(group)?.range))
}

fn request(scope: &Scope<'_>, what: &What, groups: &[ShardGroupId]) -> ScanRequest {
    let account = &scope.read.account;
    let limits = account.limits();
    let freshness = match scope.read.stale {
        None => Freshness::AsLeader(true),
        Some(stale) => Freshness::HeardWithinMs(u64::try_from(stale.as_millis()).unwrap_or(u64::MAX)),
    };
    let read = |group: &ShardGroupId| GroupRead { group: group.0, freshness: Some(freshness) };
    let selector = |matchers: &Arc<[Matcher]>| Selector { matchers: matchers.iter().map(wire_matcher).collect() };
    ScanRequest {
        tenant: scope.tenant.as_str().to_owned(),
        groups: groups.iter().map(read).collect(),
        selectors: scope.selectors.iter().map(selector).collect(),
        start_ms: scope.range.first,
        end_ms: scope.range.last,
        limits: Some(ScanLimits {
            series_max: limits.series.saturating_sub(account.series()),
            samples_max: limits.samples.saturating_sub(account.samples()),
            bytes_max: limits.memory_bytes,
        }),
        what: Some(what.clone()),
    }
}

fn wire_matcher(matcher: &Matcher) -> v1::Matcher {
    let op = match matcher.op() {
        MatchOp::Equal => Op::Equal,
        MatchOp::NotEqual => Op::NotEqual,
        MatchOp::Regex => Op::Regex,
        MatchOp::NotRegex => Op::NotRegex,
    };
    v1::Matcher { op: op.into(), name: matcher.name().to_owned(), value: matcher.value().to_owned() }
}

/// What a group's failure is for a reader.
fn unavailable(group: ShardGroupId, error: RouteError) -> SelectError {
    match error {
        RouteError::NotServed(NotServed::Quarantined(Quarantined { group, reason, cause: Cause::Damaged })) => {
            SelectError::Corrupt { group, place: reason }
        }
        RouteError::NotServed(NotServed::Quarantined(Quarantined { group, reason, .. })) => {
            SelectError::Unavailable { group, reason }
        }
        RouteError::Read(ReadError::Stopped { reason, .. }) => SelectError::Unavailable { group, reason },
        error => SelectError::Unavailable { group, reason: error.to_string() },
    }
}

/// What an evaluation's error is for a reader.
pub(super) fn evaluation_error(group: ShardGroupId, error: EvalError) -> SelectError {
    match error {
        EvalError::Limit(error) => error.into(),
        EvalError::Cancelled => SelectError::Cancelled,
        error @ EvalError::Execution(_) => SelectError::Evaluation(error),
        error => SelectError::Storage { group, reason: error.to_string() },
    }
}

/// What another node's error is for a reader. Of a limit it was given what was left; the query's is meant.
fn scan_error(group: ShardGroupId, error: PeerError, limits: &Limits) -> SelectError {
    match error {
        PeerError::LimitExceeded { what: LimitKind::Series, .. } => LimitError::Series { limit: limits.series }.into(),
        PeerError::LimitExceeded { what: LimitKind::Samples, .. } => {
            LimitError::Samples { limit: limits.samples }.into()
        }
        PeerError::LimitExceeded { what: LimitKind::Bytes, .. } => {
            LimitError::Memory { limit: limits.memory_bytes }.into()
        }
        PeerError::Corrupt { group, reason, .. } => {
            SelectError::Corrupt { group: ShardGroupId(group.0), place: reason }
        }
        error @ PeerError::Refused { .. } => SelectError::Refused { group, reason: error.to_string() },
        error @ PeerError::Broken { .. } => SelectError::Storage { group, reason: error.to_string() },
        error => SelectError::Unavailable { group, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use bellwether_raft::{GroupId, LeaderHint, ReplicaId};

    use super::*;
    use crate::peers::Callee;

    #[test]
    fn where_one_group_of_a_scan_is_led_says_nothing_of_the_others() {
        let (callee, hint) = (Callee::Node(bellwether_model::NodeId(3)), LeaderHint { replica: ReplicaId(6), node: 1 });
        let not_leader = |group: Option<u32>| {
            let (callee, group) = (callee.clone(), group.map(GroupId));
            RouteError::Remote(PeerError::NotLeader { callee, group, hint: Some(hint), address: None })
        };
        let check = |error: &RouteError, concerned: &[u32]| {
            let scanned = [0, 4].map(ShardGroupId).to_vec();
            let found: Vec<u32> = error_concerns(error, scanned).iter().map(|group| group.0).collect();
            assert_eq!(found, concerned);
        };
        check(&not_leader(Some(4)), &[4]);
        // A node of an earlier version does not say which.
        check(&not_leader(None), &[0, 4]);
        check(&not_leader(Some(9)), &[0, 4]);
        let unknown = PeerError::UnknownGroup { callee: callee.clone(), group: GroupId(0), placement_epoch: 1 };
        check(&unknown.into(), &[0]);
    }
}
