//! How a connection to a node is made: TCP, or whatever a simulation or a proxy has in its place.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection is asked for a sign of life after this silence while a call waits, and counts as dead if none comes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Makes connections.
pub trait Connect: Send + Sync + 'static {
    /// Connects to `host:port`; the host may be a name.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// Connects over the network.
pub struct Tcp;

impl Connect for Tcp {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// A channel to an address, which connects when it is used and has no connection.
pub fn channel(address: &str, connect: Arc<dyn Connect>) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    Ok(endpoint.connect_with_connector_lazy(Connector { address: address.to_owned(), connect }))
}

/// Whether this can be the address of a node: `host:port`.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_named =
        if host.starts_with('[') { host.ends_with(']') } else { !host.is_empty() && !host.contains([':', '/']) };
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    is_named && is_port && Endpoint::from_shared(format!("http://{text}")).is_ok()
}

/// A connector as tonic wants it.
struct Connector {
    address: String,
    connect: Arc<dyn Connect>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = self.connect.connect(self.address.clone());
        Box::pin(async move {
            let late =
                |_| Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT_TIMEOUT:?}")));
            timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(late).map(TokioIo::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:9481", "node-1.example:1", "[::1]:9481"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["", "node", ":9481", "node:", "node:0", "node:65536", "http://node:9481", "a b:1", "::1:9481", "a/b:1"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
