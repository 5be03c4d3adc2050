//! Functions of one value, and the rules of Go's floating point that differ from Rust's.

use std::f64::consts::{LN_2, PI};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MathOp {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Deg,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Rad,
    Sgn,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
}

impl MathOp {
    /// Applies the function to each value; the choice is made once, outside the loop.
    pub(crate) fn apply(self, values: &mut [f64]) {
        fn each(values: &mut [f64], f: impl Fn(f64) -> f64) {
            values.iter_mut().for_each(|value| *value = f(*value));
        }
        match self {
            MathOp::Abs => each(values, f64::abs),
            MathOp::Acos => each(values, f64::acos),
            MathOp::Acosh => each(values, acosh),
            MathOp::Asin => each(values, f64::asin),
            MathOp::Asinh => each(values, asinh),
            MathOp::Atan => each(values, f64::atan),
            MathOp::Atanh => each(values, f64::atanh),
            MathOp::Ceil => each(values, f64::ceil),
            MathOp::Cos => each(values, f64::cos),
            MathOp::Cosh => each(values, f64::cosh),
            MathOp::Deg => each(values, |value| value * 180.0 / PI),
            MathOp::Exp => each(values, f64::exp),
            MathOp::Floor => each(values, f64::floor),
            MathOp::Ln => each(values, f64::ln),
            MathOp::Log10 => each(values, f64::log10),
            MathOp::Log2 => each(values, f64::log2),
            MathOp::Rad => each(values, |value| value * PI / 180.0),
            MathOp::Sgn => each(values, sign),
            MathOp::Sin => each(values, f64::sin),
            MathOp::Sinh => each(values, f64::sinh),
            MathOp::Sqrt => each(values, f64::sqrt),
            MathOp::Tan => each(values, f64::tan),
            MathOp::Tanh => each(values, f64::tanh),
        }
    }
}

/// Beyond this the square of a value swallows the one that is added to it, and soon overflows.
const SQUARE_MAX: f64 = (1_u64 << 28) as f64;

fn asinh(value: f64) -> f64 {
    if value.abs() > SQUARE_MAX { (value.abs().ln() + LN_2).copysign(value) } else { value.asinh() }
}

fn acosh(value: f64) -> f64 {
    if value > SQUARE_MAX { value.ln() + LN_2 } else { value.acosh() }
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Go's `math.Min`: NaN wins, but -Inf before it.
pub(crate) fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// Go's `math.Max`: NaN wins, but +Inf before it.
pub(crate) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The multiple of `to` that is nearest to `value`; halves go up.
pub(crate) fn round_to(value: f64, to: f64) -> f64 {
    // The inverse is what Prometheus multiplies by, so that 0.1 rounds without surprises.
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}

/// The `q`-quantile of values in ascending order (NaN first), interpolated.
pub(crate) fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    if sorted.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = sorted.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// Ascending, NaN before everything.
pub(crate) fn sort_nan_first(values: &mut [f64]) {
    values.sort_unstable_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_wins_over_all_but_the_infinity_sought() {
        assert!(go_min(1.0, f64::NAN).is_nan());
        assert_eq!(go_min(f64::NEG_INFINITY, f64::NAN), f64::NEG_INFINITY);
        assert_eq!(go_max(f64::NAN, f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn inverse_hyperbolics_of_huge_values_are_finite() {
        let mut values = [1.7e308, -1.7e308, 2.0];
        MathOp::Asinh.apply(&mut values);
        assert!((values[0] - 710.4199840737881).abs() < 1e-9 && values[1] == -values[0]);
        assert!((values[2] - 1.4436354751788103).abs() < 1e-15);
        assert!((acosh(1.7e308) - 710.4199840737881).abs() < 1e-9);
    }

    #[test]
    fn rounding_goes_up_at_halves() {
        assert_eq!(round_to(2.5, 1.0), 3.0);
        assert_eq!(round_to(-2.5, 1.0), -2.0);
        assert_eq!(round_to(5.24, 0.1), 5.2);
    }

    #[test]
    fn quantiles_interpolate() {
        let mut values = [3.0, 1.0, f64::NAN, 2.0];
        sort_nan_first(&mut values);
        assert!(values[0].is_nan());
        assert_eq!(quantile_of_sorted(0.5, &values[1..]), 2.0);
        assert_eq!(quantile_of_sorted(0.25, &values[1..]), 1.5);
        assert_eq!(quantile_of_sorted(-1.0, &values), f64::NEG_INFINITY);
    }
}
