//! Accepting connections and serving a router on them, until told to stop.

mod lane;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use self::lane::{Lane, lane};
use crate::env::{Listener, Stream};
use crate::far_end::{FarEnd, Security};
use crate::tls::Tls;

pub use lane::RAFT_PREFACE;

/// Connections open at a time on one listener; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a client may take to send a request's headers, counted from the connection's beginning for the first.
const HEADERS_WAIT: Duration = Duration::from_secs(30);

/// A client of HTTP/2 that says nothing for so long is asked whether it is there, and has so long to answer.
const PING_AFTER: Duration = Duration::from_secs(60);
const PING_WAIT: Duration = Duration::from_secs(20);

/// Pause after a failed accept: running out of file descriptors must not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long requests under way may take to end once the server stops.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// A connection and who is at its other end.
struct Accepted {
    stream: Box<dyn Stream>,
    far_end: FarEnd,
}

/// Serves until `stop` is true, then lets requests under way end. HTTP/1 and HTTP/2 alike; over TLS, if there is one.
pub async fn serve(listener: Box<dyn Listener>, router: Router, tls: Option<Tls>, stop: watch::Receiver<bool>) {
    let stopping = stop.clone();
    accept(listener, stop, |stream, peer| {
        let (router, tls, mut stop) = (router.clone(), tls.clone(), stopping.clone());
        async move {
            let Some(accepted) = secured(stream, peer, tls, &mut stop).await else { return };
            connection(accepted, router, stop).await;
        }
    })
    .await;
}

/// Serves what other nodes connect to as well. To be run on Raft's runtime: connections for Raft stay there, and neither
/// requests nor queries can keep them waiting. All others go to `others`.
pub async fn serve_nodes(
    listener: Box<dyn Listener>,
    router: Router,
    others: Handle,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let stopping = stop.clone();
    accept(listener, stop, |stream, peer| {
        let (router, others, tls, mut stop) = (router.clone(), others.clone(), tls.clone(), stopping.clone());
        async move {
            let Some(Accepted { stream, far_end }) = secured(stream, peer, tls, &mut stop).await else { return };
            let begun = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                begun = timeout(HEADERS_WAIT, lane(stream)) => begun,
            };
            match begun {
                Ok(Ok(Lane::Raft(stream))) => connection(Accepted { stream, far_end }, router, stop).await,
                Ok(Ok(Lane::Other(stream))) => {
                    // A set, so that it ends with this task.
                    let mut elsewhere = JoinSet::new();
                    elsewhere.spawn_on(connection(Accepted { stream, far_end }, router, stop), &others);
                    elsewhere.join_next().await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a connection did not begin"),
                Err(_) => tracing::debug!("a connection without a request was closed after {HEADERS_WAIT:?}"),
            }
        }
    })
    .await;
}

/// A connection as it is served, TLS done where there is any; none if that failed or the server stops.
async fn secured(
    stream: Box<dyn Stream>,
    address: SocketAddr,
    tls: Option<Tls>,
    stop: &mut watch::Receiver<bool>,
) -> Option<Accepted> {
    let Some(tls) = tls else {
        return Some(Accepted { stream, far_end: FarEnd { address, security: Security::Plain } });
    };
    let shaken = tokio::select! {
        biased;
        () = stopped(stop) => return None,
        shaken = tls.accept(stream) => shaken,
    };
    match shaken {
        Ok((stream, certificate)) => {
            Some(Accepted { stream, far_end: FarEnd { address, security: Security::Tls(certificate) } })
        }
        Err(error) if tls.may_log() => {
            tracing::warn!(client = %address, %error, "a connection was refused");
            None
        }
        Err(_) => None,
    }
}

/// Carries each connection in a task of its own.
async fn accept<F>(
    mut listener: Box<dyn Listener>,
    mut stop: watch::Receiver<bool>,
    carry: impl Fn(Box<dyn Stream>, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            (permit, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let carried = carry(stream, peer);
                    connections.spawn(async move {
                        carried.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WAIT, drained).await.is_err() {
        tracing::warn!("requests were cut off: they did not end within {DRAIN_WAIT:?}");
    }
}

async fn connection(accepted: Accepted, router: Router, mut stop: watch::Receiver<bool>) {
    let Accepted { stream, far_end } = accepted;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WAIT);
    // Without a date in answers, which hyper would take from the system's clock: replayed calls between nodes are the same.
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_WAIT)
        .auto_date_header(false);
    // Whether a request has begun: until then not even the protocol's version may be known, so hyper's own limit on
    // headers does not hold yet.
    let spoke = Arc::new(AtomicBool::new(false));
    let router = router.map_request({
        let spoke = spoke.clone();
        move |mut request: hyper::Request<hyper::body::Incoming>| {
            spoke.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(far_end.clone());
            request
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let silent = async {
        tokio::time::sleep(HEADERS_WAIT).await;
        if spoke.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        biased;
        () = stopped(&mut stop) => None,
        ended = connection.as_mut() => Some(ended),
        () = silent => return tracing::debug!("a connection without a request was closed after {HEADERS_WAIT:?}"),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients go away at any time; that is theirs to report.
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::env::BoxFuture;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    struct Queue(mpsc::Receiver<DuplexStream>);

    impl Listener for Queue {
        fn local_address(&self) -> SocketAddr {
            ADDRESS
        }

        fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
            Box::pin(async {
                match self.0.recv().await {
                    Some(stream) => Ok((Box::new(stream) as Box<dyn Stream>, ADDRESS)),
                    None => std::future::pending().await,
                }
            })
        }
    }

    /// How long a connection lives on which only these bytes are sent, and what is answered.
    async fn life(sent: &[u8]) -> (Duration, Vec<u8>) {
        let (clients, accepted) = mpsc::channel(1);
        let (_stop, stopped) = watch::channel(false);
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(serve(Box::new(Queue(accepted)), router, None, stopped));
        let (mut client, stream) = duplex(1 << 16);
        let began = Instant::now();
        clients.send(stream).await.unwrap();
        client.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = client.read_to_end(&mut answer).await;
        server.abort();
        (began.elapsed(), answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
        for sent in [b"".as_slice(), b"P", b"GET / HTTP/1.1\r\nHo", b"PRI * HTTP/2.0\r\n", preface] {
            let (lived, _) = life(sent).await;
            assert!(lived >= HEADERS_WAIT && lived < HEADERS_WAIT * 2, "{sent:?}: {lived:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_answered_and_the_next_has_as_long() {
        let (lived, answer) = life(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK") && answer.ends_with(b"here"));
        assert!(lived >= HEADERS_WAIT && lived < HEADERS_WAIT * 3, "{lived:?}");
    }
}
