//! Another configuration: its groups take over the alerts, and the messages that wait.

use std::collections::BTreeMap;

use bellwether_model::Timestamp;

use super::{Dispatch, GroupId, KnownAlert, Message};
use crate::notify::Config;
use crate::notify::route::RouteAt;

impl Dispatch {
    /// Puts all alerts into the groups of another configuration than the one before; how many have no room in any.
    pub fn regroup(&mut self, before: &Config, config: &Config, now: Timestamp) -> usize {
        let alerts = std::mem::take(&mut self.alerts);
        self.groups.clear();
        self.due.clear();
        self.sources = Default::default();
        let count = alerts.len();
        for known in alerts.into_values() {
            self.put(config, KnownAlert { groups: 0, ..known }, now, (true, false));
        }
        self.regroup_escalations(before, config);
        count - self.alerts.len()
    }

    /// Steps go on with the group that has the same name. Of several the one that tells the same receiver, or else has a policy.
    fn regroup_escalations(&mut self, before: &Config, config: &Config) {
        let escalations = std::mem::take(&mut self.escalations);
        if escalations.is_empty() {
            return;
        }
        let groups = self.groups_by_key(config);
        for (old, mut known) in escalations {
            let receiver = &before.routes.get(old.0).receiver;
            let named = groups.get(&before.routes.group_key(old.0, &old.1)).into_iter().flatten();
            let fits = |id: &&GroupId| {
                let route = config.routes.get(id.0);
                (route.receiver != *receiver, route.escalation.is_none())
            };
            let Some(id) = named.filter(|id| !self.escalations.contains_key(*id)).min_by_key(fits) else { continue };
            // Those of them that still wait are taken over after this.
            known.unsent.clear();
            self.escalations.insert(id.clone(), known);
        }
    }

    /// The groups, by their names for receivers.
    pub fn groups_by_key(&self, config: &Config) -> BTreeMap<String, Vec<GroupId>> {
        let mut groups: BTreeMap<String, Vec<GroupId>> = BTreeMap::new();
        for id in self.groups.keys() {
            groups.entry(config.routes.group_key(id.0, &id.1)).or_default().push(id.clone());
        }
        groups
    }

    /// The route by which a message that was made by another configuration is still to be sent: of a group that has its name, and tells
    /// its receiver, or once told him as the next step or as who was on call. The group waits for it as for its own.
    pub fn take_over(
        &mut self,
        config: &Config,
        groups: &BTreeMap<String, Vec<GroupId>>,
        message: &Message,
    ) -> Option<RouteAt> {
        let Message { group_key, receiver, integration, .. } = message;
        let ids = groups.get(group_key)?;
        let told = |id: &GroupId| &config.routes.get(id.0).receiver;
        let own = ids.iter().find(|id| told(id) == receiver);
        let is_step = |id: &&GroupId| self.escalations.get(id).is_some_and(|known| known.receivers.contains(receiver));
        if own.is_none()
            && let Some(id) = ids.iter().find(is_step)
        {
            if message.why.is_of_look() {
                self.escalations.get_mut(id)?.unsent.insert((receiver.clone(), *integration));
            }
            return Some(id.0);
        }
        let is_on_call = |id: &GroupId| config.receivers.get(told(id)).is_some_and(|told| told.on_call.is_some());
        let id = own.or_else(|| ids.iter().find(|id| is_on_call(id)))?;
        if message.why.is_of_look() {
            self.groups.get_mut(id)?.unsent.insert(*integration);
        }
        Some(id.0)
    }
}
