//! Bytes of partial states: little-endian numbers, texts after their length. `node/docs/format/partial.md` draws them.

use bellwether_model::Labels;

use crate::account::LimitError;
use crate::column::Presence;
use crate::outcome::EvalError;

/// Why bytes were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They are not a piece of a partial result, or of another query's.
    #[error("a partial result cannot be read at byte {offset}: {what}")]
    Bytes {
        /// Where.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The query has no memory for it.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl From<EvalError> for Damage {
    fn from(error: EvalError) -> Damage {
        match error {
            EvalError::Limit(error) => Damage::Limit(error),
            _ => Damage::Bytes { offset: 0, what: "it does not fit the query" },
        }
    }
}

/// Grows.
#[derive(Default)]
pub(crate) struct Output(pub(crate) Vec<u8>);

impl Output {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    pub(crate) fn count(&mut self, count: u32) {
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    pub(crate) fn bits(&mut self, bits: u64) {
        self.0.extend_from_slice(&bits.to_le_bytes());
    }

    pub(crate) fn number(&mut self, number: f64) {
        self.bits(number.to_bits());
    }

    pub(crate) fn text(&mut self, bytes: &[u8]) {
        self.count(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn labels(&mut self, labels: &Labels) {
        self.text(labels.canonical_bytes());
    }

    pub(crate) fn presence(&mut self, presence: &Presence) {
        presence.words().iter().for_each(|word| self.bits(*word));
    }
}

/// Shrinks.
pub(crate) struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Input<'b> {
        Input { bytes, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn damage(&self, what: &'static str) -> Damage {
        Damage::Bytes { offset: self.at, what }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Damage> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.damage("it ends too soon"))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N).map(|taken| std::array::from_fn(|at| taken[at]))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Damage> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damage("neither yes nor no")),
        }
    }

    pub(crate) fn count(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn bits(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn number(&mut self) -> Result<f64, Damage> {
        self.bits().map(f64::from_bits)
    }

    pub(crate) fn text(&mut self) -> Result<&'b [u8], Damage> {
        let count = self.count()?;
        self.take(count as usize)
    }

    pub(crate) fn labels(&mut self) -> Result<Labels, Damage> {
        let bytes = self.text()?;
        Labels::from_canonical(bytes).map_err(|_| self.damage("labels are damaged"))
    }

    pub(crate) fn presence(&mut self, steps: usize) -> Result<Presence, Damage> {
        let mut presence = Presence::none(steps);
        for at in 0..presence.words().len() {
            let word = self.bits()?;
            if !presence.set_word(at, word) {
                return Err(self.damage("a step that does not exist"));
            }
        }
        Ok(presence)
    }
}
