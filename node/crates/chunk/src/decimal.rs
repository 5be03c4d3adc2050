//! Finds the integers behind a column of floats.
//!
//! 1. A float is a *decimal* of exponent `e` if it is the double nearest to `m * 10^-e` for an integer `m`: one correctly
//!    rounded division gives it back bit for bit. A decimal of exponent `e` is one of every larger exponent
//!    within [`MANTISSA_MAX`], so one test at the largest tells noise from decimals, and bisection finds the smallest.
//! 2. Programs that convert units often round twice and miss that double by a bit: milliseconds times 0.001,
//!    microseconds divided by 1000 and by 1000 again. A column that is not decimal is tried for these.
//! 3. A few values may be neither (stale markers, NaN, infinities, -0.0): they are kept beside as exceptions.

/// Fifteen digits: any decimal of so many has its own double, and few doubles full of noise have one.
const MANTISSA_MAX: f64 = 1e15;
/// Integers may be larger: differences of two must fit 64 bits.
const INTEGER_MAX: f64 = (1_u64 << 62) as f64;
/// Exceptions that a chunk may have whatever its length.
const EXCEPTIONS_FREE: usize = 2;
/// One more exception per so many values.
const VALUES_PER_EXCEPTION: usize = 16;
/// Values that are tested together, without a branch for each.
const BLOCK: usize = 8;
/// Added to a double of magnitude below 2^51, leaves the nearest integer in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const _: () = assert!(MANTISSA_MAX < (1_u64 << 51) as f64);

/// The powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Conversions of units that round twice, frequent ones first. Positions are stored: append only.
const TWICE_ROUNDED: [TwiceRounded; 5] = [
    TwiceRounded { inverse: 1e3, factor: 1e-3, divisors: [1.0, 1.0] },
    TwiceRounded { inverse: 1e6, factor: 1.0, divisors: [1e3, 1e3] },
    TwiceRounded { inverse: 1e6, factor: 1e-6, divisors: [1.0, 1.0] },
    TwiceRounded { inverse: 1e9, factor: 1e-9, divisors: [1.0, 1.0] },
    TwiceRounded { inverse: 1e2, factor: 1e-2, divisors: [1.0, 1.0] },
];

/// Exponents of decimals that went through single precision: 23.4 became 23.399999618530273. Positions are stored.
const SINGLE_EXPONENTS: [usize; 4] = [1, 2, 3, 4];

/// What makes floats of a column's integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Divide by this power of ten.
    Decimal(usize),
    /// Convert as this entry of [`TWICE_ROUNDED`] does.
    TwiceRounded(usize),
    /// Divide by ten to this entry of [`SINGLE_EXPONENTS`], and round to single precision.
    Single(usize),
}

/// A value that is no scaled integer, stored as it is beside the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exception {
    pub(crate) index: usize,
    pub(crate) value: f64,
}

/// The two directions of a scale, as the loops over a column want them: resolved before the loop.
trait Conversion: Copy {
    /// Largest magnitude of a mantissa.
    const MAX: f64;
    /// The mantissa, before it is rounded to an integer.
    fn mantissa(self, value: f64) -> f64;
    fn float(self, mantissa: f64) -> f64;
}

#[derive(Clone, Copy)]
struct Integer;

#[derive(Clone, Copy)]
struct Decimal {
    power: f64,
}

#[derive(Clone, Copy)]
struct Single {
    power: f64,
}

#[derive(Clone, Copy)]
struct TwiceRounded {
    /// The product of all divisors, and of the inverse of the factor.
    inverse: f64,
    factor: f64,
    divisors: [f64; 2],
}

impl Conversion for Integer {
    const MAX: f64 = INTEGER_MAX;

    #[inline]
    fn mantissa(self, value: f64) -> f64 {
        value
    }

    #[inline]
    fn float(self, mantissa: f64) -> f64 {
        mantissa
    }
}

impl Conversion for Decimal {
    const MAX: f64 = MANTISSA_MAX;

    #[inline]
    fn mantissa(self, value: f64) -> f64 {
        value * self.power
    }

    #[inline]
    fn float(self, mantissa: f64) -> f64 {
        mantissa / self.power
    }
}

impl Conversion for Single {
    const MAX: f64 = MANTISSA_MAX;

    #[inline]
    fn mantissa(self, value: f64) -> f64 {
        value * self.power
    }

    #[inline]
    fn float(self, mantissa: f64) -> f64 {
        f64::from((mantissa / self.power) as f32)
    }
}

impl Conversion for TwiceRounded {
    const MAX: f64 = MANTISSA_MAX;

    #[inline]
    fn mantissa(self, value: f64) -> f64 {
        value * self.inverse
    }

    #[inline]
    fn float(self, mantissa: f64) -> f64 {
        mantissa * self.factor / self.divisors[0] / self.divisors[1]
    }
}

impl Decimal {
    fn of(exponent: usize) -> Self {
        Self { power: POWERS_OF_TEN[exponent] }
    }
}

impl Single {
    fn of(index: usize) -> Self {
        Self { power: POWERS_OF_TEN[SINGLE_EXPONENTS[index]] }
    }
}

const TWICE_ROUNDED_CODE: usize = POWERS_OF_TEN.len();
const SINGLE_CODE: usize = TWICE_ROUNDED_CODE + TWICE_ROUNDED.len();

impl Scale {
    /// Codes are below this.
    pub(crate) const CODES: usize = SINGLE_CODE + SINGLE_EXPONENTS.len();

    pub(crate) fn code(self) -> u8 {
        let code = match self {
            Self::Decimal(exponent) => exponent,
            Self::TwiceRounded(index) => TWICE_ROUNDED_CODE + index,
            Self::Single(index) => SINGLE_CODE + index,
        };
        code as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match usize::from(code) {
            code @ ..TWICE_ROUNDED_CODE => Some(Self::Decimal(code)),
            code @ TWICE_ROUNDED_CODE..SINGLE_CODE => Some(Self::TwiceRounded(code - TWICE_ROUNDED_CODE)),
            code @ SINGLE_CODE..Self::CODES => Some(Self::Single(code - SINGLE_CODE)),
            _ => None,
        }
    }

    /// Turns integers, `first` plus `step` times the bits of each slot, into the floats that they stand for.
    pub(crate) fn fill_floats(self, first: i64, step: i64, slots: &mut [f64]) {
        match self {
            Self::Decimal(0) => fill_floats(Integer, first, step, slots),
            Self::Decimal(exponent) => fill_floats(Decimal::of(exponent), first, step, slots),
            Self::TwiceRounded(index) => fill_floats(TWICE_ROUNDED[index], first, step, slots),
            Self::Single(index) => fill_floats(Single::of(index), first, step, slots),
        }
    }
}

fn fill_floats<C: Conversion>(conversion: C, first: i64, step: i64, slots: &mut [f64]) {
    let to_float = |mantissa: i64| {
        if C::MAX <= MANTISSA_MAX {
            // The inverse of how a block was rounded, because this can be done to several values at once.
            let rounder = f64::from_bits((ROUNDER.to_bits() as i64).wrapping_add(mantissa) as u64);
            conversion.float(rounder - ROUNDER)
        } else {
            conversion.float(mantissa as f64)
        }
    };
    if step == 1 {
        slots.iter_mut().for_each(|slot| *slot = to_float(first.wrapping_add(slot.to_bits() as i64)));
    } else {
        let mantissa = |slot: f64| first.wrapping_add(step.wrapping_mul(slot.to_bits() as i64));
        slots.iter_mut().for_each(|slot| *slot = to_float(mantissa(*slot)));
    }
}

/// Most exceptions among so many values: with more, the integers are not worth it.
pub(crate) const fn exceptions_max(count: usize) -> usize {
    EXCEPTIONS_FREE + count / VALUES_PER_EXCEPTION
}

/// Fills `mantissas` with all values that have one, in order, and `exceptions` with the others.
/// Answers their scale, or nothing if too many values have none.
pub(crate) fn find(values: &[f64], mantissas: &mut Vec<i64>, exceptions: &mut Vec<Exception>) -> Option<Scale> {
    let decimal = find_decimal(values, mantissas, exceptions);
    let Some(odd) = exceptions.iter().map(|exception| exception.value).find(|value| value.is_normal()) else {
        return decimal;
    };
    let tolerated = if decimal.is_some() { exceptions.len() - 1 } else { values.len() - 1 };
    let twice_rounded = (0..TWICE_ROUNDED.len()).map(Scale::TwiceRounded);
    let single = (0..SINGLE_EXPONENTS.len()).map(Scale::Single);
    let better = twice_rounded.chain(single).find(|&scale| {
        let collected = match scale {
            Scale::TwiceRounded(index) => collect_if_fits(odd, values, TWICE_ROUNDED[index], mantissas, exceptions),
            Scale::Single(index) => collect_if_fits(odd, values, Single::of(index), mantissas, exceptions),
            Scale::Decimal(_) => false,
        };
        collected && exceptions.len() <= tolerated
    });
    // Failed attempts have overwritten the columns.
    better.or_else(|| decimal.and_then(|_| find_decimal(values, mantissas, exceptions)))
}

fn collect_if_fits(
    probe: f64,
    values: &[f64],
    conversion: impl Conversion,
    mantissas: &mut Vec<i64>,
    exceptions: &mut Vec<Exception>,
) -> bool {
    mantissa(probe, conversion).is_some() && collect(values, conversion, |_| None, mantissas, exceptions).is_ok()
}

fn find_decimal(values: &[f64], mantissas: &mut Vec<i64>, exceptions: &mut Vec<Exception>) -> Option<Scale> {
    let mut exponent = 0;
    loop {
        let wider = |value| smallest_exponent(value, exponent + 1);
        let collected = match exponent {
            0 => collect(values, Integer, wider, mantissas, exceptions),
            _ => collect(values, Decimal::of(exponent), wider, mantissas, exceptions),
        };
        match collected {
            Ok(()) => return (!mantissas.is_empty()).then_some(Scale::Decimal(exponent)),
            Err(Stop::Wider(wider)) => exponent = wider,
            Err(Stop::TooManyExceptions) => return None,
        }
    }
}

/// The smallest exponent, from `from` on, of which `value` is a decimal.
fn smallest_exponent(value: f64, from: usize) -> Option<usize> {
    let end = POWERS_OF_TEN.partition_point(|power| value.abs() * power <= MANTISSA_MAX);
    let candidates = POWERS_OF_TEN.get(from..end)?;
    let fits = |&power: &f64| mantissa(value, Decimal { power }).is_some();
    candidates.last().filter(|largest| fits(largest))?;
    Some(from + candidates.partition_point(|power| !fits(power)))
}

/// Why a scale does not serve a column.
enum Stop {
    /// A decimal of a larger exponent was found.
    Wider(usize),
    TooManyExceptions,
}

fn collect(
    values: &[f64],
    conversion: impl Conversion,
    wider: impl Fn(f64) -> Option<usize>,
    mantissas: &mut Vec<i64>,
    exceptions: &mut Vec<Exception>,
) -> Result<(), Stop> {
    mantissas.clear();
    exceptions.clear();
    for (block_index, block) in values.chunks(BLOCK).enumerate() {
        if let Some(found) = block.first_chunk().and_then(|block| block_mantissas(block, conversion)) {
            mantissas.extend_from_slice(&found);
            continue;
        }
        for (index, &value) in block.iter().enumerate() {
            if let Some(mantissa) = mantissa(value, conversion) {
                mantissas.push(mantissa);
            } else if let Some(exponent) = wider(value) {
                return Err(Stop::Wider(exponent));
            } else {
                let index = block_index * BLOCK + index;
                exceptions.push(Exception { index, value });
                if exceptions.len() > exceptions_max(index) {
                    return Err(Stop::TooManyExceptions);
                }
            }
        }
    }
    Ok(())
}

/// The mantissas of a block if all values have one below [`MANTISSA_MAX`].
#[inline]
fn block_mantissas(block: &[f64; BLOCK], conversion: impl Conversion) -> Option<[i64; BLOCK]> {
    let mut mantissas = [0; BLOCK];
    let mut odd_bits = 0;
    let mut in_range = true;
    for (mantissa, &value) in mantissas.iter_mut().zip(block) {
        let scaled = conversion.mantissa(value);
        let rounded = scaled + ROUNDER;
        *mantissa = (rounded.to_bits() as i64).wrapping_sub(ROUNDER.to_bits() as i64);
        odd_bits |= conversion.float(rounded - ROUNDER).to_bits() ^ value.to_bits();
        in_range &= scaled.abs() <= MANTISSA_MAX;
    }
    (odd_bits == 0 && in_range).then_some(mantissas)
}

#[inline]
fn mantissa<C: Conversion>(value: f64, conversion: C) -> Option<i64> {
    let scaled = conversion.mantissa(value).round_ties_even();
    let fits = scaled.abs() <= C::MAX && conversion.float(scaled).to_bits() == value.to_bits();
    // Minus zero passes the comparison as a float, but not as an integer.
    (fits && value.to_bits() != (-0.0_f64).to_bits()).then_some(scaled as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64]) -> Option<(Scale, Vec<usize>)> {
        let (mut mantissas, mut exceptions) = (Vec::new(), Vec::new());
        let scale = find(values, &mut mantissas, &mut exceptions)?;
        let mut slots: Vec<f64> = mantissas.iter().map(|&mantissa| f64::from_bits(mantissa as u64)).collect();
        scale.fill_floats(0, 1, &mut slots);
        for exception in &exceptions {
            slots.insert(exception.index, exception.value);
        }
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&slots), bits(values));
        assert_eq!(Scale::from_code(scale.code()), Some(scale));
        Some((scale, exceptions.iter().map(|exception| exception.index).collect()))
    }

    #[test]
    fn the_smallest_exponent_is_found_wherever_its_value_is() {
        assert_eq!(check(&[1.0, 2.0, -3e15, 1e18]), Some((Scale::Decimal(0), vec![])));
        assert_eq!(check(&[1.0; 20]), Some((Scale::Decimal(0), vec![])));
        let mut values = vec![7.0; 20];
        values[17] = -0.125;
        assert_eq!(check(&values), Some((Scale::Decimal(3), vec![])));
        assert_eq!(check(&[1e-22, 3e-22]), Some((Scale::Decimal(22), vec![])));
    }

    #[test]
    fn what_is_no_decimal_is_an_exception() {
        let odd = [f64::NAN, f64::INFINITY, -0.0, std::f64::consts::PI, f64::from_bits(1)];
        for value in odd {
            let mut values = [1.5; 40];
            values[33] = value;
            assert_eq!(check(&values), Some((Scale::Decimal(1), vec![33])));
        }
    }

    #[test]
    fn noise_is_refused() {
        assert_eq!(check(&std::array::from_fn::<f64, 40, _>(|index| (index as f64 + 2.0).sqrt())), None);
        assert_eq!(check(&[f64::NAN; 40]), None);
        assert_eq!(check(&[f64::NAN]), None);
    }

    #[test]
    fn conversions_that_round_twice_are_found() {
        for (index, conversion) in TWICE_ROUNDED.iter().enumerate().take(4) {
            let values: Vec<f64> = (0..400).map(|i| conversion.float(f64::from(i * 7 + 100_003))).collect();
            assert_eq!(check(&values), Some((Scale::TwiceRounded(index), vec![])), "conversion {index}");
        }
    }

    #[test]
    fn single_precision_is_found() {
        let values: Vec<f64> = (0..100).map(|i| f64::from((200 + i) as f32 / 10.0)).collect();
        assert_eq!(check(&values), Some((Scale::Single(0), vec![])));
        let values: Vec<f64> = (0..100).map(|i| f64::from((2_000 + i) as f32 / 100.0)).collect();
        assert_eq!(check(&values), Some((Scale::Single(1), vec![])));
    }

    #[test]
    fn unknown_scales_are_refused() {
        assert_eq!(Scale::from_code(Scale::CODES as u8), None);
    }
}
