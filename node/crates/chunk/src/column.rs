//! A column of integers as a prediction and what it misses.
//!
//! The first integer is known from elsewhere, as is the count; a column predicts all others from those before and a *bias*:
//! - plain: the first plus the bias (a gauge around a level),
//! - delta: the one before plus the bias (walks, and counters with their rate as bias),
//! - delta of delta: the one before plus the distance before that, at first the bias,
//! - line: the first plus index times bias (a clock with jitter).
//!
//! Arithmetic wraps: any 64-bit integers come back, and only nonsense is predicted badly.

use crate::DecodeError;
use crate::residuals::{PACKING_CODES, Packing, Word, choose_packing};
use crate::varint::{read_i64, read_u8, unzigzag, write_i64, zigzag};

/// Samples that the bias is taken from: their median.
const BIAS_SAMPLES: usize = 31;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Predictor {
    Plain,
    Delta,
    DeltaOfDelta,
    Line,
}

const PREDICTORS: [Predictor; 4] = [
    Predictor::Plain,
    Predictor::Delta,
    Predictor::DeltaOfDelta,
    Predictor::Line,
];

/// Buffers that an encoder keeps between columns.
#[derive(Debug, Default)]
pub(crate) struct ColumnScratch {
    residuals: Vec<u64>,
    best: Vec<u64>,
}

/// Appends the column after its first integer.
pub(crate) fn encode_column(
    integers: &[i64],
    predictors: impl IntoIterator<Item = usize>,
    scratch: &mut ColumnScratch,
    out: &mut Vec<u8>,
) {
    let mut best = (u64::MAX, Predictor::Delta, 0);
    for predictor in predictors.into_iter().map(|index| PREDICTORS[index]) {
        let bias = bias(integers, predictor);
        fill_residuals(integers, predictor, bias, &mut scratch.residuals);
        let cost = scratch
            .residuals
            .iter()
            .map(|residual| u64::from(64 - residual.leading_zeros()))
            .sum();
        if cost < best.0 {
            best = (cost, predictor, bias);
            std::mem::swap(&mut scratch.residuals, &mut scratch.best);
        }
    }
    let (_, predictor, bias) = best;
    let residuals = &scratch.best[..];
    let packing = choose_packing(residuals);
    out.push(predictor as u8 * PACKING_CODES + packing.code());
    write_i64(out, bias);
    packing.write(residuals, out);
}

/// Reads `out.len()` integers, the first being `first`, from the front of `input`.
pub(crate) fn decode_column<W: Word>(
    input: &mut &[u8],
    first: i64,
    out: &mut [W],
) -> Result<(), DecodeError> {
    let Some((head, rest)) = out.split_first_mut() else {
        return Ok(());
    };
    *head = W::from_word(first as u64);
    if rest.is_empty() {
        return Ok(());
    }
    let shape = read_u8(input, "a column's shape")?;
    let bias = read_i64(input)?;
    let packing = Packing::from_code(shape % PACKING_CODES);
    packing
        .ok_or(DecodeError::Invalid {
            what: "column's shape",
            got: shape.into(),
        })?
        .read(input, rest)?;
    match PREDICTORS[usize::from(shape / PACKING_CODES)] {
        Predictor::Plain => {
            let level = first.wrapping_add(bias);
            fill(rest, |residual| level.wrapping_add(residual));
        }
        Predictor::Delta => {
            let mut value = first;
            fill(rest, |residual| {
                value = value.wrapping_add(bias.wrapping_add(residual));
                value
            });
        }
        Predictor::DeltaOfDelta => {
            let (mut value, mut delta) = (first, bias);
            fill(rest, |residual| {
                delta = delta.wrapping_add(residual);
                value = value.wrapping_add(delta);
                value
            });
        }
        Predictor::Line => {
            let mut expected = first;
            fill(rest, |residual| {
                expected = expected.wrapping_add(bias);
                expected.wrapping_add(residual)
            });
        }
    }
    Ok(())
}

/// Replaces residuals by what `next` makes of them.
#[inline]
fn fill<W: Word>(slots: &mut [W], mut next: impl FnMut(i64) -> i64) {
    for slot in slots {
        *slot = W::from_word(next(unzigzag(slot.word())) as u64);
    }
}

fn bias(integers: &[i64], predictor: Predictor) -> i64 {
    let last = integers.len() - 1;
    let taken = last.min(BIAS_SAMPLES);
    let mut samples = [0; BIAS_SAMPLES];
    for (index, sample) in samples[..taken].iter_mut().enumerate() {
        let at = 1 + index * last / taken;
        *sample = match predictor {
            Predictor::Plain => integers[at].wrapping_sub(integers[0]),
            Predictor::Delta | Predictor::Line => integers[at].wrapping_sub(integers[at - 1]),
            Predictor::DeltaOfDelta => integers[1].wrapping_sub(integers[0]),
        };
    }
    let samples = &mut samples[..taken];
    samples.sort_unstable();
    let median = samples[taken / 2];
    let spread = samples[taken * 3 / 4].wrapping_sub(samples[taken / 4]);
    if predictor == Predictor::Delta && median.unsigned_abs() < spread.unsigned_abs() / 4 {
        0
    } else {
        median
    }
}

fn fill_residuals(integers: &[i64], predictor: Predictor, bias: i64, residuals: &mut Vec<u64>) {
    residuals.clear();
    let first = integers[0];
    let pairs = integers.iter().zip(&integers[1..]);
    match predictor {
        Predictor::Plain => {
            let level = first.wrapping_add(bias);
            residuals.extend(
                integers[1..]
                    .iter()
                    .map(|&value| zigzag(value.wrapping_sub(level))),
            );
        }
        Predictor::Delta => {
            residuals
                .extend(pairs.map(|(&before, &value)| {
                    zigzag(value.wrapping_sub(before).wrapping_sub(bias))
                }));
        }
        Predictor::DeltaOfDelta => {
            let mut delta_before = bias;
            residuals.extend(pairs.map(|(&before, &value)| {
                let delta = value.wrapping_sub(before);
                let residual = zigzag(delta.wrapping_sub(delta_before));
                delta_before = delta;
                residual
            }));
        }
        Predictor::Line => {
            let mut expected = first;
            residuals.extend(integers[1..].iter().map(|&value| {
                expected = expected.wrapping_add(bias);
                zigzag(value.wrapping_sub(expected))
            }));
        }
    }
}
