//! Connections in plain text, to nodes that may speak TLS: their first byte tells, before HTTP/2 fails to make sense of it. A node
//! that hangs up at once may have said it as well, with the word lost on the way: the next connection begins with a question
//! that only TLS answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::connect::{Connect, Stream};

/// What a node that speaks TLS says to plain text. HTTP/2 keeps of an error no more than its text.
pub const SPEAKS_TLS: &str = "it speaks TLS";

/// The first byte of a TLS record: an alert, or a handshake. HTTP/2 begins with settings, whose first byte is zero.
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;

/// The beginning of HTTP/2's preface, as long as the header of a TLS record: no record begins so, and a node in plain text waits for
/// the rest.
const QUESTION: &[u8] = b"PRI *";
/// How long TLS may take to answer that.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Connections that `inner` makes, which fail with [`SPEAKS_TLS`] where that is so.
pub fn over(inner: Arc<dyn Connect>) -> Arc<dyn Connect> {
    Arc::new(Plain { inner, hung_up: Arc::default() })
}

struct Plain {
    inner: Arc<dyn Connect>,
    /// Whether a connection ended before the first byte came.
    hung_up: Arc<AtomicBool>,
}

impl Connect for Plain {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (inner, hung_up) = (self.inner.clone(), self.hung_up.clone());
        Box::pin(async move {
            if hung_up.swap(false, Ordering::Relaxed) && speaks_tls(inner.connect(address.clone()).await?).await {
                return Err(io::Error::other(SPEAKS_TLS));
            }
            let stream = inner.connect(address).await?;
            Ok(Box::new(Watched { stream, begun: false, hung_up }) as Box<dyn Stream>)
        })
    }
}

async fn speaks_tls(mut stream: Box<dyn Stream>) -> bool {
    let asked = async {
        stream.write_all(QUESTION).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    matches!(timeout(ANSWER_WAIT, asked).await, Ok(Ok(TLS_ALERT | TLS_HANDSHAKE)))
}

struct Watched {
    stream: Box<dyn Stream>,
    /// Whether the first byte has come.
    begun: bool,
    hung_up: Arc<AtomicBool>,
}

impl Watched {
    fn ended(&self) {
        if !self.begun {
            self.hung_up.store(true, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, into));
        match into.filled().get(before).copied() {
            Some(TLS_ALERT | TLS_HANDSHAKE) if !self.begun => return Poll::Ready(Err(io::Error::other(SPEAKS_TLS))),
            Some(_) => self.begun = true,
            None => self.ended(),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
