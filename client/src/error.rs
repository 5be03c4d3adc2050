//! Why a call has no result.

use std::fmt;
use std::time::Duration;

use tonic::{Code, ConnectError, Status};

use crate::plain::SPEAKS_TLS;
use crate::tls::SPEAKS_NO_TLS;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client was given nobody to ask.
    #[error("no address of a node was given")]
    NoAddress,
    /// That is no address.
    #[error("{0:?} is no address of a node: it must be host:port")]
    BadAddress(String),
    /// An address asks for TLS and nothing says whom to believe, or the other way round.
    #[error("{address}: {reason}")]
    Scheme {
        /// The address.
        address: String,
        /// What does not go together.
        reason: &'static str,
    },
    /// The node speaks TLS and this client does not. Nothing was done.
    #[error("{address} speaks TLS: give the certificate of its authority")]
    SpeaksTls {
        /// The node that was asked.
        address: String,
    },
    /// This client speaks TLS and the node does not. Nothing was done.
    #[error("{address} speaks no TLS: leave TLS out")]
    SpeaksNoTls {
        /// The node that was asked.
        address: String,
    },
    /// A certificate or key is no good.
    #[error("{what} cannot be used: {reason}")]
    BadTls {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// That cannot be sent along with a call.
    #[error("{name} {value:?} cannot be sent: it must be printable ASCII")]
    BadMetadata {
        /// What it is for.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// The token cannot be sent.
    #[error("the token cannot be sent: it must be printable ASCII")]
    BadToken,
    /// No node could be reached. Nothing was done.
    #[error("no node can be reached: {}", list(tried))]
    Unreachable {
        /// What came of the last attempt with each.
        tried: Vec<Attempt>,
    },
    /// Nodes answered that they cannot for the moment, or went away, until there was no more time or attempt. What was
    /// asked for may have been done all the same.
    #[error("not possible for the moment, tried for {waited:.1?}: {}", list(tried))]
    Unavailable {
        /// How long was tried.
        waited: Duration,
        /// What came of the last attempt with each node.
        tried: Vec<Attempt>,
    },
    /// No answer came in time. What was asked for may have been done all the same.
    #[error("no answer within {waited:.1?}: {}", list(tried))]
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// What came of the last attempt with each node.
        tried: Vec<Attempt>,
    },
    /// A node refused, and would again.
    #[error("{message}")]
    Refused {
        /// The node that was asked.
        address: String,
        /// In which way.
        kind: RefusalKind,
        /// What it says.
        message: String,
    },
    /// A node answered something that makes no sense: it is not a node, or damaged.
    #[error("{address} sent an answer without {missing}")]
    Malformed {
        /// The node that was asked.
        address: String,
        /// What the answer lacks.
        missing: &'static str,
    },
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The node's address.
    pub address: String,
    /// What went wrong.
    pub reason: String,
}

/// In which way a node refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is wrong in itself.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// The request is right, and not possible as things stand.
    Precondition,
    /// A limit does not allow it.
    TooLarge,
    /// The caller may not.
    Forbidden,
    /// The node does not know the call: it is older than this client.
    Unsupported,
    /// The node made a mistake; its log says more.
    Internal,
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Unavailable { .. } | Error::TimedOut { .. })
    }
}

fn list(tried: &[Attempt]) -> String {
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}

/// What a failed attempt means for the call.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The node was not reached: nothing was done.
    Unsent(String),
    /// Another attempt may succeed. The node may have done it.
    Again(String),
    /// The node took too long. It may have done it.
    Late(String),
    /// Another attempt would fail as well.
    Final(RefusalKind, String),
    /// It speaks TLS, and this client does not.
    SpeaksTls,
    /// This client speaks TLS, and it does not.
    SpeaksNoTls,
}

impl Failure {
    pub fn reason(&self) -> &str {
        match self {
            Failure::Unsent(reason) | Failure::Again(reason) | Failure::Late(reason) | Failure::Final(_, reason) => {
                reason
            }
            Failure::SpeaksTls => SPEAKS_TLS,
            Failure::SpeaksNoTls => SPEAKS_NO_TLS,
        }
    }

    /// The error that ends a call at once, if it is of that kind.
    pub fn ends(&self, address: &str) -> Option<Error> {
        let address = address.to_owned();
        match self {
            Failure::Unsent(_) | Failure::Again(_) | Failure::Late(_) => None,
            Failure::Final(kind, message) => Some(Error::Refused { address, kind: *kind, message: message.clone() }),
            Failure::SpeaksTls => Some(Error::SpeaksTls { address }),
            Failure::SpeaksNoTls => Some(Error::SpeaksNoTls { address }),
        }
    }

    /// The error of a stream that broke.
    pub fn of_stream(self, address: &str) -> Error {
        self.ends(address).unwrap_or_else(|| {
            let tried = vec![Attempt { address: address.to_owned(), reason: self.reason().to_owned() }];
            Error::Unavailable { waited: Duration::ZERO, tried }
        })
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let mut source = std::error::Error::source(&status);
        // Whether the status was made on this side: nodes send none with a source.
        let local = source.is_some();
        let mut innermost = None;
        let mut unsent = false;
        while let Some(error) = source {
            unsent |= error.is::<ConnectError>();
            innermost = Some(error.to_string());
            source = error.source();
        }
        let message = match innermost {
            Some(innermost) => innermost,
            None if status.message().is_empty() => status.code().description().to_owned(),
            None => status.message().to_owned(),
        };
        let kind = match status.code() {
            _ if local && message == SPEAKS_TLS => return Failure::SpeaksTls,
            _ if local && message == SPEAKS_NO_TLS => return Failure::SpeaksNoTls,
            _ if unsent => return Failure::Unsent(message),
            Code::DeadlineExceeded | Code::Cancelled => return Failure::Late(message),
            _ if local => return Failure::Again(message),
            Code::Unavailable | Code::Aborted | Code::Ok => return Failure::Again(message),
            Code::InvalidArgument | Code::OutOfRange => RefusalKind::Invalid,
            Code::NotFound => RefusalKind::NotFound,
            Code::FailedPrecondition | Code::AlreadyExists => RefusalKind::Precondition,
            Code::ResourceExhausted => RefusalKind::TooLarge,
            Code::PermissionDenied | Code::Unauthenticated => RefusalKind::Forbidden,
            Code::Unimplemented => RefusalKind::Unsupported,
            Code::Internal | Code::DataLoss | Code::Unknown => RefusalKind::Internal,
        };
        Failure::Final(kind, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_told_from_what_may_not() {
        let of = |code, message: &str| Failure::from(Status::new(code, message));
        assert_eq!(of(Code::Unavailable, "not ready"), Failure::Again("not ready".into()));
        assert_eq!(of(Code::DeadlineExceeded, "slow"), Failure::Late("slow".into()));
        assert_eq!(of(Code::NotFound, "no node 7"), Failure::Final(RefusalKind::NotFound, "no node 7".into()));
        assert_eq!(of(Code::Internal, "oops"), Failure::Final(RefusalKind::Internal, "oops".into()));
        let refused = ConnectError(Box::new(std::io::Error::other("connection refused")));
        assert_eq!(Failure::from(Status::from_error(Box::new(refused))), Failure::Unsent("connection refused".into()));
    }
}
