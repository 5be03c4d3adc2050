//! Why a node has no TLS though its configuration asks for it.

use std::io;

use crate::replication::Stopping;

/// See the module. Every message names a file or a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("file {path} (configuration key {key:?}) cannot be read: {source}")]
    Read {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("file {path} (configuration key {key:?}) holds no {what} in PEM: {reason}")]
    Content {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The node's own certificate would be refused by others.
    #[error("the certificate in {path} (configuration key \"tls.cert\") {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The two were not made for each other.
    #[error("the key in {key} (configuration key \"tls.key\") does not belong to the certificate in {cert}: {reason}")]
    Key {
        /// The key's file.
        key: String,
        /// The certificate's file.
        cert: String,
        /// What the library says.
        reason: String,
    },
    /// No certificate can be for that.
    #[error("no certificate can be for the host {0:?}: advertise a name or an address")]
    Host(String),
    /// The library refuses the whole.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
    /// Two metrics have one name: our own mistake.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}
