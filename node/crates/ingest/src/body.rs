//! Bodies off the wire: decompressed into a reused buffer, never beyond a limit.

mod zstd_bound;

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

/// The most bytes that [`decompress`] can make of a body, found without decompressing it: what it will cost. Never above
/// `limit`; exact for bodies that declare their length, as nearly all do.
pub fn decompressed_bound(encoding: Encoding, body: &[u8], limit: usize) -> Result<usize, BodyError> {
    match encoding {
        Encoding::Snappy => snappy_length(body, limit),
        Encoding::Zstd => zstd_length(body, limit).map(|bound| bound.unwrap_or(limit)),
        Encoding::Identity => check_size(encoding, body.len() as u64, limit).map(|()| body.len()),
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
    let size = snappy_length(body, limit)?;
    out.resize(size, 0);
    let written = snap::raw::Decoder::new().decompress(body, out).map_err(|error| snappy_error(body, error))?;
    debug_assert_eq!(written, size);
    Ok(())
}

fn snappy_length(body: &[u8], limit: usize) -> Result<usize, BodyError> {
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
    Ok(size)
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
    let bound = zstd_length(body, limit)?;
    let declared = zstd_safe::get_frame_content_size(body).ok().flatten();
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
    zstd_stream(body, bound, limit, out)
}

/// An upper bound of what the frames hold, within the limit; `None` where they are damaged.
fn zstd_length(body: &[u8], limit: usize) -> Result<Option<usize>, BodyError> {
    let encoding = Encoding::Zstd;
    if body.is_empty() {
        return Err(BodyError::Empty { encoding: encoding.as_str() });
    }
    let Some(bound) = zstd_bound::of_frames(body) else {
        if let Ok(Some(declared)) = zstd_safe::get_frame_content_size(body) {
            check_size(encoding, declared, limit)?;
        }
        return Ok(None);
    };
    check_size(encoding, bound.declared, limit)?;
    Ok(Some(usize::try_from(bound.declared.saturating_add(bound.undeclared)).unwrap_or(limit).min(limit)))
}

fn zstd_stream(body: &[u8], bound: Option<usize>, limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
    out.clear();
    out.reserve(bound.unwrap_or(0));
    let decoder = zstd::stream::read::Decoder::with_buffer(body);
    let mut decoder = decoder.map_err(|error| zstd_error(body, error))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| zstd_error(body, error))?;
    let most = bound.unwrap_or(limit);
    let read = decoder.take(most as u64 + 1).read_to_end(out).map_err(|error| zstd_error(body, error))?;
    let encoding = Encoding::Zstd.as_str();
    match read {
        _ if read <= most => Ok(()),
        _ if most == limit => Err(BodyError::TooLarge { encoding, size: None, limit }),
        _ => {
            let reason = format!("it has more than the {most} bytes that its frames stand for");
            Err(BodyError::Corrupt { encoding, length: body.len(), reason })
        }
    }
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
        fn the_bound_holds_for_frames_of_every_sort(
            parts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(0u8..4, 0..5000)), 1..5)
        ) {
            let whole: Vec<u8> = parts.iter().flat_map(|(_, data)| data).copied().collect();
            let frame = |(declares, data): &(bool, Vec<u8>)| {
                if *declares { compress(Encoding::Zstd, data) } else { compress_undeclared(data) }
            };
            let body: Vec<u8> = parts.iter().flat_map(frame).collect();
            let bound = decompressed_bound(Encoding::Zstd, &body, LIMIT).unwrap();
            prop_assert!(whole.len() <= bound && bound <= LIMIT);
            if parts.iter().all(|(declares, _)| *declares) {
                prop_assert_eq!(whole.len(), bound);
            }
            prop_assert_eq!(decompressed(Encoding::Zstd, &body).unwrap(), whole);
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
        let error = decompressed(Encoding::Zstd, &two_frames).unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { size: Some(65537), .. }), "{error}");
    }

    #[test]
    fn a_small_first_frame_does_not_hide_what_follows() {
        let mut body = compress(Encoding::Zstd, b"x");
        body.extend(compress(Encoding::Zstd, &vec![0; LIMIT - 1]));
        assert!(body.len() < 100);
        assert_eq!(decompressed_bound(Encoding::Zstd, &body, LIMIT), Ok(LIMIT));
        body.extend(compress(Encoding::Zstd, b"x"));
        assert!(matches!(decompressed_bound(Encoding::Zstd, &body, LIMIT), Err(BodyError::TooLarge { .. })));
        // A run of one byte in a block: four bytes that stand for 128 KiB, and nothing declares it.
        let body = compress_undeclared(&vec![0; 1 << 20]);
        assert!(body.len() < 200);
        assert_eq!(decompressed_bound(Encoding::Zstd, &body, 8 << 20), Ok(1 << 20));
        let snappy = compress(Encoding::Snappy, &[7; 1000]);
        assert_eq!(decompressed_bound(Encoding::Snappy, &snappy, LIMIT), Ok(1000));
        assert_eq!(decompressed_bound(Encoding::Identity, &snappy, LIMIT), Ok(snappy.len()));
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
