//! What other nodes ask of this one: done here or refused, never passed on.

mod commands;
mod reads;
mod writes;

use bellwether_model::ShardGroupId;
use bellwether_proto::peer::v1::failure::Reason;
use bellwether_proto::peer::v1::{Failure, FateUnknown, NotLeader, Overloaded, Rejected, Unavailable, UnknownGroup};
use bellwether_raft::{LeaderHint, Leadership, ProposeError, ReadError};

use super::error::RouteError;
use crate::shards::{NotServed, ShardGroup};

/// When to come again after an overload.
const RETRY_AFTER_MS: u64 = 1000;

impl super::Router {
    /// The replica of a group that is led here.
    fn led_here(&self, group: u32) -> Result<std::sync::Arc<ShardGroup>, Failure> {
        let local = self.replica_here(group)?;
        match local.raft.leadership() {
            Leadership::Here => Ok(local),
            Leadership::There(hint) => Err(not_leader(local.id(), Some(hint))),
            Leadership::Unknown => Err(not_leader(local.id(), None)),
        }
    }

    /// This node's replica of a group.
    fn replica_here(&self, group: u32) -> Result<std::sync::Arc<ShardGroup>, Failure> {
        let not_served =
            |error| failure(ShardGroupId(group), &RouteError::NotServed(error), self.shards.ring().epoch());
        self.shards.local(ShardGroupId(group)).map_err(not_served)
    }

    fn failure(&self, group: ShardGroupId, error: &RouteError) -> Failure {
        failure(group, error, self.shards.ring().epoch())
    }
}

fn not_leader(group: ShardGroupId, hint: Option<LeaderHint>) -> Failure {
    let (node, replica) = hint.map_or((0, 0), |hint| (hint.node, hint.replica.0));
    let reason = Reason::NotLeader(NotLeader { node, replica, address: String::new() });
    Failure { message: format!("it does not lead shard group {group}"), reason: Some(reason) }
}

/// What an error is for other nodes.
fn failure(group: ShardGroupId, error: &RouteError, placement_epoch: u64) -> Failure {
    let unavailable = || Reason::Unavailable(Unavailable { group: group.0 });
    let fate_unknown = |hint: Option<LeaderHint>| {
        let (node, replica) = hint.map_or((0, 0), |hint| (hint.node, hint.replica.0));
        Reason::FateUnknown(FateUnknown { node, replica })
    };
    let reason = match error {
        RouteError::Propose(ProposeError::NotLeader { hint }) => return not_leader(group, *hint),
        RouteError::Propose(ProposeError::Unknown { hint }) => fate_unknown(*hint),
        RouteError::Propose(
            ProposeError::StorageUnavailable { in_flight: true, .. } | ProposeError::Stopped { .. },
        ) => fate_unknown(None),
        RouteError::Propose(ProposeError::Overloaded { .. })
        | RouteError::QueueFull { .. }
        | RouteError::HeadsFull(_) => Reason::Overloaded(Overloaded { retry_after_ms: RETRY_AFTER_MS }),
        RouteError::Propose(ProposeError::TooLarge { .. }) | RouteError::Reply(_) => Reason::Rejected(Rejected {}),
        RouteError::NotServed(NotServed::NotHere(_)) => {
            Reason::UnknownGroup(UnknownGroup { group: group.0, placement_epoch })
        }
        RouteError::Read(ReadError::NotLeader { hint }) => return not_leader(group, *hint),
        RouteError::Propose(ProposeError::StorageUnavailable { .. })
        | RouteError::Read(_)
        | RouteError::NotServed(_)
        | RouteError::Remote(_)
        | RouteError::NoLeader(_)
        | RouteError::TooLargeAtOnce
        | RouteError::Torn(_)
        | RouteError::Stopping => unavailable(),
    };
    Failure { message: error.to_string(), reason: Some(reason) }
}
