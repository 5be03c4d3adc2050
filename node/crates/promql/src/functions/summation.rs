//! Sums and means whose rounding errors do not grow with the number of terms.
//!
//! Prometheus 3 sums with Neumaier's compensation; the error of each addition is computed here by Knuth's branch-free
//! two-sum, which gives the same error term and lets loops be vectorised.

/// A sum and what rounding has taken from it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

/// Adds `value` to the sum `(sum, lost)`.
#[inline]
pub(crate) fn add(value: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + value;
    let virtual_value = total - sum;
    let error = (sum - (total - virtual_value)) + (value - virtual_value);
    // Beyond infinity no error makes sense.
    (total, if total.is_infinite() { 0.0 } else { lost + error })
}

impl Sum {
    /// Of one term.
    pub(crate) fn of_one(value: f64) -> Sum {
        Sum { sum: value, lost: 0.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        (self.sum, self.lost) = add(value, self.sum, self.lost);
    }

    /// Adds what another sum has come to.
    #[inline]
    pub(crate) fn merge(&mut self, other: Sum) {
        self.add(other.sum);
        if !self.sum.is_infinite() {
            self.lost += other.lost;
        }
    }

    pub(crate) fn value(self) -> f64 {
        self.sum + self.lost
    }

    /// The sum of many values, in lanes that do not wait for each other.
    pub(crate) fn of(values: &[f64]) -> Sum {
        const LANES: usize = 8;
        let (mut sums, mut lost) = ([0.0; LANES], [0.0; LANES]);
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                (sums[lane], lost[lane]) = add(chunk[lane], sums[lane], lost[lane]);
            }
        }
        let mut total = Sum::default();
        rest.iter().chain(&sums).chain(&lost).for_each(|value| total.add(*value));
        total
    }
}

/// A mean that survives the overflow of its sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    count: f64,
    /// Sum while it is finite, mean afterwards.
    total: Sum,
    incremental: bool,
}

impl Mean {
    /// The mean of many values.
    pub(crate) fn of(values: &[f64]) -> f64 {
        let Sum { sum, lost } = Sum::of(values);
        if sum.is_finite() {
            let count = values.len() as f64;
            return sum / count + lost / count;
        }
        let mut mean = Mean::default();
        values.iter().for_each(|value| mean.add(*value));
        mean.value()
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let (sum, lost) = add(value, self.total.sum, self.total.lost);
            if self.count == 1.0 || !sum.is_infinite() {
                self.total = Sum { sum, lost };
                return;
            }
            self.incremental = true;
            self.total.sum /= self.count - 1.0;
            self.total.lost /= self.count - 1.0;
        }
        self.add_incrementally(value);
    }

    #[cold]
    fn add_incrementally(&mut self, value: f64) {
        let mean = self.total.sum;
        if mean.is_infinite() {
            // The same infinity cannot be subtracted, and a finite value cannot move it.
            let same_infinity = value.is_infinite() && (mean > 0.0) == (value > 0.0);
            if same_infinity || value.is_finite() {
                return;
            }
        }
        let weight = (self.count - 1.0) / self.count;
        let (sum, lost) = add(value / self.count, weight * mean, weight * self.total.lost);
        self.total = Sum { sum, lost };
    }

    /// Takes in the values of which another mean was made.
    pub(crate) fn merge(&mut self, other: Mean) {
        if self.count == 0.0 || other.count == 0.0 {
            *self = if self.count == 0.0 { other } else { *self };
            return;
        }
        let count = self.count + other.count;
        if !self.incremental && !other.incremental {
            let mut total = self.total;
            total.merge(other.total);
            if !total.sum.is_infinite() {
                *self = Mean { count, total, incremental: false };
                return;
            }
        }
        let (mine, theirs) = (self.as_mean(), other.as_mean());
        let stays = |one: Sum, other: Sum| one.sum.is_infinite() && (other.sum.is_finite() || other.sum == one.sum);
        let total = if stays(mine, theirs) {
            mine
        } else if stays(theirs, mine) {
            theirs
        } else {
            let weighted = |sum: Sum, weight: f64| Sum { sum: sum.sum * weight, lost: sum.lost * weight };
            let mut total = weighted(mine, self.count / count);
            total.merge(weighted(theirs, other.count / count));
            total
        };
        *self = Mean { count, total, incremental: true };
    }

    fn as_mean(self) -> Sum {
        if self.incremental {
            return self.total;
        }
        Sum { sum: self.total.sum / self.count, lost: self.total.lost / self.count }
    }

    /// Its state as numbers.
    pub(crate) fn fields(self) -> [f64; 4] {
        [self.count, self.total.sum, self.total.lost, f64::from(u8::from(self.incremental))]
    }

    /// From [`Mean::fields`].
    pub(crate) fn of_fields([count, sum, lost, incremental]: [f64; 4]) -> Mean {
        Mean { count, total: Sum { sum, lost }, incremental: incremental != 0.0 }
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental { self.total.value() } else { self.total.sum / self.count + self.total.lost / self.count }
    }
}

/// Count, mean and sum of squared deviations (Welford).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deviation {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Deviation {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean.value();
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - self.mean.value()));
    }

    /// Takes in the values that another has seen (Chan, Golub and LeVeque).
    pub(crate) fn merge(&mut self, other: Deviation) {
        if self.count == 0.0 || other.count == 0.0 {
            *self = if self.count == 0.0 { other } else { *self };
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean.value() - self.mean.value();
        self.mean.add(delta * (other.count / count));
        self.squares.merge(other.squares);
        self.squares.add(delta * delta * (self.count * other.count / count));
        self.count = count;
    }

    /// Its state as numbers.
    pub(crate) fn fields(self) -> [f64; 5] {
        [self.count, self.mean.sum, self.mean.lost, self.squares.sum, self.squares.lost]
    }

    /// From [`Deviation::fields`].
    pub(crate) fn of_fields([count, sum, lost, squares, squares_lost]: [f64; 5]) -> Deviation {
        Deviation { count, mean: Sum { sum, lost }, squares: Sum { sum: squares, lost: squares_lost } }
    }

    pub(crate) fn variance(self) -> f64 {
        self.squares.value() / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Sum::default();
        [1e100, 1.0, -1e100].into_iter().for_each(|value| sum.add(value));
        assert_eq!(sum.value(), 1.0);
        let mut many = vec![1.0; 50];
        many[3] = 1e100;
        many[40] = -1e100;
        assert_eq!(Sum::of(&many).value(), 48.0);
        assert!((Mean::of(&[1.7e308; 20]) / 1.7e308 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_mean_of_huge_values_is_finite() {
        let mut mean = Mean::default();
        [1.7e308, 1.7e308, 1.7e308].into_iter().for_each(|value| mean.add(value));
        assert!((mean.value() / 1.7e308 - 1.0).abs() < 1e-12);
    }

    fn mean_of(values: &[f64]) -> Mean {
        let mut mean = Mean::default();
        values.iter().for_each(|value| mean.add(*value));
        mean
    }

    #[test]
    fn parts_merge_to_what_the_whole_is() {
        let cases: [&[f64]; 8] = [
            &[1.0, 2.0, 3.0, 4.0],
            &[1e100, 1.0, -1e100, 3.0],
            &[1.7e308, 1.7e308, 1.7e308],
            &[f64::INFINITY, 1.0, f64::INFINITY],
            &[1.0, f64::NEG_INFINITY, 2.0],
            &[f64::INFINITY, f64::NEG_INFINITY],
            &[1.0, f64::NAN, 2.0],
            &[f64::INFINITY, 1.7e308, 1.7e308],
        ];
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a / b - 1.0).abs() < 1e-15;
        for values in cases {
            for cut in 0..=values.len() {
                let (left, right) = values.split_at(cut);
                let mut mean = Mean::of_fields(mean_of(left).fields());
                mean.merge(mean_of(right));
                assert!(same(mean.value(), mean_of(values).value()), "{values:?} at {cut}: {}", mean.value());
                let deviation = |values: &[f64]| {
                    let mut deviation = Deviation::default();
                    values.iter().for_each(|value| deviation.add(*value));
                    deviation
                };
                let mut merged = Deviation::of_fields(deviation(left).fields());
                merged.merge(deviation(right));
                if values.iter().all(|value| value.abs() < 1e9) {
                    let whole = deviation(values).variance();
                    assert!((merged.variance() - whole).abs() <= 1e-12 * whole, "{values:?} at {cut}");
                }
                if values.iter().any(|value| !value.is_finite()) {
                    assert!(merged.variance().is_nan());
                }
            }
        }
    }

    #[test]
    fn infinities_stay_infinite_and_opposite_ones_cancel_to_nan() {
        let mean = |values: &[f64]| {
            let mut mean = Mean::default();
            values.iter().for_each(|value| mean.add(*value));
            mean.value()
        };
        assert_eq!(mean(&[f64::INFINITY, 1.0, f64::INFINITY]), f64::INFINITY);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert!(mean(&[1.0, f64::NAN, 2.0]).is_nan());
    }
}
