//! What a group replicates: the interface that its state machine implements.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::limits;
use crate::types::LogPosition;

/// What a group replicates. All methods block and are called on the executor that the node was given.
///
/// Applying must be deterministic: a function of the state and the entry. What is applied need not be durable before
/// [`flush`](Self::flush): after a restart the log is applied again from the position that [`applied`](Self::applied)
/// then reports.
pub trait StateMachine: Send + Sync + 'static {
    /// The last applied entry and the membership handed over with it, as recovered from storage. Asked once, when the
    /// group starts.
    fn applied(&self) -> Applied;

    /// Applies committed entries in order, and returns one reply per entry that is [`EntryPayload::Normal`]. After an
    /// error the group stops; it can be started again.
    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError>;

    /// Makes everything applied so far durable and says how far that is. Runs beside [`apply`](Self::apply).
    fn flush(&self) -> Result<Applied, FatalError>;

    /// Makes a copy of the durable state for another replica. Runs beside [`apply`](Self::apply).
    fn checkpoint(&self) -> Result<Checkpoint, FatalError>;

    /// Removes a copy that [`checkpoint`](Self::checkpoint) made and nobody takes.
    fn discard(&self, checkpoint: Checkpoint);

    /// How long a follower may wait to be told, for the sake of a message, that the last entries are committed: where more
    /// is written the next entries tell it. Reads do not wait for it, since a leader that is asked for a position tells
    /// its followers, too.
    fn commit_notice_delay(&self) -> Duration {
        limits::COMMIT_NOTICE_DELAY
    }

    /// Replaces the whole state, durably, by a copy that another replica made, and removes the copy's directory.
    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError>;
}

/// How far a state machine has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last applied entry.
    pub log: Option<LogPosition>,
    /// The bytes of the last [`EntryPayload::Membership`] up to there, unchanged.
    pub membership: Option<Bytes>,
}

/// An entry that a quorum holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Where it stands.
    pub position: LogPosition,
    /// What it carries.
    pub payload: EntryPayload,
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryPayload {
    /// Nothing: a new leader's first entry. Moves the position only.
    Blank,
    /// A proposed payload.
    Normal(Bytes),
    /// A new membership of the group, to be kept as it is and returned in [`Applied`].
    Membership(Bytes),
}

/// A copy of a state machine's durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// How far the copy has come.
    pub applied: Applied,
    /// The directory that holds the copy and nothing else. Whoever receives the checkpoint removes it.
    pub directory: PathBuf,
}

/// A state machine cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FatalError(pub String);
