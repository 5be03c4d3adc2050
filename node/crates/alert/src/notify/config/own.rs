//! What Alertmanager's file does not have: how a route's messages are summed up, and how much a receiver is told.

use std::sync::Arc;

use super::Reader;
use super::schema::{Default, Rule, Schema, Shape, choice, field, text};
use super::settings::Settings;
use crate::notify::summary::{Summary, WORST_DEFAULT, WORST_MAX};
use crate::notify::templates::Text;
use crate::notify::throttle::{THROTTLE_MESSAGES_MAX, Throttle};
use crate::yaml::fields::Fields;

const SUMMARY: Schema = Schema {
    name: "summary",
    fields: &[
        text("of"),
        text("noun"),
        text("total"),
        field("worst", Shape::Number(0)),
        choice("order", &["highest", "lowest"], Default::Absent),
    ],
    rules: &[Rule::Required(&["of"]), Rule::Check(few_are_worst), Rule::Check(total_is_a_query)],
    inherited: &[],
};

const THROTTLE: Schema = Schema {
    name: "throttle",
    fields: &[field("messages", Shape::Number(1)), field("per", Shape::Duration)],
    rules: &[Rule::Required(&["messages"]), Rule::Required(&["per"]), Rule::Check(throttle_is_kept)],
    inherited: &[],
};

fn few_are_worst(summary: &Settings) -> Option<String> {
    let is_over = summary.number("worst").is_some_and(|worst| worst > WORST_MAX as i64);
    is_over.then(|| format!("worst is {WORST_MAX} at most"))
}

/// A template is a query only once it is expanded.
fn total_is_a_query(summary: &Settings) -> Option<String> {
    let total = summary.text("total")?;
    if total.contains("{{") {
        return Text::parse(total).err().map(|problem| format!("total: {}", problem.message));
    }
    bellwether_promql::parse(total).err().map(|error| format!("total: {error}"))
}

fn throttle_is_kept(throttle: &Settings) -> Option<String> {
    if throttle.number("messages").is_some_and(|messages| messages > THROTTLE_MESSAGES_MAX as i64) {
        return Some(format!("messages is {THROTTLE_MESSAGES_MAX} at most"));
    }
    (throttle.ms("per") == Some(0)).then(|| "per cannot be zero".to_owned())
}

impl Reader {
    /// `summary` of a route.
    pub(super) fn summary(&mut self, fields: &Fields<'_>) -> Option<Arc<Summary>> {
        let settings = Settings::read(fields.get("summary")?, &SUMMARY, &mut self.problems);
        let text = |name| settings.text(name).map(str::to_owned).filter(|text| !text.is_empty());
        let of = text("of")?;
        let worst = settings.number("worst").and_then(|worst| usize::try_from(worst).ok());
        Some(Arc::new(Summary {
            noun: text("noun").unwrap_or_else(|| of.clone()),
            of,
            total: text("total"),
            worst: worst.unwrap_or(WORST_DEFAULT),
            lowest: settings.text("order") == Some("lowest"),
        }))
    }

    /// `throttle` of a receiver.
    pub(super) fn throttle(&mut self, fields: &Fields<'_>) -> Option<Throttle> {
        let settings = Settings::read(fields.get("throttle")?, &THROTTLE, &mut self.problems);
        let messages = usize::try_from(settings.number("messages")?).ok()?;
        Some(Throttle { messages, per_ms: settings.ms("per")? })
    }
}
