//! The bytes of what the meta group stores and sends: `node/docs/format/meta.md`. Little-endian throughout.
//!
//! Three formats: requests ([`requests`]) and the state ([`states`]), which is a list of sections so that later parts of it
//! find their place, both in the version that is active in the cluster; and replies ([`replies`]), with one of their own.

pub mod replies;
pub mod requests;
pub mod states;

mod placements;

use bellwether_model::{NodeId, ReplicaId};

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote them.
    #[error("{what} has format version {found}, this program reads up to {supported}: start a newer bellwether")]
    NewerFormat {
        /// What was to be read.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// They are not what was written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
}

/// Writes what [`Decoder`] reads.
#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u128(&mut self, value: u128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    fn node(&mut self, node: NodeId) {
        self.u64(node.0);
    }

    fn replica(&mut self, replica: ReplicaId) {
        self.u64(replica.0);
    }

    /// Present or not, and what it is.
    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Encoder, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A count and that many elements.
    fn list<T>(&mut self, elements: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Encoder, T)) {
        self.u32(u32::try_from(elements.len()).expect("lists of the meta state are bounded"));
        elements.for_each(|element| write(self, element));
    }

    fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).expect("texts of the meta state are bounded"));
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Takes values off the front of bytes that may come from anywhere.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.bytes(N)?.try_into().expect("as many bytes as asked for"))
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Damaged("a flag is neither 0 nor 1")),
        }
    }

    fn node(&mut self) -> Result<NodeId, DecodeError> {
        Ok(NodeId(self.u64()?))
    }

    fn replica(&mut self) -> Result<ReplicaId, DecodeError> {
        Ok(ReplicaId(self.u64()?))
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// The memory of the result is in proportion to the bytes: every element takes at least one.
    fn list<T, C: FromIterator<T>>(
        &mut self,
        mut read: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<C, DecodeError> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return Err(DecodeError::Damaged("a list has more elements than bytes"));
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.u32()? as usize;
        let bytes = self.bytes(length)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Damaged("a text is not UTF-8"))
    }

    fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Damaged("there are bytes behind its end")) }
    }

    /// Takes a version off the front.
    fn version(&mut self, what: &'static str, supported: u8) -> Result<u8, DecodeError> {
        match self.u8()? {
            0 => Err(DecodeError::Damaged("its version is 0")),
            found if found > supported => {
                Err(DecodeError::NewerFormat { what, found: found.into(), supported: supported.into() })
            }
            found => Ok(found),
        }
    }
}

/// A version of what is replicated, as it is stored: there will be fewer than 255.
fn version_byte(version: u32) -> u8 {
    u8::try_from(version).unwrap_or(u8::MAX)
}

/// A number that this program does not know: written by a newer one, or damaged.
fn unknown<T>(what: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Damaged(what))
}

#[cfg(test)]
#[path = "../codec_tests.rs"]
mod tests;
