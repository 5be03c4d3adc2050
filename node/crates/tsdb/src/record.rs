//! The envelope of every stored value: version, checksum, and a body that may be compressed.
//!
//! ```text
//! version u8 | flags u8 | uncompressed length u32 | checksum u32 | body
//! ```
//! The checksum is the low half of xxh3-64 over key, version, flags, length and stored body, so a value under a wrong key is damage as well.

use xxhash_rust::xxh3::Xxh3;

use crate::error::{OpenError, StorageError};

const HEADER_BYTES: usize = 10;
const FLAG_ZSTD: u8 = 1;
/// No stored value is larger than this once decompressed: a damaged length cannot fill memory.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Store as it is.
    None,
    /// ZSTD at this level, if that makes it smaller.
    Zstd(i32),
}

/// Reusable compression state.
#[derive(Default)]
pub struct Sealer {
    compressor: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl Sealer {
    /// Wraps `body` for storage under `key`, replacing what `out` holds.
    pub fn seal(&mut self, key: &[u8], version: u8, body: &[u8], compression: Compression, out: &mut Vec<u8>) {
        assert!(body.len() <= RECORD_BYTES_MAX, "a record of {} bytes", body.len());
        out.clear();
        out.resize(HEADER_BYTES, 0);
        let mut flags = 0;
        if let Compression::Zstd(level) = compression {
            out.resize(HEADER_BYTES + zstd::zstd_safe::compress_bound(body.len()), 0);
            let compressor = self.compressor(level);
            let length =
                compressor.compress_to_buffer(body, &mut out[HEADER_BYTES..]).expect("the buffer holds the bound");
            if length < body.len() {
                out.truncate(HEADER_BYTES + length);
                flags |= FLAG_ZSTD;
            }
        }
        if flags & FLAG_ZSTD == 0 {
            out.truncate(HEADER_BYTES);
            out.extend_from_slice(body);
        }
        out[0] = version;
        out[1] = flags;
        out[2..6].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let checksum = checksum(key, &out[..6], &out[HEADER_BYTES..]);
        out[6..10].copy_from_slice(&checksum.to_le_bytes());
    }

    fn compressor(&mut self, level: i32) -> &mut zstd::bulk::Compressor<'static> {
        if self.compressor.as_ref().is_none_or(|(made, _)| *made != level) {
            let compressor = zstd::bulk::Compressor::new(level).expect("a ZSTD context fits in memory");
            self.compressor = Some((level, compressor));
        }
        &mut self.compressor.as_mut().expect("just made").1
    }
}

fn checksum(key: &[u8], header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Xxh3::new();
    hasher.update(key);
    hasher.update(header);
    hasher.update(body);
    hasher.digest() as u32
}

/// Checks that a stored value is what was stored, and splits it into its header and its body as it is stored.
pub fn check<'a>(
    place: &dyn Fn() -> String,
    key: &[u8],
    stored: &'a [u8],
) -> Result<(&'a [u8; HEADER_BYTES], &'a [u8]), StorageError> {
    let Some((header, body)) = stored.split_first_chunk() else {
        return Err(StorageError::corrupt(place(), "shorter than its header"));
    };
    let expected = u32::from_le_bytes(header[6..10].try_into().expect("four bytes"));
    if checksum(key, &header[..6], body) != expected {
        return Err(StorageError::corrupt(place(), "checksum mismatch"));
    }
    Ok((header, body))
}

/// Checks a stored value and returns its version and body.
pub fn open(place: &dyn Fn() -> String, key: &[u8], stored: &[u8], newest: u8) -> Result<(u8, Vec<u8>), OpenError> {
    let corrupt = |reason: &str| OpenError::Storage(StorageError::corrupt(place(), reason));
    let (header, body) = check(place, key, stored)?;
    let (version, flags) = (header[0], header[1]);
    if version > newest {
        return Err(OpenError::NewerFormat { place: place(), found: version, supported: newest });
    }
    let length = u32::from_le_bytes(header[2..6].try_into().expect("four bytes")) as usize;
    if length > RECORD_BYTES_MAX {
        return Err(corrupt("impossible length"));
    }
    if flags & FLAG_ZSTD == 0 {
        return if body.len() == length { Ok((version, body.to_vec())) } else { Err(corrupt("wrong length")) };
    }
    let body = zstd::bulk::decompress(body, length).map_err(|error| corrupt(&error.to_string()))?;
    if body.len() != length {
        return Err(corrupt("wrong length"));
    }
    Ok((version, body))
}

/// As [`open`], where a newer version is damage: inside runs that an already checked record names.
pub fn open_part(place: &dyn Fn() -> String, key: &[u8], stored: &[u8], version: u8) -> Result<Vec<u8>, StorageError> {
    match open(place, key, stored, version) {
        Ok((_, body)) => Ok(body),
        Err(OpenError::Storage(error)) => Err(error),
        Err(newer @ OpenError::NewerFormat { .. }) => Err(StorageError::corrupt(place(), newer.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> String {
        "the test record".into()
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        for compression in [Compression::None, Compression::Zstd(3)] {
            let mut stored = Vec::new();
            Sealer::default().seal(b"key", 1, &[7; 300], compression, &mut stored);
            assert_eq!(open(&place, b"key", &stored, 1).unwrap(), (1, vec![7; 300]));
            assert!(open(&place, b"yek", &stored, 1).is_err());
            for at in 0..stored.len() {
                for bit in 0..8 {
                    let mut damaged = stored.clone();
                    damaged[at] ^= 1 << bit;
                    assert!(open(&place, b"key", &damaged, 1).is_err(), "byte {at} bit {bit}");
                }
                assert!(open(&place, b"key", &stored[..at], 1).is_err());
            }
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut stored = Vec::new();
        Sealer::default().seal(b"key", 9, b"body", Compression::None, &mut stored);
        let error = open(&place, b"key", &stored, 1).unwrap_err().to_string();
        assert_eq!(error, "the test record has format version 9, this program reads up to 1");
    }

    #[test]
    fn bodies_that_do_not_shrink_are_stored_plain() {
        let mut stored = Vec::new();
        Sealer::default().seal(b"key", 1, b"ab", Compression::Zstd(3), &mut stored);
        assert_eq!(stored.len(), HEADER_BYTES + 2);
    }
}
