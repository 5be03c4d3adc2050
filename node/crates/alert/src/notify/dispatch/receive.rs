//! How alerts come into groups.

use bellwether_model::{Labels, Timestamp};

use super::{ALERTS_MAX, Alert, Dispatch, DispatchError, GROUPS_MAX, KnownAlert, is_over};
use crate::notify::Config;

impl Dispatch {
    /// Takes an alert that begins or ends. One that ends without having been known is nobody's concern.
    pub fn receive(&mut self, config: &Config, mut alert: Alert, now: Timestamp) -> Result<(), DispatchError> {
        if let Some(known) = self.alerts.get(&alert.labels) {
            if !is_over(&known.alert, now) {
                alert.begins_at = known.alert.begins_at.min(alert.begins_at);
            }
            // Whoever tells of the end need not repeat what was told of the begin.
            if alert.ends_at.is_some() && alert.annotations.is_empty() {
                alert.annotations = known.alert.annotations.clone();
                alert.generator_url = known.alert.generator_url.clone();
            }
        }
        self.take(config, KnownAlert { alert, updated_at: now, times_out: false, rules: 0, groups: 0 }, now, false)
    }

    /// An alert of a rule begins. Rules that have one with the same labels fire it together. A group that is new waits for nobody if the
    /// alert is urgent; one that was looked at already is looked at again when its interval is over.
    pub fn begin(
        &mut self,
        config: &Config,
        mut alert: Alert,
        is_urgent: bool,
        now: Timestamp,
    ) -> Result<(), DispatchError> {
        let mut rules = 1_u32;
        if let Some(known) = self.alerts.get(&alert.labels).filter(|known| !is_over(&known.alert, now)) {
            alert.begins_at = known.alert.begins_at.min(alert.begins_at);
            rules = rules.saturating_add(known.rules);
        }
        self.take(config, KnownAlert { alert, updated_at: now, times_out: false, rules, groups: 0 }, now, is_urgent)
    }

    /// There is something else to say of an alert of a rule that fires.
    pub fn refresh(&mut self, alert: Alert, now: Timestamp) {
        if let Some(known) = self.alerts.get_mut(&alert.labels).filter(|known| known.rules > 0) {
            (known.alert.annotations, known.alert.generator_url) = (alert.annotations, alert.generator_url);
            known.updated_at = now;
        }
    }

    /// An alert of a rule ends, unless another rule has it fire.
    pub fn end(&mut self, labels: &Labels, at: Timestamp, now: Timestamp) {
        let Some(known) = self.alerts.get_mut(labels).filter(|known| known.rules > 0) else { return };
        known.rules -= 1;
        if known.rules == 0 {
            (known.alert.ends_at, known.updated_at) = (Some(at), now);
        }
    }

    /// Takes an alert from outside, of which its sender tells again and again. Its end may lie ahead; with `times_out` it is no more
    /// than how long the alert is believed. While a rule has the alert fire, nobody outside has a say in it.
    pub fn receive_outside(
        &mut self,
        config: &Config,
        alert: Alert,
        times_out: bool,
        now: Timestamp,
    ) -> Result<(), DispatchError> {
        let mut new = KnownAlert { alert, updated_at: now, times_out, rules: 0, groups: 0 };
        if let Some(known) = self.alerts.get(&new.alert.labels) {
            let Some(known_end) = known.alert.ends_at.filter(|_| known.rules == 0) else { return Ok(()) };
            merge(known, known_end, &mut new.alert, now);
        }
        self.take(config, new, now, false)
    }

    fn take(
        &mut self,
        config: &Config,
        mut new: KnownAlert,
        now: Timestamp,
        is_urgent: bool,
    ) -> Result<(), DispatchError> {
        let over = is_over(&new.alert, now);
        match self.alerts.get(&new.alert.labels) {
            Some(known) => new.groups = known.groups,
            None if over => return Ok(()),
            None if self.alerts.len() >= ALERTS_MAX => return Err(DispatchError::TooManyAlerts),
            None => {}
        }
        if self.put(config, new, now, (!over, is_urgent)) { Ok(()) } else { Err(DispatchError::TooManyGroups) }
    }

    /// Puts an alert into its groups; whether all had room. New groups are made for one that is news alone.
    pub(super) fn put(
        &mut self,
        config: &Config,
        mut known: KnownAlert,
        now: Timestamp,
        (is_news, is_urgent): (bool, bool),
    ) -> bool {
        let mut fits = true;
        let labels = known.alert.labels.clone();
        for at in config.routes.take(&labels) {
            let id = (at, config.routes.group_labels(at, &labels));
            let wait = config.routes.get(at).group_wait_ms;
            // What has fired for longer than groups wait has waited enough.
            let has_waited = is_urgent || known.alert.begins_at.saturating_add(wait) < now;
            let first = if has_waited { now } else { now.saturating_add(wait) };
            let group = match self.groups.get(&id) {
                None if !is_news => continue,
                None if self.groups.len() >= GROUPS_MAX => {
                    fits = false;
                    continue;
                }
                Some(group) if group.looked_at.is_some() || !has_waited => self.groups.get_mut(&id),
                _ => Some(self.schedule(&id, first)),
            };
            if group.is_some_and(|group| group.alerts.insert(labels.clone())) {
                known.groups += 1;
            }
        }
        if known.groups > 0 {
            self.sources.insert(&config.inhibitions, &labels);
            self.alerts.insert(labels, known);
        }
        fits
    }
}

/// What is known of an alert goes on if it was told of without a pause: Alertmanager's rules.
fn merge(known: &KnownAlert, known_end: Timestamp, new: &mut Alert, now: Timestamp) {
    let known_begin = known.alert.begins_at;
    let new_end = new.ends_at.unwrap_or(Timestamp::MAX);
    let ends_within = new_end > known_begin && new_end < known_end;
    let begins_within = new.begins_at > known_begin && new.begins_at < known_end;
    if !ends_within && !begins_within {
        return;
    }
    new.begins_at = new.begins_at.min(known_begin);
    let is_later = known_end > new_end;
    let keeps_end = if is_over(new, now) { is_over(&known.alert, now) } else { !known.times_out };
    if is_later && keeps_end {
        new.ends_at = Some(known_end);
    }
}
