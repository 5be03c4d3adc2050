//! Another configuration: its groups take over the alerts, and the messages that wait.

use std::collections::BTreeMap;

use bellwether_model::Timestamp;

use super::{Dispatch, GroupId, KnownAlert, Message};
use crate::notify::Config;
use crate::notify::route::RouteAt;

impl Dispatch {
    /// Puts all alerts into the groups of another configuration; how many have no room in any.
    pub fn regroup(&mut self, config: &Config, now: Timestamp) -> usize {
        let alerts = std::mem::take(&mut self.alerts);
        self.groups.clear();
        self.due.clear();
        self.sources = Default::default();
        let before = alerts.len();
        for known in alerts.into_values() {
            self.put(config, KnownAlert { groups: 0, ..known }, now, (true, false));
        }
        if !self.escalations.is_empty() {
            let groups = self.groups_by_key(config);
            self.escalations.retain(|key, _| groups.contains_key(key));
            // Those of them that still wait are taken over after this.
            self.escalations.values_mut().for_each(|known| known.unsent.clear());
        }
        before - self.alerts.len()
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
        let step = self.escalations.get_mut(group_key).filter(|known| known.receivers.contains(receiver));
        if let (None, Some(step)) = (own, step) {
            if message.why.is_of_look() {
                step.unsent.insert((receiver.clone(), *integration));
            }
            return ids.first().map(|id| id.0);
        }
        let is_on_call = |id: &GroupId| config.receivers.get(told(id)).is_some_and(|told| told.on_call.is_some());
        let id = own.or_else(|| ids.iter().find(|id| is_on_call(id)))?;
        if message.why.is_of_look() {
            self.groups.get_mut(id)?.unsent.insert(*integration);
        }
        Some(id.0)
    }
}
