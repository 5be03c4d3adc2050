//! Replicated logs: many Raft groups on one node over one shared log store.
//!
//! A [`RaftNode`] owns what the groups of a node share: the log store (one space of a key-value engine), the one writer
//! that syncs it for all of them, the limits and the metrics. A [`RaftGroup`] replicates the payloads proposed to it and
//! hands them, committed and in order, to its [`StateMachine`]. This crate knows nothing of what a payload means, and it
//! alone names openraft: nothing of openraft is stored or sent, both have codecs of their own (see `record` and `wire`,
//! and `node/docs/format/raft-log.md`).
//!
//! The log is the only write-ahead log: a state machine may keep what it applied in memory until
//! [`RaftGroup::flush`], after which the log is cut. After a restart the log behind the last flush is applied again.
//!
//! Read `state_machine`, then `group`, `node`, `group_log` and `writer`. Nothing here starts threads or reads a clock:
//! blocking work goes to a [`Blocking`] executor, timers are tokio's, randomness comes from one seed.

mod adapter;
mod admission;
mod blocking;
mod codec;
mod errors;
mod founding;
mod group;
mod group_log;
mod inspect;
pub mod limits;
mod log_index;
mod log_tail;
mod metrics;
mod network;
mod node;
mod pins;
mod pipeline;
mod read_rounds;
mod record;
mod recovery;
mod state_machine;
mod types;
mod wire;
mod writer;

#[cfg(test)]
mod testing;

pub use blocking::{Blocking, BlockingClass, Inline};
pub use errors::{
    AddressError, FlushError, LogError, MembershipError, OpenError, ProposeError, ReadError, RemoveError, StartError,
    StorageTrouble, TransferError,
};
pub use founding::{HandOnError, hand_on_membership};
pub use group::{GroupState, Leadership, Members, RaftGroup, ReplicaProgress, sole_membership};
pub use inspect::{LogOutline, StoredEntry, StoredVote, stored_entry};
pub use network::{Peer, Transport, TransportError, is_heartbeat};
pub use node::{HandOver, LastKnown, RaftNode, RaftOptions, Standing};
pub use state_machine::{Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, StateMachine};
pub use types::{GroupId, LeaderHint, LogPosition, NodeId, ReplicaId};
pub use writer::OnFatal;
