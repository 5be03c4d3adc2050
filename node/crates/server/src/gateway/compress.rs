//! Compressed answers, for clients that ask: pieces are compressed as they are sent.

use std::io::{self, Write};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};

use super::remote_read;

/// Shorter answers are sent as they are: a packet is a packet.
const COMPRESSED_BYTES_MIN: u64 = 4 << 10;
/// Both codecs' fastest: the client is often on the same machine.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// A codec that a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As `Accept-Encoding: gzip`.
    Gzip,
    /// As `Accept-Encoding: zstd`.
    Zstd,
}

/// The best codec that the client accepts.
pub fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    let accepts = |codec: &str| {
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|list| {
            list.split(',').any(|entry| {
                let mut parts = entry.split(';').map(str::trim);
                let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(codec));
                let refused = parts.any(|part| {
                    part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|quality| quality <= 0.0)
                });
                named && !refused
            })
        })
    };
    if accepts("zstd") {
        Some(Encoding::Zstd)
    } else if accepts("gzip") {
        Some(Encoding::Gzip)
    } else {
        None
    }
}

/// Compresses an answer that is long enough.
pub fn compress(encoding: Option<Encoding>, response: Response) -> Response {
    let Some(encoding) = encoding else { return response };
    let short = response.body().size_hint().upper().is_some_and(|bytes| bytes < COMPRESSED_BYTES_MIN);
    // Chunks are compressed already, and their frames are to be there as soon as they are sent.
    let chunks = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == remote_read::STREAM);
    if short || chunks || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let compressor = match Compressor::new(encoding) {
        Ok(compressor) => compressor,
        Err(error) => {
            tracing::warn!(%error, ?encoding, "an answer is sent uncompressed");
            return response;
        }
    };
    let (mut parts, body) = response.into_parts();
    let name = match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from_stream(compressed(compressor, body)))
}

fn compressed(compressor: Compressor, body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let pieces = body.into_data_stream();
    futures::stream::unfold(Some((compressor, pieces)), |state| async move {
        let (mut compressor, mut pieces) = state?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => match compressor.push(&piece) {
                    // The codec keeps short pieces back.
                    Ok(out) if out.is_empty() => {}
                    Ok(out) => return Some((Ok(out), Some((compressor, pieces)))),
                    Err(error) => return Some((Err(axum::Error::new(error)), None)),
                },
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((compressor.finish().map_err(axum::Error::new), None)),
            }
        }
    })
}

enum Compressor {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn new(encoding: Encoding) -> io::Result<Compressor> {
        Ok(match encoding {
            Encoding::Gzip => Compressor::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Encoding::Zstd => Compressor::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        })
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        let out = match self {
            Compressor::Gzip(encoder) => {
                encoder.write_all(piece)?;
                encoder.get_mut()
            }
            Compressor::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }

    fn finish(self) -> io::Result<Bytes> {
        match self {
            Compressor::Gzip(encoder) => encoder.finish().map(Bytes::from),
            Compressor::Zstd(encoder) => encoder.finish().map(Bytes::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn asking(list: &'static str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(list));
        accepted(&headers)
    }

    #[test]
    fn the_client_chooses_among_our_codecs() {
        assert_eq!(asking("gzip, deflate, br, zstd"), Some(Encoding::Zstd));
        assert_eq!(asking("GZIP;q=0.5"), Some(Encoding::Gzip));
        assert_eq!(asking("gzip;q=0, deflate"), None);
        assert_eq!(asking("identity"), None);
        assert_eq!(accepted(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn a_long_answer_decompresses_to_itself() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|i| (i % 1000).to_le_bytes()).collect();
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let pieces: Vec<Result<Vec<u8>, std::convert::Infallible>> =
                text.chunks(7_000).map(|piece| Ok(piece.to_vec())).collect();
            let response = Response::new(Body::from_stream(futures::stream::iter(pieces)));
            let response = compress(Some(encoding), response);
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let mut back = Vec::new();
            match encoding {
                Encoding::Gzip => flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut back).unwrap(),
                Encoding::Zstd => zstd::stream::read::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut back).unwrap(),
            };
            assert!(bytes.len() < text.len() / 4);
            assert_eq!(back, text);
        }
    }

    #[test]
    fn a_short_answer_is_left_alone() {
        let response = compress(Some(Encoding::Gzip), Response::new(Body::from("short")));
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    }
}
