//! How a connection to another node is made. Where there is TLS, the network that is dialled does it (`tls`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use bellwether_model::NodeId;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::limits::{CONNECT_DEADLINE, KEEP_ALIVE_DEADLINE, KEEP_ALIVE_INTERVAL, RAFT_KEEP_ALIVE_INTERVAL};
use super::pace::Pace;
use super::{Addresses, Callee};
use crate::env::{BoxFuture, Net, Spawner, Stream};
use crate::listen::RAFT_PREFACE;

/// Requests name no host: who is at the other end is checked by metadata.
const ORIGIN: &str = "http://peer";

/// Connects to wherever a node is at the moment.
#[derive(Clone)]
pub struct Dialer {
    net: Arc<dyn Net>,
    to: Destination,
}

#[derive(Clone)]
enum Destination {
    Node(NodeId, Addresses),
    Address(String),
}

impl Dialer {
    /// To a node of the cluster.
    pub fn to_node(net: Arc<dyn Net>, node: NodeId, addresses: Addresses) -> Dialer {
        Dialer { net, to: Destination::Node(node, addresses) }
    }

    /// To an address.
    pub fn to_address(net: Arc<dyn Net>, address: String) -> Dialer {
        Dialer { net, to: Destination::Address(address) }
    }

    /// To whom.
    pub fn callee(&self) -> Callee {
        match &self.to {
            Destination::Node(node, _) => Callee::Node(*node),
            Destination::Address(address) => Callee::Address(address.clone()),
        }
    }

    /// Where that is now.
    pub fn address(&self) -> Option<String> {
        match &self.to {
            Destination::Node(node, addresses) => addresses.borrow().get(node).cloned(),
            Destination::Address(address) => Some(address.clone()),
        }
    }

    async fn dial(&self, preface: &[u8]) -> io::Result<TokioIo<Box<dyn Stream>>> {
        let address =
            self.address().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its address is not known here"))?;
        let connecting = timeout(CONNECT_DEADLINE, async {
            let mut stream = self.net.connect(&address).await?;
            stream.write_all(preface).await?;
            Ok(stream)
        });
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT_DEADLINE:?}"));
        let connected = connecting.await.unwrap_or_else(|_| Err(late()));
        let placed = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        Ok(TokioIo::new(connected.map_err(placed)?))
    }

    /// Connects once, for Raft: on the runtime that calls, so that nothing else can keep it waiting.
    pub async fn connect(&self, spawner: Arc<dyn Spawner>) -> Result<Channel, tonic::transport::Error> {
        let endpoint = endpoint(RAFT_KEEP_ALIVE_INTERVAL).executor(On(spawner));
        let connector = Connector { dialer: self.clone(), preface: &RAFT_PREFACE, pace: None };
        endpoint.connect_with_connector(connector).await
    }

    /// A channel that connects whenever it is used and has no connection, but after a failure not before its pause is
    /// over. Its tasks live on `runtime`.
    pub fn lazy(&self, runtime: &Handle, pace: Pace) -> Channel {
        let connector = Connector { dialer: self.clone(), preface: &[], pace: Some(Arc::new(Mutex::new(pace))) };
        endpoint(KEEP_ALIVE_INTERVAL).executor(OnRuntime(runtime.clone())).connect_with_connector_lazy(connector)
    }
}

fn endpoint(keep_alive: Duration) -> Endpoint {
    Endpoint::from_static(ORIGIN)
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(KEEP_ALIVE_DEADLINE)
        .keep_alive_while_idle(true)
}

/// A dialer as tonic wants it.
struct Connector {
    dialer: Dialer,
    /// What the connection begins with.
    preface: &'static [u8],
    pace: Option<Arc<Mutex<Pace>>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (dialer, preface, pace) = (self.dialer.clone(), self.preface, self.pace.clone());
        Box::pin(async move {
            let Some(pace) = pace else { return dialer.dial(preface).await };
            if let Some(wait) = pace.lock().wait(Instant::now()) {
                return Err(io::Error::other(format!("the last attempt to connect failed, the next is in {wait:?}")));
            }
            let dialed = dialer.dial(preface).await;
            match &dialed {
                Ok(_) => pace.lock().succeeded(),
                Err(_) => pace.lock().failed(Instant::now()),
            }
            dialed
        })
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a connection's tasks where a spawner says.
struct On(Arc<dyn Spawner>);

impl hyper::rt::Executor<Task> for On {
    fn execute(&self, task: Task) {
        self.0.spawn(task);
    }
}

/// Runs a connection's tasks on a runtime, whoever uses the connection.
struct OnRuntime(Handle);

impl hyper::rt::Executor<Task> for OnRuntime {
    fn execute(&self, task: Task) {
        self.0.spawn(task);
    }
}
