//! What a client is made of.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tonic::codec::CompressionEncoding;

use crate::Error;
use crate::backoff::Jitter;
use crate::call::{Client, Options};
use crate::connect::{Connect, Tcp, is_address};
use crate::nodes::Nodes;

/// How long a call may take, all attempts and pauses included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take for one attempt, where another one might do better.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of a call; normally its deadline comes first.
const ATTEMPTS_MAX: u32 = 100;
/// How often the cluster is asked for its nodes.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How writes and the answers to queries are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: for nodes that are near.
    #[default]
    None,
    /// With zstd.
    Zstd,
}

impl Compression {
    pub(crate) fn encoding(self) -> Option<CompressionEncoding> {
        match self {
            Compression::None => None,
            Compression::Zstd => Some(CompressionEncoding::Zstd),
        }
    }
}

/// Makes a [`Client`].
pub struct ClientBuilder {
    addresses: Vec<String>,
    connect: Arc<dyn Connect>,
    seed: Option<u64>,
    tenant: Option<String>,
    options: Options,
}

impl Client {
    /// Says what a client is to be like.
    pub fn builder() -> ClientBuilder {
        let options = Options {
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            attempts_max: ATTEMPTS_MAX,
            unreachable_rounds_max: None,
            discovery_interval: Some(DISCOVERY_INTERVAL),
            compression: Compression::None,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        ClientBuilder { addresses: Vec::new(), connect: Arc::new(Tcp), seed: None, tenant: None, options }
    }
}

impl ClientBuilder {
    /// gRPC addresses of nodes, `host:port`; at least one. The others are learned from these.
    pub fn addresses<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> ClientBuilder {
        self.addresses.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Whose data calls concern; without, the tenant `default`. See [`Client::for_tenant`].
    pub fn tenant(mut self, tenant: impl Into<String>) -> ClientBuilder {
        self.tenant = Some(tenant.into());
        self
    }

    /// How long a call may take, all attempts and pauses included. 30 seconds, if not said otherwise.
    pub fn timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.options.timeout = timeout;
        self
    }

    /// How long one node may take for a write or an administrative call before another one is asked. 10 seconds, if not
    /// said otherwise. Queries have the whole time.
    pub fn attempt_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.options.attempt_timeout = timeout;
        self
    }

    /// Attempts of a call. 100, if not said otherwise; 1 never repeats anything.
    pub fn attempts_max(mut self, attempts: u32) -> ClientBuilder {
        self.options.attempts_max = attempts.max(1);
        self
    }

    /// Gives up as soon as each address was tried so often and none of them could be reached; `None`, if not said
    /// otherwise, goes on until the deadline: nodes come back.
    pub fn unreachable_rounds_max(mut self, rounds: Option<u32>) -> ClientBuilder {
        self.options.unreachable_rounds_max = rounds;
        self
    }

    /// How often the cluster is asked for its nodes; `None` keeps to the addresses given. Every 30 seconds while calls are
    /// made, if not said otherwise.
    pub fn discovery_interval(mut self, interval: Option<Duration>) -> ClientBuilder {
        self.options.discovery_interval = interval;
        self
    }

    /// How writes and the answers to queries are compressed.
    pub fn compression(mut self, compression: Compression) -> ClientBuilder {
        self.options.compression = compression;
        self
    }

    /// Bytes of an answer, uncompressed; a larger one fails. 256 MiB, if not said otherwise.
    pub fn answer_bytes_max(mut self, bytes: usize) -> ClientBuilder {
        self.options.answer_bytes_max = bytes;
        self
    }

    /// Makes connections in another way than over TCP.
    pub fn connector(mut self, connect: impl Connect) -> ClientBuilder {
        self.connect = Arc::new(connect);
        self
    }

    /// Where jitter comes from. The system is asked for a seed once, if there is none.
    pub fn seed(mut self, seed: u64) -> ClientBuilder {
        self.seed = Some(seed);
        self
    }

    /// The client. Connects when it is first used.
    pub fn build(self) -> Result<Client, Error> {
        if self.addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        if let Some(bad) = self.addresses.iter().find(|address| !is_address(address)) {
            return Err(Error::BadAddress(bad.clone()));
        }
        // The keys of std's hasher are the system's entropy.
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        let client = Client::new(Nodes::new(self.addresses, self.connect), Jitter::new(seed), self.options);
        match self.tenant {
            Some(tenant) => client.for_tenant(&tenant),
            None => Ok(client),
        }
    }
}
