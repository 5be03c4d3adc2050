//! Label matchers with Prometheus's meaning: an absent label has the empty value, and a regular expression must match
//! the whole value.

use std::fmt;
use std::sync::Arc;

use regex_syntax::hir::{Hir, HirKind};

use crate::pattern::{PatternBudget, PatternError, WholeRegex};

/// Alternatives that are looked up one by one instead of by scanning all values.
const ALTERNATIVES_MAX: usize = 1024;
/// Bytes of those alternatives together.
const ALTERNATIVES_BYTES_MAX: usize = 256 << 10;
/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// As written in PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A condition on one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    op: MatchOp,
    name: String,
    value: String,
    pattern: Arc<Pattern>,
}

/// What the matcher accepts before its sign is applied.
#[derive(Debug, Clone)]
enum Pattern {
    /// One of these texts, ascending.
    OneOf(Vec<String>),
    /// Begins with the prefix and matches the expression; `None` accepts every rest.
    Prefixed { prefix: String, regex: Option<WholeRegex> },
}

impl Matcher {
    /// Builds a matcher, compiling its regular expression if it has one.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Matcher, PatternError> {
        Matcher::within(op, name, value, &mut PatternBudget::default())
    }

    /// The same as one of many, which share a budget.
    pub fn within(op: MatchOp, name: &str, value: &str, budget: &mut PatternBudget) -> Result<Matcher, PatternError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => Pattern::OneOf(vec![value.to_owned()]),
            MatchOp::Regex | MatchOp::NotRegex => Pattern::compile(value, budget)?,
        };
        Ok(Matcher { op, name: name.to_owned(), value: value.to_owned(), pattern: Arc::new(pattern) })
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Matcher {
        let pattern = Arc::new(Pattern::OneOf(vec![value.to_owned()]));
        Matcher { op: MatchOp::Equal, name: name.to_owned(), value: value.to_owned(), pattern }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comparison.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value passes; pass `""` for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        self.pattern.accepts(value) != self.is_negative()
    }

    /// Whether a series without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// `!=` or `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// All values that the pattern accepts (before the sign), if they are few enough to be looked up one by one.
    pub fn alternatives(&self) -> Option<&[String]> {
        match &*self.pattern {
            Pattern::OneOf(values) => Some(values),
            Pattern::Prefixed { .. } => None,
        }
    }

    /// What every value that the pattern accepts begins with; may be empty.
    pub fn literal_prefix(&self) -> &str {
        match &*self.pattern {
            Pattern::OneOf(values) if values.len() == 1 => &values[0],
            Pattern::OneOf(_) => "",
            Pattern::Prefixed { prefix, .. } => prefix,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

impl Pattern {
    fn compile(pattern: &str, budget: &mut PatternBudget) -> Result<Pattern, PatternError> {
        let hir = budget.parse(pattern)?;
        if let Some(mut values) = alternatives(&hir) {
            values.sort_unstable();
            values.dedup();
            budget.take(bytes_of(&values))?;
            return Ok(Pattern::OneOf(values));
        }
        let prefix = literal_prefix(&hir);
        budget.take(prefix.len())?;
        let regex = if is_prefix_then_anything(&hir) { None } else { Some(WholeRegex::build(pattern, hir, budget)?) };
        Ok(Pattern::Prefixed { prefix, regex })
    }

    fn accepts(&self, value: &str) -> bool {
        match self {
            Pattern::OneOf(values) => values.binary_search_by(|one| one.as_str().cmp(value)).is_ok(),
            Pattern::Prefixed { prefix, regex } => {
                value.starts_with(prefix.as_str()) && regex.as_ref().is_none_or(|regex| regex.is_match(value))
            }
        }
    }
}

fn bytes_of(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len()).sum()
}

/// The finite set of texts that an expression accepts, if it is one and a small one.
fn alternatives(hir: &Hir) -> Option<Vec<String>> {
    let texts = match hir.kind() {
        HirKind::Empty => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8(literal.0.to_vec()).ok()?],
        HirKind::Capture(capture) => alternatives(&capture.sub)?,
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(|r| r.end() as usize - r.start() as usize + 1).sum();
            if count > ALTERNATIVES_MAX {
                return None;
            }
            class.ranges().iter().flat_map(|r| (r.start()..=r.end()).map(String::from)).collect()
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(alternatives(branch)?);
                if all.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
            all
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let next = alternatives(part)?;
                let bytes = bytes_of(&all) * next.len() + bytes_of(&next) * all.len();
                if all.len() * next.len() > ALTERNATIVES_MAX || bytes > ALTERNATIVES_BYTES_MAX {
                    return None;
                }
                all = all.iter().flat_map(|head| next.iter().map(move |tail| format!("{head}{tail}"))).collect();
            }
            all
        }
        HirKind::Repetition(repeat) if repeat.min == 0 && repeat.max == Some(1) => {
            let mut all = alternatives(&repeat.sub)?;
            all.push(String::new());
            all
        }
        _ => return None,
    };
    (bytes_of(&texts) <= ALTERNATIVES_BYTES_MAX).then_some(texts)
}

/// The text that every match of the expression begins with.
fn literal_prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).unwrap_or_default(),
        HirKind::Capture(capture) => literal_prefix(&capture.sub),
        HirKind::Concat(parts) => {
            let mut prefix = String::new();
            for part in parts {
                match part.kind() {
                    HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                        Ok(text) => prefix.push_str(text),
                        Err(_) => break,
                    },
                    _ => break,
                }
            }
            prefix
        }
        _ => String::new(),
    }
}

/// `literal.*` or `.*`: every rest is accepted, no expression needed.
fn is_prefix_then_anything(hir: &Hir) -> bool {
    let is_dot_star = |hir: &Hir| match hir.kind() {
        HirKind::Repetition(repeat) => {
            repeat.min == 0 && repeat.max.is_none() && *repeat.sub == Hir::dot(regex_syntax::hir::Dot::AnyChar)
        }
        _ => false,
    };
    match hir.kind() {
        HirKind::Concat(parts) => {
            matches!(parts.as_slice(), [first, rest]
                if matches!(first.kind(), HirKind::Literal(l) if std::str::from_utf8(&l.0).is_ok()) && is_dot_star(rest))
        }
        _ => is_dot_star(hir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(op, "l", value).unwrap()
    }

    #[test]
    fn regular_expressions_match_the_whole_value() {
        let m = matcher(MatchOp::Regex, "a.c");
        assert!(m.matches("abc") && m.matches("a\nc") && !m.matches("abcd") && !m.matches(""));
        assert!(matcher(MatchOp::NotRegex, "a.c").matches(""));
        assert!(matcher(MatchOp::Regex, "").matches_empty());
        assert!(matcher(MatchOp::Regex, ".*").matches_empty());
        assert!(!matcher(MatchOp::Regex, ".+").matches_empty());
        assert!(matcher(MatchOp::Regex, "a|").matches_empty());
    }

    #[test]
    fn alternations_become_lookups() {
        assert_eq!(matcher(MatchOp::Regex, "a|b").alternatives().unwrap(), ["a", "b"]);
        assert_eq!(matcher(MatchOp::Regex, "(api|web)-[12]").alternatives().unwrap().len(), 4);
        assert_eq!(matcher(MatchOp::Regex, "host-.*").literal_prefix(), "host-");
        assert!(matcher(MatchOp::Regex, "host-.*").alternatives().is_none());
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Matcher::new(MatchOp::Regex, "l", "a(").unwrap_err();
        assert!(error.to_string().starts_with(r#"invalid regular expression "a(""#), "{error}");
        let error = Matcher::new(MatchOp::Regex, "l", "((a{100}){100}){100}").unwrap_err();
        assert!(error.to_string().contains("larger than 4194304 bytes once compiled"), "{error}");
    }

    #[test]
    fn long_alternatives_are_not_multiplied() {
        let long = format!("{}[a-z][a-z]", "x".repeat(100_000));
        assert_eq!(matcher(MatchOp::Regex, &long).alternatives(), None);
    }

    proptest! {
        #[test]
        fn shortcuts_agree_with_the_plain_expression(
            pattern in "(a|b|ab|\\.\\*|\\.\\+|\\[ab\\]|\\(a\\|b\\)|a\\?|\\(\\?i:a\\)|\\$|\\^|\\|){0,4}",
            value in "[abA]{0,4}",
        ) {
            let plain = regex::Regex::new(&format!("^(?s:{pattern})$"));
            prop_assume!(plain.is_ok());
            prop_assert_eq!(matcher(MatchOp::Regex, &pattern).matches(&value), plain.unwrap().is_match(&value));
        }
    }
}
