//! Regular expressions that match a whole text, within a budget that all those of one query share.

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::{Hir, Look};

/// What the regular expressions of one query may take together, in bytes; see [`PatternBudget`].
pub const PATTERN_BYTES_PER_QUERY_MAX: usize = 32 << 20;
/// Compiled size of one regular expression, in bytes: hostile patterns fail to compile instead of filling memory.
const REGEX_BYTES_MAX: usize = 4 << 20;
/// Memory of the states that a regular expression meets while it searches; above it starts again or searches slower.
const REGEX_CACHE_BYTES_MAX: usize = 128 << 10;
/// What a compiled regular expression is charged for its caches: few fill them.
const REGEX_CACHE_BYTES_CHARGED: usize = 16 << 10;
/// What parsing holds for each byte of a pattern, about.
const PARSED_BYTES_PER_PATTERN_BYTE: usize = 64;
/// What parsing holds for a class of Unicode's (`\pL`, `\w`): its table of ranges.
const CLASS_BYTES: usize = 8 << 10;

/// What the regular expressions of one query may still take: memory, and with it the time to compile them.
#[derive(Debug, Clone)]
pub struct PatternBudget {
    bytes_left: usize,
}

impl Default for PatternBudget {
    fn default() -> PatternBudget {
        PatternBudget { bytes_left: PATTERN_BYTES_PER_QUERY_MAX }
    }
}

impl PatternBudget {
    /// Charges bytes that are kept.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), PatternError> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(PatternError::TooCostly { limit: PATTERN_BYTES_PER_QUERY_MAX })?;
        Ok(())
    }

    /// Parses a pattern. A dot matches a newline, as in Prometheus.
    pub(crate) fn parse(&self, pattern: &str) -> Result<Hir, PatternError> {
        self.check_parse(pattern)?;
        let parser = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern);
        parser.map_err(|error| PatternError::Invalid { pattern: pattern.to_owned(), reason: error.to_string() })
    }

    /// What parsing holds goes when it is over, but that it may hold so much is checked before.
    fn check_parse(&self, pattern: &str) -> Result<(), PatternError> {
        let class =
            |pair: &[u8]| pair[0] == b'\\' && matches!(pair[1], b'p' | b'P' | b'w' | b'W' | b'd' | b'D' | b's' | b'S');
        let classes = pattern.as_bytes().windows(2).filter(|pair| class(pair)).count();
        self.clone().take(pattern.len() * PARSED_BYTES_PER_PATTERN_BYTE + classes * CLASS_BYTES)
    }
}

/// Why a regular expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is no regular expression, or one that is too large.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Invalid {
        /// The pattern as given.
        pattern: String,
        /// What the regular-expression library says.
        reason: String,
    },
    /// The regular expressions of one query would take too much memory together.
    #[error("the regular expressions of the query need more than {limit} bytes together")]
    TooCostly {
        /// The limit.
        limit: usize,
    },
}

/// A regular expression that must match a text from its beginning to its end.
#[derive(Debug, Clone)]
pub struct WholeRegex(Regex);

impl WholeRegex {
    /// Compiles a pattern.
    pub fn new(pattern: &str, budget: &mut PatternBudget) -> Result<WholeRegex, PatternError> {
        WholeRegex::build(pattern, budget.parse(pattern)?, budget)
    }

    /// Compiles a pattern that is parsed already.
    pub(crate) fn build(pattern: &str, hir: Hir, budget: &mut PatternBudget) -> Result<WholeRegex, PatternError> {
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let bounds = Regex::config()
            .nfa_size_limit(Some(REGEX_BYTES_MAX))
            .onepass_size_limit(Some(REGEX_BYTES_MAX))
            .hybrid_cache_capacity(REGEX_CACHE_BYTES_MAX);
        let regex =
            Regex::builder().configure(bounds).build_from_hir(&whole).map_err(|error| PatternError::Invalid {
                pattern: pattern.to_owned(),
                reason: match error.size_limit() {
                    Some(limit) => format!("it is larger than {limit} bytes once compiled"),
                    None => error.to_string(),
                },
            })?;
        budget.take(regex.memory_usage() + REGEX_CACHE_BYTES_CHARGED)?;
        Ok(WholeRegex(regex))
    }

    /// Whether it matches the text as a whole.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The replacement with its `$1` and `${name}` filled from the text, if it matches that.
    pub fn expand(&self, text: &str, replacement: &str) -> Option<String> {
        let mut captures: Captures = self.0.create_captures();
        self.0.captures(text, &mut captures);
        captures.is_match().then(|| captures.interpolate_string(text, replacement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_a_query_share_a_budget() {
        let within = |patterns: &mut dyn Iterator<Item = String>| {
            let mut budget = PatternBudget::default();
            patterns.map(|value| WholeRegex::new(&value, &mut budget)).find_map(Result::err)
        };
        assert_eq!(within(&mut (0..200).map(|at| format!("host-{at}-[a-z]+"))), None);
        let too_costly = Some(PatternError::TooCostly { limit: PATTERN_BYTES_PER_QUERY_MAX });
        assert_eq!(within(&mut (0..10_000).map(|at| format!("host-{at}-[a-z]+"))), too_costly);
        assert_eq!(within(&mut (0..100).map(|at| format!("({at}|.a{{9}}){{1000}}"))), too_costly);
        assert_eq!(within(&mut (0..2000).map(|at| format!("{}{at}[a-z]", "x".repeat(20_000)))), too_costly);
        // Classes whose tables alone would take more.
        assert_eq!(within(&mut std::iter::once("\\pL".repeat(80_000))), too_costly);
    }

    #[test]
    fn groups_fill_a_replacement() {
        let regex = WholeRegex::new("(?P<a>.)-(.*)", &mut PatternBudget::default()).unwrap();
        assert_eq!(regex.expand("x-yz", "$2/${a}$$1").as_deref(), Some("yz/x$1"));
        assert_eq!(regex.expand("x-y\nz", "${2}0").as_deref(), Some("y\nz0"));
        assert_eq!(regex.expand(" x-y", "$1"), None);
    }
}
