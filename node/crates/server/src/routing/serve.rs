//! What other nodes ask of this one: done here or refused, never passed on.

mod commands;
mod reads;
mod salvage;
mod scans;
mod writes;

use std::sync::Arc;

use bellwether_model::ShardGroupId;
use bellwether_proto::peer::v1::{self, Failure};
use bellwether_raft::{GroupId, LeaderHint, Leadership, ReadError};

use super::Router;
use super::error::RouteError;
use crate::peers::error::{propose_failure, read_failure};
use crate::shards::{NotServed, ShardGroup};

/// When to come again after an overload.
const RETRY_AFTER_MS: u64 = 1000;

impl Router {
    /// The replica of a group that is led here.
    fn led_here(&self, group: u32) -> Result<Arc<ShardGroup>, Failure> {
        let group = ShardGroupId(group);
        let local = self.shards.local(group).map_err(|error| self.failure(group, &error.into()))?;
        match local.raft.leadership() {
            Leadership::Here => Ok(local),
            Leadership::There(hint) => Err(not_leader(group, Some(hint))),
            Leadership::Unknown => Err(not_leader(group, None)),
        }
    }

    /// This node's replica of a group that has it.
    fn replica_here(&self, group: u32) -> Result<Arc<ShardGroup>, Failure> {
        let group = ShardGroupId(group);
        self.shards.member(group).map_err(|error| self.failure(group, &error.into()))
    }

    /// What an error is for other nodes.
    fn failure(&self, group: ShardGroupId, error: &RouteError) -> Failure {
        let message = error.to_string();
        match error {
            RouteError::Propose(error) => propose_failure(GroupId(group.0), error),
            RouteError::Read(error) => read_failure(GroupId(group.0), error),
            RouteError::NotServed(NotServed::NotHere(_)) => {
                let placement_epoch = self.shards.ring().epoch();
                Failure::new(message, v1::UnknownGroup { group: group.0, placement_epoch })
            }
            RouteError::QueueFull { .. } | RouteError::HeadsFull(_) | RouteError::NoDisk(_) => {
                Failure::new(message, v1::Overloaded { retry_after_ms: RETRY_AFTER_MS })
            }
            RouteError::Reply(_) => rejected(message),
            RouteError::NotServed(_)
            | RouteError::Remote(_)
            | RouteError::NoLeader(_)
            | RouteError::Moved(_)
            | RouteError::Damaged(_)
            | RouteError::TooNew(_)
            | RouteError::TooLargeAtOnce
            | RouteError::Late(_)
            | RouteError::Torn(_)
            | RouteError::Stopping => Failure::new(message, v1::Unavailable { group: group.0 }),
        }
    }
}

fn not_leader(group: ShardGroupId, hint: Option<LeaderHint>) -> Failure {
    read_failure(GroupId(group.0), &ReadError::NotLeader { hint })
}

pub(super) fn rejected(message: impl Into<String>) -> Failure {
    Failure::new(message, v1::Rejected {})
}
