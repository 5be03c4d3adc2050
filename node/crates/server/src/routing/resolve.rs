//! The refs of series that the cache does not know, of groups that have no replica here.

use bellwether_ingest::RefScope;
use bellwether_model::{HashRange, Labels, PlacementKey, RefEpoch, SeriesHash, SeriesRef, ShardGroupId, Tenant};
use bellwether_proto::peer::v1::{ResolveAnswer, ResolveRequest};
use bellwether_raft::NodeId;
use bytes::Bytes;

use super::Router;
use super::error::RouteError;
use super::leaders::Leader;
use super::pace::Pace;
use super::remote::unreadable;
use crate::peers::PeerError;
use crate::shards::ShardGroup;

/// What a replica knows of series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the refs belong to.
    pub scope: RefScope,
    /// What the group owns: a series outside of that is another group's.
    pub owned: HashRange,
    /// One for each series that was asked for; `None` where it is not known.
    pub refs: Vec<Option<SeriesRef>>,
}

/// What a replica has applied knows of series.
pub fn resolve_here<'a>(
    group: &ShardGroup,
    hashes: impl Iterator<Item = SeriesHash>,
    labels: impl Iterator<Item = &'a Labels>,
) -> Resolved {
    // Before the lookup: what is given away in a split meanwhile is then refused by its scope.
    let (owned, scope) = (group.range(), group.scope());
    let shard = group.shard();
    let found = shard.lookup_many(hashes).into_iter().zip(labels);
    // Another series may have the same hash: then the state machine refuses to register this one.
    let refs = found.map(|(found, labels)| found.filter(|series| shard.labels(*series).as_ref() == Some(labels)));
    Resolved { scope, owned, refs: refs.collect() }
}

impl Router {
    /// Asks another node for the refs of series.
    pub async fn resolve(
        &self,
        group: ShardGroupId,
        tenant: &Tenant,
        series: &[(SeriesHash, &Labels)],
    ) -> Result<Resolved, RouteError> {
        let hashes: Vec<u8> = series.iter().flat_map(|(hash, _)| hash.0.to_be_bytes()).collect();
        let request = ResolveRequest {
            group: group.0,
            tenant: tenant.as_str().to_owned(),
            hashes: hashes.into(),
            labels: series.iter().map(|(_, labels)| Bytes::copy_from_slice(labels.canonical_bytes())).collect(),
        };
        let mut pace = Pace::begin(&self.jitter);
        let mut attempt = 0;
        loop {
            let (asked, error) = match self.leader_of(group, attempt) {
                Leader::Here(local) => {
                    let (hashes, labels) = (series.iter().map(|(hash, _)| *hash), series.iter().map(|(_, l)| *l));
                    return Ok(resolve_here(&local, hashes, labels));
                }
                Leader::There(node) => match self.remote.resolve(node, request.clone()).await {
                    Ok(answer) => return Ok(read(node, answer, series.len())?),
                    Err(error) => (node, error.into()),
                },
                Leader::Nowhere(error) => (self.shards.node(), error),
            };
            if !self.try_again(group, &error, asked, &mut pace).await {
                return Err(error);
            }
            attempt += 1;
        }
    }
}

fn read(node: NodeId, answer: ResolveAnswer, expected: usize) -> Result<Resolved, PeerError> {
    if answer.refs.len() != expected {
        return Err(unreadable(node, format!("{} refs for {expected} series", answer.refs.len())));
    }
    let refs = answer.refs.into_iter().map(|number| match number.checked_sub(1) {
        None => Ok(None),
        Some(number) => {
            let number = u32::try_from(number).map_err(|_| unreadable(node, format!("{number} is no ref")))?;
            Ok(Some(SeriesRef(number)))
        }
    });
    let scope = RefScope { epoch: RefEpoch(answer.ref_epoch), range_generation: answer.range_generation };
    let owned = HashRange { first: PlacementKey(answer.first_key), last: PlacementKey(answer.last_key) };
    Ok(Resolved { scope, owned, refs: refs.collect::<Result<_, _>>()? })
}
