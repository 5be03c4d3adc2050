//! Rule groups that change while they are evaluated: rules of theirs are edited, a series that they ask after goes up and down, a
//! silence that covers them is deleted. What fires in the end, and who knows of it, follows from the last change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::invariants::{alert_kept, known_in_the_end, told_once};

/// An alert whose rule stays as it is, whatever its group's others become.
pub const STAYS: &str = "Stays";
/// An alert whose rule is edited; another one once its labels are.
pub const EDITED: &str = "Edited";
/// The alert of a group that asks after a series.
pub const SWITCHED: &str = "Switched";
/// An alert whose rule comes and goes.
pub const ADDED: &str = "Added";

/// A rule group that changes.
#[derive(Debug, Clone, Default)]
pub struct Changing {
    /// Whether it is known to be there.
    pub is_there: bool,
    /// The alerts that fire once nothing is under way any more; none while that is not known.
    pub firing: Option<BTreeSet<String>>,
    /// Who is to hear of them.
    pub hearing: Hearing,
    /// Whether it has one alert alone.
    pub is_single: bool,
    /// Whether that fires while a series is up.
    pub is_switched: bool,
    /// Since when alerts are active that stay so, as the first node said that told it.
    pub active_at: BTreeMap<String, String>,
    /// What was told of them.
    pub told: Told,
}

/// Who is to hear of the alerts of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hearing {
    /// The team, in the end.
    #[default]
    Team,
    /// Nobody: a silence stands.
    Nobody,
    /// Nobody knows: a silence is being deleted.
    Unknown,
}

/// The time from an alert's begin to its end: which alert, and when it began to fire.
pub type Spell = (String, String);

/// The keys of messages that told of the begins of spells, and of their ends.
pub type Told = BTreeMap<Spell, [BTreeSet<String>; 2]>;

/// What a message says of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Which alert, and when it began to fire.
    pub spell: Spell,
    /// Whether it is over.
    pub is_over: bool,
}

/// An alert of a group by its labels: its name, and its version if it has one.
pub fn alert_key(labels: &Value) -> String {
    let name = labels["alertname"].as_str().unwrap_or_default();
    labels["version"].as_str().map_or_else(|| name.to_owned(), |version| format!("{name}/{version}"))
}

impl Changing {
    /// A node says since when an alert is active.
    pub(super) fn active(&mut self, name: &str, alert: &str, at: &str) -> Result<(), String> {
        if [SWITCHED, ADDED].contains(&alert) {
            return Ok(());
        }
        let known = self.active_at.entry(alert.to_owned()).or_insert_with(|| at.to_owned());
        alert_kept::check(&format!("{name} {alert}"), known, at)
    }

    /// A message with this key came.
    pub(super) fn told(&mut self, name: &str, news: &[News], key: &str, is_set_back: bool) -> Result<(), String> {
        if self.hearing == Hearing::Nobody {
            return Err(format!("a silence keeps quiet what it covers: of {name} a message was sent"));
        }
        for News { spell, is_over } in news {
            let keys = &mut self.told.entry(spell.clone()).or_default()[usize::from(*is_over)];
            keys.insert(key.to_owned());
            // Where there are several alerts, one that fires still is in each message of another.
            if self.is_single && !is_set_back {
                told_once::check(name, keys)?;
            }
        }
        Ok(())
    }

    /// Whether all is as it should be in the end, where a node says which alerts fire.
    pub fn judge(&self, found: &BTreeSet<String>) -> Result<(), String> {
        let Some(firing) = &self.firing else { return Ok(()) };
        if found != firing {
            return Err(format!("the alerts {firing:?} should fire, and {found:?} do"));
        }
        match self.hearing {
            Hearing::Team => known_in_the_end::check(firing, &self.told),
            Hearing::Nobody | Hearing::Unknown => Ok(()),
        }
    }
}
