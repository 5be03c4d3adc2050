//! A call: which node, how long, and whether it is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::backoff::{Backoff, Jitter};
use crate::builder::Compression;
use crate::error::{Attempt, Error, Failure};
use crate::nodes::Nodes;
use crate::v1::AddressesRequest;
use crate::v1::node_client::NodeClient;

/// The metadata key that names the tenant.
const TENANT_KEY: &str = "x-scope-orgid";
/// The metadata key that shows a token.
const AUTHORIZATION_KEY: &str = "authorization";
/// The metadata key of W3C's trace context.
const TRACE_KEY: &str = "traceparent";
/// After a failure the cluster is asked for its nodes again, but not before this.
const REDISCOVERY_PAUSE: Duration = Duration::from_secs(1);

/// The way to a cluster. Clones share connections and what is known of the nodes.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// Sent with every call.
    metadata: MetadataMap,
}

struct Shared {
    nodes: Nodes,
    jitter: Jitter,
    options: Options,
    /// When the cluster is to be asked for its nodes again.
    discovery_due: Mutex<Option<Instant>>,
}

/// See [`ClientBuilder`](crate::ClientBuilder).
pub struct Options {
    pub timeout: Duration,
    pub attempt_timeout: Duration,
    pub attempts_max: u32,
    pub unreachable_rounds_max: Option<u32>,
    pub discovery_interval: Option<Duration>,
    pub compression: Compression,
    pub answer_bytes_max: usize,
}

/// When a call is made again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Until it succeeds.
    Always,
    /// Unless the node took too long: another one would as well.
    UnlessLate,
    /// Only where it is certain that nothing was done.
    IfUnsent,
}

impl Client {
    pub(crate) fn new(nodes: Nodes, jitter: Jitter, options: Options) -> Client {
        let discovery_due = Mutex::default();
        Client { shared: Arc::new(Shared { nodes, jitter, options, discovery_due }), metadata: MetadataMap::new() }
    }

    /// The same client for the data of another tenant. Nodes follow this where they listen on loopback alone.
    pub fn for_tenant(&self, tenant: &str) -> Result<Client, Error> {
        self.with_metadata("tenant", TENANT_KEY, tenant)
    }

    /// The same client with calls that are part of a trace; the text is that of the W3C header `traceparent`.
    pub fn in_trace(&self, traceparent: &str) -> Result<Client, Error> {
        self.with_metadata("trace", TRACE_KEY, traceparent)
    }

    pub(crate) fn with_token(mut self, token: &str) -> Result<Client, Error> {
        let value = AsciiMetadataValue::try_from(format!("Bearer {}", token.trim_matches(' ')));
        let mut value = value.map_err(|_| Error::BadToken)?;
        value.set_sensitive(true);
        self.metadata.insert(AUTHORIZATION_KEY, value);
        Ok(self)
    }

    fn with_metadata(&self, name: &'static str, key: &'static str, value: &str) -> Result<Client, Error> {
        let bad = |_| Error::BadMetadata { name, value: value.to_owned() };
        let mut client = self.clone();
        client.metadata.insert(key, AsciiMetadataValue::try_from(value).map_err(bad)?);
        Ok(client)
    }

    /// The nodes that calls go to, those that the cluster named first.
    pub fn addresses(&self) -> Vec<String> {
        self.shared.nodes.addresses()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Makes a call within the client's deadline. `send` is told which node, and has to send the request.
    pub(crate) async fn call<M, R, F>(
        &self,
        repeat: Repeat,
        message: &M,
        send: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<(R, String), Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.discover_when_due();
        let Options { timeout: budget, attempt_timeout, attempts_max, unreachable_rounds_max, .. } = *self.options();
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let mut tried = Tried::default();
        loop {
            let left = budget.saturating_sub(started.elapsed());
            let limit = if repeat == Repeat::Always { left.min(attempt_timeout) } else { left };
            let (address, failure) = match self.shared.nodes.pick(&tried.times) {
                Ok((address, channel)) => {
                    let mut request = Request::new(message.clone());
                    *request.metadata_mut() = self.metadata.clone();
                    request.set_timeout(limit);
                    match timeout(limit, send(channel, request)).await {
                        Ok(Ok(answer)) => {
                            self.shared.nodes.worked(&address);
                            return Ok((answer.into_inner(), address));
                        }
                        Ok(Err(status)) => (address, Failure::from(status)),
                        Err(_) => (address, Failure::Late("no answer".to_owned())),
                    }
                }
                Err((address, error)) => (address, Failure::Unsent(error.to_string())),
            };
            if let Some(error) = failure.ends(&address) {
                return Err(error);
            }
            self.shared.nodes.failed(&address);
            self.shared.rediscover();
            tried.note(address, &failure);
            let again = match failure {
                Failure::Unsent(_) => true,
                Failure::Late(_) => repeat == Repeat::Always,
                _ => repeat != Repeat::IfUnsent,
            };
            // A node that was not tried yet is tried at once.
            let rounds = tried.rounds(&self.addresses());
            let pause = if rounds > 0 { backoff.pause(&self.shared.jitter) } else { Duration::ZERO };
            let nobody = tried.unsent_only && unreachable_rounds_max.is_some_and(|most| rounds >= most);
            if !again || nobody || tried.count >= attempts_max || started.elapsed() + pause >= budget {
                return Err(tried.into_error(started.elapsed()));
            }
            sleep(pause).await;
        }
    }

    /// Asks the cluster for its nodes, beside what else is done, where that is due.
    fn discover_when_due(&self) {
        let Some(interval) = self.options().discovery_interval else { return };
        let now = Instant::now();
        {
            let mut due = self.shared.discovery_due.lock();
            if due.is_some_and(|due| now < due) {
                return;
            }
            *due = Some(now + interval);
        }
        let client = self.clone();
        tokio::spawn(async move { client.discover().await });
    }

    /// Asks one node for all. Whatever goes wrong, the nodes that are known stay.
    async fn discover(&self) {
        let Ok((address, channel)) = self.shared.nodes.pick(&BTreeMap::new()) else { return };
        let mut client = NodeClient::new(channel);
        match timeout(self.options().attempt_timeout, client.addresses(AddressesRequest {})).await {
            Ok(Ok(answer)) => self.shared.nodes.found(answer.into_inner().addresses),
            Ok(Err(status)) => match Failure::from(status) {
                // It is an old node, or does not say: what was given has to do.
                Failure::Final(..) | Failure::SpeaksTls | Failure::SpeaksNoTls => {}
                _ => {
                    self.shared.nodes.failed(&address);
                    self.shared.rediscover();
                }
            },
            Err(_) => self.shared.rediscover(),
        }
    }
}

impl Shared {
    /// Something failed: the nodes may have changed.
    fn rediscover(&self) {
        let soon = Instant::now() + REDISCOVERY_PAUSE;
        let mut due = self.discovery_due.lock();
        *due = due.map(|due| due.min(soon));
    }
}

/// Makes a call of a service by its name: `ask!(self, how to repeat it, method, message)`, where `self.0` is the client and
/// `self.service(channel)` the service.
macro_rules! ask {
    ($self:ident, $repeat:ident, $method:ident, $message:expr) => {
        $self
            .0
            .call(Repeat::$repeat, &$message, |channel, request| {
                let mut client = $self.service(channel);
                async move { client.$method(request).await }
            })
            .await
    };
}

pub(crate) use ask;

/// What came of a call's attempts.
#[derive(Default)]
struct Tried {
    count: u32,
    times: BTreeMap<String, u32>,
    last: Vec<Attempt>,
    unsent_only: bool,
    late: bool,
}

impl Tried {
    fn note(&mut self, address: String, failure: &Failure) {
        let unsent = matches!(failure, Failure::Unsent(_));
        self.unsent_only = unsent && (self.count == 0 || self.unsent_only);
        self.late = matches!(failure, Failure::Late(_));
        self.count += 1;
        *self.times.entry(address.clone()).or_default() += 1;
        self.last.retain(|attempt| attempt.address != address);
        self.last.push(Attempt { address, reason: failure.reason().to_owned() });
    }

    /// How often each of the addresses was tried.
    fn rounds(&self, addresses: &[String]) -> u32 {
        addresses.iter().map(|address| self.times.get(address).copied().unwrap_or(0)).min().unwrap_or(0)
    }

    fn into_error(self, waited: Duration) -> Error {
        let tried = self.last;
        match (self.unsent_only, self.late) {
            (true, _) => Error::Unreachable { tried },
            (_, true) => Error::TimedOut { waited, tried },
            (_, false) => Error::Unavailable { waited, tried },
        }
    }
}
