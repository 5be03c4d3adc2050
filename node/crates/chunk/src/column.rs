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

/// Most samples that a bias is taken from.
const BIAS_SAMPLES: usize = 20;

/// How a column is predicted. The position is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predictor {
    Plain,
    Delta,
    DeltaOfDelta,
    Line,
}

const PREDICTORS: [Predictor; 4] = [Predictor::Plain, Predictor::Delta, Predictor::DeltaOfDelta, Predictor::Line];

/// Appends the column after its first integer, predicted by the best of `predictors`. `residuals` is scratch space.
pub(crate) fn encode_column(integers: &[i64], predictors: &[Predictor], residuals: &mut Vec<u64>, out: &mut Vec<u8>) {
    let mut best = (u64::MAX, Predictor::Delta, 0);
    for &predictor in predictors {
        let bias = bias(integers, predictor);
        let mut cost = 0;
        for_residuals(integers, predictor, bias, |residual| cost += u64::from(64 - residual.leading_zeros()));
        if cost < best.0 {
            best = (cost, predictor, bias);
        }
    }
    let (_, predictor, bias) = best;
    residuals.clear();
    residuals.reserve(integers.len());
    for_residuals(integers, predictor, bias, |residual| residuals.push(residual));
    let packing = choose_packing(residuals);
    out.push(predictor as u8 * PACKING_CODES + packing.code());
    write_i64(out, bias);
    packing.write(residuals, out);
}

/// Reads `out.len()` integers, the first being `first`, from the front of `input`.
pub(crate) fn decode_column<W: Word>(input: &mut &[u8], first: i64, out: &mut [W]) -> Result<(), DecodeError> {
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
    packing.ok_or(DecodeError::Invalid { what: "column's shape", got: shape.into() })?.read(input, rest)?;
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
    match predictor {
        Predictor::DeltaOfDelta => return integers[1].wrapping_sub(integers[0]),
        // A slope that is off by one is far off at the end: it takes the whole length to measure it.
        Predictor::Line => {
            let rise = integers[last].wrapping_sub(integers[0]);
            return rise.wrapping_add(last as i64 / 2).div_euclid(last as i64);
        }
        Predictor::Plain | Predictor::Delta => {}
    }
    let mut samples = [0; BIAS_SAMPLES];
    let positions = (1..integers.len()).step_by(last.div_ceil(BIAS_SAMPLES));
    let taken = positions.len();
    for (sample, at) in samples.iter_mut().zip(positions) {
        let before = if predictor == Predictor::Plain { 0 } else { at - 1 };
        *sample = integers[at].wrapping_sub(integers[before]);
    }
    let samples = &mut samples[..taken];
    samples.sort_unstable();
    let median = samples[taken / 2];
    let spread = samples[taken * 3 / 4].wrapping_sub(samples[taken / 4]);
    // A bias within the noise is not worth its bytes.
    if predictor == Predictor::Delta && median.unsigned_abs() < spread.unsigned_abs() / 4 { 0 } else { median }
}

#[inline]
fn for_residuals(integers: &[i64], predictor: Predictor, bias: i64, mut each: impl FnMut(u64)) {
    let first = integers[0];
    let pairs = integers.iter().zip(&integers[1..]);
    match predictor {
        Predictor::Plain => {
            let level = first.wrapping_add(bias);
            integers[1..].iter().for_each(|&value| each(zigzag(value.wrapping_sub(level))));
        }
        Predictor::Delta => {
            pairs.for_each(|(&before, &value)| each(zigzag(value.wrapping_sub(before).wrapping_sub(bias))));
        }
        Predictor::DeltaOfDelta => {
            let mut delta_before = bias;
            pairs.for_each(|(&before, &value)| {
                let delta = value.wrapping_sub(before);
                each(zigzag(delta.wrapping_sub(delta_before)));
                delta_before = delta;
            });
        }
        Predictor::Line => {
            let mut expected = first;
            integers[1..].iter().for_each(|&value| {
                expected = expected.wrapping_add(bias);
                each(zigzag(value.wrapping_sub(expected)));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(integers: &[i64]) -> Predictor {
        let mut bytes = Vec::new();
        encode_column(integers, &PREDICTORS, &mut Vec::new(), &mut bytes);
        let mut out = vec![0_i64; integers.len()];
        let mut input = &bytes[..];
        decode_column(&mut input, integers[0], &mut out).expect("our own bytes decode");
        assert_eq!(out, integers);
        assert!(input.is_empty());
        PREDICTORS[usize::from(bytes[0] / PACKING_CODES)]
    }

    fn noise(index: i64) -> i64 {
        (index.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 40) % 50
    }

    #[test]
    fn a_noisy_level_is_predicted_by_the_level() {
        assert_eq!(check(&(0..120).map(|i| 5_000 + noise(i)).collect::<Vec<_>>()), Predictor::Plain);
    }

    #[test]
    fn a_walk_is_predicted_by_the_value_before() {
        let mut value = 0;
        let walk: Vec<i64> = (0..240).map(|i| (value += 1_000 + noise(i), value).1).collect();
        assert_eq!(check(&walk), Predictor::Delta);
    }

    #[test]
    fn an_accelerating_column_is_predicted_by_the_delta_before() {
        assert_eq!(check(&(0..120).map(|i| i * i * i + noise(i)).collect::<Vec<_>>()), Predictor::DeltaOfDelta);
    }

    #[test]
    fn a_jittered_clock_is_predicted_by_its_line() {
        assert_eq!(check(&(0..120).map(|i| i * 15_000 + noise(i) / 2).collect::<Vec<_>>()), Predictor::Line);
    }

    #[test]
    fn the_extremes_wrap_and_come_back() {
        check(&[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN, i64::MIN]);
        check(&[i64::MAX, i64::MIN]);
    }
}
