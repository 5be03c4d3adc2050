//! Which receivers an alert goes to, and in which group.
//!
//! The tree is flat: a route is a number, its parent has a lower one, and its children stand in the order of the file. An alert
//! goes down the tree as far as routes match; of siblings the first that matches takes it, and the next ones only if that one
//! says `continue`. A route leaves what it does not say to its parent; the intervals that mute it are its own alone.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};

use super::config::kinds::Kind;
use super::dispatch::Message;
use super::interval::Intervals;
use super::matchers::{Matchers, Quoted};
use super::summary::Summary;
use crate::duration::parse_duration_ms;

/// How long a group waits at first, unless the root says otherwise.
pub const GROUP_WAIT_MS_DEFAULT: i64 = 30 * 1000;
/// How long a group waits until it tells what changed, unless the root says otherwise.
pub const GROUP_INTERVAL_MS_DEFAULT: i64 = 5 * 60 * 1000;
/// How long a group waits until it repeats what has not changed, unless the root says otherwise.
pub const REPEAT_INTERVAL_MS_DEFAULT: i64 = 4 * 3600 * 1000;

/// The annotation by which an alert says how often it is told again: a duration, or `never`.
pub const REMIND_EVERY: &str = "remind_every";

/// A route's number.
pub type RouteAt = usize;

/// Which of their labels alerts of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// These; without any, all alerts of the route are one group.
    Labels(BTreeSet<String>),
    /// All: each alert is a group.
    All,
}

/// A route, with what it has from its parents.
#[derive(Debug, Clone)]
pub struct Route {
    /// The one above; the root has none.
    pub parent: Option<RouteAt>,
    /// Those below.
    pub children: Vec<RouteAt>,
    /// What alerts must meet, besides what the routes above ask.
    pub matchers: Matchers,
    /// Who is told.
    pub receiver: String,
    /// How alerts are put together.
    pub group_by: GroupBy,
    /// How long a new group waits for more alerts.
    pub group_wait_ms: i64,
    /// How long a group waits until it tells of changes.
    pub group_interval_ms: i64,
    /// How long a group waits until it tells the same again.
    pub repeat_interval_ms: i64,
    /// Whether siblings after it are tried as well.
    pub continues: bool,
    /// Intervals in which nobody is told.
    pub mute: Vec<String>,
    /// Intervals outside of which nobody is told, if there are any.
    pub active: Vec<String>,
    /// The policy by which others are told if nobody takes care.
    pub escalation: Option<String>,
    /// What its messages are summed up by.
    pub summary: Option<Arc<Summary>>,
}

impl Route {
    /// How long a way of a kind waits until it tells the same again. What another Alertmanager is not told of again it takes for
    /// over, so that it is told whenever the group is looked at.
    pub(super) fn repeat_ms(&self, message: &Message) -> i64 {
        match message.integration.kind {
            Kind::Alertmanager => self.repeat_interval_ms.min(self.group_interval_ms / 2),
            // Of two looks the one that is nearer.
            _ => match reminder_ms(message) {
                Some(reminder_ms) => reminder_ms.saturating_sub(self.group_interval_ms / 2).max(0),
                None => self.repeat_interval_ms,
            },
        }
    }

    /// The interval by which what was told is remembered.
    pub(super) fn remembered_ms(&self, message: &Message) -> i64 {
        self.repeat_interval_ms.max(reminder_ms(message).unwrap_or_default())
    }
}

/// How often those that fire want to be told again: the shortest that one of them asks for.
fn reminder_ms(message: &Message) -> Option<i64> {
    let asked = message.firing.iter().filter_map(|alert| match alert.annotations.get(REMIND_EVERY)?.trim() {
        "never" => Some(i64::MAX),
        text => parse_duration_ms(text).ok().filter(|ms| *ms > 0),
    });
    asked.min()
}

/// Why a route tells nobody at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Muted<'r> {
    /// This interval mutes it.
    Within(&'r str),
    /// None of these intervals holds, which it is active in alone.
    Outside(&'r [String]),
}

/// All routes; the first is the root.
#[derive(Debug, Clone)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The root, which takes what no other does.
    pub const ROOT: RouteAt = 0;

    /// Routes whose parents come before them.
    pub fn new(routes: Vec<Route>) -> Routes {
        assert!(routes.first().is_some_and(|root| root.parent.is_none()), "there is a root, and it is the first");
        let ordered =
            routes.iter().enumerate().skip(1).all(|(at, route)| route.parent.is_some_and(|parent| parent < at));
        assert!(ordered, "a route's parent comes before it");
        Routes(routes)
    }

    /// A route.
    pub fn get(&self, at: RouteAt) -> &Route {
        &self.0[at]
    }

    /// How many there are: routes are numbered below it.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (RouteAt, &Route)> {
        self.0.iter().enumerate()
    }

    /// The routes that an alert ends at, in the order of the file: never none, since the root takes what no other does.
    pub fn take(&self, labels: &Labels) -> Vec<RouteAt> {
        let mut taken = Vec::new();
        self.descend(Routes::ROOT, labels, &mut taken);
        if taken.is_empty() { vec![Routes::ROOT] } else { taken }
    }

    /// Adds where the alert ends under a route, and tells whether the route matches. As deep as the file, which is bounded.
    fn descend(&self, at: RouteAt, labels: &Labels, taken: &mut Vec<RouteAt>) -> bool {
        let route = &self.0[at];
        if !route.matchers.match_labels(labels) {
            return false;
        }
        let before = taken.len();
        for child in &route.children {
            if self.descend(*child, labels, taken) && !self.0[*child].continues {
                break;
            }
        }
        if taken.len() == before {
            taken.push(at);
        }
        true
    }

    /// The route's place in the tree, by its matchers and those above.
    pub fn key(&self, at: RouteAt) -> String {
        let route = &self.0[at];
        match route.parent {
            Some(parent) => format!("{}/{}", self.key(parent), route.matchers),
            None => route.matchers.to_string(),
        }
    }

    /// The labels by which a route groups an alert.
    pub fn group_labels(&self, at: RouteAt, labels: &Labels) -> Labels {
        match &self.0[at].group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => labels.filtered(|label| names.contains(label.name)),
        }
    }

    /// The name of a group, as Alertmanager makes it: receivers know it as the alert's key.
    pub fn group_key(&self, at: RouteAt, group: &Labels) -> String {
        format!("{}:{}", self.key(at), PrintedLabels(group))
    }

    /// Why a route tells nobody at a time, if it does not.
    pub fn muted(&self, at: RouteAt, intervals: &Intervals, now: Timestamp) -> Option<Muted<'_>> {
        let route = &self.0[at];
        let holds = |name: &String| intervals.get(name).is_some_and(|all| all.iter().any(|one| one.contains(now)));
        if let Some(name) = route.mute.iter().find(|name| holds(name)) {
            return Some(Muted::Within(name));
        }
        let is_active = route.active.is_empty() || route.active.iter().any(holds);
        (!is_active).then_some(Muted::Outside(&route.active))
    }
}

/// `{a="b", c="d"}`
pub struct PrintedLabels<'l>(pub &'l Labels);

impl fmt::Display for PrintedLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, label) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}={}", label.name, Quoted(label.value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupBy::All => f.write_str("[...]"),
            GroupBy::Labels(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                write!(f, "[{}]", names.join(", "))
            }
        }
    }
}
