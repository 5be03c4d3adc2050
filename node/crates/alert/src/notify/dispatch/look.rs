//! Looks at groups: who is to be told what of them.

use bellwether_model::{Labels, Timestamp};

use super::{Alert, Dispatch, GroupId, LOOKS_MAX, Message, Way, Why, is_over};
use crate::notify::Config;
use crate::notify::config::Receiver;
use crate::notify::config::kinds::Kind;
use crate::notify::route::Route;
use crate::notify::throttle::Throttles;

/// What looks are told beside what they look at.
pub struct Looking<'l> {
    /// Whether a silence keeps an alert quiet.
    pub is_silenced: &'l dyn Fn(&Labels) -> bool,
    /// Whether somebody takes care of an alert: nobody is reminded of it.
    pub is_acknowledged: &'l dyn Fn(&Labels) -> bool,
    /// The message of a way of which nobody knows yet whether it was sent, with its number.
    pub pending: &'l dyn Fn(&Way) -> Option<(u64, &'l Message)>,
    /// How many messages may be made; what has no room is made by a later look.
    pub messages_max: usize,
}

/// What comes of looks.
#[derive(Debug, Default)]
pub struct Look {
    /// Messages to be sent.
    pub messages: Vec<Message>,
    /// Numbers of pending messages that are not to be sent any more.
    pub dropped: Vec<u64>,
}

impl Dispatch {
    /// Looks at the groups whose time has come, [`LOOKS_MAX`] at most, and says what is to be sent.
    pub fn advance(
        &mut self,
        config: &Config,
        looking: &Looking<'_>,
        throttles: &mut Throttles,
        now: Timestamp,
    ) -> Look {
        let due: Vec<GroupId> =
            self.due.iter().take_while(|(next, _)| *next <= now).take(LOOKS_MAX).map(|(_, id)| id.clone()).collect();
        let mut look = Look::default();
        for id in due {
            let unsent = self.look_at(&id, config, (looking, throttles), now, &mut look);
            let next = now.saturating_add(config.routes.get(id.0).group_interval_ms);
            let group = self.schedule(&id, next);
            (group.looked_at, group.unsent) = (Some(now), unsent.into_iter().collect());
            self.settle(config, &id);
        }
        self.tell_held_back(config, looking, throttles, now, &mut look);
        self.log.forget(now);
        look
    }

    /// Notes that a message was sent.
    pub fn sent(&mut self, config: &Config, message: &Message, now: Timestamp) {
        if !message.why.is_of_look() {
            return;
        }
        self.log.note(message, config.routes.get(message.route).remembered_ms(message), now);
        let id = (message.route, message.group.clone());
        if let Some(group) = self.groups.get_mut(&id) {
            group.unsent.remove(&message.integration);
        }
        self.settle(config, &id);
    }

    /// Adds what the ways of a group's receiver are to be told; the ways that do not know it yet.
    fn look_at(
        &mut self,
        id: &GroupId,
        config: &Config,
        (looking, throttles): (&Looking<'_>, &mut Throttles),
        now: Timestamp,
        look: &mut Look,
    ) -> Vec<usize> {
        let route = config.routes.get(id.0);
        let Some(receiver) = config.receivers.get(&route.receiver) else { return Vec::new() };
        let group_key = config.routes.group_key(id.0, &id.1);
        let is_quiet =
            |labels: &Labels| self.inhibited_by(config, labels, now).is_some() || (looking.is_silenced)(labels);
        let heard = self.groups[id].alerts.iter().filter(|labels| !is_quiet(labels));
        let heard: Vec<Alert> = heard.map(|labels| self.alerts[labels].alert.clone()).collect();
        if heard.is_empty() || config.routes.muted(id.0, &config.intervals, now).is_some() {
            for integration in 0..receiver.integrations.len() {
                let way = Way { group_key: group_key.clone(), receiver: route.receiver.clone(), integration };
                look.dropped.extend((looking.pending)(&way).map(|(number, _)| number));
            }
            throttles.let_go(&route.receiver, id);
            return Vec::new();
        }
        let (resolved, mut firing): (Vec<Alert>, Vec<Alert>) = heard.into_iter().partition(|alert| is_over(alert, now));
        // As time goes on, what fires in a message must not end in it.
        firing.iter_mut().for_each(|alert| alert.ends_at = None);
        let mut unsent = Vec::new();
        let before = (look.messages.len(), look.dropped.len());
        for (integration, kind) in receiver.integrations.iter().map(|integration| integration.kind).enumerate() {
            let message = Message {
                group_key: group_key.clone(),
                group: id.1.clone(),
                route: id.0,
                receiver: route.receiver.clone(),
                integration,
                kind,
                why: Why::New,
                firing: firing.clone(),
                resolved: resolved.clone(),
            };
            if self.tell(message, receiver, route, looking, now, look) {
                unsent.push(integration);
            }
        }
        let (is_news, replaces) = (look.messages.len() > before.0, look.dropped.len() > before.1);
        match receiver.throttle {
            // What takes the place of a message that waits, or tells of ends alone, goes in any case.
            Some(throttle) if is_news && !replaces && !firing.is_empty() => {
                if !throttles.takes(&route.receiver, throttle, id, now) {
                    look.messages.truncate(before.0);
                }
            }
            Some(_) if is_news || unsent.is_empty() => throttles.let_go(&route.receiver, id),
            _ => {}
        }
        unsent
    }

    /// Adds a message, if its way is to be told; whether the way does not know it yet.
    fn tell(
        &mut self,
        mut message: Message,
        receiver: &Receiver,
        route: &Route,
        looking: &Looking<'_>,
        now: Timestamp,
        look: &mut Look,
    ) -> bool {
        let tells_resolved = receiver.integrations[message.integration].settings.flag("send_resolved");
        let mut why = self.log.why(&message, tells_resolved, route.repeat_ms(&message), now);
        let is_taken_care_of = || message.firing.iter().all(|alert| (looking.is_acknowledged)(&alert.labels));
        // Another Alertmanager takes what it is not told of for over.
        if why == Some(Why::Repeated) && message.kind != Kind::Alertmanager && is_taken_care_of() {
            why = None;
            self.log.remember(&message.way(), route.remembered_ms(&message), now);
        }
        let all_resolved = std::mem::take(&mut message.resolved);
        if tells_resolved {
            message.resolved = all_resolved.clone();
        }
        if let Some((number, pending)) = (looking.pending)(&message.way()) {
            if pending.tells_the_same(&message) {
                return true;
            }
            look.dropped.push(number);
            // It may have been sent: whoever was told of a begin is told of the end.
            if why.is_none() && message.firing.is_empty() && !pending.firing.is_empty() {
                why = Some(Why::Resolved);
            }
        }
        let Some(why) = why else { return false };
        if message.firing.is_empty() && !tells_resolved {
            // Nothing to say, but what fires again later is new.
            message.resolved = all_resolved;
            self.log.note(&message, route.remembered_ms(&message), now);
            return false;
        }
        if look.messages.len() < looking.messages_max {
            message.why = why;
            look.messages.push(message);
        }
        true
    }

    /// Once everybody knows, alerts that were over when the group was looked at leave it.
    fn settle(&mut self, config: &Config, id: &GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(looked_at) = group.looked_at.filter(|_| group.unsent.is_empty()) else { return };
        let (alerts, all, sources) = (&mut group.alerts, &mut self.alerts, &mut self.sources);
        alerts.retain(|labels| {
            let Some(known) = all.get_mut(labels) else { return false };
            if !is_over(&known.alert, looked_at) {
                return true;
            }
            known.groups -= 1;
            if known.groups == 0 {
                all.remove(labels);
                sources.remove(&config.inhibitions, labels);
            }
            false
        });
        if alerts.is_empty() {
            self.remove_group(id);
        }
    }
}
