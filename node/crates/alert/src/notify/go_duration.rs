//! Durations as Go writes them (<https://pkg.go.dev/time#ParseDuration>), which a few settings of receivers are in.

/// A fraction's digits that count.
const FRACTION_DIGITS_MAX: usize = 15;

/// Milliseconds of `1.5h` or `1m30s`; less than one is none.
pub fn parse_go_duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration; write 1.5h, 1m30s or 500ms");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    let mut rest = unsigned;
    let mut total_ns = 0_i128;
    while !rest.is_empty() || unsigned.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| end + at);
        let unit_ns: i128 = match &rest[end..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(wrong());
        }
        let number = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<i64>().map_err(|_| wrong()) };
        let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
        let scale = 10_i128.pow(fraction.len() as u32);
        total_ns += i128::from(number(whole)?) * unit_ns + i128::from(number(fraction)?) * unit_ns / scale;
        if total_ns > i128::from(i64::MAX) {
            return Err(wrong());
        }
        rest = &rest[unit_end..];
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    i64::try_from(sign * total_ns / 1_000_000).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_fractions_and_units() {
        for (text, ms) in [
            ("0", 0),
            ("1.5h", 5_400_000),
            ("1m30s", 90_000),
            (".5s", 500),
            ("-1m", -60_000),
            ("999us", 0),
            ("1.s", 1000),
        ] {
            assert_eq!(parse_go_duration_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "-", "1", "1d", "s", ".s", "1..5s", "1s2", "99999999999h", "1 s", "ä"] {
            assert!(parse_go_duration_ms(bad).is_err(), "{bad}");
        }
    }
}
