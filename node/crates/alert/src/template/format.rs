//! Go's `printf`, `print` and `println`.

use super::numbers;
use super::value::Value;
use crate::limits::{PRINTF_WIDTH_MAX, TEMPLATE_OUTPUT_BYTES_MAX};

/// `print`: a space between two values neither of which is a text.
pub(crate) fn print(args: &[Value]) -> Result<String, String> {
    joined(args, |before, arg| before.as_text().is_none() && arg.as_text().is_none())
}

/// `println`
pub(crate) fn println(args: &[Value]) -> Result<String, String> {
    Ok(joined(args, |_, _| true)? + "\n")
}

fn joined(args: &[Value], is_spaced: impl Fn(&Value, &Value) -> bool) -> Result<String, String> {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 && is_spaced(&args[at - 1], arg) {
            out.push(' ');
        }
        arg.write(&mut out);
        check_length(&out)?;
    }
    Ok(out)
}

/// Refuses what is longer than anybody may write.
pub(crate) fn check_length(out: &str) -> Result<(), String> {
    match out.len() > TEMPLATE_OUTPUT_BYTES_MAX {
        true => Err(format!("the function writes more than {TEMPLATE_OUTPUT_BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

/// What stands between `%` and the verb.
#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `printf`; what does not fit together is written as Go does, and is no error.
pub(crate) fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = Args { args, next: 0, chosen: false, bad: false };
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        check_length(&out)?;
        if c != '%' {
            out.push(c);
            continue;
        }
        args.bad = false;
        let flags = flags(&mut chars, &mut args, &mut out);
        args.choose(&mut chars);
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
        } else if args.bad {
            out.push_str(&format!("%!{verb}(BADINDEX)"));
        } else {
            match args.take() {
                Some(arg) => write(&mut out, verb, flags, arg),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            }
        }
    }
    // Who chooses arguments by number may leave some out.
    let rest = if args.chosen { &[] } else { args.args.get(args.next..).unwrap_or_default() };
    for (at, arg) in rest.iter().enumerate() {
        out.push_str(if at == 0 { "%!(EXTRA " } else { ", " });
        out.push_str(go_type(arg));
        out.push('=');
        arg.write(&mut out);
        check_length(&out)?;
    }
    out.push_str(if rest.is_empty() { "" } else { ")" });
    check_length(&out)?;
    Ok(out)
}

type Chars<'f> = std::iter::Peekable<std::str::Chars<'f>>;

/// Arguments in turn, or by number: `%[2]d`.
struct Args<'v> {
    args: &'v [Value],
    next: usize,
    chosen: bool,
    /// The number last chosen is none.
    bad: bool,
}

impl<'v> Args<'v> {
    fn take(&mut self) -> Option<&'v Value> {
        let arg = self.args.get(self.next);
        self.next += usize::from(arg.is_some());
        arg
    }

    /// Reads `[2]`, if it is there.
    fn choose(&mut self, chars: &mut Chars<'_>) {
        if chars.next_if_eq(&'[').is_none() {
            return;
        }
        self.chosen = true;
        let mut number = String::new();
        while let Some(digit) = chars.next_if(|c| *c != ']') {
            number.push(digit);
        }
        let is_closed = chars.next_if_eq(&']').is_some();
        match number.parse::<usize>() {
            Ok(number @ 1..) if is_closed && number <= self.args.len() => self.next = number - 1,
            _ => self.bad = true,
        }
    }
}

fn flags(chars: &mut Chars<'_>, args: &mut Args<'_>, out: &mut String) -> Flags {
    let mut flags = Flags::default();
    while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | '#' | ' ' | '0')) {
        match flag {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            _ => flags.zero = true,
        }
    }
    args.choose(chars);
    flags.width = size(chars, args, out, "WIDTH").map(|width| {
        flags.minus |= width < 0;
        width.unsigned_abs() as usize
    });
    if chars.next_if_eq(&'.').is_some() {
        args.choose(chars);
        let precision = size(chars, args, out, "PREC").unwrap_or(0);
        flags.precision = usize::try_from(precision).ok();
    }
    flags
}

/// A width or precision: digits, or `*` for the next argument.
fn size(chars: &mut Chars<'_>, args: &mut Args<'_>, out: &mut String, what: &str) -> Option<i64> {
    if chars.next_if_eq(&'*').is_some() {
        return match args.take() {
            Some(Value::Int(size)) if size.unsigned_abs() <= PRINTF_WIDTH_MAX as u64 => Some(*size),
            _ => {
                out.push_str(&format!("%!(BAD{what})"));
                None
            }
        };
    }
    let mut size: Option<i64> = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let next = size.unwrap_or(0) * 10 + i64::from(digit.to_digit(10).unwrap_or_default());
        size = Some(next.min(PRINTF_WIDTH_MAX as i64));
    }
    size
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Missing => "<nil>",
        other => other.type_name(),
    }
}

fn write(out: &mut String, verb: char, flags: Flags, arg: &Value) {
    let text = match (verb, arg) {
        ('T', _) => Some(go_type(arg).to_owned()),
        ('v', Value::Missing) => Some("<nil>".to_owned()),
        ('v', Value::Text(text)) if flags.sharp => Some(quoted(text)),
        ('v', Value::Text(text)) => Some(cut(text, flags)),
        ('v', Value::Int(int)) => return pad_number(out, integer(*int, 10, false, flags), flags),
        ('v', Value::Float(float)) => {
            return pad_number(out, numbers::general(*float, flags.precision, flags.plus), flags);
        }
        ('v', _) => Some(arg.print()),
        ('t', Value::Bool(value)) => Some(value.to_string()),
        ('s', Value::Text(text)) => Some(cut(text, flags)),
        ('s', Value::List(_) | Value::Map(_) | Value::Object(_)) => Some(arg.print()),
        ('q', Value::Text(text)) if flags.plus => Some(ascii(&quoted(&cut(text, flags)))),
        ('q', Value::Text(text)) => Some(quoted(&cut(text, flags))),
        ('q', Value::List(items)) if items.iter().all(|item| item.as_text().is_some()) => {
            let items: Vec<String> = items.iter().filter_map(Value::as_text).map(quoted).collect();
            Some(format!("[{}]", items.join(" ")))
        }
        ('q' | 'c', Value::Int(int)) => {
            let c = u32::try_from(*int).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            Some(if verb == 'c' { c.to_string() } else { format!("{c:?}") })
        }
        ('U', Value::Int(int)) => Some(format!("U+{int:04X}")),
        ('x' | 'X', Value::Text(text)) => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            Some(if verb == 'X' { hex.to_uppercase() } else { hex })
        }
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Int(int)) => {
            let radix = match verb {
                'd' => 10,
                'b' => 2,
                'o' | 'O' => 8,
                _ => 16,
            };
            let text = integer(*int, radix, verb == 'X', flags);
            let text = if verb == 'O' { with_prefix(&text, "0o") } else { text };
            return pad_number(out, text, flags);
        }
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(float)) => {
            let text = match verb {
                'e' | 'E' => numbers::exponent(*float, Some(flags.precision.unwrap_or(6)), flags.plus),
                'f' | 'F' => numbers::fixed(*float, Some(flags.precision.unwrap_or(6)), flags.plus),
                _ => numbers::general(*float, flags.precision, flags.plus),
            };
            let text = if flags.space && !text.starts_with(['-', '+']) { format!(" {text}") } else { text };
            return pad_number(out, if verb.is_uppercase() { text.to_uppercase() } else { text }, flags);
        }
        _ => None,
    };
    match text {
        Some(text) => pad(out, &text, flags, ' '),
        None if matches!(arg, Value::Missing) => out.push_str(&format!("%!{verb}(<nil>)")),
        None => out.push_str(&format!("%!{verb}({}={})", go_type(arg), arg.print())),
    }
}

fn cut(text: &str, flags: Flags) -> String {
    match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

/// A text in quotes, escaped as Go does.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn integer(value: i64, radix: u32, upper: bool, flags: Flags) -> String {
    let magnitude = value.unsigned_abs();
    let digits = match radix {
        2 => format!("{magnitude:b}"),
        8 => format!("{magnitude:o}"),
        16 if upper => format!("{magnitude:X}"),
        16 => format!("{magnitude:x}"),
        _ => magnitude.to_string(),
    };
    let digits = match flags.precision {
        Some(precision) => "0".repeat(precision.saturating_sub(digits.len())) + &digits,
        None => digits,
    };
    let prefix = match radix {
        8 if flags.sharp => "0",
        16 if flags.sharp && upper => "0X",
        16 if flags.sharp => "0x",
        2 if flags.sharp => "0b",
        _ => "",
    };
    let sign = match value < 0 {
        true => "-",
        false if flags.plus => "+",
        false if flags.space => " ",
        false => "",
    };
    format!("{sign}{prefix}{digits}")
}

/// A prefix behind the sign.
fn with_prefix(text: &str, prefix: &str) -> String {
    match text.strip_prefix(['-', '+', ' ']) {
        Some(digits) => format!("{}{prefix}{digits}", &text[..1]),
        None => format!("{prefix}{text}"),
    }
}

/// A text with all that is not ASCII escaped.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match u32::from(c) {
            _ if c.is_ascii() => out.push(c),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

fn pad_number(out: &mut String, text: String, flags: Flags) {
    let zeros = flags.zero
        && !flags.minus
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !text.ends_with(['f', 'N']);
    if !zeros {
        return pad(out, &text, flags, ' ');
    }
    // Zeros stand behind the sign.
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text.as_str()),
    };
    out.push_str(sign);
    pad(out, digits, Flags { width: flags.width.map(|width| width.saturating_sub(sign.len())), ..flags }, '0');
}

fn pad(out: &mut String, text: &str, flags: Flags, fill: char) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let filling = std::iter::repeat_n(fill, missing);
    if flags.minus {
        out.push_str(text);
        out.extend(filling);
    } else {
        out.extend(filling);
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, args: &[Value], expected: &str) {
        assert_eq!(printf(format, args).unwrap(), expected, "{format}");
    }

    #[test]
    fn verbs_are_those_of_go() {
        check("%d%%", &[Value::Int(5)], "5%");
        check(
            "%5.2f|%-8s|%08.3f",
            &[Value::Float(1.239), Value::text("ab"), Value::Float(-1.5)],
            " 1.24|ab      |-001.500",
        );
        check("%v %v %v", &[Value::Float(1e6), Value::Int(-3), Value::Bool(true)], "1e+06 -3 true");
        check("%q %x", &[Value::text("a\"b"), Value::text("hi")], "\"a\\\"b\" 6869");
        check(
            "%+d %x %#X %b %o",
            &[Value::Int(5), Value::Int(255), Value::Int(255), Value::Int(5), Value::Int(8)],
            "+5 ff 0XFF 101 10",
        );
        check(
            "%.1s|%6.3e|%g",
            &[Value::text("abc"), Value::Float(12345.678), Value::Float(0.00001)],
            "a|1.235e+04|1e-05",
        );
        check("%*d|%-*d|", &[Value::Int(4), Value::Int(7), Value::Int(3), Value::Int(1)], "   7|1  |");
        check("%[2]d %[1]d %d", &[Value::Int(1), Value::Int(2)], "2 1 2");
        check("%O %+q", &[Value::Int(-8), Value::text("é")], "-0o10 \"\\u00e9\"");
        check("%[5]d %[x]d", &[Value::Int(1)], "%!d(BADINDEX) %!d(BADINDEX)");
        check("%T %c %U", &[Value::Float(1.0), Value::Int(0x41), Value::Int(0x41)], "float64 A U+0041");
    }

    #[test]
    fn what_does_not_fit_is_written_out() {
        check("%d", &[Value::Float(5.0)], "%!d(float64=5)");
        check("%d %s", &[Value::Int(1)], "1 %!s(MISSING)");
        check("x", &[Value::Int(1), Value::text("a")], "x%!(EXTRA int=1, string=a)");
        check("%", &[], "%!(NOVERB)");
        check("%z", &[Value::Int(1)], "%!z(int=1)");
        check("%s", &[Value::Missing], "%!s(<nil>)");
        let length = |format: &str, args: &[Value]| printf(format, args).unwrap().len();
        assert_eq!(length("%.1000000f", &[Value::Float(1.5)]), 1_000_002);
        assert_eq!(length("%.100000e", &[Value::Float(1.5)]), 100_006);
        assert_eq!(length("%.100000g|%.100000d", &[Value::Float(1.5), Value::Int(1)]), 100_004);
        assert!(printf(&"%999999d".repeat(3), &[Value::Int(1), Value::Int(1), Value::Int(1)]).is_err());
    }
}
