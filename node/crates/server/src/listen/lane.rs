//! Which runtime carries a connection: nodes say in its first bytes that it is for Raft.
//!
//! HTTP tells what a connection is for only with its first request, when it has a runtime already. So what carries Raft
//! begins with a preface of ours, in front of HTTP/2's. No method of HTTP that we answer begins with the same letter.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::env::Stream;

/// What a connection for Raft begins with.
pub const RAFT_PREFACE: [u8; 8] = *b"BWRAFT1\n";

/// A connection whose first bytes were read.
pub enum Lane {
    /// It carries Raft; the preface is gone.
    Raft(Box<dyn Stream>),
    /// It carries anything else, all of which is still to be read.
    Other(Box<dyn Stream>),
}

/// Reads as little as tells what a connection is for.
pub async fn lane(mut stream: Box<dyn Stream>) -> io::Result<Lane> {
    let mut first = [0];
    stream.read_exact(&mut first).await?;
    if first[0] != RAFT_PREFACE[0] {
        return Ok(Lane::Other(Box::new(Rewound { first: Some(first[0]), stream })));
    }
    let mut rest = [0; RAFT_PREFACE.len() - 1];
    stream.read_exact(&mut rest).await?;
    if rest != RAFT_PREFACE[1..] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it begins like a connection for Raft and is none"));
    }
    Ok(Lane::Raft(stream))
}

/// A stream whose first byte was read too early.
struct Rewound {
    first: Option<u8>,
    stream: Box<dyn Stream>,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() > 0
            && let Some(first) = self.first.take()
        {
            into.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn lane_of(bytes: &[u8]) -> io::Result<(bool, Vec<u8>)> {
        let (mut near, far) = duplex(1024);
        near.write_all(bytes).await.unwrap();
        drop(near);
        let (is_raft, mut stream) = match lane(Box::new(far)).await? {
            Lane::Raft(stream) => (true, stream),
            Lane::Other(stream) => (false, stream),
        };
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok((is_raft, rest))
    }

    #[tokio::test]
    async fn only_the_whole_preface_is_raft_s_and_nothing_else_is_lost() {
        assert_eq!(lane_of(b"BWRAFT1\nPRI * HTTP").await.unwrap(), (true, b"PRI * HTTP".to_vec()));
        for other in [&b"PRI * HTTP/2.0"[..], b"GET / HTTP/1.1", b"\0", b"P"] {
            assert_eq!(lane_of(other).await.unwrap(), (false, other.to_vec()));
        }
        for neither in [&b""[..], b"B", b"BWRAFT1", b"BWRAFT2\nPRI", b"BASELINE-CONTROL / HTTP/1.1"] {
            assert!(lane_of(neither).await.is_err(), "{neither:?}");
        }
    }
}
