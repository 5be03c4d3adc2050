//! Looks at groups: who is to be told what of them.

use std::collections::BTreeSet;

use bellwether_model::{Labels, Timestamp};

use super::escalate::Looked;
use super::{Alert, Dispatch, GroupId, LOOKS_MAX, Message, Way, Why, is_over};
use crate::notify::Config;
use crate::notify::config::kinds::Kind;
use crate::notify::config::{Integration, IntegrationAt};
use crate::notify::on_call::Overrides;
use crate::notify::route::Route;
use crate::notify::throttle::Throttles;

/// What looks are told beside what they look at.
pub struct Looking<'l> {
    /// Whether a silence keeps an alert quiet.
    pub is_silenced: &'l dyn Fn(&Labels) -> bool,
    /// Who is on call instead of others.
    pub overrides: &'l Overrides,
    /// Whether somebody takes care of an alert: nobody is reminded of it.
    pub is_acknowledged: &'l dyn Fn(&Labels) -> bool,
    /// The message of a way of which nobody knows yet whether it was sent, with its number.
    pub pending: &'l dyn Fn(&Way) -> Option<(u64, &'l Message)>,
    /// Whether the last message of a way was given up: nobody knows whether it came.
    pub is_given_up: &'l dyn Fn(&Way) -> bool,
    /// How many messages may be made; what has no room is made by a later look.
    pub messages_max: usize,
}

/// A receiver that is told of a group.
struct Whom<'w> {
    id: &'w GroupId,
    group_key: &'w str,
    name: &'w str,
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
            let next = self.next_look(config, &id, now);
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
        let of_step = (message.receiver.clone(), message.integration);
        let escalation = self.escalations.get_mut(&id);
        let is_of_step = escalation.is_some_and(|known| known.unsent.remove(&of_step));
        if let Some(group) = self.groups.get_mut(&id).filter(|_| !is_of_step) {
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
    ) -> Vec<IntegrationAt> {
        let route = config.routes.get(id.0);
        let name = config.on_duty(&route.receiver, looking.overrides, now);
        let group_key = config.routes.group_key(id.0, &id.1);
        let heard = self.groups[id].alerts.iter().filter(|labels| !self.is_quiet(config, labels, looking, now));
        let heard: Vec<Alert> = heard.map(|labels| self.alerts[labels].alert.clone()).collect();
        let is_muted = heard.is_empty() || config.routes.muted(id.0, &config.intervals, now).is_some();
        let (resolved, mut firing): (Vec<Alert>, Vec<Alert>) = heard.into_iter().partition(|alert| is_over(alert, now));
        // As time goes on, what fires in a message must not end in it.
        firing.iter_mut().for_each(|alert| alert.ends_at = None);
        let fires = if is_muted { &[][..] } else { &firing[..] };
        let looked = Looked { id, route, group_key: &group_key, receiver: name, firing: fires };
        let others = self.escalate(config, &looked, looking, now);
        if is_muted {
            for name in others.iter().map(String::as_str).chain([name]) {
                for integration in config.integrations_of(name) {
                    let way = Way { group_key: group_key.clone(), receiver: name.to_owned(), integration };
                    look.dropped.extend((looking.pending)(&way).map(|(number, _)| number));
                }
                throttles.let_go(name, id);
            }
            if let Some(known) = self.escalations.get_mut(id) {
                known.unsent.clear();
            }
            return Vec::new();
        }
        let mut unsent_of_others = BTreeSet::new();
        for other in others {
            let whom = Whom { id, group_key: &group_key, name: &other };
            let unsent = self.tell_receiver(config, &whom, (&firing, &resolved), (looking, throttles), now, look);
            unsent_of_others.extend(unsent.into_iter().map(|integration| (other.clone(), integration)));
        }
        if let Some(known) = self.escalations.get_mut(id) {
            known.unsent = unsent_of_others;
        }
        let whom = Whom { id, group_key: &group_key, name };
        self.tell_receiver(config, &whom, (&firing, &resolved), (looking, throttles), now, look)
    }

    /// Whether an alert is inhibited or silenced.
    pub(super) fn is_quiet(&self, config: &Config, labels: &Labels, looking: &Looking<'_>, now: Timestamp) -> bool {
        self.inhibited_by(config, labels, now).is_some() || (looking.is_silenced)(labels)
    }

    /// Adds what the ways of a receiver are to be told of a group; the ways that do not know it yet.
    fn tell_receiver(
        &mut self,
        config: &Config,
        whom: &Whom<'_>,
        (firing, resolved): (&[Alert], &[Alert]),
        (looking, throttles): (&Looking<'_>, &mut Throttles),
        now: Timestamp,
        look: &mut Look,
    ) -> Vec<IntegrationAt> {
        let Whom { id, group_key, name } = *whom;
        let route = config.routes.get(id.0);
        let Some(receiver) = config.receivers.get(name) else { return Vec::new() };
        let mut unsent = Vec::new();
        let before = (look.messages.len(), look.dropped.len());
        for integration in &receiver.integrations {
            let message = Message {
                group_key: group_key.to_owned(),
                group: id.1.clone(),
                route: id.0,
                receiver: name.to_owned(),
                integration: integration.at(),
                why: Why::New,
                firing: firing.to_vec(),
                resolved: resolved.to_vec(),
            };
            if self.tell(message, integration, route, looking, now, look) {
                unsent.push(integration.at());
            }
        }
        let (is_news, replaces) = (look.messages.len() > before.0, look.dropped.len() > before.1);
        if let Some(throttle) = receiver.throttle {
            // What takes the place of a message that waits, or tells of ends alone, goes in any case.
            if is_news && !replaces && !firing.is_empty() {
                if !throttles.takes(name, throttle, id, now) {
                    look.messages.truncate(before.0);
                }
            } else if is_news || unsent.is_empty() {
                throttles.let_go(name, id);
            }
        }
        unsent
    }

    /// Adds a message, if its way is to be told; whether the way does not know it yet.
    fn tell(
        &mut self,
        mut message: Message,
        integration: &Integration,
        route: &Route,
        looking: &Looking<'_>,
        now: Timestamp,
        look: &mut Look,
    ) -> bool {
        let tells_resolved = integration.settings.flag("send_resolved");
        let mut why = self.log.why(&message, tells_resolved, route.repeat_ms(&message), now);
        let is_taken_care_of = || message.firing.iter().all(|alert| (looking.is_acknowledged)(&alert.labels));
        // Another Alertmanager takes what it is not told of for over.
        if why == Some(Why::Repeated) && integration.kind != Kind::Alertmanager && is_taken_care_of() {
            why = None;
            self.log.remember(&message.way(), route.remembered_ms(&message), now);
        }
        let all_resolved = std::mem::take(&mut message.resolved);
        if tells_resolved {
            message.resolved = all_resolved.clone();
        }
        // Whoever may have been told of a begin is told of the end, and whoever may have been told something else of what is so.
        let mut may_know = message.firing.is_empty() && (looking.is_given_up)(&message.way());
        if let Some((number, pending)) = (looking.pending)(&message.way()) {
            if pending.tells_the_same(&message) {
                return true;
            }
            look.dropped.push(number);
            may_know = true;
        }
        if why.is_none() && may_know {
            why = Some(if message.firing.is_empty() { Why::Resolved } else { Why::Changed });
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

    /// Once everybody knows, alerts leave the group that were known to be over when it was looked at. An end that came to be known
    /// later may lie before the look, which told that the alert fires; one of the same moment waits for the next look.
    fn settle(&mut self, config: &Config, id: &GroupId) {
        if self.escalations.get(id).is_some_and(|known| !known.unsent.is_empty()) {
            return;
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(looked_at) = group.looked_at.filter(|_| group.unsent.is_empty()) else { return };
        let (alerts, all, sources) = (&mut group.alerts, &mut self.alerts, &mut self.sources);
        alerts.retain(|labels| {
            let Some(known) = all.get_mut(labels) else { return false };
            if !is_over(&known.alert, looked_at) || known.updated_at >= looked_at {
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
