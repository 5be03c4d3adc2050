//! What can be wrong with stored bytes.

/// Why stored bytes do not decode. Outside data never panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends too early.
    #[error("input ends inside {what}")]
    Truncated {
        /// The field that is cut off.
        what: &'static str,
    },
    /// A variable-length integer does not fit 64 bits.
    #[error("varint exceeds 64 bits")]
    VarintOverflow,
    /// More bytes than the values need.
    #[error("{excess} bytes left over after the last value")]
    TrailingBytes {
        /// How many bytes are left.
        excess: usize,
    },
    /// A codec tag that this version does not know.
    #[error("unknown value codec {tag}")]
    UnknownCodec {
        /// The stored tag.
        tag: u8,
    },
    /// A field holds what no encoder writes.
    #[error("invalid {what}: {got}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u64,
    },
}
