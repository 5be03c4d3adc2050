//! TCP.

use std::io;
use std::net::SocketAddr;

use bellwether_server::env::{BoxFuture, Listener, Net, Stream};
use tokio::net::{TcpListener, TcpStream};

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

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // Small requests must not wait for the acknowledgement of earlier ones.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_reaches_the_listener_and_a_closed_port_refuses() {
        let mut listener = TcpNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_address().to_string();
        let (connected, accepted) = tokio::join!(TcpNet.connect(&address), listener.accept());
        connected.unwrap().write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        accepted.unwrap().0.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        drop(listener);
        let refused = TcpNet.connect(&address).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
