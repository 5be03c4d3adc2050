//! Failures between nodes: into a gRPC status and out of it.

use prost::Message;
use tonic::{Code, Status};

use crate::peer::v1::Failure;
use crate::peer::v1::failure::Reason;

impl Failure {
    /// A failure for people and programs.
    pub fn new(message: impl Into<String>, reason: impl Into<Reason>) -> Failure {
        Failure { message: message.into(), reason: Some(reason.into()) }
    }

    /// The status that carries it.
    pub fn into_status(self) -> Status {
        let details = self.encode_to_vec();
        Status::with_details(self.code(), self.message, details.into())
    }

    /// What a status carries, if it does.
    pub fn of_status(status: &Status) -> Option<Failure> {
        if status.details().is_empty() {
            return None;
        }
        Failure::decode(status.details()).ok().filter(|failure| failure.reason.is_some())
    }

    /// For tools that know nothing of the details.
    fn code(&self) -> Code {
        match &self.reason {
            Some(Reason::NotLeader(_) | Reason::MembershipMoved(_) | Reason::WrongNode(_)) => Code::FailedPrecondition,
            Some(Reason::UnknownGroup(_)) => Code::NotFound,
            Some(Reason::Overloaded(_) | Reason::LimitExceeded(_)) => Code::ResourceExhausted,
            Some(Reason::WrongCluster(_) | Reason::NodeRemoved(_)) => Code::PermissionDenied,
            Some(Reason::NoCommonVersion(_)) => Code::Unimplemented,
            Some(Reason::Unavailable(_)) => Code::Unavailable,
            Some(Reason::FateUnknown(_)) => Code::Aborted,
            Some(Reason::Corrupt(_)) => Code::DataLoss,
            Some(Reason::Rejected(_)) => Code::InvalidArgument,
            None => Code::Internal,
        }
    }
}

/// Each reason from the message of the same name.
macro_rules! reasons {
    ($($name:ident),* $(,)?) => {$(
        impl From<crate::peer::v1::$name> for Reason {
            fn from(reason: crate::peer::v1::$name) -> Reason {
                Reason::$name(reason)
            }
        }
    )*};
}

reasons!(
    NotLeader,
    UnknownGroup,
    Overloaded,
    WrongCluster,
    NoCommonVersion,
    NodeRemoved,
    Unavailable,
    FateUnknown,
    LimitExceeded,
    Corrupt,
    Rejected,
    MembershipMoved,
    WrongNode,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::v1::{NotLeader, UnknownGroup};

    #[test]
    fn a_failure_survives_its_status() {
        let failure =
            Failure::new("ask node 3", NotLeader { node: 3, replica: 7, address: String::new(), group: Some(5) });
        let status = failure.clone().into_status();
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "ask node 3"));
        assert_eq!(Failure::of_status(&status), Some(failure));
    }

    #[test]
    fn what_is_no_failure_is_not_taken_for_one() {
        assert_eq!(Failure::of_status(&Status::unavailable("gone")), None);
        for details in [&[0xff, 0xff][..], &[0x0a, 0x00], b"text that is no message at all"] {
            let status = Status::with_details(Code::Internal, "x", details.to_vec().into());
            assert_eq!(Failure::of_status(&status), None, "{details:?}");
        }
        let failure = Failure::new("gone", UnknownGroup { group: 3, placement_epoch: 9 });
        let bytes = failure.encode_to_vec();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            Failure::of_status(&Status::with_details(Code::NotFound, "x", damaged.into()));
        }
    }
}
