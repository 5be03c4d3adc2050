//! Groups of alerts, and when whom is told what of them: Alertmanager's, as values that a clock is handed to.
//!
//! 1. An alert goes into a group of each route that it ends at ([`Dispatch::receive`]).
//! 2. A new group waits for `group_wait`, so that alerts that fire together are told together; then it is looked at every
//!    `group_interval` ([`Dispatch::advance`]).
//! 3. Of what is in the group, what is inhibited or silenced is left out, and all of it while an interval mutes the route.
//! 4. What is left is held against the [`Log`], which knows what each way of the receiver was told last: a message goes out if
//!    there are new alerts, if all are resolved, if others are and the way is told of that, or if `repeat_interval` is over.
//! 5. A message that was sent is noted in the log ([`Dispatch::sent`]); once all ways of the group's receiver know, alerts that
//!    are resolved leave the group, and with the last one the group goes.
//!
//! A message of which nobody knows yet whether it was sent is left alone while it still says what is to be said, so that whoever
//! gets it twice can tell; otherwise another takes its place ([`Look`]).
//!
//! One group's message holds all its alerts, so that a storm of one group is one message; of a storm of groups a receiver is told
//! as much as its [`Throttles`](super::throttle::Throttles) let through. Nothing here reads a clock or decides
//! by chance: whoever replays the same inputs gets the same messages.

mod acknowledged;
mod escalate;
pub(crate) mod log;
mod look;
mod receive;
mod regroup;
mod storm;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};

use super::Config;
use super::config::IntegrationAt;
use super::escalation::Escalation;
use super::inhibition::{Inhibition, Sources};
use super::matchers::Matchers;
use super::route::RouteAt;
use crate::set_back::SetBack;
pub use log::{Log, Why};
pub use look::{Look, Looking};

/// Alerts at a time.
pub const ALERTS_MAX: usize = 500_000;
/// Groups at a time: each alert may be in several.
pub const GROUPS_MAX: usize = 200_000;
/// Groups that are looked at in one go; the others stay due.
pub const LOOKS_MAX: usize = 10_000;

/// An alert, firing or resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is known by.
    pub labels: Labels,
    /// What is told with it.
    pub annotations: Labels,
    /// Since when it fires.
    pub begins_at: Timestamp,
    /// From when on it does not, if that is known.
    pub ends_at: Option<Timestamp>,
    /// Where people see what it is made of: an address, or a path under that of whoever shows it; may be empty.
    pub generator_url: Arc<str>,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The group's name for the receiver.
    pub group_key: String,
    /// The labels that the group's alerts share.
    pub group: Labels,
    /// The route, which the group belongs to.
    pub route: RouteAt,
    /// Who is told.
    pub receiver: String,
    /// By which of the receiver's ways.
    pub integration: IntegrationAt,
    /// What for.
    pub why: Why,
    /// Alerts that fire.
    pub firing: Vec<Alert>,
    /// Alerts that no longer do; none if the receiver is not told of those.
    pub resolved: Vec<Alert>,
}

/// What is told by one integration of one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The group's name for the receiver.
    pub group_key: String,
    /// Who is told.
    pub receiver: String,
    /// By which integration.
    pub integration: IntegrationAt,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// As many alerts as there may be are there.
    #[error("there are {ALERTS_MAX} alerts already")]
    TooManyAlerts,
    /// As many groups as there may be are there.
    #[error("there are {GROUPS_MAX} groups of alerts already")]
    TooManyGroups,
}

/// All alerts, their groups, and what was told of them.
#[derive(Debug, Clone, Default)]
pub struct Dispatch {
    // Invariant: each is in a group, and `groups` counts in how many.
    pub(crate) alerts: BTreeMap<Labels, KnownAlert>,
    // Invariant: each group's alerts are in `alerts`.
    pub(crate) groups: BTreeMap<GroupId, Group>,
    // Invariant: `next` of each group, and nothing else.
    due: BTreeSet<(Timestamp, GroupId)>,
    // Invariant: made of `alerts`.
    sources: Sources,
    pub(crate) log: Log,
    /// How far groups have been escalated.
    // Invariant: each is of a group.
    pub(crate) escalations: BTreeMap<GroupId, Escalation>,
}

/// A group: its route, and the labels that its alerts share.
pub type GroupId = (RouteAt, Labels);

/// An alert as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAlert {
    /// The alert.
    pub alert: Alert,
    /// When somebody told of it last.
    pub updated_at: Timestamp,
    /// Its end is not known: it is believed until `alert.ends_at` unless somebody tells of it again.
    pub times_out: bool,
    /// How many rules have it fire: while there is one, nobody else has a say in when it ends.
    pub rules: u32,
    pub(crate) groups: usize,
}

/// Alerts that are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which.
    pub alerts: BTreeSet<Labels>,
    /// When it is looked at next.
    pub next: Timestamp,
    /// When it was looked at last.
    pub looked_at: Option<Timestamp>,
    /// Ways whose messages of the last look are not sent yet.
    pub unsent: BTreeSet<IntegrationAt>,
}

impl Message {
    /// By which way it goes.
    pub fn way(&self) -> Way {
        let (mut group_key, receiver) = (self.group_key.clone(), self.receiver.clone());
        if self.why == Why::Acknowledged {
            // It waits beside what else is to be told of the group; keys of groups begin with a brace.
            group_key.insert_str(0, "acknowledged: ");
        }
        Way { group_key, receiver, integration: self.integration }
    }

    /// A hash of the alerts that it tells of.
    pub fn content_hash(&self) -> u64 {
        log::content_hash(self)
    }

    /// Whether it tells of the same alerts as the other.
    fn tells_the_same(&self, other: &Message) -> bool {
        let same = |some: &[Alert], others: &[Alert]| {
            some.len() == others.len() && some.iter().zip(others).all(|(one, other)| one.labels == other.labels)
        };
        same(&self.firing, &other.firing) && same(&self.resolved, &other.resolved)
    }
}

impl Dispatch {
    /// All alerts, those included that are over and of which somebody is still to be told.
    pub fn alerts(&self) -> impl ExactSizeIterator<Item = &KnownAlert> {
        self.alerts.values()
    }

    /// An alert.
    pub fn alert(&self, labels: &Labels) -> Option<&KnownAlert> {
        self.alerts.get(labels)
    }

    /// All groups, by route.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&GroupId, &Group)> {
        self.groups.iter()
    }

    /// Whether an alert fires that meets matchers.
    pub fn fires(&self, matchers: &Matchers, now: Timestamp) -> bool {
        self.alerts.values().any(|known| !is_over(&known.alert, now) && matchers.match_labels(&known.alert.labels))
    }

    /// When a group is looked at next.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(next, _)| *next)
    }

    /// An alert that inhibits this one now, and the number of the rule by which it does.
    pub fn inhibited_by(&self, config: &Config, labels: &Labels, now: Timestamp) -> Option<(usize, &Labels)> {
        let fires = |source: &Labels| self.alerts.get(source).is_some_and(|known| !is_over(&known.alert, now));
        self.sources.muting(&config.inhibitions, labels, &fires)
    }

    /// Of what was stored; none if alerts and groups are not of each other.
    pub(crate) fn of_parts(
        inhibitions: &[Inhibition],
        alerts: Vec<KnownAlert>,
        groups: Vec<(GroupId, Group)>,
        log: Log,
    ) -> Option<Dispatch> {
        let alerts = alerts.into_iter().map(|known| (known.alert.labels.clone(), known)).collect();
        let mut dispatch = Dispatch { alerts, log, ..Dispatch::default() };
        for (id, group) in groups {
            for labels in &group.alerts {
                dispatch.alerts.get_mut(labels)?.groups += 1;
            }
            dispatch.due.insert((group.next, id.clone()));
            if dispatch.groups.insert(id, group).is_some() {
                return None;
            }
        }
        for (labels, known) in &dispatch.alerts {
            if known.groups == 0 {
                return None;
            }
            dispatch.sources.insert(inhibitions, labels);
        }
        Some(dispatch)
    }

    /// Sets when a group is looked at next; the group as well if it is new.
    fn schedule(&mut self, id: &GroupId, next: Timestamp) -> &mut Group {
        let new = Group { alerts: BTreeSet::new(), next, looked_at: None, unsent: BTreeSet::new() };
        let group = self.groups.entry(id.clone()).or_insert(new);
        self.due.remove(&(group.next, id.clone()));
        self.due.insert((next, id.clone()));
        group.next = next;
        group
    }

    /// Its times were wrong.
    pub(crate) fn set_back(&mut self, back: SetBack) {
        for KnownAlert { alert, updated_at, times_out, .. } in self.alerts.values_mut() {
            back.happened(&mut alert.begins_at);
            back.happened(updated_at);
            if *times_out || is_over(alert, back.before()) {
                alert.ends_at.iter_mut().for_each(|at| back.awaited(at));
            }
        }
        for group in self.groups.values_mut() {
            back.awaited(&mut group.next);
            group.looked_at.iter_mut().for_each(|at| back.happened(at));
        }
        self.due = self.groups.iter().map(|(id, group)| (group.next, id.clone())).collect();
        let escalations = self.escalations.values_mut();
        escalations.filter_map(|known| known.next.as_mut()).for_each(|at| back.awaited(at));
        self.log.set_back(back);
    }

    fn remove_group(&mut self, id: &GroupId) {
        if let Some(group) = self.groups.remove(id) {
            self.due.remove(&(group.next, id.clone()));
            self.escalations.remove(id);
        }
    }
}

/// Whether it does not fire any more.
pub fn is_over(alert: &Alert, now: Timestamp) -> bool {
    alert.ends_at.is_some_and(|ends_at| ends_at <= now)
}
