//! Why what was asked of a group was not done, and whether to ask again.

use bellwether_model::ShardGroupId;
use bellwether_raft::{LeaderHint, NodeId, ProposeError, ReadError};

use super::disk_room::NoDisk;
use super::head_room::HeadsFull;
use crate::peers::PeerError;
use crate::shards::{Cause, CommandError, NotServed, Quarantined};

/// Why something was not done, or may not have been. All that is routed may be asked for again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RouteError {
    /// Raft says no to a proposal, or does not know.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Raft says no to a read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group does not serve here now.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// Another node says no, or does not answer.
    #[error(transparent)]
    Remote(#[from] PeerError),
    /// Nobody is known to lead the group.
    #[error("shard group {0} has no leader that is known here")]
    NoLeader(ShardGroupId),
    /// Too much waits for the group, or for all of them.
    #[error("{bytes} bytes of frames wait to be stored, the limit is {limit}")]
    QueueFull {
        /// Bytes that wait.
        bytes: usize,
        /// What may wait there.
        limit: usize,
    },
    /// Nothing is taken until heads take less memory.
    #[error(transparent)]
    HeadsFull(#[from] HeadsFull),
    /// Nothing is taken until there is room on disks.
    #[error(transparent)]
    NoDisk(#[from] NoDisk),
    /// They have more bytes than are queued for another node as a whole: they go one part after the other.
    #[error("the frames are sent in parts")]
    TooLargeAtOnce,
    /// Some of a request's frames were stored and frames before them were not: all must come again, in order.
    #[error("shard group {0} stored a part of the request while its leader changed")]
    Torn(ShardGroupId),
    /// A command was proposed and not applied in time.
    #[error("shard group {0} has not applied the command in time: whether it will is unknown")]
    Late(ShardGroupId),
    /// The group owns another range than the map says that is known here: it was split.
    #[error("shard group {0} was split, which the placement does not show here yet")]
    Moved(ShardGroupId),
    /// What the replica here has is damaged, and others have the same.
    #[error("the copy of shard group {0} here is damaged, and will be made again")]
    Damaged(ShardGroupId),
    /// What it is to store is of a later version than the group's log says may be written.
    #[error(
        "shard group {0} cannot store histograms or exemplars yet: its log has not come to the version that has them"
    )]
    TooNew(ShardGroupId),
    /// The server is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The state machine's reply is not one: our own broken promise.
    #[error("the state machine's reply cannot be read: {0}")]
    Reply(String),
}

/// Whether a repeat can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// With this node: it leads.
    At(NodeId),
    /// After a pause, with whoever leads then.
    Later,
    /// Not now: the caller is told.
    No,
}

impl RouteError {
    /// Whether a repeat can help, soon.
    pub fn again(&self) -> Again {
        let at = |hint: &Option<LeaderHint>| hint.map_or(Again::Later, |hint| Again::At(hint.node));
        match self {
            RouteError::Propose(ProposeError::NotLeader { hint } | ProposeError::Unknown { hint })
            | RouteError::Read(ReadError::NotLeader { hint }) => at(hint),
            RouteError::Propose(ProposeError::NoQuorum { .. })
            | RouteError::Read(ReadError::NoQuorum(_))
            | RouteError::NotServed(_)
            | RouteError::NoLeader(_)
            | RouteError::Moved(_)
            | RouteError::Damaged(_)
            | RouteError::TooNew(_)
            | RouteError::TooLargeAtOnce => Again::Later,
            RouteError::Remote(PeerError::NotLeader { hint, .. } | PeerError::FateUnknown { hint, .. }) => at(hint),
            RouteError::Remote(
                PeerError::UnknownNode(_)
                | PeerError::Unreachable { .. }
                | PeerError::Deadline { .. }
                | PeerError::UnknownGroup { .. }
                | PeerError::Corrupt { .. }
                | PeerError::Unavailable { .. },
            ) => Again::Later,
            RouteError::Propose(_)
            | RouteError::Read(_)
            | RouteError::Remote(_)
            | RouteError::QueueFull { .. }
            | RouteError::HeadsFull(_)
            | RouteError::NoDisk(_)
            | RouteError::Late(_)
            | RouteError::Torn(_)
            | RouteError::Stopping
            | RouteError::Reply(_) => Again::No,
        }
    }

    /// Whether the same may succeed later or at another node, as it is.
    pub fn is_transient(&self) -> bool {
        match self {
            RouteError::Reply(_) | RouteError::Propose(ProposeError::TooLarge { .. }) => false,
            RouteError::NotServed(NotServed::Quarantined(Quarantined { cause, .. })) => *cause != Cause::Damaged,
            RouteError::Remote(error) => error.is_for_another_node(),
            RouteError::Propose(_)
            | RouteError::Read(_)
            | RouteError::NotServed(NotServed::NotHere(_))
            | RouteError::NoLeader(_)
            | RouteError::QueueFull { .. }
            | RouteError::HeadsFull(_)
            | RouteError::NoDisk(_)
            | RouteError::TooLargeAtOnce
            | RouteError::Late(_)
            | RouteError::Moved(_)
            | RouteError::Damaged(_)
            | RouteError::TooNew(_)
            | RouteError::Torn(_)
            | RouteError::Stopping => true,
        }
    }
}

impl From<CommandError> for RouteError {
    fn from(error: CommandError) -> RouteError {
        match error {
            CommandError::Propose(error) => error.into(),
            CommandError::Reply => RouteError::Reply("it is no count".to_owned()),
        }
    }
}
