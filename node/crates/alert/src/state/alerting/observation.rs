//! What an evaluation saw that was not known, and what becomes of alerts by that and by the time alone.
//!
//! An alert that was there and is there still is in no [`Observation`], so that one of thousands of alerts that nothing happens
//! to is empty.

use bellwether_model::{Labels, Timestamp};

use super::{Alert, AlertEvent, Alerts, Change, Phase, Present, Seen};
use crate::limits::RESOLVED_RETENTION_MS;
use crate::rules::AlertingRule;

/// How long alerts of a rule wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// How long an alert is pending before it fires.
    pub for_ms: i64,
    /// How long an alert fires on when its series is gone.
    pub keep_firing_for_ms: i64,
}

impl Timing {
    /// The rule's.
    pub fn of(rule: &AlertingRule) -> Timing {
        Timing { for_ms: rule.for_ms, keep_firing_for_ms: rule.keep_firing_for_ms }
    }
}

/// What an evaluation saw that was not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Alerts that begin: nobody knew them, or they were resolved.
    pub appeared: Vec<(Labels, Seen)>,
    /// Alerts whose series is there, with another value, other annotations, or after it was gone.
    pub refreshed: Vec<(Labels, Seen)>,
    /// Alerts whose series was there and is not.
    pub gone: Vec<Labels>,
    /// What became of some alerts that are known had no room, or was not looked for: they may be gone or back, so that none fires or ends
    /// by time.
    pub is_cut: bool,
}

impl Observation {
    /// What of `present` is not known from `alerts`. Values and annotations alone are told again after `refresh_ms`.
    pub fn difference(alerts: &Alerts, present: &Present, now: Timestamp, refresh_ms: i64) -> Observation {
        let mut observation = Observation::default();
        for (labels, seen) in present {
            match alerts.get(labels) {
                Some(known) if known.phase.is_active() => {
                    let is_back = matches!(known.phase, Phase::Firing { kept_since: Some(_), .. });
                    let is_same =
                        known.value.to_bits() == seen.value.to_bits() && known.annotations == seen.annotations;
                    let is_due = now.saturating_sub(known.refreshed_at) >= refresh_ms;
                    if is_back || (!is_same && is_due) {
                        observation.refreshed.push((labels.clone(), seen.clone()));
                    }
                }
                _ => observation.appeared.push((labels.clone(), seen.clone())),
            }
        }
        let was_there = |alert: &Alert| matches!(alert.phase, Phase::Pending | Phase::Firing { kept_since: None, .. });
        let gone = alerts.iter().filter(|(labels, alert)| was_there(alert) && !present.contains_key(*labels));
        observation.gone = gone.map(|(labels, _)| labels.clone()).collect();
        observation
    }

    /// Whether all is as it was known.
    pub fn is_empty(&self) -> bool {
        self.appeared.is_empty() && self.refreshed.is_empty() && self.gone.is_empty()
    }
}

/// Whether nothing at all becomes of the alerts: those who share them may go on sharing.
pub fn is_still(timing: Timing, alerts: &Alerts, now: Timestamp, observation: &Observation) -> bool {
    observation.is_empty() && (observation.is_cut || is_unmoved(timing, alerts, now))
}

/// Whether time alone makes nothing of the alerts.
pub fn is_unmoved(timing: Timing, alerts: &Alerts, now: Timestamp) -> bool {
    !alerts.values().any(|alert| by_time(timing, alert, now).is_some())
}

/// The alerts after an evaluation, and what happened, by their labels.
pub fn advance(timing: Timing, alerts: &mut Alerts, now: Timestamp, observation: &Observation) -> Vec<AlertEvent> {
    let mut events = Vec::new();
    let mut event = |labels: &Labels, change| events.push(AlertEvent { labels: labels.clone(), change });
    for labels in &observation.gone {
        let Some(known) = alerts.get_mut(labels) else { continue };
        match known.phase {
            Phase::Pending => {
                alerts.remove(labels);
                event(labels, Change::Dropped);
            }
            Phase::Firing { since, kept_since: None } if timing.keep_firing_for_ms > 0 => {
                known.phase = Phase::Firing { since, kept_since: Some(now) };
            }
            Phase::Firing { .. } => {
                known.phase = Phase::Resolved { at: now };
                event(labels, Change::Resolved);
            }
            Phase::Resolved { .. } => {}
        }
    }
    for (labels, seen) in &observation.refreshed {
        let Some(known) = alerts.get_mut(labels) else { continue };
        if let Phase::Firing { since, .. } = known.phase {
            known.phase = Phase::Firing { since, kept_since: None };
        }
        (known.value, known.annotations, known.refreshed_at) = (seen.value, seen.annotations.clone(), now);
    }
    for (labels, Seen { value, annotations }) in &observation.appeared {
        let (value, annotations) = (*value, annotations.clone());
        let alert = Alert { phase: Phase::Pending, active_at: now, value, annotations, refreshed_at: now };
        event(labels, Change::Pending);
        alerts.insert(labels.clone(), alert);
    }
    if !observation.is_cut {
        alerts.retain(|labels, alert| match by_time(timing, alert, now) {
            Some(Passed::Forgotten) => false,
            Some(Passed::Fires) => {
                alert.phase = Phase::Firing { since: now, kept_since: None };
                event(labels, Change::Firing);
                true
            }
            Some(Passed::Ends) => {
                alert.phase = Phase::Resolved { at: now };
                event(labels, Change::Resolved);
                true
            }
            None => true,
        });
    }
    // Stable: what happens to one alert stays in its order.
    events.sort_by(|a, b| a.labels.cmp(&b.labels));
    events
}

/// What time alone makes of an alert.
enum Passed {
    /// `for` is over.
    Fires,
    /// `keep_firing_for` is.
    Ends,
    /// It was resolved long ago.
    Forgotten,
}

fn by_time(timing: Timing, alert: &Alert, now: Timestamp) -> Option<Passed> {
    match alert.phase {
        Phase::Pending => (now.saturating_sub(alert.active_at) >= timing.for_ms).then_some(Passed::Fires),
        Phase::Firing { kept_since: None, .. } => None,
        Phase::Firing { kept_since: Some(first), .. } => {
            (now.saturating_sub(first) >= timing.keep_firing_for_ms).then_some(Passed::Ends)
        }
        Phase::Resolved { at } => (now.saturating_sub(at) > RESOLVED_RETENTION_MS).then_some(Passed::Forgotten),
    }
}
