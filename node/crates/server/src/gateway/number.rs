//! Numbers as Prometheus's HTTP API prints them, straight into a byte buffer.
//!
//! A value is the shortest decimal that reads back as the same float, in plain notation where its magnitude lies in
//! `[1e-6, 1e21)` and as `1.5e+21` or `1.5e-07` elsewhere (Go's `strconv` with formats `f` and `e`). A timestamp is in
//! seconds, with three decimals unless it is a whole second.

use bellwether_model::Timestamp;

/// Magnitudes below this are printed with an exponent.
const PLAIN_MIN: f64 = 1e-6;
/// Magnitudes from this on are printed with an exponent.
const PLAIN_END: f64 = 1e21;
/// Magnitudes that the text format prints without an exponent.
const EXPOSITION_PLAIN: std::ops::Range<f64> = 1e-4..1e6;
/// Integers below this are exact in a float and print as integers do.
const EXACT_INTEGER_END: f64 = 9_007_199_254_740_992.0;
/// Between these the shortest decimal comes in plain notation, and needs no second look.
const SURELY_PLAIN: std::ops::Range<f64> = 1e-3..1e15;
/// Many metrics have at most three decimals.
const FEW_DECIMALS: f64 = 1000.0;
/// Up to this many thousandths, one decimal with three places means one float, and no two of them the same: 15 digits.
const THOUSANDTHS_END: f64 = 1e15;

/// Room that any number takes: a sign, `0.00000` and 17 digits are 25 bytes. Formatting may write all of it.
pub const NUMBER_BYTES: usize = 32;

/// Appends a sample's value.
#[inline]
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    push(out, |room| write_float(room, value));
}

/// Appends a timestamp in seconds.
#[inline]
pub fn push_seconds(out: &mut Vec<u8>, timestamp: Timestamp) {
    push(out, |room| write_seconds(room, timestamp));
}

/// Appends a sample's value as Prometheus's text format has it (Go's format `g`): `1e+06`, and no negative zero.
pub fn push_exposition_float(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude == 0.0 || !magnitude.is_finite() || EXPOSITION_PLAIN.contains(&magnitude) {
        // Adding zero makes a negative one positive.
        return push_float(out, value + 0.0);
    }
    out.extend_from_slice(&digits_anew(zmij::Buffer::new().format_finite(value), false));
}

#[inline]
fn push(out: &mut Vec<u8>, write: impl FnOnce(&mut [u8; NUMBER_BYTES]) -> usize) {
    let begin = out.len();
    out.extend_from_slice(&[0; NUMBER_BYTES]);
    let length = write(out.last_chunk_mut().expect("room was just made"));
    out.truncate(begin + length);
}

/// Writes a sample's value at the beginning of `out`; returns its length.
#[inline]
pub fn write_float(out: &mut [u8; NUMBER_BYTES], value: f64) -> usize {
    let magnitude = value.abs();
    if magnitude < EXACT_INTEGER_END {
        out[0] = b'-';
        let sign = usize::from(value.is_sign_negative());
        let whole = magnitude as u64;
        if whole as f64 == magnitude {
            return sign + write_u64(&mut out[sign..], whole);
        }
        let thousandths = (magnitude * FEW_DECIMALS).round_ties_even();
        if thousandths < THOUSANDTHS_END && thousandths / FEW_DECIMALS == magnitude {
            return sign + write_thousandths(&mut out[sign..], thousandths as u64);
        }
    } else if !value.is_finite() {
        return copy(
            out,
            if value.is_nan() {
                b"NaN"
            } else if value > 0.0 {
                b"+Inf"
            } else {
                b"-Inf"
            },
        );
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    if SURELY_PLAIN.contains(&magnitude) {
        return copy(out, text.as_bytes());
    }
    let text = digits_anew(text, (PLAIN_MIN..PLAIN_END).contains(&magnitude));
    out[..text.len()].copy_from_slice(&text);
    text.len()
}

/// Writes a timestamp in seconds at the beginning of `out`; returns its length.
#[inline]
pub fn write_seconds(out: &mut [u8; NUMBER_BYTES], timestamp: Timestamp) -> usize {
    out[0] = b'-';
    let sign = usize::from(timestamp < 0);
    let magnitude = timestamp.unsigned_abs();
    let length = sign + write_u64(&mut out[sign..], magnitude / 1000);
    let millis = (magnitude % 1000) as usize;
    if millis == 0 {
        return length;
    }
    let [tens, ones] = two_digits(millis % 100);
    out[length..length + 4].copy_from_slice(&[b'.', b'0' + (millis / 100) as u8, tens, ones]);
    length + 4
}

/// Copies a text of up to 24 bytes, in pieces of fixed size: that costs less than a call for so few.
#[inline]
fn copy(out: &mut [u8; NUMBER_BYTES], text: &[u8]) -> usize {
    let length = text.len();
    if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<8>()) {
        out[..16].copy_from_slice(first);
        out[length - 8..length].copy_from_slice(last);
    } else {
        out[..length].copy_from_slice(text);
    }
    length
}

#[inline]
fn write_u64(out: &mut [u8], mut value: u64) -> usize {
    // In place, from the right: digits that are moved afterwards wait for their narrow writes.
    let length = value.checked_ilog10().map_or(1, |log| log as usize + 1);
    let digits = &mut out[..length];
    let mut at = length;
    while at >= 2 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&two_digits((value % 100) as usize));
        value /= 100;
    }
    if at == 1 {
        digits[0] = b'0' + value as u8;
    }
    length
}

/// A number that is not whole and has at most three decimals.
#[inline]
fn write_thousandths(out: &mut [u8], thousandths: u64) -> usize {
    let length = write_u64(out, thousandths / 1000);
    let fraction = (thousandths % 1000) as usize;
    let [tens, ones] = two_digits(fraction % 100);
    out[length..length + 4].copy_from_slice(&[b'.', b'0' + (fraction / 100) as u8, tens, ones]);
    if ones != b'0' {
        length + 4
    } else if tens != b'0' {
        length + 3
    } else {
        length + 2
    }
}

/// `00` to `99`, one after the other.
static TWO_DIGITS: [u8; 200] = {
    let mut table = [0; 200];
    let mut i = 0;
    while i < 100 {
        table[2 * i] = b'0' + (i / 10) as u8;
        table[2 * i + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    table
};

#[inline]
fn two_digits(below_100: usize) -> [u8; 2] {
    [TWO_DIGITS[2 * below_100], TWO_DIGITS[2 * below_100 + 1]]
}

/// Lays out anew the digits of a shortest decimal that uses the other notation, or another form of exponent.
#[cold]
fn digits_anew(text: &str, plain: bool) -> Vec<u8> {
    let (unsigned, negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().expect("a formatted float has a small exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // The value is 0.DIGITS times ten to the power of `point`.
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let point = whole.len() as i32 + exponent - leading as i32;
    let mut out = Vec::with_capacity(NUMBER_BYTES);
    if negative {
        out.push(b'-');
    }
    if !plain {
        let (first, rest) = digits.split_first().expect("zero is an integer and was printed as one");
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        let exponent = point - 1;
        out.extend_from_slice(format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', -point as usize));
        out.extend_from_slice(&digits);
    } else {
        let point = point as usize;
        let inside = point.min(digits.len());
        out.extend_from_slice(&digits[..inside]);
        out.extend(std::iter::repeat_n(b'0', point - inside));
        if inside < digits.len() {
            out.push(b'.');
            out.extend_from_slice(&digits[inside..]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        push_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn seconds(timestamp: Timestamp) -> String {
        let mut out = Vec::new();
        push_seconds(&mut out, timestamp);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn exposed_floats_look_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-123.25, "-123.25"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (-123_456_789.0, "-1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.000012, "1.2e-05"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = Vec::new();
            push_exposition_float(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn floats_look_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.29, "0.29"),
            (-0.005, "-0.005"),
            (1.001, "1.001"),
            (120.05, "120.05"),
            (999_999_999_999.999, "999999999999.999"),
            (1_000_000_000_000.001, "1000000000000.001"),
            (100.0, "100"),
            (99.0, "99"),
            (1e15 + 0.5, "1000000000000000.5"),
            (1_234_567.891, "1234567.891"),
            (1e-6, "0.000001"),
            (1.25e-5, "0.0000125"),
            (9.9e-7, "9.9e-07"),
            (-1e-7, "-1e-07"),
            (5e-324, "5e-324"),
            (1e16, "10000000000000000"),
            (1.2345678901234567e17, "123456789012345660"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (1.7e308, "1.7e+308"),
            (-1.7976931348623157e308, "-1.7976931348623157e+308"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_994.0, "9007199254740994"),
            (f64::NAN, "NaN"),
            (-f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn every_printed_float_reads_back_as_itself() {
        // A multiplicative walk through the bit patterns: all exponents, both signs.
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let text = float(value);
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{text}");
                let plain = (1e-6..1e21).contains(&value.abs());
                assert_eq!(text.contains('e'), !plain, "{text}");
            }
            for divisor in [1.0, 10.0, 100.0, 1000.0, 10_000.0, 64.0] {
                let small = (bits >> 34) as f64 / divisor;
                assert_eq!(float(small), format!("{small}"));
            }
        }
    }

    #[test]
    fn timestamps_have_no_decimals_or_three() {
        for (timestamp, text) in [
            (0, "0"),
            (1, "0.001"),
            (-1, "-0.001"),
            (1_500, "1.500"),
            (1_435_781_430_781, "1435781430.781"),
            (1_435_781_430_000, "1435781430"),
            (-1_010, "-1.010"),
            (i64::MIN, "-9223372036854775.808"),
            (i64::MAX, "9223372036854775.807"),
        ] {
            assert_eq!(seconds(timestamp), text);
        }
    }
}
