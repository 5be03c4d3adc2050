//! A number, and how far off another way to compute it may be.

/// What a rounding may change, as a part of what is rounded; a wide bound of some of them.
const ROUNDING: f64 = 1e-12;
/// What two ways to add up the same numbers may differ by, as a part of the result.
const TOLERANCE: f64 = 1e-9;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// What it is.
    pub is: f64,
    /// How far off another result may be beyond [`TOLERANCE`]: where large numbers cancel out, what is left of their rounding
    /// is large. Infinite where nothing can be said.
    pub off: f64,
}

impl Number {
    /// Anything, or nothing.
    pub const UNKNOWN: Number = Number { is: f64::NAN, off: f64::INFINITY };

    /// Nothing was rounded.
    pub fn exact(is: f64) -> Number {
        Number { is, off: 0.0 }
    }

    /// The result of something with numbers of this size.
    pub fn rounded(is: f64, size: f64) -> Number {
        Number { is, off: if is.is_finite() { ROUNDING * size } else { 0.0 } }
    }

    /// The same, but further off.
    pub fn with(self, off: f64) -> Number {
        Number { off: self.off + off, ..self }
    }

    /// Whether nothing can be said.
    pub fn is_unknown(self) -> bool {
        self.off == f64::INFINITY
    }

    /// Whether it may be this, though it is not known to be.
    pub fn may_be(self, other: f64) -> bool {
        self.off > 0.0 && (self.is - other).abs() <= self.off
    }

    /// Whether an answer may have this in its place.
    pub fn is_like(self, found: f64) -> bool {
        let Number { is, off } = self;
        // Of infinite values any difference would be within tolerance.
        let is_near = || {
            is.is_finite() && found.is_finite() && (is - found).abs() <= off.max(TOLERANCE * is.abs().max(found.abs()))
        };
        self.is_unknown() || is == found || (is.is_nan() && found.is_nan()) || is_near()
    }

    /// `self + other`
    pub fn plus(self, other: Number) -> Number {
        Number::rounded(self.is + other.is, self.is.abs() + other.is.abs()).with(self.off + other.off)
    }

    /// `self - other`
    pub fn minus(self, other: Number) -> Number {
        self.plus(other.times(-1.0))
    }

    /// `self * factor`
    pub fn times(self, factor: f64) -> Number {
        Number { is: self.is * factor, off: self.off * factor.abs() }
    }

    /// `self / other`
    pub fn over(self, other: Number) -> Number {
        let is = self.is / other.is;
        if self.off == 0.0 && other.off == 0.0 {
            return Number::rounded(is, is.abs());
        }
        // What may be zero, or of the other sign, can give anything.
        let least = other.is.abs() - other.off;
        let off = if least > 0.0 { (self.off + is.abs() * other.off) / least } else { f64::INFINITY };
        Number::rounded(is, is.abs()).with(off)
    }
}

/// Adds up what is far apart in size: Neumaier's sum, which keeps what each addition loses.
pub fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

/// How far values are from their mean: the root of the mean square.
pub fn deviation(values: impl Iterator<Item = f64> + Clone) -> Number {
    let count = values.clone().count() as f64;
    let mean = sum(values.clone()) / count;
    let squares = values.clone().map(|value| (value - mean) * (value - mean));
    let size = values.map(f64::abs).fold(0.0, f64::max);
    Number::rounded((sum(squares) / count).sqrt(), size)
}

/// The quantile that is asked for.
pub const QUANTILE: f64 = 0.75;

/// [`QUANTILE`] of some values, between two of them in proportion.
pub fn quantile(values: impl Iterator<Item = f64>) -> Number {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let rank = QUANTILE * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Number::rounded(below + (above - below) * rank.fract(), below.abs() + above.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0);
    }

    #[test]
    fn an_infinite_value_is_like_itself_alone() {
        let exact = |is: f64, found: f64| Number::exact(is).is_like(found);
        let infinite = f64::INFINITY;
        assert!(exact(infinite, infinite) && exact(f64::NAN, f64::NAN) && exact(0.1 + 0.2, 0.3));
        assert!(!exact(infinite, 7.0) && !exact(7.0, infinite) && !exact(infinite, -infinite));
        assert!(!exact(7.0, 7.000_001) && !exact(f64::NAN, 7.0));
    }

    #[test]
    fn what_cancels_out_may_be_off() {
        let [large, larger] = [1e15, 1e15 + 1.0].map(Number::exact);
        assert!(larger.minus(large).is_like(0.0) && !Number::exact(1.0).is_like(0.0));
        assert!(Number::exact(3.0).over(Number::exact(0.0)).is_like(f64::INFINITY));
        assert!(!Number::exact(3.0).over(Number::exact(0.0)).is_like(3.0));
        assert!(Number::exact(3.0).over(larger.minus(large)).is_like(7.0), "it may be a quotient of zero");
    }
}
