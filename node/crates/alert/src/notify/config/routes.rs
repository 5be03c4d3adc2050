//! `route`: the tree, flattened, what a route does not say filled in from the one above.

use std::collections::{BTreeMap, BTreeSet};

use super::label_matchers::{Forms, twice};
use super::settings::truth;
use super::{ROUTES_MAX, Reader, Receiver};
use crate::notify::escalation::Policy;
use crate::notify::interval::Intervals;
use crate::notify::matchers::Matchers;
use crate::notify::route::{
    GROUP_INTERVAL_MS_DEFAULT, GROUP_WAIT_MS_DEFAULT, GroupBy, REPEAT_INTERVAL_MS_DEFAULT, Route, RouteAt, Routes,
};
use crate::yaml::Node;
use crate::yaml::fields::Fields;

const FORMS: Forms = Forms { equal: "match", regex: "match_re", matchers: "matchers" };
const FIELDS: [&str; 14] = [
    "receiver",
    "group_by",
    "match",
    "match_re",
    "matchers",
    "mute_time_intervals",
    "active_time_intervals",
    "continue",
    "routes",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "summary",
    "escalation",
];

/// What there is to name.
struct Names<'c> {
    file: &'c str,
    receivers: &'c BTreeMap<String, Receiver>,
    intervals: &'c Intervals,
    escalations: &'c BTreeMap<String, Policy>,
}

impl Reader {
    /// Reads the tree.
    pub fn routes(
        &mut self,
        fields: &Fields<'_>,
        file: &str,
        (receivers, escalations): (&BTreeMap<String, Receiver>, &BTreeMap<String, Policy>),
        intervals: &Intervals,
    ) -> Option<Routes> {
        let Some(node) = fields.get("route") else {
            self.problems.add(fields.place, "the configuration needs a route");
            return None;
        };
        let mut routes = Vec::new();
        self.route(node, None, &Names { file, receivers, intervals, escalations }, &mut routes);
        (!routes.is_empty()).then(|| Routes::new(routes))
    }

    /// Reads a route and those below it. As deep as the document, which is bounded.
    fn route(
        &mut self,
        node: &Node,
        parent: Option<RouteAt>,
        names: &Names<'_>,
        routes: &mut Vec<Route>,
    ) -> Option<()> {
        let fields = Fields::of(node, "a route", &FIELDS, &mut self.problems)?;
        if routes.len() == ROUTES_MAX {
            self.problems.add(node.place, format!("more than {ROUTES_MAX} routes"));
        }
        if routes.len() >= ROUTES_MAX {
            return None;
        }
        let above = match parent {
            Some(parent) => handed_down(&routes[parent]),
            None => root(),
        };
        let is_interval = |name: &str| names.intervals.contains_key(name);
        let route = Route {
            parent,
            children: Vec::new(),
            matchers: self.matchers(&fields, &FORMS, names.file),
            receiver: self.receiver(&fields, names).unwrap_or(above.receiver),
            group_by: self.group_by(&fields).unwrap_or(above.group_by),
            group_wait_ms: self.wait(&fields, "group_wait", 0).unwrap_or(above.group_wait_ms),
            group_interval_ms: self.wait(&fields, "group_interval", 1).unwrap_or(above.group_interval_ms),
            repeat_interval_ms: self.wait(&fields, "repeat_interval", 1).unwrap_or(above.repeat_interval_ms),
            continues: fields
                .get("continue")
                .is_some_and(|node| truth(node, "continue", &mut self.problems).unwrap_or_default()),
            mute: self.names_of(&fields, "mute_time_intervals", "time interval", is_interval),
            active: self.names_of(&fields, "active_time_intervals", "time interval", is_interval),
            escalation: self.escalation(&fields, names).or(above.escalation),
            summary: self.summary(&fields).or(above.summary),
        };
        if route.repeat_interval_ms < route.group_interval_ms {
            let message = "repeat_interval is shorter than group_interval, which is how often a group is looked at";
            self.warn(node.place, message.to_owned());
        }
        if parent.is_none() {
            self.check_root(&fields, &route);
        }
        let at = routes.len();
        if let Some(parent) = parent {
            routes[parent].children.push(at);
        }
        routes.push(route);
        for child in fields.list("routes", &mut self.problems) {
            self.route(child, Some(at), names, routes);
        }
        Some(())
    }

    fn check_root(&mut self, fields: &Fields<'_>, root: &Route) {
        if root.receiver.is_empty() && fields.get("receiver").is_none() {
            self.problems.add(fields.place, "the topmost route needs a receiver: it takes what no other does");
        }
        let forbidden = [
            ("match", !root.matchers.is_empty()),
            ("mute_time_intervals", !root.mute.is_empty()),
            ("active_time_intervals", !root.active.is_empty()),
            ("continue", root.continues),
        ];
        for (name, _) in forbidden.iter().filter(|(_, is_there)| *is_there) {
            let forms: &[&str] = if *name == "match" { &["match", "match_re", "matchers"] } else { &[name] };
            let written = forms.iter().find(|form| fields.get(form).is_some()).copied().unwrap_or(name);
            self.problems
                .add(fields.key_place(written), format!("the topmost route takes every alert, so it has no {written}"));
        }
    }

    fn receiver(&mut self, fields: &Fields<'_>, names: &Names<'_>) -> Option<String> {
        let receiver = fields.text("receiver", &mut self.problems).filter(|receiver| !receiver.value.is_empty())?;
        if !names.receivers.contains_key(&receiver.value) {
            self.problems.add(receiver.place, format!("there is no receiver {:?}", receiver.value));
        }
        Some(receiver.value)
    }

    fn escalation(&mut self, fields: &Fields<'_>, names: &Names<'_>) -> Option<String> {
        let policy = fields.text("escalation", &mut self.problems)?;
        if !names.escalations.contains_key(&policy.value) {
            self.problems.add(policy.place, format!("there is no escalation policy {:?}", policy.value));
        }
        Some(policy.value)
    }

    /// None if it is not said, or an empty list, which says nothing.
    fn group_by(&mut self, fields: &Fields<'_>) -> Option<GroupBy> {
        let names = self.label_names(fields, "group_by");
        if let Some((name, place)) = twice(&names) {
            self.problems.add(*place, format!("group_by has {name:?} twice"));
        }
        let all = names.iter().find(|(name, _)| name == "...");
        if let (Some((_, place)), true) = (all, names.len() > 1) {
            self.problems.add(*place, "group_by has \"...\", which is all labels, beside others");
        }
        if all.is_some() {
            return Some(GroupBy::All);
        }
        let names: BTreeSet<String> = names.into_iter().map(|(name, _)| name).collect();
        (!names.is_empty()).then_some(GroupBy::Labels(names))
    }

    fn wait(&mut self, fields: &Fields<'_>, name: &str, least_ms: i64) -> Option<i64> {
        let wait = fields.duration_ms(name, &mut self.problems)?;
        if wait.value < least_ms {
            self.problems.add(wait.place, format!("{name} cannot be zero"));
        }
        Some(wait.value)
    }
}

/// What routes below have if they say nothing.
fn handed_down(route: &Route) -> Route {
    Route {
        receiver: route.receiver.clone(),
        group_by: route.group_by.clone(),
        group_wait_ms: route.group_wait_ms,
        group_interval_ms: route.group_interval_ms,
        repeat_interval_ms: route.repeat_interval_ms,
        escalation: route.escalation.clone(),
        summary: route.summary.clone(),
        ..root()
    }
}

/// What the root has if it says nothing.
fn root() -> Route {
    Route {
        parent: None,
        children: Vec::new(),
        matchers: Matchers::default(),
        receiver: String::new(),
        group_by: GroupBy::Labels(BTreeSet::new()),
        group_wait_ms: GROUP_WAIT_MS_DEFAULT,
        group_interval_ms: GROUP_INTERVAL_MS_DEFAULT,
        repeat_interval_ms: REPEAT_INTERVAL_MS_DEFAULT,
        continues: false,
        mute: Vec::new(),
        active: Vec::new(),
        escalation: None,
        summary: None,
    }
}
