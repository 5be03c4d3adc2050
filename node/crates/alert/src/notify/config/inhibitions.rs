//! `inhibit_rules`.

use super::Reader;
use super::label_matchers::Forms;
use crate::notify::inhibition::Inhibition;
use crate::yaml::Node;
use crate::yaml::fields::Fields;

const SOURCE: Forms = Forms { equal: "source_match", regex: "source_match_re", matchers: "source_matchers" };
const TARGET: Forms = Forms { equal: "target_match", regex: "target_match_re", matchers: "target_matchers" };
const FIELDS: [&str; 8] =
    ["name", SOURCE.equal, SOURCE.regex, SOURCE.matchers, TARGET.equal, TARGET.regex, TARGET.matchers, "equal"];

impl Reader {
    /// Reads one.
    pub fn inhibition(&mut self, node: &Node, file: &str) -> Option<Inhibition> {
        let fields = Fields::of(node, "an inhibition rule", &FIELDS, &mut self.problems)?;
        let name = fields.text("name", &mut self.problems).map(|name| name.value).unwrap_or_default();
        let source = self.matchers(&fields, &SOURCE, file);
        let target = self.matchers(&fields, &TARGET, file);
        if target.is_empty() || source.is_empty() {
            let side = if target.is_empty() { "target" } else { "source" };
            self.warn(node.place, format!("this inhibition rule has no matchers of its {side}, so every alert is one"));
        }
        let equal = self.label_names(&fields, "equal").into_iter().map(|(name, _)| name).collect();
        Some(Inhibition { name, source, target, equal })
    }
}
