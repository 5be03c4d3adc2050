//! Finds the integers behind a column of floats.
//!
//! A float fits exponent `e` if it is the double nearest to `m * 10^-e` for an integer `m`: then `m` is what was meant, and
//! one correctly rounded division gives the float back bit for bit. Whoever fits `e` fits every larger exponent
//! within [`MANTISSA_MAX`], so one test at the largest tells noise from decimals.

/// Largest power of ten that a double holds exactly.
pub(crate) const EXPONENT_MAX: usize = 22;
/// Fifteen digits: any decimal of so many has its own double, and few doubles full of noise have one.
const MANTISSA_MAX: f64 = 1e15;
/// Integers may be larger: differences of two must fit 64 bits.
const INTEGER_MAX: f64 = (1_u64 << 62) as f64;
/// Exceptions that a chunk may have whatever its length.
const EXCEPTIONS_FREE: usize = 2;
/// One more exception per so many values.
const VALUES_PER_EXCEPTION: usize = 16;

const POWERS_OF_TEN: [f64; EXPONENT_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Values that are no decimals, stored as they are beside the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exception {
    pub(crate) index: usize,
    pub(crate) value: f64,
}

/// The float that an integer stands for.
#[inline]
pub(crate) fn to_float(mantissa: i64, exponent: usize) -> f64 {
    mantissa as f64 / POWERS_OF_TEN[exponent]
}

/// Most exceptions among so many values: with more, the integers are not worth it.
pub(crate) const fn exceptions_max(count: usize) -> usize {
    EXCEPTIONS_FREE + count / VALUES_PER_EXCEPTION
}

/// Fills `mantissas` with all values that have one, in order, and `exceptions` with the others.
/// Answers the common exponent, or nothing if too many values are no decimals.
pub(crate) fn find(values: &[f64], mantissas: &mut Vec<i64>, exceptions: &mut Vec<Exception>) -> Option<usize> {
    let mut exponent = 0;
    'widen: loop {
        mantissas.clear();
        exceptions.clear();
        for (index, &value) in values.iter().enumerate() {
            if let Some(mantissa) = mantissa(value, exponent) {
                mantissas.push(mantissa);
                continue;
            }
            if let Some(wider) = (exponent + 1..=EXPONENT_MAX)
                .take_while(|&wider| value.abs() * POWERS_OF_TEN[wider] <= MANTISSA_MAX)
                .find(|&wider| mantissa_fits(value, wider))
            {
                exponent = wider;
                continue 'widen;
            }
            exceptions.push(Exception { index, value });
            if exceptions.len() > exceptions_max(index) {
                return None;
            }
        }
        return (!mantissas.is_empty()).then_some(exponent);
    }
}

fn mantissa_fits(value: f64, exponent: usize) -> bool {
    mantissa(value, exponent).is_some()
}

#[inline]
fn mantissa(value: f64, exponent: usize) -> Option<i64> {
    let scaled = value * POWERS_OF_TEN[exponent];
    let limit = if exponent == 0 { INTEGER_MAX } else { MANTISSA_MAX };
    let mantissa = scaled.round_ties_even() as i64;
    (scaled.abs() <= limit && to_float(mantissa, exponent).to_bits() == value.to_bits()).then_some(mantissa)
}
