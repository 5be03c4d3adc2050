//! What evaluations saw: the alerts of rules after it, what is told of them, what is remembered.

use std::sync::Arc;

use bellwether_model::{Labels, LabelsBuilder, Timestamp};
use bellwether_probe::{Bug, Seen, planted, reached, tell};

use super::Entry;
use crate::alert_group::command::{Limited, Outcome, Refusal, Reply};
use crate::alert_group::evaluated::{Evaluated, RuleDifference};
use crate::alert_group::limits::{EVALUATION_AHEAD_MS_MAX, HISTORY_MAX, RULE_ALERTS_MAX};
use crate::alert_group::state::{
    GroupProgress, Health, RuleKind, RuleProgress, StoredNotifications, TenantState, Totals, Transition,
};
use crate::notify::dispatch;
use crate::state::alerting::{Alert, AlertEvent, Change, Observation, Phase, Timing, advance, is_still};
use crate::state::threshold::Grading;
use crate::state::threshold::watch::{self, Advanced, Sightings};

/// What is to be told of alerts of rules.
#[derive(Default)]
pub(super) struct News {
    transitions: Vec<Transition>,
    /// Alerts that begin to fire, and whether people are to be told at once.
    begun: Vec<(dispatch::Alert, bool)>,
    /// Alerts that fire, of which there is something else to say.
    refreshed: Vec<dispatch::Alert>,
    /// Alerts that fire no longer, since when.
    ended: Vec<(Labels, Timestamp)>,
}

impl TenantState {
    pub(super) fn evaluated(&mut self, evaluated: Evaluated, entry: &Entry<'_>) -> Reply {
        let group = self.namespaces.get_mut(&evaluated.namespace).and_then(|groups| groups.get_mut(&evaluated.group));
        let Some(group) = group else {
            let (namespace, group) = (evaluated.namespace, evaluated.group);
            return Err(Refusal::NoRuleGroup { namespace, group });
        };
        if evaluated.epoch != entry.epoch && !planted(Bug::TakeOldRing) {
            reached("an evaluation of an old ring was refused");
            return Err(Refusal::OldRing { current: entry.epoch, got: evaluated.epoch });
        }
        if evaluated.revision != group.revision {
            return Err(Refusal::OldRevision { current: group.revision, got: evaluated.revision });
        }
        let (last, before, at) = (group.progress.last_evaluation, evaluated.before, evaluated.at);
        if last != before || last.is_some_and(|last| last >= at) {
            return Err(Refusal::AlreadyEvaluated { last, before, at });
        }
        let ahead = usize::try_from(at.saturating_sub(entry.now)).unwrap_or(0);
        Refusal::check(Limited::EvaluationAheadMs, ahead, EVALUATION_AHEAD_MS_MAX as usize)?;
        let rules = group.progress.rules.len();
        let differences = &evaluated.differences;
        let ascends = differences.windows(2).all(|pair| pair[0].rule < pair[1].rule)
            && differences.last().is_none_or(|last| (last.rule as usize) < rules);
        if evaluated.rule_durations_us.len() != rules || !ascends {
            return Err(Refusal::OtherRules { rules: rules as u64 });
        }
        tell(|| Seen::Taken {
            entry: entry.index,
            ring: entry.epoch,
            rule_group: format!("{}/{}/{}", entry.tenant, evaluated.namespace, evaluated.group),
            epoch: evaluated.epoch,
            at,
        });
        let progress = &mut Arc::make_mut(group).progress;
        let news = progress.take(evaluated, &mut self.totals);
        self.tell(news, entry);
        Ok(Outcome::Done)
    }

    /// Tells of alerts of rules, and remembers what became of them.
    pub(super) fn tell(&mut self, news: News, entry: &Entry<'_>) {
        let Entry { now, index, .. } = *entry;
        self.history.extend(news.transitions.into_iter().map(|transition| Transition { index, ..transition }));
        let more = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..more);
        let config = StoredNotifications::effective(&self.notifications);
        news.ended.into_iter().for_each(|(labels, at)| self.dispatch.end(&labels, at, now));
        for (alert, is_urgent) in news.begun {
            if self.dispatch.begin(config, alert, is_urgent, now).is_err() {
                self.untold = self.untold.saturating_add(1);
            }
        }
        news.refreshed.into_iter().for_each(|alert| self.dispatch.refresh(alert, now));
    }
}

impl GroupProgress {
    /// Takes an evaluation that fits; `totals` counts what the tenant has.
    fn take(&mut self, evaluated: Evaluated, totals: &mut Totals) -> News {
        self.last_evaluation = Some(evaluated.at);
        self.duration_us = evaluated.duration_us;
        self.missed = self.missed.saturating_add(evaluated.missed);
        let mut news = News::default();
        let mut differences = evaluated.differences.into_iter().peekable();
        for (number, (rule, duration_us)) in self.rules.iter_mut().zip(evaluated.rule_durations_us).enumerate() {
            rule.duration_us = duration_us;
            let difference = differences.next_if(|difference| difference.rule as usize == number);
            let before = (rule.alerts.len(), rule.watched.len());
            let room = RULE_ALERTS_MAX.saturating_sub(totals.alerts + totals.watched);
            rule.take(difference.unwrap_or_default(), evaluated.at, room, &mut news);
            totals.alerts = totals.alerts - before.0 + rule.alerts.len();
            totals.watched = totals.watched - before.1 + rule.watched.len();
        }
        news
    }
}

impl RuleProgress {
    fn take(&mut self, difference: RuleDifference, at: Timestamp, room: usize, news: &mut News) {
        let RuleDifference { health, mut observation, mut sightings, forgets, generator_url, is_muted, .. } =
            difference;
        self.is_muted = is_muted.unwrap_or(self.is_muted);
        if let Some(health) = health {
            self.health = health;
        }
        if let Some(generator_url) = generator_url {
            self.generator_url = generator_url;
        }
        if forgets {
            let ended = self.ended(at);
            news.transitions.extend(ended.transitions);
            news.ended.extend(ended.ended);
            (self.alerts, self.watched) = (Arc::default(), Arc::default());
        }
        // As after any failure, alerts stay as they are.
        if matches!(self.health, Health::Failed(_)) {
            return;
        }
        match self.shape.kind {
            RuleKind::Recording => {}
            RuleKind::Alerting(timing) => {
                let left_out = leave_out(&mut observation.appeared, room, |labels| !self.alerts.contains_key(labels));
                self.tell_left_out(left_out);
                self.advance(timing, at, &observation, news);
            }
            RuleKind::Threshold(timing, grading) => {
                let left_out = leave_out(&mut sightings.changed, room, |labels| !self.watched.contains_key(labels));
                self.tell_left_out(left_out);
                self.watch((timing, &grading), at, &sightings, news);
            }
        }
    }

    /// The rule goes on with what it has, but not all is well.
    fn tell_left_out(&mut self, count: usize) {
        if count > 0 {
            let there = format!("there are {RULE_ALERTS_MAX} alerts and watched series already");
            self.health = Health::Failed(format!("{there}: {count} left out"));
        }
    }

    fn advance(&mut self, timing: Timing, at: Timestamp, observation: &Observation, news: &mut News) {
        // Whoever shares the alerts goes on sharing while nothing becomes of them.
        if is_still(timing, &self.alerts, at, observation) {
            return;
        }
        let events = advance(timing, Arc::make_mut(&mut self.alerts), at, observation);
        self.tell_of(events, observation.refreshed.iter().map(|(labels, _)| labels), at, news);
    }

    fn watch(&mut self, rule: (Timing, &Grading), at: Timestamp, sightings: &Sightings, news: &mut News) {
        if watch::is_still(rule, &self.watched, &self.alerts, at, sightings) {
            return;
        }
        let (watched, alerts) = (Arc::make_mut(&mut self.watched), Arc::make_mut(&mut self.alerts));
        let Advanced { events, refreshed } = watch::advance(rule, watched, alerts, at, sightings);
        self.tell_of(events, refreshed.iter(), at, news);
    }

    fn tell_of<'l>(
        &self,
        events: Vec<AlertEvent>,
        refreshed: impl Iterator<Item = &'l Labels>,
        at: Timestamp,
        news: &mut News,
    ) {
        let alerts = &self.alerts;
        for event in events {
            let known = alerts.get(&event.labels);
            let value = known.map_or(0.0, |alert| alert.value);
            match (event.change, known) {
                (Change::Firing, Some(known)) => {
                    let told = told(&event.labels, known, &self.generator_url);
                    news.begun.extend(told.map(|alert| (alert, self.shape.critical)));
                }
                (Change::Resolved, _) => news.ended.push((event.labels.clone(), at)),
                _ => {}
            }
            news.transitions.push(Transition { at, labels: event.labels, change: event.change, value, index: 0 });
        }
        let refreshed = refreshed.filter_map(|labels| alerts.get_key_value(labels));
        news.refreshed.extend(refreshed.filter_map(|(labels, alert)| told(labels, alert, &self.generator_url)));
    }

    /// What is told when all alerts end at once.
    pub(super) fn ended(&self, at: Timestamp) -> News {
        let mut news = News::default();
        for (labels, alert) in &*self.alerts {
            let change = match alert.phase {
                Phase::Pending => Change::Dropped,
                Phase::Firing { .. } => Change::Resolved,
                Phase::Resolved { .. } => continue,
            };
            if change == Change::Resolved {
                news.ended.push((labels.clone(), at));
            }
            news.transitions.push(Transition { at, labels: labels.clone(), change, value: alert.value, index: 0 });
        }
        news
    }
}

/// Leaves out what is new and has no room; how many.
fn leave_out<T>(seen: &mut Vec<(Labels, T)>, mut room: usize, is_new: impl Fn(&Labels) -> bool) -> usize {
    let before = seen.len();
    seen.retain(|(labels, _)| {
        let is_new = is_new(labels);
        let is_taken = !is_new || room > 0;
        room -= usize::from(is_new && is_taken);
        is_taken
    });
    before - seen.len()
}

/// An alert of a rule as people are told of it; none of one that does not fire.
fn told(labels: &Labels, alert: &Alert, generator_url: &Arc<str>) -> Option<dispatch::Alert> {
    let Phase::Firing { since, .. } = alert.phase else { return None };
    let mut annotations = LabelsBuilder::default();
    for (name, text) in &*alert.annotations {
        annotations.push(name, text);
    }
    let (annotations, generator_url) = (annotations.build().unwrap_or_default(), generator_url.clone());
    Some(dispatch::Alert { labels: labels.clone(), annotations, begins_at: since, ends_at: None, generator_url })
}
