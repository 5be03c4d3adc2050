//! Least squares through the samples of a range.

use crate::functions::summation::Sum;

/// Slope for each second, and value at `origin`, of the line through the samples.
pub(crate) fn linear_regression(timestamps: &[i64], values: &[f64], origin: i64) -> (f64, f64) {
    if values.iter().all(|value| *value == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_x2) = Default::default();
    for (timestamp, y) in timestamps.iter().zip(values) {
        let x = timestamp.saturating_sub(origin) as f64 / 1000.0;
        let add = |sum: &mut Sum, term: f64| sum.add(term);
        add(&mut sum_x, x);
        add(&mut sum_y, *y);
        add(&mut sum_xy, x * y);
        add(&mut sum_x2, x * x);
    }
    let n = values.len() as f64;
    let (sum_x, sum_y, sum_xy, sum_x2) = (sum_x.value(), sum_y.value(), sum_xy.value(), sum_x2.value());
    let covariance = sum_xy - sum_x * sum_y / n;
    let variance = sum_x2 - sum_x * sum_x / n;
    let slope = covariance / variance;
    (slope, sum_y / n - slope * sum_x / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found() {
        let (slope, intercept) = linear_regression(&[0, 1000, 2000], &[1.0, 3.0, 5.0], 4000);
        assert!((slope - 2.0).abs() < 1e-12 && (intercept - 9.0).abs() < 1e-12);
    }

    #[test]
    fn constant_values_have_no_slope() {
        assert_eq!(linear_regression(&[0, 7], &[3.0, 3.0], 0), (0.0, 3.0));
        assert!(linear_regression(&[0, 7], &[f64::INFINITY, f64::INFINITY], 0).0.is_nan());
    }
}
