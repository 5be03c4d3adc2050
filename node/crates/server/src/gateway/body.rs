//! Request bodies, read whole, never beyond a limit of bytes or time.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;

/// A body must arrive within this time: slow senders would hold memory for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Room taken at once for a body whose length is not announced.
const UNANNOUNCED_CAPACITY: usize = 16 << 10;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit.
    #[error("the request's body has {at_least} bytes or more, the limit is {limit}")]
    TooLarge {
        /// Bytes announced or seen.
        at_least: u64,
        /// The limit.
        limit: usize,
    },
    /// The sender took too long.
    #[error("the request's body did not arrive within {} seconds", BODY_TIMEOUT.as_secs())]
    TooSlow,
    /// The connection broke.
    #[error("the request's body cannot be read: {0}")]
    Broken(#[from] axum::Error),
}

impl BodyError {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            // Not 408: a remote-write sender would drop the samples instead of sending them again.
            BodyError::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The length that a request announces.
pub fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a request's body of at most `limit` bytes.
pub async fn read(request: Request, limit: usize) -> Result<Bytes, BodyError> {
    let announced = announced_length(request.headers());
    if let Some(at_least) = announced.filter(|length| *length > limit as u64) {
        return Err(BodyError::TooLarge { at_least, limit });
    }
    let mut stream = request.into_body().into_data_stream();
    let all = async move {
        // A small body comes in one piece and need not be copied.
        let Some(first) = stream.next().await.transpose()? else { return Ok(Bytes::new()) };
        if announced == Some(first.len() as u64) {
            return Ok(first);
        }
        let mut body = Vec::with_capacity(announced.map_or(UNANNOUNCED_CAPACITY, |length| length as usize));
        let mut piece = first;
        loop {
            if body.len() + piece.len() > limit {
                return Err(BodyError::TooLarge { at_least: (body.len() + piece.len()) as u64, limit });
            }
            body.extend_from_slice(&piece);
            let Some(next) = stream.next().await.transpose()? else { return Ok(body.into()) };
            piece = next;
        }
    };
    tokio::time::timeout(BODY_TIMEOUT, all).await.unwrap_or(Err(BodyError::TooSlow))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(pieces: &[&'static [u8]]) -> Request {
        let pieces: Vec<Result<&[u8], std::convert::Infallible>> = pieces.iter().map(|piece| Ok(*piece)).collect();
        Request::new(Body::from_stream(futures::stream::iter(pieces)))
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_joined() {
        assert_eq!(read(request(&[b"ab", b"", b"cd"]), 4).await.unwrap(), "abcd");
        assert_eq!(read(request(&[]), 4).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_however_it_comes() {
        let error = read(request(&[b"ab", b"cde"]), 4).await.unwrap_err();
        assert_eq!(error.to_string(), "the request's body has 5 bytes or more, the limit is 4");
        let mut announced = request(&[]);
        announced.headers_mut().insert(header::CONTENT_LENGTH, 1_000_000.into());
        let error = read(announced, 4).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stalls_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::convert::Infallible>>());
        assert!(matches!(read(Request::new(body), 4).await, Err(BodyError::TooSlow)));
    }
}
