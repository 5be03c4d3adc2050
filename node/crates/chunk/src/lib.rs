//! Codecs: samples in, bytes out, bit-exact for every `f64`. Pure: no clock, no I/O, no storage.
//!
//! Two worlds. Open samples stream into a [`HeadChunk`], sixteen bytes a sample squeezed to one or two at once.
//! A flush or a seal takes whole columns: [`encode_timestamps`] and [`encode_values`] look at all values first and
//! leave bytes that ZSTD can work on, because a pack of neighbouring chunks is compressed as a whole afterwards.
//!
//! Reading order: `varint` (integers as bytes), `residuals` (small integers as bytes), `column` (predicting a column
//! of integers), `decimal` (finding integers in floats), `values`, `timestamps` and `histograms` (the stored formats), `head`.
//! Byte diagrams are in `node/docs/format/chunk.md`.

mod column;
mod decimal;
mod error;
mod head;
mod histograms;
mod residuals;
mod timestamps;
mod values;
pub mod varint;

pub use error::DecodeError;
pub use head::HeadChunk;
pub use histograms::{HISTOGRAMS_PER_CHUNK_MAX, decode_histograms, encode_histograms, histograms_that_fit};
pub use timestamps::{decode_timestamps, encode_timestamps};
pub use values::{Effort, Scratch, ValueCodec, decode_values, encode_values};

/// Most samples in one chunk: what a hostile count may make a decoder allocate.
pub const SAMPLES_PER_CHUNK_MAX: usize = 1 << 20;

fn check_count(count: usize) -> Result<(), DecodeError> {
    if count > SAMPLES_PER_CHUNK_MAX {
        return Err(DecodeError::Invalid { what: "number of samples", got: count as u64 });
    }
    Ok(())
}
