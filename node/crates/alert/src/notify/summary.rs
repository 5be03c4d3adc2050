//! Many alerts in a line: `100 of 120 hosts affected`, and the worst of them.

use std::collections::BTreeMap;

use bellwether_model::Labels;

use super::dispatch::Message;

/// Names of which a message tells that they are the worst, if it is not said.
pub const WORST_DEFAULT: usize = 5;
/// And at the most.
pub const WORST_MAX: usize = 50;
/// The annotation that has the value of an alert that no rule here has.
const VALUE: &str = "value";

/// What the messages of a route are summed up by.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The label whose values are counted.
    pub of: String,
    /// What these are called, in the plural.
    pub noun: String,
    /// How many there are: a query, or a template of one.
    pub total: Option<String>,
    /// How many of the worst are told.
    pub worst: usize,
    /// The lowest value is the worst.
    pub lowest: bool,
}

/// A message summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct Summed {
    /// `100 of 120 hosts affected`
    pub text: String,
    /// What is counted, in the plural.
    pub noun: String,
    /// How many are affected.
    pub affected: usize,
    /// How many there are; none if nobody knows, or fewer than are affected.
    pub total: Option<f64>,
    /// The worst first, with their values.
    pub worst: Vec<(String, Option<f64>)>,
    /// How many are affected beside these.
    pub others: usize,
}

impl Summary {
    /// Sums a message up; `value_of` knows the values of alerts that rules here have.
    pub fn of(&self, message: &Message, total: Option<f64>, value_of: &dyn Fn(&Labels) -> Option<f64>) -> Summed {
        let mut names: BTreeMap<&str, Option<f64>> = BTreeMap::new();
        for alert in &message.firing {
            let Some(name) = alert.labels.get(&self.of) else { continue };
            let told = || alert.annotations.get(VALUE)?.trim().parse().ok();
            let value = value_of(&alert.labels).or_else(told).filter(|value: &f64| !value.is_nan());
            let worst = names.entry(name).or_default();
            *worst = match (*worst, value) {
                (Some(one), Some(other)) => Some(if self.lowest { one.min(other) } else { one.max(other) }),
                (one, other) => one.or(other),
            };
        }
        let affected = names.len();
        let total = total.filter(|total| total.is_finite() && *total >= affected as f64);
        let mut worst: Vec<(String, Option<f64>)> =
            names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        // Those without a value come last; alike ones by their names.
        worst.sort_by(|(_, one), (_, other)| match (one, other) {
            (Some(one), Some(other)) if self.lowest => one.total_cmp(other),
            (Some(one), Some(other)) => other.total_cmp(one),
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        worst.truncate(self.worst);
        let of_total = total.map(|total| format!(" of {total}")).unwrap_or_default();
        let text = format!("{affected}{of_total} {} affected", self.noun);
        Summed { text, noun: self.noun.clone(), affected, total, others: affected - worst.len(), worst }
    }
}
