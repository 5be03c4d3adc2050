//! Why a call of another node failed, and what a node says when it cannot do what it is asked.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_proto::peer::v1::failure::Reason;
use bellwether_proto::peer::v1::limit_exceeded::What;
use bellwether_proto::peer::v1::{self, Failure};
use bellwether_raft::{
    GroupId, LeaderHint, LogPosition, MembershipError, ProposeError, ReadError, ReplicaId, TransferError,
};
use tonic::{Code, Status};

/// Whom a call was for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callee {
    /// A node of the cluster.
    Node(NodeId),
    /// Whoever is at an address.
    Address(String),
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Callee::Node(node) => write!(f, "node {node}"),
            Callee::Address(address) => write!(f, "the node at {address}"),
        }
    }
}

/// A call of another node failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The cluster has no such node, or this node does not know its address yet.
    #[error("node {0} is not known here")]
    UnknownNode(NodeId),
    /// It cannot be reached, or the connection broke: what was asked may have been done.
    #[error("{callee} cannot be reached: {reason}")]
    Unreachable {
        /// Who.
        callee: Callee,
        /// Why.
        reason: String,
    },
    /// No answer came in time: what was asked may have been done, or be done yet.
    #[error("{callee} did not answer within {after:?}")]
    Deadline {
        /// Who.
        callee: Callee,
        /// The deadline.
        after: Duration,
    },
    /// Another node leads the group. Nothing was done.
    #[error("{callee} does not lead the group{}", leader_suffix(.hint, .address))]
    NotLeader {
        /// Who was asked.
        callee: Callee,
        /// The group, where that was said.
        group: Option<GroupId>,
        /// Who leads, if known.
        hint: Option<LeaderHint>,
        /// Where the leader's gRPC interface is, where the caller cannot know it.
        address: Option<String>,
    },
    /// It has no replica of the group. Nothing was done.
    #[error("{callee} has no replica of group {group}")]
    UnknownGroup {
        /// Who.
        callee: Callee,
        /// The group.
        group: GroupId,
        /// Epoch of the Placement that it has.
        placement_epoch: u64,
    },
    /// It has too much to do. Nothing was done; worth another attempt after a pause.
    #[error("{callee} is overloaded: {reason}")]
    Overloaded {
        /// Who.
        callee: Callee,
        /// What there is too much of.
        reason: String,
        /// How long to wait.
        retry_after: Duration,
    },
    /// The group, or what it needs, does not work now. Nothing was done.
    #[error("{callee}: {reason}")]
    Unavailable {
        /// Who.
        callee: Callee,
        /// What does not work.
        reason: String,
    },
    /// It may or may not be done, now or later.
    #[error("{callee}: {reason}")]
    FateUnknown {
        /// Who.
        callee: Callee,
        /// What happened.
        reason: String,
        /// Who leads now, if known.
        hint: Option<LeaderHint>,
    },
    /// A limit of the request was reached.
    #[error("{callee}: {reason}")]
    LimitExceeded {
        /// Who.
        callee: Callee,
        /// Which limit.
        what: LimitKind,
        /// The limit.
        limit: u64,
        /// The same in words.
        reason: String,
    },
    /// Stored bytes are damaged there.
    #[error("{callee}: {reason}")]
    Corrupt {
        /// Who.
        callee: Callee,
        /// The group that they belong to.
        group: GroupId,
        /// What is damaged.
        reason: String,
    },
    /// The group's membership is not the expected one. Nothing was changed.
    #[error("{callee}: {reason}")]
    MembershipMoved {
        /// Who.
        callee: Callee,
        /// Position of the one that holds.
        current: Option<LogPosition>,
        /// The same in words.
        reason: String,
    },
    /// This node was removed from the cluster, and nobody there answers it any more. Nothing was done.
    #[error("{callee} refuses: {reason}")]
    Removed {
        /// Who.
        callee: Callee,
        /// The same in words.
        reason: String,
    },
    /// It will not do this, however often it is asked.
    #[error("{callee} refuses: {reason}")]
    Refused {
        /// Who.
        callee: Callee,
        /// Why.
        reason: String,
    },
    /// It failed in a way that should not happen.
    #[error("{callee} failed: {reason}")]
    Broken {
        /// Who.
        callee: Callee,
        /// What it said.
        reason: String,
    },
}

/// What there may be too much of in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Series.
    Series,
    /// Samples.
    Samples,
    /// Bytes of samples.
    Bytes,
}

fn leader_suffix(hint: &Option<LeaderHint>, address: &Option<String>) -> String {
    match (hint, address) {
        (Some(leader), Some(address)) => {
            format!("; replica {} on node {} at {address} does", leader.replica, leader.node)
        }
        (Some(leader), None) => format!("; replica {} on node {} does", leader.replica, leader.node),
        (None, _) => String::new(),
    }
}

fn hint(node: u64, replica: u64) -> Option<LeaderHint> {
    (node != 0).then_some(LeaderHint { replica: ReplicaId(replica), node })
}

impl PeerError {
    /// Whether the same call may succeed a little later, at this node or another, and asking twice is no worse than
    /// once where the call may be repeated at all.
    pub fn is_transient(&self) -> bool {
        match self {
            PeerError::UnknownNode(_)
            | PeerError::Unreachable { .. }
            | PeerError::Deadline { .. }
            | PeerError::NotLeader { .. }
            | PeerError::UnknownGroup { .. }
            | PeerError::Overloaded { .. }
            | PeerError::Unavailable { .. }
            | PeerError::FateUnknown { .. } => true,
            PeerError::LimitExceeded { .. }
            | PeerError::Corrupt { .. }
            | PeerError::MembershipMoved { .. }
            | PeerError::Removed { .. }
            | PeerError::Refused { .. }
            | PeerError::Broken { .. } => false,
        }
    }

    /// Whether a client may ask again: here a little later, or another node of the cluster.
    pub fn is_for_another_node(&self) -> bool {
        self.is_transient() || matches!(self, PeerError::Removed { .. })
    }

    /// Whether nothing was done, so that another attempt cannot do it twice.
    pub fn nothing_done(&self) -> bool {
        match self {
            PeerError::Unreachable { .. }
            | PeerError::Deadline { .. }
            | PeerError::FateUnknown { .. }
            | PeerError::Broken { .. } => false,
            PeerError::UnknownNode(_)
            | PeerError::NotLeader { .. }
            | PeerError::UnknownGroup { .. }
            | PeerError::Overloaded { .. }
            | PeerError::Unavailable { .. }
            | PeerError::LimitExceeded { .. }
            | PeerError::Corrupt { .. }
            | PeerError::MembershipMoved { .. }
            | PeerError::Removed { .. }
            | PeerError::Refused { .. } => true,
        }
    }

    /// What a failure inside an answer, or in a status, means.
    pub fn of_failure(callee: Callee, failure: Failure) -> PeerError {
        let Failure { message: reason, reason: kind } = failure;
        match kind {
            Some(Reason::NotLeader(leader)) => {
                let address = (!leader.address.is_empty()).then_some(leader.address);
                let group = leader.group.map(GroupId);
                PeerError::NotLeader { callee, group, hint: hint(leader.node, leader.replica), address }
            }
            Some(Reason::UnknownGroup(unknown)) => PeerError::UnknownGroup {
                callee,
                group: GroupId(unknown.group),
                placement_epoch: unknown.placement_epoch,
            },
            Some(Reason::Overloaded(overloaded)) => {
                let retry_after = Duration::from_millis(overloaded.retry_after_ms);
                PeerError::Overloaded { callee, reason, retry_after }
            }
            Some(Reason::Unavailable(_)) => PeerError::Unavailable { callee, reason },
            Some(Reason::FateUnknown(leader)) => {
                PeerError::FateUnknown { callee, reason, hint: hint(leader.node, leader.replica) }
            }
            Some(Reason::LimitExceeded(exceeded)) => {
                let what = match exceeded.what() {
                    What::Series => LimitKind::Series,
                    What::Samples => LimitKind::Samples,
                    What::Bytes => LimitKind::Bytes,
                    What::Unspecified => return PeerError::Refused { callee, reason },
                };
                PeerError::LimitExceeded { callee, what, limit: exceeded.limit, reason }
            }
            Some(Reason::Corrupt(corrupt)) => PeerError::Corrupt { callee, group: GroupId(corrupt.group), reason },
            Some(Reason::MembershipMoved(moved)) => {
                PeerError::MembershipMoved { callee, current: moved.current.map(position), reason }
            }
            Some(Reason::NodeRemoved(_)) => PeerError::Removed { callee, reason },
            Some(Reason::WrongCluster(_) | Reason::NoCommonVersion(_) | Reason::Rejected(_)) => {
                PeerError::Refused { callee, reason }
            }
            // Its address was given to another: it is gone, or has moved and will say where to.
            Some(Reason::WrongNode(_)) => PeerError::Unavailable { callee, reason },
            None => PeerError::Broken { callee, reason },
        }
    }

    /// What a status means.
    pub fn of_status(callee: Callee, status: &Status) -> PeerError {
        if let Some(failure) = Failure::of_status(status) {
            return PeerError::of_failure(callee, failure);
        }
        let reason = described(status);
        // What the other side did not say itself came from the connection.
        if status.source().is_some() {
            return PeerError::Unreachable { callee, reason };
        }
        match status.code() {
            Code::Unavailable | Code::Cancelled => PeerError::Unreachable { callee, reason },
            Code::Unimplemented | Code::InvalidArgument | Code::PermissionDenied => {
                PeerError::Refused { callee, reason }
            }
            Code::ResourceExhausted | Code::OutOfRange => PeerError::Refused { callee, reason },
            code => PeerError::Broken { callee, reason: format!("{code:?}: {reason}") },
        }
    }
}

/// A status in words, down to what caused it.
pub(super) fn described(status: &Status) -> String {
    match status.source() {
        Some(source) => chain(source),
        None => status.message().to_owned(),
    }
}

/// An error in words, down to what caused it; what merely repeats its cause is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}

/// Whether the host answered that nobody listens: the process there is dead.
pub(super) fn is_refused_connection(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

/// A position from the wire.
pub fn position(position: v1::LogPosition) -> LogPosition {
    LogPosition { term: position.term, leader: ReplicaId(position.leader), index: position.index }
}

/// A position for the wire.
pub fn wire_position(position: LogPosition) -> v1::LogPosition {
    v1::LogPosition { term: position.term, leader: position.leader.0, index: position.index }
}

fn not_leader(message: String, group: Option<GroupId>, hint: &Option<LeaderHint>) -> Failure {
    let (node, replica) = hint.map_or((0, 0), |leader| (leader.node, leader.replica.0));
    let group = group.map(|group| group.0);
    Failure::new(message, v1::NotLeader { node, replica, address: String::new(), group })
}

fn fate_unknown(message: String, hint: &Option<LeaderHint>) -> Failure {
    let (node, replica) = hint.map_or((0, 0), |leader| (leader.node, leader.replica.0));
    Failure::new(message, v1::FateUnknown { node, replica })
}

/// How long whoever meets an overload should wait.
const RETRY_AFTER_MS: u64 = 200;

/// What a node says when a payload was not, or may not have been, replicated.
pub fn propose_failure(group: GroupId, error: &ProposeError) -> Failure {
    let message = error.to_string();
    match error {
        ProposeError::NotLeader { hint } => not_leader(message, Some(group), hint),
        ProposeError::Unknown { hint } => fate_unknown(message, hint),
        ProposeError::Overloaded { .. } => Failure::new(message, v1::Overloaded { retry_after_ms: RETRY_AFTER_MS }),
        ProposeError::StorageUnavailable { in_flight: false, .. } | ProposeError::NoQuorum { in_flight: false, .. } => {
            Failure::new(message, v1::Unavailable { group: group.0 })
        }
        ProposeError::StorageUnavailable { in_flight: true, .. }
        | ProposeError::NoQuorum { in_flight: true, .. }
        | ProposeError::Stopped { .. } => fate_unknown(message, &None),
        ProposeError::TooLarge { .. } => Failure::new(message, v1::Rejected {}),
    }
}

/// What a node says when a read cannot be ordered.
pub fn read_failure(group: GroupId, error: &ReadError) -> Failure {
    let message = error.to_string();
    match error {
        ReadError::NotLeader { hint } => not_leader(message, Some(group), hint),
        ReadError::NoQuorum(group) | ReadError::Behind { group, .. } | ReadError::Stopped { group, .. } => {
            Failure::new(message, v1::Unavailable { group: group.0 })
        }
    }
}

/// What a node says when a membership was not changed.
pub fn membership_failure(error: &MembershipError) -> Failure {
    let message = error.to_string();
    match error {
        MembershipError::NotLeader { hint } => not_leader(message, None, hint),
        MembershipError::Unknown { hint } => fate_unknown(message, hint),
        MembershipError::Stale { found, .. } => {
            Failure::new(message, v1::MembershipMoved { current: found.map(wire_position) })
        }
        MembershipError::InProgress(group)
        | MembershipError::NotCaughtUp { group, .. }
        | MembershipError::Stopped { group, .. } => Failure::new(message, v1::Unavailable { group: group.0 }),
        MembershipError::Refused { .. } => Failure::new(message, v1::Rejected {}),
    }
}

/// What a node says when leadership was not handed over.
pub fn transfer_failure(error: &TransferError) -> Failure {
    let message = error.to_string();
    match error {
        TransferError::NotLeader { hint } => not_leader(message, None, hint),
        TransferError::NotAVoter { .. } | TransferError::Unfit { .. } => Failure::new(message, v1::Rejected {}),
        TransferError::Behind { group, .. } | TransferError::Stopped { group, .. } => {
            Failure::new(message, v1::Unavailable { group: group.0 })
        }
        TransferError::Deadline(_) => fate_unknown(message, &None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callee() -> Callee {
        Callee::Node(NodeId(3))
    }

    #[test]
    fn a_leader_s_place_survives_the_way() {
        let hint = Some(LeaderHint { replica: ReplicaId(70), node: 7 });
        let sent = propose_failure(GroupId(1), &ProposeError::NotLeader { hint });
        let error = PeerError::of_status(callee(), &sent.into_status());
        assert_eq!(error, PeerError::NotLeader { callee: callee(), group: Some(GroupId(1)), hint, address: None });
        assert_eq!(error.to_string(), "node 3 does not lead the group; replica 70 on node 7 does");
        assert!(error.is_transient() && error.nothing_done());
    }

    #[test]
    fn a_proposal_s_unknown_fate_stays_unknown() {
        let stopped = ProposeError::Stopped { group: GroupId(1), reason: "x".into() };
        for error in [ProposeError::Unknown { hint: None }, stopped] {
            let error = PeerError::of_failure(callee(), propose_failure(GroupId(1), &error));
            assert!(matches!(error, PeerError::FateUnknown { .. }) && !error.nothing_done(), "{error}");
        }
    }

    #[test]
    fn clients_of_a_removed_node_are_told_to_ask_another() {
        let sent = Failure::new("node 4 was removed from the cluster", v1::NodeRemoved {});
        let error = PeerError::of_status(callee(), &sent.into_status());
        assert_eq!(error.to_string(), "node 3 refuses: node 4 was removed from the cluster");
        assert!(error.is_for_another_node() && !error.is_transient() && error.nothing_done());
    }

    #[test]
    fn what_the_connection_says_is_not_what_the_node_says() {
        let local = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        let error = PeerError::of_status(callee(), &local);
        assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
        let error = PeerError::of_status(callee(), &Status::internal("a bug"));
        assert!(matches!(error, PeerError::Broken { .. }), "{error}");
        let error = PeerError::of_status(callee(), &Status::unimplemented("no such call"));
        assert_eq!(error.to_string(), "node 3 refuses: no such call");
    }
}
