//! Conditions on an alert's labels as Alertmanager writes them: `{a="b",c=~"d.*"}` or `a=b`, all of which must hold.
//!
//! Two syntaxes are read, as Alertmanager 0.27 and later do: the one for any UTF-8 ([`parse_utf8`]) and the classic one
//! ([`parse_classic`]). The first decides what is an error; where both read a text and differ, the classic meaning stands,
//! because that is what the text meant when it was written.

mod classic;
mod labels;
mod utf8;

use std::fmt;

use bellwether_model::{Labels, MatchOp, Matcher, PatternBudget, PatternError};

pub use classic::parse_classic;
pub use labels::parse_labels;
pub use utf8::parse_utf8;

/// Matchers of one text.
pub const MATCHERS_MAX: usize = 1000;
/// Bytes of one text.
pub const MATCHERS_BYTES_MAX: usize = 64 << 10;

/// Conditions that an alert must all meet, in order of name, value and operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

/// Why a text is no matchers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatcherError {
    /// The byte of the text at which it is wrong.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl MatcherError {
    fn at(offset: usize, message: impl Into<String>) -> MatcherError {
        MatcherError { offset, message: message.into() }
    }

    /// The character of `text` at which it is wrong, counted from 1.
    pub fn column(&self, text: &str) -> usize {
        text.char_indices().take_while(|(at, _)| *at < self.offset).count() + 1
    }
}

/// A matcher as it stands in a text, its expression not compiled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    op: MatchOp,
    name: String,
    value: String,
    /// Where the value begins.
    offset: usize,
}

impl Written {
    fn same_meaning(&self, other: &Written) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

/// Reads matchers.
pub fn parse_matchers(text: &str, budget: &mut PatternBudget) -> Result<Matchers, MatcherError> {
    if text.len() > MATCHERS_BYTES_MAX {
        return Err(MatcherError::at(0, format!("matchers are longer than {MATCHERS_BYTES_MAX} bytes")));
    }
    let written = match (parse_utf8(text), parse_classic(text)) {
        (Ok(utf8), Some(classic)) => {
            let agree = utf8.len() == classic.len() && utf8.iter().zip(&classic).all(|(a, b)| a.same_meaning(b));
            if agree { utf8 } else { classic }
        }
        (Ok(utf8), None) => utf8,
        (Err(_), Some(classic)) => classic,
        (Err(error), None) => return Err(error),
    };
    if written.len() > MATCHERS_MAX {
        return Err(MatcherError::at(0, format!("more than {MATCHERS_MAX} matchers")));
    }
    let compile = |written: Written| {
        Matcher::within(written.op, &written.name, &written.value, budget)
            .map_err(|error| MatcherError::at(written.offset, reason(error)))
    };
    written.into_iter().map(compile).collect::<Result<Vec<_>, _>>().map(Matchers::new)
}

/// Why an expression was refused, in words for a configuration.
pub fn reason(error: PatternError) -> String {
    match error {
        // The library draws below the pattern where it is wrong; its last line says what.
        PatternError::Invalid { pattern, reason } => {
            let last = reason.lines().last().unwrap_or_default();
            format!("{pattern:?} is no regular expression: {}", last.trim_start_matches("error: "))
        }
        PatternError::TooCostly { limit } => {
            format!("the regular expressions of the configuration need more than {limit} bytes together")
        }
    }
}

impl Matchers {
    /// Sorts them.
    pub fn new(mut matchers: Vec<Matcher>) -> Matchers {
        matchers.sort_by(|a, b| (a.name(), a.value(), a.op()).cmp(&(b.name(), b.value(), b.op())));
        Matchers(matchers)
    }

    /// Whether an alert meets all; a label that it does not have has the empty value.
    pub fn match_labels(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.0.iter()
    }

    /// Whether every alert meets them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Matchers {
    /// `{a="b",c=~"d.*"}`, as Alertmanager writes it: what stands in keys of groups.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, matcher) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let (op, value) = (matcher.op().as_str(), Quoted(matcher.value()));
            if matcher.name().is_empty() || matcher.name().contains(is_reserved) {
                write!(f, "{comma}{}{op}{value}", Quoted(matcher.name()))?;
            } else {
                write!(f, "{comma}{}{op}{value}", matcher.name())?;
            }
        }
        f.write_str("}")
    }
}

/// A text in double quotes.
pub struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// What stands in names and values in quotes alone.
fn is_reserved(c: char) -> bool {
    c.is_whitespace() || matches!(c, '{' | '}' | '!' | '=' | '~' | ',' | '\\' | '"' | '\'' | '`')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Matchers, MatcherError> {
        parse_matchers(text, &mut PatternBudget::default())
    }

    fn check(text: &str, printed: &str) {
        match read(text) {
            Ok(matchers) => assert_eq!(matchers.to_string(), printed, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn check_error(text: &str, column: usize, part: &str) {
        let error = read(text).expect_err(text);
        assert!(error.message.contains(part), "{text}: {error}");
        assert_eq!(error.column(text), column, "{text}: {error}");
    }

    #[test]
    fn matchers_are_read_with_braces_and_without() {
        check("", "{}");
        check("{}", "{}");
        check("a=b", "{a=\"b\"}");
        check("{ a = \"b\" , c=~\"d.*\", e!=f, g!~\"h\" , }", "{a=\"b\",c=~\"d.*\",e!=\"f\",g!~\"h\"}");
        check("b=1,a=2", "{a=\"2\",b=\"1\"}");
        check("ä=ö", "{ä=\"ö\"}");
        check("\"a b\"=c", "{\"a b\"=\"c\"}");
        check("a=\"x,y=}\"", "{a=\"x,y=}\"}");
        check("a=\"tab\\tquote\\\"\"", "{a=\"tab\\\\tquote\\\"\"}");
    }

    #[test]
    fn what_the_classic_syntax_alone_reads_is_read() {
        check("a=~[a-z]{2}x", "{a=~\"[a-z]{2}x\"}");
        check("a=~b=c", "{a=~\"b=c\"}");
        check("a=", "{a=\"\"}");
        check("a=b c", "{a=\"b c\"}");
        check("{a=b", "{a=\"b\"}");
        check("a=b}", "{a=\"b\"}");
    }

    #[test]
    fn where_both_read_and_differ_the_classic_meaning_stands() {
        check(r#"a="\x41""#, r#"{a="\\x41"}"#);
        check(r#""ä"="\x41""#, "{ä=\"A\"}");
    }

    #[test]
    fn errors_say_at_which_character() {
        check_error("a", 2, "operator");
        check_error("{a}", 3, "operator");
        check_error("a=b,=c", 5, "a matcher");
        check_error("ä=b,,", 5, "a matcher");
        check_error("=b", 1, "label name");
        check_error("a!b=c", 2, "operator");
        check_error("a=\"b", 3, "no end");
        check_error("a=~\"(\"", 4, "no regular expression: unclosed group");
        check_error("\"\\xff\"=b", 1, "UTF-8");
        check_error("a=b=c\"", 4, "comma");
    }

    #[test]
    fn an_absent_label_is_empty() {
        let labels = Labels::of(&[("a", "b")]);
        for (text, matches) in
            [("a=b", true), ("c=\"\"", true), ("c!=\"\"", false), ("a=~b|c,c=~\".*\"", true), ("a!~\"b.*\"", false)]
        {
            assert_eq!(read(text).unwrap().match_labels(&labels), matches, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(
            pairs in prop::collection::vec(("[a-c \\\\\"'ä{}=~!,\n]{1,4}", 0..4usize, "[a-c \\\\\"ä{},\t\n]{0,6}"), 0..4)
        ) {
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers = pairs.iter().filter_map(|(name, op, value)| Matcher::new(ops[*op], name, value).ok());
            let matchers = Matchers::new(matchers.collect());
            prop_assert_eq!(read(&matchers.to_string()), Ok(matchers));
        }

        #[test]
        fn any_text_is_matchers_or_an_error(text in "[a-c{}=~!,\"\\\\ äx0-9]{0,20}") {
            if let Ok(matchers) = read(&text) {
                prop_assert_eq!(read(&matchers.to_string()), Ok(matchers));
            }
        }
    }
}
