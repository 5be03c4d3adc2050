//! What a client is made of.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::codec::CompressionEncoding;

use crate::Error;
use crate::backoff::Jitter;
use crate::call::{Client, Options};
use crate::connect::{Connect, Tcp, is_address};
use crate::nodes::Nodes;
use crate::plain;
use crate::tls::Tls;

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
    tls: Option<Tls>,
    token: Option<String>,
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
        ClientBuilder {
            addresses: Vec::new(),
            connect: Arc::new(Tcp),
            seed: None,
            tenant: None,
            tls: None,
            token: None,
            options,
        }
    }
}

impl ClientBuilder {
    /// gRPC addresses of nodes, `host:port`, with or without `https://` in front; at least one. The others are learned from
    /// these.
    pub fn addresses<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> ClientBuilder {
        self.addresses.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Whose data calls concern; without, the tenant `default`. See [`Client::for_tenant`].
    pub fn tenant(mut self, tenant: impl Into<String>) -> ClientBuilder {
        self.tenant = Some(tenant.into());
        self
    }

    /// Speaks TLS with all nodes.
    pub fn tls(mut self, tls: Tls) -> ClientBuilder {
        self.tls = Some(tls);
        self
    }

    /// Shows a token with every call; administration from other machines wants one, or a certificate. Sent over TLS and to
    /// this machine only.
    pub fn token(mut self, token: impl Into<String>) -> ClientBuilder {
        self.token = Some(token.into());
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
        let has_tls = self.tls.is_some();
        let addresses: Result<Vec<String>, Error> = self.addresses.iter().map(|text| address(text, has_tls)).collect();
        let addresses = addresses?;
        let is_elsewhere = |address: &&String| !is_loopback(address);
        if let Some(address) = addresses.iter().find(is_elsewhere).filter(|_| self.token.is_some() && !has_tls) {
            let reason = "a token is sent over TLS only, where everybody could read it otherwise";
            return Err(Error::Scheme { address: address.clone(), reason });
        }
        let connect = match self.tls {
            Some(tls) => tls.over(self.connect),
            None => plain::over(self.connect),
        };
        // The keys of std's hasher are the system's entropy.
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        let client = Client::new(Nodes::new(addresses, connect), Jitter::new(seed), self.options);
        let client = match self.tenant {
            Some(tenant) => client.for_tenant(&tenant)?,
            None => client,
        };
        match self.token {
            Some(token) => client.with_token(&token),
            None => Ok(client),
        }
    }
}

/// The address of a node out of what was given.
fn address(text: &str, has_tls: bool) -> Result<String, Error> {
    let (address, reason) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(_), _) if !has_tls => (text, Some("TLS needs the certificate of the nodes' authority")),
        (_, Some(_)) if has_tls => (text, Some("with TLS it is https")),
        (Some(address), _) | (_, Some(address)) => (address.trim_end_matches('/'), None),
        (None, None) => (text, None),
    };
    match reason {
        Some(reason) => Err(Error::Scheme { address: text.to_owned(), reason }),
        None if is_address(address) => Ok(address.to_owned()),
        None => Err(Error::BadAddress(text.to_owned())),
    }
}

/// Whether nobody but this machine can be meant by `host:port`.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_taken_only_where_it_fits() {
        assert_eq!(address("https://a:1", true), Ok("a:1".to_owned()));
        assert_eq!(address("a:1", true), Ok("a:1".to_owned()));
        assert_eq!(address("http://a:1/", false), Ok("a:1".to_owned()));
        let error = |text, has_tls| address(text, has_tls).unwrap_err().to_string();
        assert_eq!(error("https://a:1", false), "https://a:1: TLS needs the certificate of the nodes' authority");
        assert_eq!(error("http://a:1", true), "http://a:1: with TLS it is https");
        assert_eq!(error("ftp://a:1", false), "\"ftp://a:1\" is no address of a node: it must be host:port");
    }

    #[tokio::test]
    async fn a_token_does_not_leave_the_machine_in_plain_text() {
        let build = |address: &str| Client::builder().addresses([address]).token("a.b").build().err();
        assert_eq!(build("127.0.0.1:1"), None);
        assert_eq!(build("[::1]:1"), None);
        assert!(matches!(build("10.0.0.1:1"), Some(Error::Scheme { .. })));
        let bad = Client::builder().addresses(["127.0.0.1:1"]).token("\n").build().err();
        assert_eq!(bad.unwrap().to_string(), "the token cannot be sent: it must be printable ASCII");
    }
}
