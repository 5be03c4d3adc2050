//! What things are called, in tables and in JSON alike.

use bellwether_client::v1::{EventKind, NodeState, OperationState, ReplicaRole, Severity, TokenKind, TokenState};

const BYTE_UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
/// What stands for a value that is not known.
pub const UNKNOWN: &str = "-";

pub fn node_state(state: NodeState) -> &'static str {
    match state {
        NodeState::Unspecified => "unknown",
        NodeState::Joining => "joining",
        NodeState::Active => "active",
        NodeState::Draining => "draining",
        NodeState::Removed => "removed",
    }
}

pub fn role(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Unspecified => "unknown",
        ReplicaRole::Voter => "voter",
        ReplicaRole::Learner => "learner",
    }
}

pub fn event_kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Unspecified => "other",
        EventKind::Cluster => "cluster",
        EventKind::Node => "node",
        EventKind::Placement => "placement",
        EventKind::Setting => "setting",
        EventKind::Token => "token",
        EventKind::Trouble => "trouble",
    }
}

pub fn operation_state(state: OperationState) -> &'static str {
    match state {
        OperationState::Unspecified => "unknown",
        OperationState::Running => "running",
        OperationState::Done => "done",
        OperationState::Failed => "failed",
        OperationState::Cancelled => "cancelled",
    }
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Unspecified => "unknown",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

pub fn token_kind(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Unspecified => "unknown",
        TokenKind::Join => "join",
        TokenKind::Admin => "admin",
    }
}

pub fn token_state(state: TokenState) -> &'static str {
    match state {
        TokenState::Unspecified => "unknown",
        TokenState::Valid => "valid",
        TokenState::Used => "used",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    }
}

/// A range of keys.
pub fn key_range(first: u64, last: u64) -> String {
    format!("{first:016x}-{last:016x}")
}

/// Bytes for people.
pub fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = None;
    for larger in BYTE_UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = Some(larger);
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) => format!("{size:.1} {unit}"),
    }
}

/// A value that may be unknown.
pub fn known<T>(value: Option<T>, print: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), print)
}

/// `node 0` is nobody.
pub fn node_or_none(node: u64) -> String {
    if node == 0 { UNKNOWN.to_owned() } else { node.to_string() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_have_the_unit_that_fits() {
        let all = [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(super::bytes);
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "16384.0 PiB"]);
    }
}
