//! Why a receiver was not told. Texts end up in logs and answers, so they hold no secret: no address of a webhook, no token, no
//! password.

use std::io;
use std::time::Duration;

use bellwether_alert::template::ExpandError;

/// Why a receiver was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Of what sort it is.
    pub reason: Reason,
    /// Whether the same may succeed later.
    pub retryable: bool,
    message: String,
}

/// Sorts of failures, as metrics have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The receiver refused what it was sent.
    ClientError,
    /// The receiver failed.
    ServerError,
    /// The receiver was told too much.
    RateLimited,
    /// Nothing came of it in time.
    Deadline,
    /// The receiver could not be reached.
    Unreachable,
    /// The message could not be made.
    Template,
    /// The receiver's settings cannot be used on this node.
    Configuration,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 7] = [
        Reason::ClientError,
        Reason::ServerError,
        Reason::RateLimited,
        Reason::Deadline,
        Reason::Unreachable,
        Reason::Template,
        Reason::Configuration,
    ];

    /// As metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ClientError => "client_error",
            Reason::ServerError => "server_error",
            Reason::RateLimited => "rate_limited",
            Reason::Deadline => "deadline",
            Reason::Unreachable => "unreachable",
            Reason::Template => "template",
            Reason::Configuration => "configuration",
        }
    }
}

impl Failure {
    /// One that lasts until somebody changes something.
    pub fn lasting(reason: Reason, message: impl Into<String>) -> Failure {
        Failure { reason, retryable: false, message: message.into() }
    }

    /// One that may pass.
    pub fn passing(reason: Reason, message: impl Into<String>) -> Failure {
        Failure { reason, retryable: true, message: message.into() }
    }

    /// What the settings ask for cannot be done. It may pass: a file can come, and another node can have it.
    pub fn of_settings(message: impl Into<String>) -> Failure {
        Failure::passing(Reason::Configuration, message)
    }

    /// The network failed while something was done.
    pub fn of_network(doing: &str, error: &io::Error) -> Failure {
        Failure::passing(Reason::Unreachable, format!("{doing}: {error}"))
    }

    /// It took too long.
    pub fn late(after: Duration) -> Failure {
        Failure::passing(Reason::Deadline, format!("not done within {after:?}"))
    }

    /// The same, with what was done said before.
    pub fn while_doing(mut self, doing: &str) -> Failure {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl From<ExpandError> for Failure {
    fn from(error: ExpandError) -> Failure {
        Failure::lasting(Reason::Template, error.to_string())
    }
}
