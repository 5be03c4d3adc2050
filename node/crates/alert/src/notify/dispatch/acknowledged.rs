//! Services are told that somebody takes care of what they were told.

use std::collections::BTreeSet;

use bellwether_model::{Labels, Timestamp};

use super::{Alert, Dispatch, GroupId, Message, Way, Why, is_over};
use crate::notify::Config;
use crate::notify::config::kinds::Kind;
use crate::notify::on_call::Overrides;

impl Kind {
    /// Whether it knows that somebody takes care of something.
    fn knows_acknowledgement(self) -> bool {
        matches!(self, Kind::Opsgenie | Kind::Pagerduty)
    }
}

impl Dispatch {
    /// Messages to those who were told of groups that have one of the alerts, and of which all that fires is acknowledged now.
    pub(crate) fn acknowledged(
        &self,
        config: &Config,
        (alerts, overrides): (&BTreeSet<Labels>, &Overrides),
        is_acknowledged: &dyn Fn(&Labels) -> bool,
        now: Timestamp,
    ) -> Vec<Message> {
        let ids: BTreeSet<_> = alerts
            .iter()
            .flat_map(|labels| {
                let at = config.routes.take(labels).into_iter();
                at.map(|at| (at, config.routes.group_labels(at, labels)))
            })
            .collect();
        let mut messages = Vec::new();
        for id in ids {
            let Some(firing) = self.firing_if_acknowledged(&id, is_acknowledged, now) else { continue };
            let group_key = config.routes.group_key(id.0, &id.1);
            let on_duty = config.on_duty(&config.routes.get(id.0).receiver, overrides, now);
            let others = self.escalations.get(&id).into_iter().flat_map(|known| &known.receivers);
            let names: BTreeSet<&str> = others.map(String::as_str).chain([on_duty]).collect();
            let ways = names.into_iter().flat_map(|name| config.integrations_of(name).map(move |at| (name, at)));
            for (name, integration) in ways {
                let way = Way { group_key: group_key.clone(), receiver: name.to_owned(), integration };
                if !integration.kind.knows_acknowledgement() || !self.log.tells_firing(&way) {
                    continue;
                }
                messages.push(Message {
                    group_key: group_key.clone(),
                    group: id.1.clone(),
                    route: id.0,
                    receiver: name.to_owned(),
                    integration,
                    why: Why::Acknowledged,
                    firing: firing.clone(),
                    resolved: Vec::new(),
                });
            }
        }
        messages
    }

    /// A message to a way that was told only now that alerts fire: while it did not know of them, it was not told that somebody takes
    /// care of them.
    pub(crate) fn acknowledged_before(
        &self,
        message: &Message,
        is_acknowledged: &dyn Fn(&Labels) -> bool,
        now: Timestamp,
    ) -> Option<Message> {
        if !message.integration.kind.knows_acknowledgement() || !self.log.tells_firing(&message.way()) {
            return None;
        }
        let id = (message.route, message.group.clone());
        let firing = self.firing_if_acknowledged(&id, is_acknowledged, now)?;
        Some(Message { why: Why::Acknowledged, firing, resolved: Vec::new(), ..message.clone() })
    }

    /// What fires in a group, if anything does and all of it is acknowledged.
    fn firing_if_acknowledged(
        &self,
        id: &GroupId,
        is_acknowledged: &dyn Fn(&Labels) -> bool,
        now: Timestamp,
    ) -> Option<Vec<Alert>> {
        let known = self.groups.get(id)?.alerts.iter().filter_map(|labels| self.alerts.get(labels));
        let firing = known.map(|known| &known.alert).filter(|alert| !is_over(alert, now));
        // Most groups have one that is not: nothing is copied for those.
        if firing.clone().any(|alert| !is_acknowledged(&alert.labels)) {
            return None;
        }
        let firing: Vec<Alert> = firing.map(|alert| Alert { ends_at: None, ..alert.clone() }).collect();
        (!firing.is_empty()).then_some(firing)
    }

    /// The alerts that fire in the groups of a key.
    pub fn firing_in(&self, config: &Config, group_key: &str, now: Timestamp) -> BTreeSet<Labels> {
        let mut firing = BTreeSet::new();
        for (at, _) in config.routes.iter() {
            // A key is that of its route, and labels.
            if !group_key.strip_prefix(&config.routes.key(at)).is_some_and(|rest| rest.starts_with(":{")) {
                continue;
            }
            let of_route = self.groups.range((at, Labels::empty())..).take_while(|((route, _), _)| *route == at);
            for (_, group) in of_route.filter(|(id, _)| config.routes.group_key(at, &id.1) == group_key) {
                let known = group.alerts.iter().filter_map(|labels| self.alerts.get(labels));
                firing
                    .extend(known.filter(|known| !is_over(&known.alert, now)).map(|known| known.alert.labels.clone()));
            }
        }
        firing
    }
}
