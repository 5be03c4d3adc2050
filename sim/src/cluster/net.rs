//! turmoil's network, as a node sees it.
//!
//! Node N believes that it is 127.0.0.N, so that plain text between nodes is allowed; on the network it is 192.168.0.N.
//! Whoever connects seems to sit on the node's machine, so that clients may administer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bellwether_server::env::{BoxFuture, Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::machine::HTTP_PORT;
use crate::trace::Trace;
use crate::work::lock;

/// The trace of a run, added to from everywhere.
pub type SharedTrace = Arc<Mutex<Trace>>;

/// Where a host is on the network.
pub fn host(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, number as u8))
}

/// What a node believes its address to be.
pub fn loopback(number: usize, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number as u8], port))
}

/// One node's network.
pub struct SimNet {
    /// The node.
    pub number: usize,
    /// Where connections and their bytes go down.
    pub trace: SharedTrace,
}

struct SimListener {
    listener: TcpListener,
    address: SocketAddr,
    node: usize,
    trace: SharedTrace,
}

/// A connection whose written bytes go into the trace: whole between nodes, and by their number where answers carry the
/// real date.
pub struct Traced {
    stream: TcpStream,
    is_dated: bool,
    trace: SharedTrace,
}

impl Traced {
    /// A connection all of whose bytes go into the trace.
    pub fn whole(stream: TcpStream, trace: SharedTrace) -> Traced {
        Traced { stream, is_dated: false, trace }
    }
}

impl Net for SimNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
            let listener = TcpListener::bind(everywhere).await?;
            let (node, trace) = (self.number, self.trace.clone());
            Ok(Box::new(SimListener { listener, address, node, trace }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is no node's address"));
            let to: SocketAddr = address.parse().map_err(|_| wrong())?;
            let IpAddr::V4(ip) = to.ip() else { return Err(wrong()) };
            let number = usize::from(ip.octets()[3]);
            let connected = TcpStream::connect(SocketAddr::new(host(number), to.port())).await;
            let said = connected.as_ref().map_or_else(|error| error.kind().to_string(), |_| "connected".to_owned());
            lock(&self.trace).add(format!("{} n{} to n{number}:{}: {said}", now_ms(), self.number, to.port()));
            Ok(Box::new(Traced::whole(connected?, self.trace.clone())) as Box<dyn Stream>)
        })
    }
}

/// Simulated time, for events.
pub fn now_ms() -> u128 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_millis())
}

impl Listener for SimListener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            lock(&self.trace).fold(format!("n{} accepts {peer}", self.node).as_bytes());
            let is_dated = self.address.port() == HTTP_PORT;
            let last = if let IpAddr::V4(ip) = peer.ip() { ip.octets()[3] } else { 1 };
            let peer = loopback(usize::from(last), peer.port());
            Ok((Box::new(Traced { stream, is_dated, trace: self.trace.clone() }) as Box<dyn Stream>, peer))
        })
    }
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            if self.is_dated {
                lock(&self.trace).fold(&count.to_le_bytes());
            } else {
                lock(&self.trace).fold(&bytes[..*count]);
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
