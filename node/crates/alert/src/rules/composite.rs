//! Composite rules: a condition over other rules of the tenant, `HighErrors && !(Deploying || "Planned work"{team="ops"})`.
//!
//! A name is true while an alerting rule of that name has an alert that fires and meets the matchers. `!` binds closest, then `&&`, then `||`.
//! What the states of rules say decides; the same in PromQL, over `ALERTS`, is for those who have samples alone: graphs, unit tests.

mod check;

use bellwether_model::{Labels, PatternBudget};

use crate::cursor::{Cursor, TextError};
use crate::notify::matchers::{Matchers, parse_matchers};
use crate::state::alerting::{ALERT_NAME, ALERTS};
use crate::yaml::Place;

pub use check::{Misfit, Others, check, check_together, dependencies_first};

/// Bytes of a condition.
pub const COMPOSITE_BYTES_MAX: usize = 8 << 10;
/// Names in a condition.
pub const COMPOSITE_NAMES_MAX: usize = 100;
/// Parentheses and `!` in each other.
pub const COMPOSITE_DEPTH_MAX: usize = 32;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Composite {
    /// As it was written.
    pub text: String,
    /// The names in it, in their order.
    pub references: Vec<Reference>,
    condition: Condition,
}

/// A name in a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The name of a rule.
    pub name: String,
    /// Which of its alerts count.
    pub matchers: Matchers,
    /// The byte of the condition at which it stands.
    pub offset: usize,
    /// Where that is in the file, if it is in one.
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// The reference of this number.
    Fires(usize),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Reference {
    /// Whether it speaks of an alert with these labels.
    pub fn means(&self, labels: &Labels) -> bool {
        labels.get(ALERT_NAME) == Some(&self.name) && self.matchers.match_labels(labels)
    }
}

impl Composite {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Composite, TextError> {
        if text.len() > COMPOSITE_BYTES_MAX {
            return Err(TextError::new(0, format!("it has more than {COMPOSITE_BYTES_MAX} bytes")));
        }
        let mut reader = Reader { text, cursor: Cursor::new(text), references: Vec::new(), depth: 0 };
        let condition = reader.any()?;
        reader.cursor.skip_space();
        if !reader.cursor.is_at_end() {
            let message = format!("\"&&\", \"||\" or the end should be here, not {}", reader.cursor.next_shown());
            return Err(TextError::new(reader.cursor.offset(), message));
        }
        Ok(Composite { text: text.to_owned(), references: reader.references, condition })
    }

    /// Whether it is true where each reference, by its number, is as `fires` says.
    pub fn holds(&self, fires: &dyn Fn(usize) -> bool) -> bool {
        self.condition.holds(fires)
    }

    /// The same in PromQL, over the series that say which alerts there are: one series without labels, or none.
    pub fn to_promql(&self) -> String {
        self.condition.to_promql(&self.references)
    }
}

impl Condition {
    fn holds(&self, fires: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Condition::Fires(number) => fires(*number),
            Condition::Not(one) => !one.holds(fires),
            Condition::All(all) => all.iter().all(|one| one.holds(fires)),
            Condition::Any(any) => any.iter().any(|one| one.holds(fires)),
        }
    }

    fn to_promql(&self, references: &[Reference]) -> String {
        let joined = |all: &[Condition], op: &str| {
            let all: Vec<String> = all.iter().map(|one| one.to_promql(references)).collect();
            format!("({})", all.join(op))
        };
        match self {
            Condition::Fires(number) => {
                let Reference { name, matchers, .. } = &references[*number];
                let mut selector = format!("{ALERTS}{{{ALERT_NAME}={},alertstate=\"firing\"", quoted(name));
                for matcher in matchers.iter() {
                    let (name, value) = (matcher.name(), quoted(matcher.value()));
                    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                        && !name.starts_with(|c: char| c.is_ascii_digit());
                    let name = if is_plain { name.to_owned() } else { quoted(name) };
                    selector.push_str(&format!(",{name}{}{value}", matcher.op().as_str()));
                }
                format!("max({selector}}})")
            }
            Condition::Not(one) => format!("(vector(1) unless {})", one.to_promql(references)),
            Condition::All(all) => joined(all, " and "),
            Condition::Any(any) => joined(any, " or "),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

struct Reader<'t> {
    text: &'t str,
    cursor: Cursor<'t>,
    references: Vec<Reference>,
    depth: usize,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Condition, TextError> {
        self.several("||", Reader::all, Condition::Any)
    }

    fn all(&mut self) -> Result<Condition, TextError> {
        self.several("&&", Reader::one, Condition::All)
    }

    fn several(
        &mut self,
        op: &str,
        part: fn(&mut Self) -> Result<Condition, TextError>,
        of: fn(Vec<Condition>) -> Condition,
    ) -> Result<Condition, TextError> {
        let mut parts = vec![part(self)?];
        loop {
            self.cursor.skip_space();
            if !self.cursor.take(op) {
                break;
            }
            parts.push(part(self)?);
        }
        match parts.pop() {
            Some(one) if parts.is_empty() => Ok(one),
            last => {
                parts.extend(last);
                Ok(of(parts))
            }
        }
    }

    fn one(&mut self) -> Result<Condition, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        self.depth += 1;
        if self.depth > COMPOSITE_DEPTH_MAX {
            return Err(TextError::new(
                at,
                format!("there are more than {COMPOSITE_DEPTH_MAX} conditions in each other"),
            ));
        }
        let condition = if self.cursor.take("!") {
            Condition::Not(Box::new(self.one()?))
        } else if self.cursor.take("(") {
            let inner = self.any()?;
            self.cursor.expect(")")?;
            inner
        } else {
            self.reference(at)?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn reference(&mut self, at: usize) -> Result<Condition, TextError> {
        if self.references.len() >= COMPOSITE_NAMES_MAX {
            return Err(TextError::new(at, format!("there are more than {COMPOSITE_NAMES_MAX} names")));
        }
        let name = if self.cursor.take("\"") { self.quoted(at)? } else { self.plain().to_owned() };
        if name.is_empty() {
            let message = format!("the name of an alerting rule should be here, not {}", self.cursor.next_shown());
            return Err(TextError::new(at, message));
        }
        let matchers = if self.cursor.peek() == Some('{') { self.matchers()? } else { Matchers::default() };
        self.references.push(Reference { name, matchers, offset: at, place: Place::START });
        Ok(Condition::Fires(self.references.len() - 1))
    }

    /// A name without quotes.
    fn plain(&mut self) -> &str {
        self.cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '-' | '/'))
    }

    /// The rest of a name in quotes.
    fn quoted(&mut self, at: usize) -> Result<String, TextError> {
        let mut name = String::new();
        while let Some(c) = self.cursor.peek() {
            self.cursor.bump();
            match c {
                '"' => return Ok(name),
                '\\' => match self.cursor.peek() {
                    Some(c @ ('"' | '\\')) => {
                        self.cursor.bump();
                        name.push(c);
                    }
                    _ => {
                        return Err(TextError::new(self.cursor.offset(), "behind \\ there is \\ or \" in a name"));
                    }
                },
                c => name.push(c),
            }
        }
        Err(TextError::new(at, "the name has no end"))
    }

    /// From `{` to the `}` that is not quoted.
    fn matchers(&mut self) -> Result<Matchers, TextError> {
        let at = self.cursor.offset();
        let (mut is_quoted, mut is_escaped) = (false, false);
        while let Some(c) = self.cursor.peek() {
            self.cursor.bump();
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                '}' if !is_quoted => {
                    let text = &self.text[at..self.cursor.offset()];
                    return parse_matchers(text, &mut PatternBudget::default())
                        .map_err(|error| TextError::new(at + error.offset, error.message));
                }
                _ => {}
            }
        }
        Err(TextError::new(at, "the matchers have no end"))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The names that fire, one letter each.
    fn holds(text: &str, firing: &str) -> bool {
        let composite = Composite::parse(text).unwrap_or_else(|error| panic!("{error}"));
        composite.holds(&|number| firing.contains(&composite.references[number].name))
    }

    #[test]
    fn not_binds_closer_than_and_and_that_than_or() {
        for (text, firing, expected) in [
            ("a", "a", true),
            ("a && !b", "a", true),
            ("a && !b", "ab", false),
            ("a || b && c", "a", true),
            ("(a || b) && c", "a", false),
            ("!a && !b", "", true),
            ("!(a && b)", "a", true),
            ("!!a", "a", true),
            ("a||b||c", "c", true),
        ] {
            assert_eq!(holds(text, firing), expected, "{text} where {firing:?} fire");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_character() {
        let wrong = |text: &str| {
            let error = Composite::parse(text).unwrap_err();
            format!("{}: {error}", error.character(text))
        };
        assert_eq!(wrong(""), "1: the name of an alerting rule should be here, not the end");
        assert_eq!(wrong("a &&"), "5: the name of an alerting rule should be here, not the end");
        assert_eq!(wrong("a & b"), "3: \"&&\", \"||\" or the end should be here, not \"&\"");
        assert_eq!(wrong("(a || b"), "8: \")\" should be here, not the end");
        assert_eq!(wrong("ä && \"b"), "6: the name has no end");
        assert_eq!(wrong("a{x=\"}\""), "2: the matchers have no end");
        assert!(wrong("a{x=~\"(\"} && b").starts_with("6: "), "{}", wrong("a{x=~\"(\"} && b"));
        assert_eq!(wrong(&"!".repeat(40)), "33: there are more than 32 conditions in each other");
        assert_eq!(wrong(&vec!["a"; 101].join("||")), "301: there are more than 100 names");
        assert!(wrong(&"a".repeat(9_000)).contains("more than 8192 bytes"));
    }

    #[test]
    fn the_same_is_said_in_promql() {
        let text = "A && !(\"B \\\"c\\\"\"{severity=\"critical\",\"d.e\"=~\"f.*\"} || C)";
        let promql = Composite::parse(text).unwrap().to_promql();
        expect![[r#"(max(ALERTS{alertname="A",alertstate="firing"}) and (vector(1) unless (max(ALERTS{alertname="B \"c\"",alertstate="firing","d.e"=~"f.*",severity="critical"}) or max(ALERTS{alertname="C",alertstate="firing"}))))"#]].assert_eq(&promql);
        bellwether_promql::parse(&promql).unwrap();
    }
}
