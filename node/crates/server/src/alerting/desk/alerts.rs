//! Alerts that fire, those from outside included, with whom they are told to and what keeps them quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_alert::alert_group::{
    Acknowledgement, Command, Outcome, ReceivedAlert, StoredNotifications, TenantState,
};
use bellwether_alert::notify::Config;
use bellwether_alert::notify::dispatch::{KnownAlert, is_over};
use bellwether_alert::notify::fingerprint::Fingerprint;
use bellwether_alert::notify::matchers::Matchers;
use bellwether_alert::notify::route::Muted;
use bellwether_alert::notify::silence::StoredSilence;
use bellwether_alert::state::alerting::ALERT_NAME;
use bellwether_model::{Labels, Tenant, Timestamp, WholeRegex};

use super::{Desk, DeskError};

/// An alert that fires.
#[derive(Debug, Clone)]
pub struct FiringAlert {
    /// What it is known by.
    pub labels: Labels,
    /// The same for programs.
    pub fingerprint: Fingerprint,
    /// What is told with it.
    pub annotations: Labels,
    /// Since when it fires.
    pub begins_at: Timestamp,
    /// Until when it is believed, at least.
    pub ends_at: Timestamp,
    /// When somebody told of it last.
    pub updated_at: Timestamp,
    /// Where people see what it is made of.
    pub generator_url: Arc<str>,
    /// Who is told of it.
    pub receivers: Vec<String>,
    /// Who takes care of it.
    pub acknowledged: Option<Acknowledgement>,
    /// Silences that keep it quiet.
    pub silenced_by: Vec<String>,
    /// Alerts that do.
    pub inhibited_by: Vec<Fingerprint>,
    /// The rule, if it is muted; intervals that mute its group, of alerts in groups alone.
    pub muted_by: Vec<String>,
}

impl FiringAlert {
    /// Whether nobody is told of it.
    pub fn is_suppressed(&self) -> bool {
        !(self.silenced_by.is_empty() && self.inhibited_by.is_empty() && self.muted_by.is_empty())
    }
}

/// Alerts that are told together.
#[derive(Debug, Clone)]
pub struct FiringGroup {
    /// The labels that they share.
    pub labels: Labels,
    /// Who is told.
    pub receiver: String,
    /// The alerts, by fingerprint.
    pub alerts: Vec<FiringAlert>,
}

/// Which alerts are wanted.
#[derive(Debug)]
pub struct AlertFilter {
    /// What they must meet.
    pub matchers: Matchers,
    /// A pattern that the name of a receiver must match.
    pub receiver: Option<WholeRegex>,
    /// Those of which somebody is told.
    pub active: bool,
    /// Those that a silence keeps quiet.
    pub silenced: bool,
    /// Those that another alert keeps quiet.
    pub inhibited: bool,
    /// Those of groups that an interval mutes.
    pub muted: bool,
}

impl Default for AlertFilter {
    fn default() -> AlertFilter {
        AlertFilter {
            matchers: Matchers::default(),
            receiver: None,
            active: true,
            silenced: true,
            inhibited: true,
            muted: true,
        }
    }
}

impl AlertFilter {
    fn takes(&self, alert: &FiringAlert) -> bool {
        (self.active || alert.is_suppressed())
            && (self.silenced || alert.silenced_by.is_empty())
            && (self.inhibited || alert.inhibited_by.is_empty())
    }

    fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

impl Desk {
    /// Takes alerts from outside. Those that have no room are a limit, the others are taken.
    pub async fn receive(&self, tenant: &Tenant, alerts: Vec<ReceivedAlert>) -> Result<(), DeskError> {
        match self.propose(tenant, Command::Receive { tenant: tenant.clone(), alerts }).await? {
            Outcome::Received { refused } if refused > 0 => {
                Err(DeskError::Limit(format!("there was no room for {refused} of the alerts")))
            }
            _ => Ok(()),
        }
    }

    /// Alerts that fire, by fingerprint.
    pub fn firing(&self, tenant: &Tenant, filter: &AlertFilter) -> Vec<FiringAlert> {
        let now = self.now_ms();
        let mut alerts: Vec<FiringAlert> = self.look(tenant, |state| {
            let Some(state) = state else { return Vec::new() };
            let all = Seen::of(state, now);
            let wanted = state.dispatch.alerts().filter(|known| filter.matchers.match_labels(&known.alert.labels));
            let firing = wanted.filter_map(|known| all.firing(known));
            firing.filter(|alert| filter.takes(alert)).collect()
        });
        alerts.iter_mut().for_each(|alert| self.complete_url(alert));
        alerts.retain(|alert| alert.receivers.iter().any(|name| filter.takes_receiver(name)));
        alerts.sort_by_key(|alert| alert.fingerprint);
        alerts
    }

    /// The same in groups, by their labels and receivers.
    pub fn firing_groups(&self, tenant: &Tenant, filter: &AlertFilter) -> Vec<FiringGroup> {
        let now = self.now_ms();
        let mut groups = self.look(tenant, |state| {
            let Some(state) = state else { return Vec::new() };
            let all = Seen::of(state, now);
            let config = all.config;
            let mut known: BTreeMap<&Labels, Option<FiringAlert>> = BTreeMap::new();
            let mut groups = Vec::new();
            for ((route, labels), group) in state.dispatch.groups() {
                let receiver = &config.routes.get(*route).receiver;
                let muted_by = match config.routes.muted(*route, &config.intervals, now) {
                    None => Vec::new(),
                    Some(Muted::Within(name)) => vec![name.to_owned()],
                    Some(Muted::Outside(names)) => names.to_vec(),
                };
                if !filter.takes_receiver(receiver) || !(filter.muted || muted_by.is_empty()) {
                    continue;
                }
                let mut alerts = Vec::new();
                for labels in group.alerts.iter().filter(|labels| filter.matchers.match_labels(labels)) {
                    let of = || all.firing(state.dispatch.alert(labels)?);
                    let Some(alert) = known.entry(labels).or_insert_with(of) else { continue };
                    if filter.takes(alert) {
                        let mut alert = alert.clone();
                        alert.muted_by.extend(muted_by.iter().cloned());
                        alerts.push(alert);
                    }
                }
                if !alerts.is_empty() {
                    groups.push(FiringGroup { labels: labels.clone(), receiver: receiver.clone(), alerts });
                }
            }
            groups
        });
        for group in &mut groups {
            group.alerts.iter_mut().for_each(|alert| self.complete_url(alert));
            group.alerts.sort_by_key(|alert| alert.fingerprint);
        }
        groups.sort_by(|a, b| (&a.labels, &a.receiver).cmp(&(&b.labels, &b.receiver)));
        groups
    }

    /// What rules here are made of is seen at a path of whoever shows it.
    fn complete_url(&self, alert: &mut FiringAlert) {
        if alert.generator_url.starts_with('/') {
            alert.generator_url = format!("{}{}", self.external_url, alert.generator_url).into();
        }
    }

    /// Names of all receivers.
    pub fn receivers(&self, tenant: &Tenant) -> Vec<String> {
        self.look(tenant, |state| {
            let config = state.map_or(Config::nobody(), config);
            config.receivers.keys().cloned().collect()
        })
    }
}

/// What a muted rule is called among intervals.
fn rule_name(name: &str) -> String {
    format!("rule {name}")
}

fn config(state: &TenantState) -> &Config {
    StoredNotifications::effective(&state.notifications)
}

/// What alerts are seen by, found out once for all of them.
struct Seen<'s> {
    state: &'s TenantState,
    config: &'s Config,
    muted: BTreeSet<Labels>,
    silences: Vec<(&'s String, &'s StoredSilence)>,
    now: Timestamp,
}

impl<'s> Seen<'s> {
    fn of(state: &'s TenantState, now: Timestamp) -> Seen<'s> {
        let silences = state.silences.holding(&|during| state.dispatch.fires(during, now), now);
        Seen { state, config: config(state), muted: state.muted(), silences, now }
    }

    fn firing(&self, known: &KnownAlert) -> Option<FiringAlert> {
        let Seen { state, config, ref muted, ref silences, now } = *self;
        let alert = &known.alert;
        if is_over(alert, now) {
            return None;
        }
        let mut receivers: Vec<String> = Vec::new();
        for route in config.routes.take(&alert.labels) {
            let receiver = &config.routes.get(route).receiver;
            if !receivers.contains(receiver) {
                receivers.push(receiver.clone());
            }
        }
        let silencing = silences.iter().filter(|(_, silence)| silence.silences(&alert.labels, now));
        let inhibited_by = state.dispatch.inhibited_by(config, &alert.labels, now);
        Some(FiringAlert {
            labels: alert.labels.clone(),
            fingerprint: Fingerprint::of(&alert.labels),
            annotations: alert.annotations.clone(),
            begins_at: alert.begins_at,
            // Whoever asks sees an end that moves on, as that of an alert of which Prometheus tells again and again.
            ends_at: alert.ends_at.unwrap_or_else(|| now.saturating_add(config.resolve_timeout_ms())),
            updated_at: known.updated_at,
            generator_url: alert.generator_url.clone(),
            receivers,
            acknowledged: state.acknowledgement(&alert.labels, now).cloned(),
            silenced_by: silencing.map(|(id, _)| (*id).clone()).collect(),
            inhibited_by: inhibited_by.map(|(_, labels)| Fingerprint::of(labels)).into_iter().collect(),
            muted_by: muted
                .get(&alert.labels)
                .and_then(|labels| labels.get(ALERT_NAME))
                .map(rule_name)
                .into_iter()
                .collect(),
        })
    }
}
