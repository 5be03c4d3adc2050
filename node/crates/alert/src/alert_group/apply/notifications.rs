//! Whom alerts are told to, alerts from outside, silences.

use std::collections::BTreeMap;

use bellwether_model::{Labels, Timestamp};

use super::Entry;
use crate::alert_group::command::{Limited, Outcome, ReceivedAlert, Refusal, Reply, SilenceDraft};
use crate::alert_group::limits::{
    ALERT_BYTES_MAX, NOTIFICATIONS_BYTES_MAX, OUTSIDE_ALERTS_MAX, RECEIVED_BYTES_MAX, RECEIVED_LABELS_MAX,
    RECEIVED_MAX, SILENCE_BYTES_MAX, TEMPLATE_FILES_MAX,
};
use crate::alert_group::state::{StoredNotifications, TenantState};
use crate::notify::config::{Config, IntegrationAt};
use crate::notify::dispatch;
use crate::notify::silence::{CONDITIONAL_SILENCES_MAX, SILENCES_MAX, SetError, StoredSilence};

impl TenantState {
    pub(super) fn set_notifications(
        &mut self,
        config: String,
        templates: BTreeMap<String, String>,
        entry: &Entry<'_>,
    ) -> Reply {
        let is_same = |known: &&StoredNotifications| *known.config == *config && *known.templates == templates;
        if let Some(known) = self.notifications.as_ref().filter(is_same) {
            return Ok(Outcome::Revision(known.revision));
        }
        let files = templates.iter().map(|(name, text)| name.len() + text.len());
        Refusal::check(Limited::TemplateFiles, templates.len(), TEMPLATE_FILES_MAX)?;
        Refusal::check(Limited::NotificationsBytes, config.len() + files.sum::<usize>(), NOTIFICATIONS_BYTES_MAX)?;
        let before = self.notifications.replace(StoredNotifications::new(&config, templates, entry.index));
        self.regroup(&before, entry.now);
        Ok(Outcome::Revision(entry.index))
    }

    pub(super) fn delete_notifications(&mut self, now: Timestamp) -> Outcome {
        let before = self.notifications.take();
        if before.is_some() {
            self.regroup(&before, now);
        }
        Outcome::Done
    }

    /// Puts alerts into the groups of the configuration that holds now. Messages that wait are kept where the same way is there; the
    /// others are given up, since they may have been sent and their way may come back.
    pub(in crate::alert_group) fn regroup(&mut self, before: &Option<StoredNotifications>, now: Timestamp) {
        let config = StoredNotifications::effective(&self.notifications);
        let untold = self.dispatch.regroup(StoredNotifications::effective(before), config, now);
        self.untold = self.untold.saturating_add(untold as u64);
        self.throttles.regroup();
        let is_there = |receiver: &str, at: IntegrationAt| {
            config.receivers.get(receiver).is_some_and(|receiver| receiver.integration(at).is_some())
        };
        self.integrations.retain(|(receiver, at), _| is_there(receiver, *at));
        if self.intents.is_empty() {
            return;
        }
        let groups = self.dispatch.groups_by_key(config);
        let mut gone = Vec::new();
        for (number, mut intent) in std::mem::take(&mut self.intents) {
            let message = &mut intent.message;
            let there = Some(&*message).filter(|message| is_there(&message.receiver, message.integration));
            match there.and_then(|message| self.dispatch.take_over(config, &groups, message)) {
                Some(route) => {
                    message.route = route;
                    self.intents.insert(number, intent);
                }
                None => gone.push(intent),
            }
        }
        self.give_up(gone, now);
        self.ways = self.intents.iter().map(|(number, intent)| (intent.message.way(), *number)).collect();
    }

    pub(super) fn receive(&mut self, alerts: Vec<ReceivedAlert>, now: Timestamp) -> Reply {
        let bytes = alerts.iter().map(ReceivedAlert::bytes);
        let labels = alerts.iter().map(|alert| alert.labels.len().max(alert.annotations.len()));
        Refusal::check(Limited::Received, alerts.len(), RECEIVED_MAX)?;
        Refusal::check(Limited::ReceivedBytes, bytes.clone().sum(), RECEIVED_BYTES_MAX)?;
        Refusal::check(Limited::AlertBytes, bytes.max().unwrap_or_default(), ALERT_BYTES_MAX)?;
        Refusal::check(Limited::ReceivedLabels, labels.max().unwrap_or_default(), RECEIVED_LABELS_MAX)?;
        let config = StoredNotifications::effective(&self.notifications);
        let mut refused = 0;
        for alert in alerts {
            let has_room =
                self.dispatch.alerts().len() < OUTSIDE_ALERTS_MAX || self.dispatch.alert(&alert.labels).is_some();
            let taken = dated(alert, config, now)
                .filter(|_| has_room)
                .is_some_and(|(alert, times_out)| self.dispatch.receive_outside(config, alert, times_out, now).is_ok());
            refused += u64::from(!taken);
        }
        Ok(Outcome::Received { refused })
    }

    pub(super) fn set_silence(&mut self, draft: &SilenceDraft, now: Timestamp) -> Reply {
        let SilenceDraft { replaces, new_id, matchers, during, begins_at, ends_at, created_by, comment } = draft;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        let texts = [&or_none(replaces), &or_none(during), new_id, matchers, created_by, comment];
        Refusal::check(Limited::SilenceBytes, texts.iter().map(|text| text.len()).sum(), SILENCE_BYTES_MAX)?;
        let silence =
            StoredSilence::new(matchers, (*begins_at, *ends_at), created_by, comment).during(during.as_deref());
        if during.is_some() {
            let count = self.silences.conditional(now) + 1;
            Refusal::check(Limited::ConditionalSilences, count, CONDITIONAL_SILENCES_MAX)?;
        }
        let set = self.silences.set(replaces.as_deref(), new_id, silence, now);
        set.map(|id| Outcome::Silence { id }).map_err(|error| match error {
            SetError::Unknown => Refusal::NoSilence { id: replaces.clone().unwrap_or_default() },
            SetError::Taken => Refusal::SilenceExists { id: new_id.clone() },
            SetError::Over => Refusal::SilenceOver { ends_at: *ends_at },
            SetError::TooMany => {
                let limit = SILENCES_MAX as u64;
                Refusal::Limit { what: Limited::Silences, got: limit + 1, limit }
            }
        })
    }
}

impl ReceivedAlert {
    fn bytes(&self) -> usize {
        self.labels.byte_len() + self.annotations.byte_len() + self.generator_url.len()
    }
}

/// An alert with both of its times, and whether the end is but how long it is believed; none of one that cannot be.
fn dated(alert: ReceivedAlert, config: &Config, now: Timestamp) -> Option<(dispatch::Alert, bool)> {
    let ReceivedAlert { labels, annotations, begins_at, ends_at, generator_url } = alert;
    let begins_at = begins_at.or(ends_at).unwrap_or(now);
    let times_out = ends_at.is_none();
    let ends_at = ends_at.unwrap_or_else(|| now.saturating_add(config.resolve_timeout_ms()));
    let is_right = labels != Labels::empty() && begins_at <= ends_at;
    let generator_url = generator_url.into();
    let alert = dispatch::Alert { labels, annotations, begins_at, ends_at: Some(ends_at), generator_url };
    is_right.then_some((alert, times_out))
}
