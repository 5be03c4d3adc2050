//! Somebody takes care of alerts: services that know such a thing are told, and nobody is reminded.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};

use super::Entry;
use crate::alert_group::command::{Limited, Outcome, Refusal, Reply};
use crate::alert_group::limits::{ACKNOWLEDGED_AT_ONCE_MAX, AUTHOR_BYTES_MAX, INTENTS_MAX};
use crate::alert_group::state::{Acknowledgement, StoredNotifications, TenantState};
use crate::notify::dispatch::{ALERTS_MAX, Message, is_over};

impl TenantState {
    pub(super) fn acknowledge(&mut self, alerts: BTreeSet<Labels>, by: &str, entry: &mut Entry<'_>) -> Reply {
        let now = entry.now;
        Refusal::check(Limited::AuthorBytes, by.len(), AUTHOR_BYTES_MAX)?;
        Refusal::check(Limited::Acknowledged, alerts.len(), ACKNOWLEDGED_AT_ONCE_MAX)?;
        let fires = |labels: &Labels| self.dispatch.alert(labels).is_some_and(|known| !is_over(&known.alert, now));
        let is_new = |labels: &Labels| fires(labels) && self.acknowledgement(labels, now).is_none();
        let new: BTreeSet<Labels> = alerts.into_iter().filter(is_new).collect();
        if self.acknowledged.len() + new.len() > ALERTS_MAX {
            // Then each is of an alert that fires: there are no more than alerts.
            self.forget_acknowledgements(now);
        }
        let by: Arc<str> = by.into();
        for labels in &new {
            // The clock of who evaluates may be ahead.
            let at = self.dispatch.alert(labels).map_or(now, |known| now.max(known.alert.begins_at));
            self.acknowledged.insert(labels.clone(), Acknowledgement { at, by: by.clone() });
        }
        let config = StoredNotifications::effective(&self.notifications);
        let is_acknowledged = |labels: &Labels| self.acknowledgement(labels, now).is_some();
        let messages = self.dispatch.acknowledged(config, (&new, &self.overrides), &is_acknowledged, now);
        messages.into_iter().for_each(|message| self.intend_acknowledged(message, entry));
        Ok(Outcome::Acknowledged { alerts: new.len() as u64 })
    }

    /// Who was told only now what fires is told as well that somebody takes care of it, if that is so.
    pub(super) fn tell_acknowledged(&mut self, message: &Message, entry: &mut Entry<'_>) {
        let now = entry.now;
        let is_acknowledged = |labels: &Labels| self.acknowledgement(labels, now).is_some();
        if let Some(message) = self.dispatch.acknowledged_before(message, &is_acknowledged, now) {
            self.intend_acknowledged(message, entry);
        }
    }

    fn intend_acknowledged(&mut self, message: Message, entry: &mut Entry<'_>) {
        if !self.ways.contains_key(&message.way()) && self.intents.len() < INTENTS_MAX {
            self.intend(message, entry);
        }
    }

    /// Who took care of what is over, or began anew, takes care of it no longer.
    pub(super) fn forget_acknowledgements(&mut self, now: Timestamp) {
        let over: Vec<Labels> =
            self.acknowledged.keys().filter(|labels| self.acknowledgement(labels, now).is_none()).cloned().collect();
        for labels in over {
            self.acknowledged.remove(&labels);
        }
    }
}
