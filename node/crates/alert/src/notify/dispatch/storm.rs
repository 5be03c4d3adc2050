//! What receivers with a throttle are told of what is held back.

use std::collections::BTreeMap;

use bellwether_model::{Labels, Timestamp};

use super::{Alert, Dispatch, GroupId, Look, Looking, Message, Why, is_over};
use crate::notify::Config;
use crate::notify::config::{IntegrationAt, Receiver};
use crate::notify::route::{RouteAt, Routes};
use crate::notify::throttle::{HELD_BACK_ALERTS_MAX, TOLD_AGAIN_MS_MIN, Throttled, Throttles};

impl Dispatch {
    /// Adds what is to be said, and forgets receivers of which there is nothing to remember.
    pub(super) fn tell_held_back(
        &self,
        config: &Config,
        looking: &Looking<'_>,
        throttles: &mut Throttles,
        now: Timestamp,
        look: &mut Look,
    ) {
        // Whom each route tells now, if it tells anybody: who was on call when a group was held back may be off duty.
        let mut on_duty: BTreeMap<RouteAt, Option<&str>> = BTreeMap::new();
        let mut is_told = |name: &str, id: &GroupId| {
            let on_duty = on_duty.entry(id.0).or_insert_with(|| {
                let is_muted = config.routes.muted(id.0, &config.intervals, now).is_some();
                (!is_muted).then(|| config.on_duty(&config.routes.get(id.0).receiver, looking.overrides, now))
            });
            let is_of_step = || self.escalations.get(id).is_some_and(|known| known.receivers.contains(name));
            on_duty.is_some_and(|on_duty| on_duty == name || is_of_step())
        };
        throttles.0.retain(|name, known| {
            let Some(receiver) = config.receivers.get(name) else { return false };
            let Some(throttle) = receiver.throttle else { return false };
            known.forget(throttle, now);
            known.held.retain(|id| self.groups.contains_key(id) && is_told(name, id));
            let is_due = match known.held.is_empty() {
                true => known.is_told,
                false => known.next.is_none_or(|next| next <= now),
            };
            let is_due_again = |way: &IntegrationAt| known.again.get(way).is_some_and(|at| *at <= now);
            let ways: Vec<IntegrationAt> =
                config.integrations_of(name).filter(|way| is_due || is_due_again(way)).collect();
            if look.messages.len() + ways.len() > looking.messages_max {
                // What stays due is looked at without end.
                let later = now.saturating_add(TOLD_AGAIN_MS_MIN);
                known.next.iter_mut().chain(known.again.values_mut()).for_each(|at| *at = later.max(*at));
            } else {
                if !ways.is_empty() {
                    let firing = self.firing_held_back(config, known, looking, now);
                    tell_storm((name, receiver), &ways, known, &firing, looking, look);
                }
                known.again.retain(|_, at| !is_due && *at > now);
                if is_due {
                    known.is_told = !known.held.is_empty();
                    known.next = known.is_told.then(|| now.saturating_add(throttle.per_ms));
                }
            }
            if known.held.is_empty() && !known.is_told {
                known.messages = 0;
            }
            !known.is_idle()
        });
    }

    /// What fires of what is held back, and is not kept quiet.
    fn firing_held_back(
        &self,
        config: &Config,
        known: &Throttled,
        looking: &Looking<'_>,
        now: Timestamp,
    ) -> Vec<Alert> {
        let labels = known.held.iter().filter_map(|id| self.groups.get(id)).flat_map(|group| &group.alerts);
        let firing = labels.filter_map(|labels| self.alerts.get(labels)).map(|known| &known.alert);
        let firing = firing.filter(|alert| !is_over(alert, now) && !self.is_quiet(config, &alert.labels, looking, now));
        let firing: BTreeMap<&Labels, Alert> = firing
            .take(HELD_BACK_ALERTS_MAX)
            .map(|alert| (&alert.labels, Alert { ends_at: None, ..alert.clone() }))
            .collect();
        firing.into_values().collect()
    }
}

/// Tells a receiver by some of its ways what is held back; without alerts that nothing is any longer.
fn tell_storm(
    (name, receiver): (&str, &Receiver),
    ways: &[IntegrationAt],
    known: &Throttled,
    firing: &[Alert],
    looking: &Looking<'_>,
    look: &mut Look,
) {
    for integration in ways.iter().copied() {
        let Some(way) = receiver.integration(integration) else { continue };
        let message = Message {
            // No group's, since those begin with a brace.
            group_key: format!("held back: {name}"),
            group: Labels::empty(),
            route: Routes::ROOT,
            receiver: name.to_owned(),
            integration,
            why: Why::HeldBack { messages: known.messages, groups: known.held.len() as u64 },
            firing: firing.to_vec(),
            resolved: Vec::new(),
        };
        look.dropped.extend((looking.pending)(&message.way()).map(|(number, _)| number));
        let tells_end = known.held.is_empty() && way.settings.flag("send_resolved");
        if !firing.is_empty() || tells_end {
            look.messages.push(message);
        }
    }
}
