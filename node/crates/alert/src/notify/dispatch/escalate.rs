//! Who is told of a group beside its route's receiver.

use std::collections::BTreeSet;

use bellwether_model::Timestamp;

use super::{Alert, Dispatch, GroupId, Looking, Way};
use crate::notify::Config;
use crate::notify::escalation::Whom;
use crate::notify::route::Route;

/// A group that is looked at.
pub(super) struct Looked<'l> {
    /// Which.
    pub id: &'l GroupId,
    /// Its route.
    pub route: &'l Route,
    /// Its name.
    pub group_key: &'l str,
    /// Who is told in any case.
    pub receiver: &'l str,
    /// Its alerts that fire and are to be told of.
    pub firing: &'l [Alert],
}

impl Dispatch {
    /// Makes the steps that are due; who is told beside the route's receiver.
    pub(super) fn escalate(
        &mut self,
        config: &Config,
        looked: &Looked<'_>,
        looking: &Looking<'_>,
        now: Timestamp,
    ) -> BTreeSet<String> {
        let Looked { id, route, group_key, receiver, firing } = *looked;
        let is_open = firing.iter().any(|alert| !(looking.is_acknowledged)(&alert.labels));
        let policy = route.escalation.as_ref().and_then(|policy| config.escalations.get(policy));
        if policy.is_some() && is_open && !self.escalations.contains_key(id) {
            self.escalations.insert(id.clone(), Default::default());
        }
        let Some(known) = self.escalations.get_mut(id) else { return BTreeSet::new() };
        // Who was told while there was another configuration.
        known.receivers.retain(|name| name != receiver && config.receivers.contains_key(name));
        let Some(policy) = policy.filter(|_| is_open) else {
            (known.step, known.next) = (0, None);
            return known.receivers.clone();
        };
        if known.step >= policy.count() {
            // Another configuration may have shortened the policy; if it is longer again, it goes on.
            known.next = None;
        } else if known.next.is_none() {
            known.next = Some(now.saturating_add(policy.step(known.step).after_ms));
        }
        while known.step < policy.count() && known.next.is_some_and(|next| next <= now) {
            let on_call = match &policy.step(known.step).whom {
                Whom::Receiver(name) => Some(config.on_duty(name, looking.overrides, now)),
                Whom::OnCall(schedule) => config.who_is_on_call(schedule, looking.overrides, now),
            };
            if let Some(name) = on_call {
                if name != receiver {
                    known.receivers.insert(name.to_owned());
                }
                // Who has heard of it hears of it again; what he heard stays known, since he is to hear of its end.
                for integration in config.integrations_of(name) {
                    self.log.repeat(&Way { group_key: group_key.to_owned(), receiver: name.to_owned(), integration });
                }
            }
            known.step += 1;
            let has_more = known.step < policy.count();
            known.next = has_more.then(|| now.saturating_add(policy.step(known.step).after_ms));
        }
        known.receivers.clone()
    }

    /// When a group is looked at next, if nothing happens before.
    pub(super) fn next_look(&self, config: &Config, id: &GroupId, now: Timestamp) -> Timestamp {
        let next = now.saturating_add(config.routes.get(id.0).group_interval_ms);
        let step = self.escalations.get(id).and_then(|known| known.next);
        step.map_or(next, |step| step.max(now).min(next))
    }
}
