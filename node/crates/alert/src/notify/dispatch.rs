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
//! One group's message holds all its alerts, so that a storm of one group is one message. Nothing here reads a clock or decides
//! by chance: whoever replays the same inputs gets the same messages.

mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};

use super::Config;
use super::config::kinds::Kind;
use super::inhibition::Inhibitors;
use super::route::RouteAt;
use super::silence::{SILENCES_MAX, Silence};
pub use log::{Log, Why};

/// Alerts at a time.
pub const ALERTS_MAX: usize = 200_000;
/// Groups at a time: each alert may be in several.
pub const GROUPS_MAX: usize = 200_000;

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
    pub integration: usize,
    /// Its kind.
    pub kind: Kind,
    /// What for.
    pub why: Why,
    /// Alerts that fire.
    pub firing: Vec<Alert>,
    /// Alerts that no longer do; none if the receiver is not told of those.
    pub resolved: Vec<Alert>,
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
    /// As many silences as there may be are there.
    #[error("there are {SILENCES_MAX} silences already")]
    TooManySilences,
}

/// All alerts, their groups, and what was told of them.
#[derive(Debug, Clone, Default)]
pub struct Dispatch {
    alerts: BTreeMap<Labels, Known>,
    // Invariant: each group's alerts are in `alerts`, whose `groups` counts the groups that an alert is in.
    groups: BTreeMap<(RouteAt, Labels), Group>,
    silences: Vec<Silence>,
    log: Log,
}

#[derive(Debug, Clone)]
struct Known {
    alert: Alert,
    groups: usize,
}

#[derive(Debug, Clone)]
struct Group {
    alerts: BTreeSet<Labels>,
    /// When it is looked at next.
    next: Timestamp,
    /// When it was looked at last.
    looked_at: Option<Timestamp>,
    /// Ways whose messages of the last look are not sent yet.
    unsent: BTreeSet<usize>,
}

impl Dispatch {
    /// Takes an alert that begins or ends. One that ends without having been known is nobody's concern.
    pub fn receive(&mut self, config: &Config, mut alert: Alert, now: Timestamp) -> Result<(), DispatchError> {
        if let Some(known) = self.alerts.get_mut(&alert.labels) {
            if !is_over(&known.alert, now) {
                alert.begins_at = known.alert.begins_at.min(alert.begins_at);
            }
            // Whoever tells of the end need not repeat what was told of the begin.
            if alert.ends_at.is_some() && alert.annotations.is_empty() {
                alert.annotations = known.alert.annotations.clone();
            }
            known.alert = alert.clone();
        } else if alert.ends_at.is_some() {
            return Ok(());
        } else if self.alerts.len() >= ALERTS_MAX {
            return Err(DispatchError::TooManyAlerts);
        }
        for at in config.routes.take(&alert.labels) {
            let key = (at, config.routes.group_labels(at, &alert.labels));
            if !self.groups.contains_key(&key) && (alert.ends_at.is_some() || self.groups.len() >= GROUPS_MAX) {
                if alert.ends_at.is_some() {
                    continue;
                }
                return Err(DispatchError::TooManyGroups);
            }
            let wait = config.routes.get(at).group_wait_ms;
            let new = Group {
                alerts: BTreeSet::new(),
                next: now.saturating_add(wait),
                looked_at: None,
                unsent: BTreeSet::new(),
            };
            let group = self.groups.entry(key).or_insert(new);
            // What has fired for longer than groups wait has waited enough.
            if group.looked_at.is_none() && alert.begins_at.saturating_add(wait) < now {
                group.next = now;
            }
            let known =
                self.alerts.entry(alert.labels.clone()).or_insert_with(|| Known { alert: alert.clone(), groups: 0 });
            if group.alerts.insert(alert.labels.clone()) {
                known.groups += 1;
            }
        }
        Ok(())
    }

    /// Takes a silence.
    pub fn silence(&mut self, silence: Silence, now: Timestamp) -> Result<(), DispatchError> {
        self.silences.retain(|known| known.ends_at > now);
        if self.silences.len() >= SILENCES_MAX {
            return Err(DispatchError::TooManySilences);
        }
        self.silences.push(silence);
        Ok(())
    }

    /// When a group is looked at next.
    pub fn next(&self) -> Option<Timestamp> {
        self.groups.values().map(|group| group.next).min()
    }

    /// Looks at all groups whose time has come, and says what is to be sent.
    pub fn advance(&mut self, config: &Config, now: Timestamp) -> Vec<Message> {
        let due: Vec<(RouteAt, Labels)> =
            self.groups.iter().filter(|(_, group)| group.next <= now).map(|(key, _)| key.clone()).collect();
        if due.is_empty() {
            return Vec::new();
        }
        let firing = self.alerts.values().filter(|known| !is_over(&known.alert, now)).map(|known| &known.alert.labels);
        let inhibitors = Inhibitors::new(&config.inhibitions, firing);
        let is_quiet = |labels: &Labels| {
            inhibitors.muted_by(labels).is_some() || self.silences.iter().any(|silence| silence.silences(labels, now))
        };
        let mut messages = Vec::new();
        let mut looked_at = Vec::new();
        for key in due {
            let heard = self.groups[&key].alerts.iter().filter(|labels| !is_quiet(labels));
            let heard: Vec<Alert> = heard.map(|labels| self.alerts[labels].alert.clone()).collect();
            let before = messages.len();
            if !heard.is_empty() && config.routes.muted(key.0, &config.intervals, now).is_none() {
                tell(&mut self.log, config, &key, &heard, now, &mut messages);
            }
            looked_at.push((key, messages[before..].iter().map(|message| message.integration).collect()));
        }
        for (key, unsent) in looked_at {
            let interval = config.routes.get(key.0).group_interval_ms;
            if let Some(group) = self.groups.get_mut(&key) {
                (group.next, group.looked_at, group.unsent) = (now.saturating_add(interval), Some(now), unsent);
            }
            self.settle(&key);
        }
        self.log.forget(now);
        messages
    }

    /// Notes that a message was sent.
    pub fn sent(&mut self, config: &Config, message: &Message, now: Timestamp) {
        self.log.note(message, config.routes.get(message.route).repeat_interval_ms, now);
        let key = (message.route, message.group.clone());
        if let Some(group) = self.groups.get_mut(&key) {
            group.unsent.remove(&message.integration);
        }
        self.settle(&key);
    }

    /// Once everybody knows, alerts that were over when the group was looked at leave it.
    fn settle(&mut self, key: &(RouteAt, Labels)) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(looked_at) = group.looked_at.filter(|_| group.unsent.is_empty()) else { return };
        let (alerts, all) = (&mut group.alerts, &mut self.alerts);
        alerts.retain(|labels| {
            let Some(known) = all.get_mut(labels) else { return false };
            if !is_over(&known.alert, looked_at) {
                return true;
            }
            known.groups -= 1;
            if known.groups == 0 {
                all.remove(labels);
            }
            false
        });
        if alerts.is_empty() {
            self.groups.remove(key);
        }
    }
}

/// Adds what the ways of a group's receiver are to be told.
fn tell(
    log: &mut Log,
    config: &Config,
    (at, group): &(RouteAt, Labels),
    heard: &[Alert],
    now: Timestamp,
    messages: &mut Vec<Message>,
) {
    let route = config.routes.get(*at);
    let Some(receiver) = config.receivers.get(&route.receiver) else { return };
    let (resolved, firing): (Vec<Alert>, Vec<Alert>) = heard.iter().cloned().partition(|alert| is_over(alert, now));
    for (index, integration) in receiver.integrations.iter().enumerate() {
        let tells_resolved = integration.settings.flag("send_resolved");
        let mut message = Message {
            group_key: config.routes.group_key(*at, group),
            group: group.clone(),
            route: *at,
            receiver: route.receiver.clone(),
            integration: index,
            kind: integration.kind,
            why: Why::New,
            firing: firing.clone(),
            resolved: resolved.clone(),
        };
        let Some(why) = log.why(&message, tells_resolved, route.repeat_interval_ms, now) else { continue };
        if firing.is_empty() && !tells_resolved {
            // Nothing to say, but what fires again later is new.
            log.note(&message, route.repeat_interval_ms, now);
            continue;
        }
        message.why = why;
        if !tells_resolved {
            message.resolved.clear();
        }
        messages.push(message);
    }
}

fn is_over(alert: &Alert, now: Timestamp) -> bool {
    alert.ends_at.is_some_and(|ends_at| ends_at <= now)
}
