//! TCP listeners.

use std::io;
use std::net::SocketAddr;

use bellwether_server::env::{BoxFuture, Listener, Net, Stream};
use tokio::net::TcpListener;

/// The machine's network.
pub struct TcpNet;

struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Net for TcpNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(Listening { listener, address }) as Box<dyn Listener>)
        })
    }
}

impl Listener for Listening {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            // Small answers must not wait for the peer's acknowledgement of earlier ones.
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Stream>, peer))
        })
    }
}
