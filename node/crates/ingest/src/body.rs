//! Bodies off the wire: decompressed into a reused buffer, never beyond a limit.

use std::io::Read;

use zstd::zstd_safe;

/// The largest window that a zstd body without a declared size may ask for, as a power of two: what every ordinary
/// compression level stays within. The decoder allocates it before it has seen the data.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The longest output of one snappy element and the bytes that element takes: a larger ratio cannot be.
const SNAPPY_COPY_BYTES_MAX: u64 = 64;
const SNAPPY_COPY_ELEMENT_BYTES: u64 = 3;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Snappy's block format, as remote write uses it.
    Snappy,
    /// Zstandard frames.
    Zstd,
    /// Not at all.
    Identity,
}

impl Encoding {
    /// The encoding that a `Content-Encoding` header names, if it is one of ours.
    pub fn from_header(header: &str) -> Option<Encoding> {
        let header = header.trim();
        [(Encoding::Snappy, "snappy"), (Encoding::Zstd, "zstd"), (Encoding::Identity, "identity")]
            .into_iter()
            .find_map(|(encoding, name)| header.eq_ignore_ascii_case(name).then_some(encoding))
    }

    fn as_str(self) -> &'static str {
        match self {
            Encoding::Snappy => "snappy",
            Encoding::Zstd => "zstd",
            Encoding::Identity => "plain",
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// No bytes where a compressed body must be.
    #[error("the {encoding} body is empty")]
    Empty {
        /// The encoding that was announced.
        encoding: &'static str,
    },
    /// The body ends too early.
    #[error("the {encoding} body is truncated after {length} bytes: {reason}")]
    Truncated {
        /// The encoding that was announced.
        encoding: &'static str,
        /// Bytes received.
        length: usize,
        /// What is missing.
        reason: String,
    },
    /// The body is not what it claims to be.
    #[error("the {encoding} body of {length} bytes is corrupt: {reason}")]
    Corrupt {
        /// The encoding that was announced.
        encoding: &'static str,
        /// Bytes received.
        length: usize,
        /// What is wrong.
        reason: String,
    },
    /// The body is, or says that it is, larger than allowed.
    #[error("the {encoding} body decompresses to {} bytes, beyond the limit of {limit}", AtLeast(*size, *limit))]
    TooLarge {
        /// The encoding that was announced.
        encoding: &'static str,
        /// Bytes that it declares; `None` if it declares none and simply goes on.
        size: Option<u64>,
        /// Bytes that it may have.
        limit: usize,
    },
}

struct AtLeast(Option<u64>, usize);

impl std::fmt::Display for AtLeast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(size) => write!(f, "{size}"),
            None => write!(f, "more than {}", self.1),
        }
    }
}

/// Replaces the contents of `out` by the decompressed body. Neither a declared nor a real size beyond `limit` is ever
/// allocated. What `out` held does not matter, but it should be the buffer of an earlier body: nothing is zeroed twice.
pub fn decompress(encoding: Encoding, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
    let done = match encoding {
        Encoding::Snappy => snappy(body, limit, out),
        Encoding::Zstd => zstd(body, limit, out),
        Encoding::Identity => identity(body, limit, out),
    };
    if done.is_err() {
        out.clear();
    }
    done
}

fn identity(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
    check_size(Encoding::Identity, body.len() as u64, limit)?;
    out.clear();
    out.extend_from_slice(body);
    Ok(())
}

fn check_size(encoding: Encoding, size: u64, limit: usize) -> Result<(), BodyError> {
    if size > limit as u64 {
        return Err(BodyError::TooLarge { encoding: encoding.as_str(), size: Some(size), limit });
    }
    Ok(())
}

fn snappy(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
    let encoding = Encoding::Snappy.as_str();
    if body.is_empty() {
        return Err(BodyError::Empty { encoding });
    }
    let size = snap::raw::decompress_len(body).map_err(|error| snappy_error(body, error))?;
    check_size(Encoding::Snappy, size as u64, limit)?;
    let possible = (body.len() as u64).saturating_mul(SNAPPY_COPY_BYTES_MAX).div_ceil(SNAPPY_COPY_ELEMENT_BYTES);
    if size as u64 > possible {
        let reason = format!("it declares {size} bytes, more than its own length can stand for");
        return Err(BodyError::Corrupt { encoding, length: body.len(), reason });
    }
    out.resize(size, 0);
    let written = snap::raw::Decoder::new().decompress(body, out).map_err(|error| snappy_error(body, error))?;
    debug_assert_eq!(written, size);
    Ok(())
}

fn snappy_error(body: &[u8], error: snap::Error) -> BodyError {
    let (encoding, length, reason) = (Encoding::Snappy.as_str(), body.len(), error.to_string());
    let truncated = match error {
        snap::Error::HeaderMismatch { expected_len, got_len } => got_len < expected_len,
        snap::Error::Literal { len, src_len, .. } | snap::Error::CopyRead { len, src_len } => len > src_len,
        // A varint whose last byte promises another.
        snap::Error::Header => body.iter().all(|byte| byte & 0x80 != 0),
        _ => false,
    };
    if truncated {
        return BodyError::Truncated { encoding, length, reason };
    }
    BodyError::Corrupt { encoding, length, reason }
}

fn zstd(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
    if body.is_empty() {
        return Err(BodyError::Empty { encoding: Encoding::Zstd.as_str() });
    }
    let declared = zstd_safe::get_frame_content_size(body).ok().flatten();
    if let Some(size) = declared {
        check_size(Encoding::Zstd, size, limit)?;
    }
    // One frame that says how long it is, the usual case, needs neither a window nor a growing buffer.
    if let (Some(size), Ok(length)) = (declared, zstd_safe::find_frame_compressed_size(body))
        && length == body.len()
    {
        out.clear();
        out.reserve(size as usize);
        let decoder = zstd::bulk::Decompressor::new();
        let written = decoder.and_then(|mut decoder| decoder.decompress_to_buffer(body, out));
        let written = written.map_err(|error| zstd_error(body, error))?;
        // The buffer may have held more than was declared.
        return check_size(Encoding::Zstd, written as u64, limit);
    }
    zstd_stream(body, limit, out)
}

fn zstd_stream(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
    out.clear();
    let decoder = zstd::stream::read::Decoder::with_buffer(body);
    let mut decoder = decoder.map_err(|error| zstd_error(body, error))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| zstd_error(body, error))?;
    let read = decoder.take(limit as u64 + 1).read_to_end(out).map_err(|error| zstd_error(body, error))?;
    if read > limit {
        return Err(BodyError::TooLarge { encoding: Encoding::Zstd.as_str(), size: None, limit });
    }
    Ok(())
}

fn zstd_error(body: &[u8], error: std::io::Error) -> BodyError {
    let (encoding, length, reason) = (Encoding::Zstd.as_str(), body.len(), error.to_string());
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return BodyError::Truncated { encoding, length, reason };
    }
    BodyError::Corrupt { encoding, length, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 16;

    fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(data).unwrap(),
            Encoding::Zstd => zstd::bulk::compress(data, 1).unwrap(),
            Encoding::Identity => data.to_vec(),
        }
    }

    fn compress_undeclared(data: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        std::io::Write::write_all(&mut encoder, data).unwrap();
        encoder.finish().unwrap()
    }

    fn decompressed(encoding: Encoding, body: &[u8]) -> Result<Vec<u8>, BodyError> {
        let mut out = vec![0xaa; 100];
        decompress(encoding, body, LIMIT, &mut out).map(|()| out)
    }

    proptest! {
        #[test]
        fn every_encoding_round_trips(data in proptest::collection::vec(0u8..4, 0..5000)) {
            for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Identity] {
                prop_assert_eq!(&decompressed(encoding, &compress(encoding, &data)).unwrap(), &data);
            }
            prop_assert_eq!(&decompressed(Encoding::Zstd, &compress_undeclared(&data)).unwrap(), &data);
        }

        #[test]
        fn a_flipped_bit_never_panics_or_passes_the_limit(
            data in proptest::collection::vec(0u8..4, 1..3000), at in any::<prop::sample::Index>(), bit in 0..8u32
        ) {
            for mut body in [compress(Encoding::Snappy, &data), compress_undeclared(&data), compress(Encoding::Zstd, &data)] {
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
                for encoding in [Encoding::Snappy, Encoding::Zstd] {
                    if let Ok(out) = decompressed(encoding, &body) {
                        prop_assert!(out.len() <= LIMIT);
                    }
                }
            }
        }
    }

    #[test]
    fn a_truncated_body_is_called_truncated() {
        let data: Vec<u8> = (0..4000u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
        for encoding in [Encoding::Snappy, Encoding::Zstd] {
            let body = compress(encoding, &data);
            for length in [1, 5, body.len() / 2, body.len() - 1] {
                let error = decompressed(encoding, &body[..length]).unwrap_err();
                assert!(matches!(error, BodyError::Truncated { .. } | BodyError::Corrupt { .. }), "{error}");
            }
            let error = decompressed(encoding, &body[..body.len() - 1]).unwrap_err();
            assert!(matches!(error, BodyError::Truncated { .. }), "{encoding:?}: {error}");
            assert!(matches!(decompressed(encoding, &[]), Err(BodyError::Empty { .. })));
        }
    }

    #[test]
    fn sizes_beyond_the_limit_are_refused_whether_declared_or_not() {
        let data = vec![7u8; LIMIT + 1];
        let message = |encoding, body: &[u8]| decompressed(encoding, body).unwrap_err().to_string();
        let declared = "body decompresses to 65537 bytes, beyond the limit of 65536";
        for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Identity] {
            let message = message(encoding, &compress(encoding, &data));
            assert!(message.ends_with(declared), "{message}");
        }
        let streamed = message(Encoding::Zstd, &compress_undeclared(&data));
        assert_eq!(streamed, "the zstd body decompresses to more than 65536 bytes, beyond the limit of 65536");
        let mut two_frames = compress(Encoding::Zstd, &data[..LIMIT - 1]);
        two_frames.extend(compress(Encoding::Zstd, &data[..2]));
        assert!(matches!(decompressed(Encoding::Zstd, &two_frames), Err(BodyError::TooLarge { size: None, .. })));
    }

    #[test]
    fn a_small_snappy_body_cannot_declare_a_large_size() {
        let error = decompressed(Encoding::Snappy, &[0x80, 0x80, 0x03, 0x00, 0x61]).unwrap_err();
        assert!(error.to_string().contains("it declares 49152 bytes, more than its own length"), "{error}");
    }

    #[test]
    fn headers_name_encodings() {
        assert_eq!(Encoding::from_header(" Snappy"), Some(Encoding::Snappy));
        assert_eq!(Encoding::from_header("zstd"), Some(Encoding::Zstd));
        assert_eq!(Encoding::from_header("gzip"), None);
    }
}
