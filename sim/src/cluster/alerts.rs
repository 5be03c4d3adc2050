//! What is known of alerting: rule groups that were set and deleted, and what the receiver was told of them.
//!
//! Each group has a name that no other ever has, and one alert, which fires for as long as the group is there. A group of
//! which it is not known whether it was set or deleted is left alone from then on. Those that change are [`changing`].

pub mod changing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bellwether_model::Tenant;
use serde_json::Value;

use self::changing::{Changing, alert_key};
use super::receiver::Message;
use crate::invariants::{alert_kept, cared_for, told_once};

/// The tenant whose rules these are: what they store is in nobody's way.
pub fn tenant() -> Tenant {
    Tenant::new("rules").expect("a legal name")
}

/// See the module.
#[derive(Debug, Default)]
pub struct Alerts {
    groups: BTreeMap<String, Group>,
    /// Those that change, by name.
    pub changing: BTreeMap<String, Changing>,
    /// Whether the series that they ask after were last made to go up at the end, or down.
    pub last_switch: Option<bool>,
    /// Whether it was said who is told.
    pub is_configured: bool,
    is_set_back: bool,
}

/// A rule group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Whether it is there.
    pub fate: Fate,
    /// How long its alert is pending.
    pub hold: Duration,
    /// Whether a silence that was set before it covers it.
    pub is_silenced: bool,
    /// Since when its alert is active, as the first node said that told it.
    pub active_at: Option<String>,
    /// Whether somebody takes care of its alert.
    pub care: Care,
    /// The keys of messages that said to somebody that it fires, and that it does no longer.
    pub told: BTreeMap<(Receiver, bool), BTreeSet<String>>,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// Whom the route names.
    Team,
    /// Whom the escalation's step names.
    Boss,
}

impl Receiver {
    /// Both.
    pub const ALL: [Receiver; 2] = [Receiver::Team, Receiver::Boss];
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Receiver::Team => "team",
            Receiver::Boss => "boss",
        })
    }
}

/// Whether somebody takes care of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Nobody has said so.
    Nobody,
    /// Somebody has, and it is not known whether that was heard.
    Unknown,
    /// Somebody does, since this simulated time.
    Taken(Duration),
}

/// Whether a rule group is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nobody knows.
    Unknown,
    /// It was set, at this simulated time.
    Set(Duration),
    /// It was deleted.
    Deleted,
}

impl Alerts {
    /// A group is about to be set.
    pub fn begin(&mut self, name: &str, hold: Duration, is_silenced: bool) {
        let (fate, care, told) = (Fate::Unknown, Care::Nobody, BTreeMap::new());
        self.groups.insert(name.to_owned(), Group { fate, hold, is_silenced, active_at: None, care, told });
    }

    /// What became of a group is known, or not known any more.
    pub fn settle(&mut self, name: &str, fate: Fate) {
        if let Some(group) = self.groups.get_mut(name) {
            group.fate = fate;
        }
    }

    /// Whether somebody takes care of a group's alert.
    pub fn care(&mut self, name: &str, care: Care) {
        if let Some(group) = self.groups.get_mut(name) {
            group.care = care;
        }
    }

    /// The cluster is another one, of which nothing is known: backups have no alerting.
    pub fn forget(&mut self) {
        self.groups.clear();
        self.changing.clear();
    }

    /// The time of an alert group was set back. At the time that it has now a rule may not find what it has recorded for later: its
    /// alert may be gone, begin anew, and be told of again.
    pub fn time_is_set_back(&mut self) {
        self.is_set_back = true;
    }

    /// Whether [`Alerts::time_is_set_back`].
    pub fn is_set_back(&self) -> bool {
        self.is_set_back
    }

    /// All groups.
    pub fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// A node says since when alerts of a rule group are active.
    pub fn active(&mut self, name: &str, rules: &Value) -> Result<(), String> {
        let alerts = |rule: &Value| rule["alerts"].as_array().cloned().unwrap_or_default();
        if let Some(known) = self.changing.get_mut(name).filter(|_| !self.is_set_back) {
            for alert in rules.as_array().into_iter().flatten().flat_map(alerts) {
                known.active(name, &alert_key(&alert["labels"]), alert["activeAt"].as_str().unwrap_or_default())?;
            }
        }
        match rules[0]["alerts"][0]["activeAt"].as_str() {
            Some(at) if !self.changing.contains_key(name) => self.active_since(name, at),
            Some(_) | None => Ok(()),
        }
    }

    fn active_since(&mut self, name: &str, at: &str) -> Result<(), String> {
        let Some(group) = self.groups.get_mut(name) else { return Err(format!("nobody has set a group {name}")) };
        if self.is_set_back {
            return Ok(());
        }
        let known = group.active_at.get_or_insert_with(|| at.to_owned());
        alert_kept::check(name, known, at)
    }

    /// Somebody is told at a simulated time that alerts fire, or do not any more.
    pub fn told(&mut self, message: &Message, at: Duration) -> Result<(), String> {
        let Message { name, receiver, is_resolved, key, news } = message;
        let (receiver, is_resolved) = (*receiver, *is_resolved);
        if let Some(known) = self.changing.get_mut(name) {
            return known.told(name, news, key, self.is_set_back);
        }
        let Some(group) = self.groups.get_mut(name) else { return Err(format!("nobody has set a group {name}")) };
        if group.is_silenced {
            return Err(format!("a silence keeps quiet what it covers: of {name} a message was sent"));
        }
        let is_first = !group.was_told(receiver, is_resolved);
        if let (Receiver::Boss, false, Care::Taken(since), true) = (receiver, is_resolved, group.care, is_first) {
            cared_for::check(name, since, at)?;
        }
        let keys = group.told.entry((receiver, is_resolved)).or_default();
        keys.insert(key.clone());
        if self.is_set_back { Ok(()) } else { told_once::check(name, keys) }
    }
}

impl Group {
    /// Whether somebody was told that it fires, or is over.
    pub fn was_told(&self, receiver: Receiver, is_resolved: bool) -> bool {
        self.told.contains_key(&(receiver, is_resolved))
    }
}
