//! How a command ends when it does not end well.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use bellwether_client::{Error, RefusalKind};

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
/// As shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// The cluster could not be reached, or refused.
    Client(Error),
    /// A node says what is wrong with an expression.
    Expression {
        /// What it says.
        message: String,
        /// The line that is wrong, and below it a sign where.
        excerpt: String,
    },
    /// The command line is wrong.
    Usage(String),
    /// It was not done.
    Refused(String),
    /// Findings were printed; nothing is left to say.
    Found,
    /// It is not watched any longer; where that leaves it has been said.
    Interrupted,
    /// The result could not be written.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl Failure {
    /// Says it on standard error, with what to do next.
    pub fn report(self) -> ExitCode {
        let (message, advice, code) = match self {
            // Whoever reads has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Failure::Output(error) => (format!("cannot write the result: {error}"), None, REFUSED),
            Failure::Found => return REFUSED.into(),
            Failure::Interrupted => return INTERRUPTED.into(),
            Failure::Expression { message, excerpt } => (format!("{message}\n{excerpt}"), None, REFUSED),
            Failure::Usage(message) => (message, None, USAGE),
            Failure::Refused(message) => (message, None, REFUSED),
            Failure::Client(error) => {
                let (advice, code) = advice(&error);
                (chain(&error), advice, code)
            }
        };
        eprintln!("bwctl: {message}");
        if let Some(advice) = advice {
            eprintln!("       {advice}");
        }
        code.into()
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn advice(error: &Error) -> (Option<&'static str>, u8) {
    match error {
        Error::NoAddress
        | Error::BadAddress(_)
        | Error::BadMetadata { .. }
        | Error::BadToken
        | Error::BadTls { .. } => (None, USAGE),
        Error::Scheme { .. } => (Some("name the authority's certificate with --tls-ca, or leave TLS out"), USAGE),
        Error::SpeaksTls { .. } => {
            (Some("name a file with that certificate: --tls-ca FILE, or BWCTL_TLS_CA; see bwctl tls --help"), USAGE)
        }
        Error::SpeaksNoTls { .. } => (
            Some(
                "say neither --tls-ca (BWCTL_TLS_CA) nor https://; is this the gRPC address of the node that you mean?",
            ),
            USAGE,
        ),
        Error::Unreachable { .. } => (
            Some("start a node, or name one that runs: --address HOST:PORT (its gRPC address) or BWCTL_ADDRESS"),
            UNREACHABLE,
        ),
        Error::TimedOut { .. } => (
            Some(
                "wait longer with --timeout, or name another node with --address; what was asked for may have been done",
            ),
            UNREACHABLE,
        ),
        Error::Unavailable { .. } => {
            (Some("try again soon; `bwctl doctor`, asked of another node, may say what is wrong"), REFUSED)
        }
        Error::Refused { kind: RefusalKind::Unsupported, .. } => {
            (Some("the node does not know this command: its program is older than this bwctl"), REFUSED)
        }
        Error::Refused { kind: RefusalKind::Internal, .. } => (Some("the node's log says more"), REFUSED),
        Error::Refused { .. } => (None, REFUSED),
        Error::Malformed { .. } => (Some("is this the gRPC address of a node? HTTP has another port"), REFUSED),
    }
}
