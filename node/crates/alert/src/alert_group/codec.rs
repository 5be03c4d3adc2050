//! The bytes of what an alert group's log and its copies hold: `node/docs/format/alert-group.md`. Little-endian throughout.
//!
//! Three formats, each with a version: [`requests`], [`replies`] and the state ([`states`]). Hostile bytes are errors: lengths
//! are checked against what is there, so that memory is in proportion to the bytes.

pub mod replies;
pub mod requests;
pub mod states;

mod alerts;
mod watched;

use std::collections::BTreeSet;

use bellwether_model::{Labels, NodeId, Tenant};

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

    fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Encoder, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A count and that many elements.
    fn list<T>(&mut self, elements: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Encoder, T)) {
        self.u32(u32::try_from(elements.len()).expect("lists of an alert group are bounded"));
        elements.for_each(|element| write(self, element));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("texts of an alert group are bounded"));
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn labels(&mut self, labels: &Labels) {
        self.bytes(labels.canonical_bytes());
    }

    fn tenant(&mut self, tenant: &Tenant) {
        self.text(tenant.as_str());
    }

    fn node(&mut self, node: NodeId) {
        self.u64(node.0);
    }
}

/// Takes values off the front of bytes that may come from anywhere.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("as many bytes as asked for"))
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
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

    fn f64(&mut self) -> Result<f64, DecodeError> {
        self.u64().map(f64::from_bits)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Damaged("a flag is neither 0 nor 1")),
        }
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

    /// A list that is written back as it was read.
    fn ascending<T: Ord>(
        &mut self,
        read: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<BTreeSet<T>, DecodeError> {
        let list: Vec<T> = self.list(read)?;
        let ascends = list.windows(2).all(|pair| pair[0] < pair[1]);
        if ascends { Ok(list.into_iter().collect()) } else { Err(DecodeError::Damaged("a list does not ascend")) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn str(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Damaged("a text is not UTF-8"))
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        self.str().map(str::to_owned)
    }

    fn labels(&mut self) -> Result<Labels, DecodeError> {
        Labels::from_canonical(self.bytes()?).map_err(|_| DecodeError::Damaged("labels are not in their form"))
    }

    fn tenant(&mut self) -> Result<Tenant, DecodeError> {
        Tenant::new(self.str()?).map_err(|_| DecodeError::Damaged("a tenant has no name that it can have"))
    }

    fn node(&mut self) -> Result<NodeId, DecodeError> {
        Ok(NodeId(self.u64()?))
    }

    fn size(&mut self) -> Result<usize, DecodeError> {
        self.u32().map(|size| size as usize)
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

/// A number that this program does not know: written by a newer one, or damaged.
fn unknown<T>(what: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Damaged(what))
}
