//! One error type per operation.

use std::time::Duration;

use crate::blocking::JobLost;
use crate::codec::{DecodeError, VERSION};
use crate::state_machine::FatalError;
use crate::types::{GroupId, LeaderHint, LogPosition, NodeId, ReplicaId, ReplicaKey};

/// The log store holds something that it should not, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An entry's bytes are not what was written.
    #[error("log of group {group}, replica {replica}: entry {index} is corrupt: {reason}")]
    CorruptEntry {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A replica's vote or cut is not what was written.
    #[error("log of group {group}, replica {replica}: the record of its {record} is corrupt: {reason}")]
    CorruptRecord {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// Which record.
        record: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry is not there, and entries behind it are.
    #[error("log of group {group}, replica {replica}: entry {expected} is missing, the next one found is {found}")]
    Hole {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// The entry that should be there.
        expected: u64,
        /// The entry found instead; the end of the log if there is none.
        found: u64,
    },
    /// Written by a newer program.
    #[error(
        "log of group {group}, replica {replica}: written in format version {found}, this program knows up to \
         {supported}"
    )]
    Version {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// The version found.
        found: u8,
        /// The newest version known.
        supported: u8,
    },
    /// The state machine is behind the start of the log.
    #[error(
        "log of group {group}, replica {replica}: it was cut up to {purged}, the state machine has applied only up to \
         {applied:?}"
    )]
    StateBehindLog {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// Index up to which entries are gone.
        purged: u64,
        /// Index that the state machine reports.
        applied: Option<u64>,
    },
    /// The engine failed.
    #[error("log of group {group}, replica {replica}: {source}")]
    Engine {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// Why.
        #[source]
        source: bellwether_kv::Error,
    },
    /// The executor is gone.
    #[error("log of group {group}, replica {replica}: the executor lost a read")]
    Executor {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
    },
}

impl LogError {
    /// Whether what is stored is not what was written.
    pub fn is_corrupt(&self) -> bool {
        match self {
            LogError::CorruptEntry { .. } | LogError::CorruptRecord { .. } | LogError::Hole { .. } => true,
            LogError::Engine { source, .. } => matches!(source, bellwether_kv::Error::Corrupt(_)),
            LogError::Version { .. } | LogError::StateBehindLog { .. } | LogError::Executor { .. } => false,
        }
    }

    pub(crate) fn entry(id: ReplicaKey, index: u64, error: &DecodeError) -> Self {
        match *error {
            DecodeError::Version { found } => Self::version(id, found),
            _ => Self::CorruptEntry { group: id.group, replica: id.replica, index, reason: error.to_string() },
        }
    }

    pub(crate) fn record(id: ReplicaKey, record: &'static str, error: &DecodeError) -> Self {
        match *error {
            DecodeError::Version { found } => Self::version(id, found),
            _ => Self::CorruptRecord { group: id.group, replica: id.replica, record, reason: error.to_string() },
        }
    }

    fn version(id: ReplicaKey, found: u8) -> Self {
        Self::Version { group: id.group, replica: id.replica, found, supported: VERSION }
    }

    pub(crate) fn hole(id: ReplicaKey, expected: u64, found: u64) -> Self {
        Self::Hole { group: id.group, replica: id.replica, expected, found }
    }

    pub(crate) fn engine(id: ReplicaKey, source: bellwether_kv::Error) -> Self {
        Self::Engine { group: id.group, replica: id.replica, source }
    }

    pub(crate) fn executor(id: ReplicaKey) -> Self {
        Self::Executor { group: id.group, replica: id.replica }
    }
}

/// Why the log store takes no writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageTrouble {
    /// The disk is full. Writes go on by themselves once there is room.
    #[error("no space left on device: {0}")]
    DiskFull(String),
    /// A write or a sync failed: the process must end.
    #[error("the log store failed: {0}")]
    Failed(String),
}

/// A node's log store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A metric of this name is registered already.
    #[error("registering the metrics of the log store: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The options contradict each other.
    #[error("raft options: {0}")]
    Options(String),
}

/// A group could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its log is damaged or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// This replica runs already.
    #[error("group {0}, replica {1} runs already")]
    Running(GroupId, ReplicaId),
    /// What the state machine keeps as the group's membership is no membership.
    #[error("group {group}: the membership kept by its state machine is damaged: {reason}")]
    Membership {
        /// Which group.
        group: GroupId,
        /// What is wrong.
        reason: String,
    },
    /// A group was to be founded without this replica, or with too many.
    #[error("group {group} cannot be founded: {reason}")]
    Founding {
        /// Which group.
        group: GroupId,
        /// Why not.
        reason: String,
    },
    /// The group stopped while it started.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// A payload was not, or may not have been, replicated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads, or none does. Nothing was proposed.
    #[error("this replica does not lead the group{}", leader_suffix(.hint))]
    NotLeader {
        /// Who does, if known.
        hint: Option<LeaderHint>,
    },
    /// Leadership changed before the entry was applied: it may or may not be applied.
    #[error("leadership changed meanwhile, the proposal's fate is unknown{}", leader_suffix(.hint))]
    Unknown {
        /// Who leads now, if known.
        hint: Option<LeaderHint>,
    },
    /// Too many bytes are in flight. Nothing was proposed.
    #[error("{in_flight} of {limit} bytes are in flight in the {scope}, no room for {bytes} within {waited:?}")]
    Overloaded {
        /// `group` or `node`.
        scope: &'static str,
        /// Size of the payload.
        bytes: usize,
        /// Bytes in flight now.
        in_flight: usize,
        /// Bytes allowed in flight.
        limit: usize,
        /// How long the proposal waited for room.
        waited: Duration,
    },
    /// The log takes no writes. When `in_flight` is set, the entry may still be applied later.
    #[error("{trouble}")]
    StorageUnavailable {
        /// Why not.
        trouble: StorageTrouble,
        /// Whether the payload had been proposed.
        in_flight: bool,
    },
    /// This replica leads, and no quorum has answered it for a while. When `in_flight` is set, the entry may still be
    /// applied later.
    #[error("no quorum of group {group} answers its leader")]
    NoQuorum {
        /// Which group.
        group: GroupId,
        /// Whether the payload had been proposed.
        in_flight: bool,
    },
    /// The group does not run. The payload's fate is unknown if it had been proposed.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// The payload is larger than an entry may be.
    #[error("a payload of {bytes} bytes is larger than the {limit} that an entry may have")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

fn leader_suffix(hint: &Option<LeaderHint>) -> String {
    match hint {
        Some(leader) => format!("; replica {} on node {} does", leader.replica, leader.node),
        None => String::new(),
    }
}

fn applied_or_nothing(applied: &Option<u64>) -> String {
    applied.map_or_else(|| "nothing".to_owned(), |index| format!("its log up to {index}"))
}

/// A read could not be ordered after everything acknowledged before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another replica leads, or none does.
    #[error("this replica does not lead the group{}", leader_suffix(.hint))]
    NotLeader {
        /// Who does, if known.
        hint: Option<LeaderHint>,
    },
    /// No quorum confirmed that this replica leads.
    #[error("no quorum of group {0} answered")]
    NoQuorum(GroupId),
    /// This replica has not applied enough of its log by the deadline.
    #[error("group {group}: this replica has applied {}, the read needs {wanted}", applied_or_nothing(.applied))]
    Behind {
        /// Which group.
        group: GroupId,
        /// Index that must be applied.
        wanted: u64,
        /// Index of the last entry applied here.
        applied: Option<u64>,
    },
    /// The group does not run.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// A flush failed. The group goes on, its log is as long as before.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The state machine could not flush.
    #[error("flush of group {group}: {source}")]
    StateMachine {
        /// Which group.
        group: GroupId,
        /// Why.
        #[source]
        source: FatalError,
    },
    /// The engine could not drop what was cut, or the executor is gone.
    #[error("flush of group {group}: giving space back: {reason}")]
    Space {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// The log store could not give its space back.
    #[error("giving the log's space back: {0}")]
    Reclaim(String),
    /// The group does not run.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// A membership was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Another replica leads, or none does.
    #[error("this replica does not lead the group{}", leader_suffix(.hint))]
    NotLeader {
        /// Who does, if known.
        hint: Option<LeaderHint>,
    },
    /// Leadership changed before the change was committed: it may or may not hold.
    #[error("leadership changed meanwhile, the fate of the change is unknown{}", leader_suffix(.hint))]
    Unknown {
        /// Who leads now, if known.
        hint: Option<LeaderHint>,
    },
    /// The change was planned against another membership than the one that holds.
    #[error(
        "membership of group {group}: planned against the one at {expected}, but the one at {} holds",
        position_or_none(.found)
    )]
    Stale {
        /// Which group.
        group: GroupId,
        /// Where the membership stands that the change was planned against.
        expected: LogPosition,
        /// Where the one stands that holds.
        found: Option<LogPosition>,
    },
    /// An earlier change is not committed yet.
    #[error("membership of group {0}: an earlier change is not committed yet")]
    InProgress(GroupId),
    /// A replica that is to vote lacks too much of the log.
    #[error("membership of group {group}: replica {replica} has not caught up, so it cannot vote yet")]
    NotCaughtUp {
        /// Which group.
        group: GroupId,
        /// Which replica.
        replica: ReplicaId,
        /// Bytes of log that it lacks; `None` if it has answered nothing yet.
        bytes_behind: Option<u64>,
    },
    /// The change is not allowed at all.
    #[error("membership of group {group}: {reason}")]
    Refused {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// The group does not run.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

fn position_or_none(position: &Option<LogPosition>) -> String {
    position.map_or_else(|| "none".to_owned(), |position| position.to_string())
}

fn lacking(bytes_behind: u64) -> String {
    if bytes_behind == u64::MAX { "it needs a checkpoint".to_owned() } else { format!("{bytes_behind} bytes") }
}

/// Leadership was not handed over as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Another replica than the one asked for leads, or none does.
    #[error("this replica does not lead the group{}", leader_suffix(.hint))]
    NotLeader {
        /// Who does, if known.
        hint: Option<LeaderHint>,
    },
    /// Only a voter can lead.
    #[error("replica {replica} is no voter of group {group}")]
    NotAVoter {
        /// Which group.
        group: GroupId,
        /// Which replica.
        replica: ReplicaId,
    },
    /// Something speaks against the node.
    #[error("group {group}: node {node} may not lead now, see bwctl doctor for why")]
    Unfit {
        /// Which group.
        group: GroupId,
        /// Which node.
        node: NodeId,
    },
    /// The replica does not answer, or has too much of the log to get and to apply. Nothing was stopped.
    #[error("group {group}: replica {replica} does not answer, or is too far behind: {}", lacking(*.bytes_behind))]
    Behind {
        /// Which group.
        group: GroupId,
        /// Which replica.
        replica: ReplicaId,
        /// Bytes of log that it lacks or has yet to apply; [`u64::MAX`]: it needs a checkpoint.
        bytes_behind: u64,
    },
    /// Nobody had taken over by the deadline; somebody will.
    #[error("group {0}: nobody has taken over by the deadline")]
    Deadline(GroupId),
    /// The group does not run.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// A replica's log could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// The replica is being started, or has not ended yet. Worth trying again.
    #[error("group {0}, replica {1} is being started or stopped")]
    Busy(GroupId, ReplicaId),
    /// The log store took the removal no more, or could not give the space back.
    #[error("removing the log of group {group}, replica {replica}: {reason}")]
    Storage {
        /// Whose log.
        group: GroupId,
        /// Whose log.
        replica: ReplicaId,
        /// Why.
        reason: String,
    },
}

/// A message from another node could not be handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The replica does not run on this node.
    #[error("group {0}, replica {1} does not run on this node")]
    NotHere(GroupId, ReplicaId),
    /// The message is damaged, or newer than this program.
    #[error("a message for group {group} is damaged: {reason}")]
    Damaged {
        /// Which group.
        group: GroupId,
        /// What is wrong.
        reason: String,
    },
    /// The group does not run.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

impl From<JobLost> for FatalError {
    fn from(lost: JobLost) -> Self {
        FatalError(lost.to_string())
    }
}
