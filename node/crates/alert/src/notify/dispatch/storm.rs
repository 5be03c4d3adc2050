//! What receivers with a throttle are told of what is held back.

use std::collections::BTreeMap;

use bellwether_model::{Labels, Timestamp};

use super::{Alert, Dispatch, Look, Looking, Message, Why, is_over};
use crate::notify::Config;
use crate::notify::config::Receiver;
use crate::notify::route::Routes;
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
        throttles.0.retain(|name, known| {
            let Some(receiver) = config.receivers.get(name) else { return false };
            let Some(throttle) = receiver.throttle else { return false };
            known.forget(throttle, now);
            known.held.retain(|id| self.groups.contains_key(id));
            let is_due = match known.held.is_empty() {
                true => known.is_told,
                false => known.next.is_none_or(|next| next <= now),
            };
            let is_due_again = |way: &usize| known.again.get(way).is_some_and(|at| *at <= now);
            let ways: Vec<usize> = (0..receiver.integrations.len()).filter(|way| is_due || is_due_again(way)).collect();
            if look.messages.len() + ways.len() > looking.messages_max {
                // What stays due is looked at without end.
                let later = now.saturating_add(TOLD_AGAIN_MS_MIN);
                known.next.iter_mut().chain(known.again.values_mut()).for_each(|at| *at = later.max(*at));
            } else {
                self.tell_storm((name, receiver), &ways, known, looking, now, look);
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

    fn tell_storm(
        &self,
        (name, receiver): (&str, &Receiver),
        ways: &[usize],
        known: &Throttled,
        looking: &Looking<'_>,
        now: Timestamp,
        look: &mut Look,
    ) {
        if ways.is_empty() {
            return;
        }
        let labels = known.held.iter().filter_map(|id| self.groups.get(id)).flat_map(|group| &group.alerts);
        let firing = labels.filter_map(|labels| self.alerts.get(labels)).map(|known| &known.alert);
        let firing = firing.filter(|alert| !is_over(alert, now)).take(HELD_BACK_ALERTS_MAX);
        let firing: BTreeMap<&Labels, Alert> =
            firing.map(|alert| (&alert.labels, Alert { ends_at: None, ..alert.clone() })).collect();
        let firing: Vec<Alert> = firing.into_values().collect();
        for integration in ways.iter().copied() {
            let message = Message {
                // No group's, since those begin with a brace.
                group_key: format!("held back: {name}"),
                group: Labels::empty(),
                route: Routes::ROOT,
                receiver: name.to_owned(),
                integration,
                kind: receiver.integrations[integration].kind,
                why: Why::HeldBack { messages: known.messages, groups: known.held.len() as u64 },
                firing: firing.clone(),
                resolved: Vec::new(),
            };
            look.dropped.extend((looking.pending)(&message.way()).map(|(number, _)| number));
            if !firing.is_empty() || receiver.integrations[integration].settings.flag("send_resolved") {
                look.messages.push(message);
            }
        }
    }
}
