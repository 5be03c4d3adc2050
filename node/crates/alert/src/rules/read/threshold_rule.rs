//! The keys that make an alerting rule a threshold rule: `thresholds`, `checks`, `no_data`.

use bellwether_promql::{Expr, ValueType};

use super::super::thresholds::{ThresholdRule, WrittenThresholds, comparison};
use super::super::{Expansion, Query};
use super::Reader;
use crate::state::threshold::watch::SEVERITY;
use crate::state::threshold::{Behavior, CHECKS_MAX, Checks, FORGET_AFTER_MS, Grading, NoData};
use crate::yaml::Place;
use crate::yaml::fields::Fields;

/// The keys.
pub const KEYS: [&str; 3] = ["thresholds", "checks", "no_data"];
const THRESHOLDS: &[&str] = &["critical", "warning", "critical_recovery", "warning_recovery", "compare"];
const CHECKS: &[&str] = &["at_least", "of"];
const NO_DATA: &[&str] = &["behavior", "after", "forget_after"];

impl Reader<'_> {
    /// What makes the rule one, if anything does.
    pub(super) fn threshold_rule(
        &mut self,
        fields: &Fields<'_>,
        query: Option<&Query>,
        labels: &[Expansion],
    ) -> Option<Box<ThresholdRule>> {
        let Some(node) = fields.get("thresholds") else {
            for key in KEYS.into_iter().filter(|key| fields.get(key).is_some()) {
                self.problems.add(fields.key_place(key), format!("'{key}' needs 'thresholds'"));
            }
            return None;
        };
        let place = fields.key_place("thresholds");
        self.check_query(fields, query);
        if labels.iter().any(|label| label.name == SEVERITY) {
            self.problems
                .add(place, format!("the label {SEVERITY:?} is set by thresholds: leave out that of the rule"));
        }
        let of = Fields::of(node, "thresholds", THRESHOLDS, &mut self.problems);
        let checks = self.checks(fields);
        let no_data = self.no_data(fields);
        let of = of?;
        let mut number = |name| of.number(name, &mut self.problems).map(|number| number.value);
        let numbers = ["critical", "warning", "critical_recovery", "warning_recovery"].map(&mut number);
        let [critical, warning, critical_recovery, warning_recovery] = numbers;
        let compare = of.text("compare", &mut self.problems);
        if let Some(compare) = compare.as_ref().filter(|compare| comparison(&compare.value).is_none()) {
            let message = format!("compare: {:?} is none of '>', '>=', '<', '<=', '==', '!='", compare.value);
            self.problems.add(compare.place, message);
            return None;
        }
        let compare = compare.and_then(|compare| comparison(&compare.value));
        let written = WrittenThresholds { compare, critical, warning, critical_recovery, warning_recovery };
        match written.check() {
            Ok(thresholds) => {
                let grading = Grading { checks: checks?, no_data: no_data? };
                Some(Box::new(ThresholdRule { thresholds, grading }))
            }
            Err((field, message)) => {
                let is_there = of.get(field).is_some();
                let place = if is_there { of.key_place(field) } else { place };
                self.problems.add(place, format!("thresholds: {field}: {message}"));
                None
            }
        }
    }

    /// A threshold rule's query is a value.
    fn check_query(&mut self, fields: &Fields<'_>, query: Option<&Query>) {
        let (Some(query), Some(node)) = (query, fields.get("expr")) else { return };
        let message = match query.expr.without_parens() {
            Expr::Binary(binary) if binary.op.is_comparison() && !binary.return_bool => {
                let op = binary.op.as_str();
                format!("with 'thresholds' the expression is a value, and this one compares by {op} itself")
            }
            expr if !matches!(expr.value_type(), ValueType::InstantVector | ValueType::Scalar) => {
                "with 'thresholds' the expression must have one value for each series".to_owned()
            }
            _ => return,
        };
        self.problems.add(node.place, message);
    }

    fn checks(&mut self, fields: &Fields<'_>) -> Option<Checks> {
        let Some(node) = fields.get("checks") else { return Some(Checks::default()) };
        let of = Fields::of(node, "checks", CHECKS, &mut self.problems)?;
        let place = fields.key_place("checks");
        let mut number = |name: &str| {
            let Some(number) = of.whole(name, &mut self.problems) else {
                if of.get(name).is_none() {
                    self.problems.add(place, format!("checks: it needs '{name}'"));
                }
                return None;
            };
            let checked = u8::try_from(number.value).ok().filter(|number| (1..=CHECKS_MAX).contains(number));
            if checked.is_none() {
                self.problems.add(number.place, format!("{name}: it must be from 1 to {CHECKS_MAX}"));
            }
            checked
        };
        let (at_least, of_all) = (number("at_least"), number("of"));
        let checks = Checks { at_least: at_least?, of: of_all? };
        if checks.at_least > checks.of {
            let message = format!("at_least: it cannot be more than the {} that are looked at", checks.of);
            self.problems.add(of.key_place("at_least"), message);
            return None;
        }
        Some(checks)
    }

    fn no_data(&mut self, fields: &Fields<'_>) -> Option<NoData> {
        let Some(node) = fields.get("no_data") else { return Some(NoData::default()) };
        let of = Fields::of(node, "no_data", NO_DATA, &mut self.problems)?;
        let after_ms = of.duration_ms("after", &mut self.problems).map_or(0, |after| after.value);
        let forget = of.duration_ms("forget_after", &mut self.problems);
        let behavior = of.text("behavior", &mut self.problems);
        let place: Place = behavior.as_ref().map_or(fields.key_place("no_data"), |behavior| behavior.place);
        let known = behavior.as_ref().and_then(|behavior| Behavior::of(&behavior.value));
        let Some(behavior) = known else {
            self.problems.add(place, "no_data: behavior must be 'alert', 'ok' or 'keep'");
            return None;
        };
        let least = after_ms.saturating_add(1);
        if let Some(forget) = forget.as_ref().filter(|forget| forget.value < least) {
            self.problems.add(forget.place, "forget_after: it must be longer than 'after'");
            return None;
        }
        let forget_after_ms = forget.map_or(after_ms.saturating_add(FORGET_AFTER_MS), |forget| forget.value);
        Some(NoData { behavior, after_ms, forget_after_ms })
    }
}
