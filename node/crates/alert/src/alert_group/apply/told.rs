//! Intents: made when a group's time has come, gone when somebody says what became of them.

use bellwether_model::{Labels, Timestamp};

use super::Entry;
use crate::alert_group::command::{Delivery, Outcome};
use crate::alert_group::evaluated::shortened;
use crate::alert_group::limits::{GIVEN_UP_KEPT_MS, GIVEN_UP_MAX, INTENTS_MAX, SILENCE_RETENTION_MS};
use crate::alert_group::state::{GivenUp, Intent, StoredNotifications, TenantState};
use crate::notify::dispatch::{Looking, Message, Way, Why};
use crate::notify::route::Routes;
use crate::notify::throttle::TOLD_AGAIN_MS_MIN;

impl TenantState {
    pub(super) fn advance(&mut self, entry: &mut Entry<'_>) -> Outcome {
        let now = entry.now;
        self.forget_acknowledgements(now);
        let config = StoredNotifications::effective(&self.notifications);
        let (intents, ways) = (&self.intents, &self.ways);
        let holding = self.silences.holding(&|during| self.dispatch.fires(during, now), now);
        let muted = self.muted();
        let silences = |labels: &Labels| holding.iter().any(|(_, silence)| silence.silences(labels, now));
        let is_silenced = |labels: &Labels| muted.contains(labels) || silences(labels);
        let pending = |way: &Way| {
            let number = *ways.get(way)?;
            Some((number, &intents.get(&number)?.message))
        };
        let is_given_up = |way: &Way| self.given_up.contains_key(way);
        let messages_max = INTENTS_MAX.saturating_sub(intents.len());
        let acknowledged = &self.acknowledged;
        let is_acknowledged = |labels: &Labels| acknowledged.contains_key(labels);
        let looking = Looking {
            is_silenced: &is_silenced,
            is_acknowledged: &is_acknowledged,
            overrides: &self.overrides,
            pending: &pending,
            is_given_up: &is_given_up,
            messages_max,
        };
        let look = self.dispatch.advance(config, &looking, &mut self.throttles, now);
        let dropped: Vec<Intent> = look.dropped.into_iter().filter_map(|number| self.remove_intent(number)).collect();
        self.give_up(dropped, now);
        let mut made = Vec::with_capacity(look.messages.len());
        for message in look.messages {
            // Groups of routes with the same matchers may tell one receiver: one message is enough, and a way has one intent.
            if !self.ways.contains_key(&message.way()) {
                made.push(self.intend(message, entry));
            }
        }
        self.silences.forget(SILENCE_RETENTION_MS, now);
        Outcome::Advanced { intents: made }
    }

    pub(super) fn told(&mut self, number: u64, result: Delivery, entry: &mut Entry<'_>) -> Outcome {
        let now = entry.now;
        let Some(intent) = self.remove_intent(number) else { return Outcome::Done };
        let message = &intent.message;
        let config = StoredNotifications::effective(&self.notifications);
        let health = self.integrations.entry((message.receiver.clone(), message.integration)).or_default();
        match result {
            Delivery::Sent => {
                health.took(now);
                let knew = self.dispatch.log.tells_firing(&message.way());
                self.dispatch.sent(config, message, now);
                if !knew {
                    self.tell_acknowledged(message, entry);
                }
            }
            // The group remembers that the way does not know, so that its next look tells it again.
            Delivery::Failed(error) => {
                health.failures = health.failures.saturating_add(1);
                health.failed(shortened(error), now);
                if matches!(message.why, Why::HeldBack { .. }) {
                    let wait_ms = config.routes.get(Routes::ROOT).group_interval_ms.max(TOLD_AGAIN_MS_MIN);
                    let again_at = now.saturating_add(wait_ms);
                    self.throttles.not_told(&message.receiver, message.integration, again_at);
                }
                self.give_up(vec![intent], now);
            }
        }
        Outcome::Done
    }

    /// An attempt failed, and the intent goes on waiting.
    pub(super) fn failing(&mut self, number: u64, error: String, now: Timestamp) -> Outcome {
        if let Some(Intent { message, .. }) = self.intents.get(&number) {
            let health = self.integrations.entry((message.receiver.clone(), message.integration)).or_default();
            health.failed(shortened(error), now);
        }
        Outcome::Done
    }

    pub(super) fn intend(&mut self, message: Message, entry: &mut Entry<'_>) -> u64 {
        let number = *entry.next_intent;
        *entry.next_intent = number.wrapping_add(1);
        let way = message.way();
        let given_up = if message.why.is_of_look() { self.given_up.remove(&way) } else { None };
        // What began since then is something else, though it looks the same.
        let says = |known: &GivenUp| {
            known.content == message.content_hash() && message.firing.iter().all(|alert| alert.begins_at <= known.at)
        };
        let dedup_key = match given_up.filter(says) {
            Some(known) => known.dedup_key,
            // The time tells it from that of another cluster.
            None => format!("{}-{:x}-{number}", entry.tenant, entry.now),
        };
        self.ways.insert(way, number);
        self.intents.insert(number, Intent { message, made_at: entry.now, dedup_key });
        number
    }

    /// Remembers what was not sent as far as anybody knows: its receiver may have it all the same, and tells the next attempt by the key.
    pub(super) fn give_up(&mut self, mut intents: Vec<Intent>, now: Timestamp) {
        intents.retain(|intent| intent.message.why.is_of_look());
        if !intents.is_empty() {
            self.given_up.retain(|_, known| now.saturating_sub(known.at) < GIVEN_UP_KEPT_MS);
        }
        for Intent { message, dedup_key, .. } in intents {
            self.dispatch.log.doubt(&message);
            let (way, content) = (message.way(), message.content_hash());
            // An end is tried for as long as a message is, where nobody knows whether the begin came.
            if message.firing.is_empty() && !self.dispatch.log.tells_firing(&way) {
                continue;
            }
            if self.given_up.len() < GIVEN_UP_MAX || self.given_up.contains_key(&way) {
                self.given_up.insert(way, GivenUp { dedup_key, content, at: now });
            }
        }
    }

    fn remove_intent(&mut self, number: u64) -> Option<Intent> {
        let intent = self.intents.remove(&number)?;
        let way = intent.message.way();
        if self.ways.get(&way) == Some(&number) {
            self.ways.remove(&way);
        }
        Some(intent)
    }
}
