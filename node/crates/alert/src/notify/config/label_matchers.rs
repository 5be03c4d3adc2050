//! Matchers in their three forms: `match`, `match_re` and `matchers`.

use std::collections::BTreeSet;

use bellwether_model::{MatchOp, Matcher};

use super::Reader;
use crate::notify::matchers::{Matchers, parse_matchers, reason};
use crate::yaml::Place;
use crate::yaml::fields::{Fields, text};

/// The names of the three forms.
pub struct Forms {
    /// Labels that have values.
    pub equal: &'static str,
    /// Labels that match expressions.
    pub regex: &'static str,
    /// Both and their opposites.
    pub matchers: &'static str,
}

impl Reader {
    /// Reads all three; all must hold.
    pub fn matchers(&mut self, fields: &Fields<'_>, forms: &Forms, file: &str) -> Matchers {
        let mut all: Vec<Matcher> = Vec::new();
        for (form, op) in [(forms.equal, MatchOp::Equal), (forms.regex, MatchOp::Regex)] {
            for pair in fields.pairs(form, &mut self.problems) {
                if !is_classic_name(pair.name) {
                    self.problems.add(
                        pair.name_place,
                        format!("{form}: {:?} is no label name; use {}", pair.name, forms.matchers),
                    );
                } else if op == MatchOp::Regex && pair.node.is_null() {
                    self.problems.add(pair.name_place, format!("{form}: {:?} has no regular expression", pair.name));
                } else {
                    match Matcher::within(op, pair.name, pair.value, &mut self.patterns) {
                        Ok(matcher) => all.push(matcher),
                        Err(error) => self.problems.add(pair.node.place, format!("{form}: {}", reason(error))),
                    }
                }
            }
        }
        for node in fields.list(forms.matchers, &mut self.problems) {
            let Some(line) = text(node, forms.matchers, &mut self.problems) else { continue };
            match parse_matchers(line, &mut self.patterns) {
                Ok(read) => all.extend(read.iter().cloned()),
                Err(error) => {
                    self.problems.add_within(file, node, error.offset, format!("{}: {error}", forms.matchers));
                }
            }
        }
        Matchers::new(all)
    }

    /// Names of labels in a list.
    pub fn label_names(&mut self, fields: &Fields<'_>, name: &str) -> Vec<(String, Place)> {
        let mut names = Vec::new();
        for item in fields.texts(name, &mut self.problems) {
            if item.value.is_empty() {
                self.problems.add(item.place, format!("{name}: a label name cannot be empty"));
            } else {
                names.push((item.value, item.place));
            }
        }
        names
    }

    /// Texts in a list, those that are not `known` being problems.
    pub fn names_of(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        what: &str,
        is_known: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut names = Vec::new();
        for item in fields.texts(name, &mut self.problems) {
            if is_known(&item.value) {
                names.push(item.value);
            } else {
                self.problems.add(item.place, format!("{name}: there is no {what} {:?}", item.value));
            }
        }
        names
    }
}

/// The first that is there twice.
pub fn twice(names: &[(String, Place)]) -> Option<&(String, Place)> {
    let mut seen = BTreeSet::new();
    names.iter().find(|(name, _)| !seen.insert(name))
}

fn is_classic_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
