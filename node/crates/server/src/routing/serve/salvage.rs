//! What this node has of a group that lost its majority for ever.

use bellwether_model::{RefEpoch, ShardGroupId, Timestamp};
use bellwether_proto::peer::v1::{Failure, SalvageAnswer, SalvageRequest};
use bellwether_raft::ReplicaId;

use super::rejected;
use crate::peers::error::chain;
use crate::routing::Router;
use crate::shards::Remains;
use crate::shards::split::SplitOutcome;

impl Router {
    /// Says what there is, and makes a replica of it where one is named.
    pub async fn serve_salvage(&self, request: &SalvageRequest) -> Result<SalvageAnswer, Failure> {
        let group = ShardGroupId(request.group);
        let remains = match request.replica {
            0 => self.shards.remains(group),
            replica => {
                let prepared = self.shards.prepare_recovery(group, ReplicaId(replica), RefEpoch(request.ref_epoch));
                prepared.await
            }
        };
        let Remains { applied, last, time, last_split } = remains.map_err(|error| rejected(chain(&error)))?;
        Ok(SalvageAnswer {
            applied,
            last,
            time_ms: Some(time).filter(|time| *time != Timestamp::MIN),
            settled_split: last_split.map(|split| split.child.0),
            split_done: last_split.is_some_and(|split| split.outcome == SplitOutcome::Done),
        })
    }
}
