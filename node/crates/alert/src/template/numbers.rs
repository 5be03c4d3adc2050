//! Numbers as Go's `fmt` writes them.

/// Digits behind which a number has only zeros; formatting takes no more than 16 bits of them.
const DIGITS_MAX: usize = 1100;

/// Zeros for the digits that are asked for beyond those that there are.
fn zeros(precision: Option<usize>) -> String {
    "0".repeat(precision.unwrap_or(0).saturating_sub(DIGITS_MAX))
}

/// `%e`: so many digits behind the point, or as many as are needed.
pub(crate) fn exponent(value: f64, precision: Option<usize>, plus: bool) -> String {
    if !value.is_finite() {
        return special(value, plus);
    }
    let text = match precision {
        Some(digits) => format!("{value:.*e}", digits.min(DIGITS_MAX)),
        None => format!("{value:e}"),
    };
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    signed(format!("{mantissa}{}e{}", zeros(precision), power_text(power)), plus)
}

/// `%f`
pub(crate) fn fixed(value: f64, precision: Option<usize>, plus: bool) -> String {
    if !value.is_finite() {
        return special(value, plus);
    }
    let text = match precision {
        Some(digits) => format!("{value:.*}", digits.min(DIGITS_MAX)),
        None => format!("{value}"),
    };
    signed(text + &zeros(precision), plus)
}

/// `%g`: so many digits, or as many as are needed; an exponent where there would be many zeros.
pub(crate) fn general(value: f64, precision: Option<usize>, plus: bool) -> String {
    if !value.is_finite() {
        return special(value, plus);
    }
    let digits = precision.map(|precision| precision.clamp(1, DIGITS_MAX));
    let text = match digits {
        Some(digits) => format!("{value:.*e}", digits - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let trimmed = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let power_of_ten: i64 = power.parse().unwrap_or_default();
    // Written in full up to so many digits before the point.
    let whole_digits_max = digits.map_or(6, |digits| digits as i64);
    if power_of_ten < -4 || power_of_ten >= whole_digits_max {
        return signed(format!("{trimmed}e{}", power_text(power)), plus);
    }
    let behind = trimmed.trim_start_matches('-').len().saturating_sub(2) as i64 - power_of_ten;
    let behind = usize::try_from(behind).unwrap_or(0);
    // What was rounded to digits is written from those, not from the value.
    let rounded: f64 = text.parse().unwrap_or(value);
    signed(if precision.is_some() { format!("{rounded:.behind$}") } else { format!("{value}") }, plus)
}

fn power_text(power: &str) -> String {
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    format!("{sign}{digits:0>2}")
}

fn special(value: f64, plus: bool) -> String {
    let text = match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => return "+Inf".to_owned(),
        _ => "-Inf",
    };
    signed(text.to_owned(), plus)
}

fn signed(text: String, plus: bool) -> String {
    if plus && !text.starts_with('-') { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        let shortest = |value| general(value, None, false);
        assert_eq!(shortest(1.0), "1");
        assert_eq!(shortest(1_000_000.0), "1e+06");
        assert_eq!(shortest(123_456.0), "123456");
        assert_eq!(shortest(1_234_567.0), "1.234567e+06");
        assert_eq!(shortest(0.0001), "0.0001");
        assert_eq!(shortest(0.00001), "1e-05");
        assert_eq!(shortest(-0.5), "-0.5");
        assert_eq!(shortest(f64::INFINITY), "+Inf");
        assert_eq!(shortest(f64::NAN), "NaN");
        let four = |value| general(value, Some(4), false);
        assert_eq!(four(0.0), "0");
        assert_eq!(four(123.456), "123.5");
        assert_eq!(four(99_999.0), "1e+05");
        assert_eq!(four(1234.0), "1234");
        assert_eq!(four(0.123_456), "0.1235");
        assert_eq!(four(12.0), "12");
        assert_eq!(fixed(1.005, Some(2), true), "+1.00");
        assert_eq!(exponent(1234.5, Some(2), false), "1.23e+03");
    }
}
