//! `on_call`, `escalation_policies`: who is on call, and who is told if nobody takes care.

use std::collections::BTreeMap;

use super::{Reader, Receiver};
use crate::notify::escalation::{Policy, REPEATS_MAX, STEPS_MAX, Step, Whom};
use crate::notify::interval::{Intervals, parse_location};
use crate::notify::on_call::{ROTATION_PARTS_MAX, Rotation, SCHEDULES_MAX, Schedule, Shift, TURN_MS_MIN, parse_local};
use crate::yaml::Node;
use crate::yaml::fields::Fields;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SCHEDULE: [&str; 4] = ["name", "time_zone", "rotations", "overrides"];
const ROTATION: [&str; 4] = ["users", "begins", "length", "active_time_intervals"];

impl Reader {
    /// `on_call`.
    pub(super) fn schedules(
        &mut self,
        fields: &Fields<'_>,
        receivers: &BTreeMap<String, Receiver>,
        intervals: &Intervals,
    ) -> BTreeMap<String, Schedule> {
        let mut schedules = BTreeMap::new();
        for node in self.bounded(fields, "on_call", SCHEDULES_MAX) {
            let Some(fields) = Fields::of(node, "an on-call schedule", &SCHEDULE, &mut self.problems) else { continue };
            let Some(name) = self.name(&fields, "an on-call schedule") else { continue };
            let zone = fields.text("time_zone", &mut self.problems).and_then(|zone| {
                let read = parse_location(&zone.value);
                read.map_err(|message| self.problems.add(zone.place, format!("time_zone: {message}"))).ok()
            });
            let zone = zone.unwrap_or(TimeZone::UTC);
            let rotations = self.bounded(&fields, "rotations", ROTATION_PARTS_MAX);
            let rotations = rotations.iter().filter_map(|node| self.rotation(node, receivers, intervals)).collect();
            let overrides = self.bounded(&fields, "overrides", ROTATION_PARTS_MAX);
            let overrides = overrides.iter().filter_map(|node| self.shift(node, &zone, receivers)).collect();
            if schedules.insert(name.clone(), Schedule { zone, rotations, overrides }).is_some() {
                self.problems.add(node.place, format!("there is an on-call schedule {name:?} already"));
            }
        }
        for (name, receiver) in receivers {
            if let Some(schedule) = receiver.on_call.as_ref().filter(|schedule| !schedules.contains_key(*schedule)) {
                let message = format!("receiver {name:?}: there is no on-call schedule {schedule:?}");
                self.problems.add(receiver.place, message);
            }
        }
        schedules
    }

    fn rotation(
        &mut self,
        node: &Node,
        receivers: &BTreeMap<String, Receiver>,
        intervals: &Intervals,
    ) -> Option<Rotation> {
        let fields = Fields::of(node, "a rotation", &ROTATION, &mut self.problems)?;
        let users = fields.texts("users", &mut self.problems);
        if users.is_empty() || users.len() > ROTATION_PARTS_MAX {
            self.problems.add(node.place, format!("a rotation needs users, {ROTATION_PARTS_MAX} at most"));
        }
        for user in &users {
            self.check_user(&user.value, user.place, receivers);
        }
        let length = fields.duration_ms("length", &mut self.problems);
        let length_ms = length.map_or(0, |length| length.value);
        if length_ms < TURN_MS_MIN {
            self.problems.add(node.place, "a rotation needs a length such as 1w, of a minute at least");
        }
        let begins = self.local(&fields, "begins")?;
        let is_interval = |name: &str| intervals.contains_key(name);
        let active = self.names_of(&fields, "active_time_intervals", "time interval", is_interval);
        let users: Vec<String> = users.into_iter().map(|user| user.value).collect();
        (!users.is_empty()).then_some(Rotation { users, begins, length_ms: length_ms.max(TURN_MS_MIN), active })
    }

    fn shift(&mut self, node: &Node, zone: &TimeZone, receivers: &BTreeMap<String, Receiver>) -> Option<Shift> {
        let fields = Fields::of(node, "an override", &["user", "begins", "ends"], &mut self.problems)?;
        let Some(user) = fields.text("user", &mut self.problems) else {
            self.problems.add(node.place, "an override needs a user");
            return None;
        };
        self.check_user(&user.value, user.place, receivers);
        let mut time = |name| {
            let local = self.local(&fields, name)?;
            Some(local.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
        };
        let (begins_at, ends_at) = (time("begins")?, time("ends")?);
        if begins_at >= ends_at {
            self.problems.add(node.place, "the override ends before it begins");
        }
        Some(Shift { user: user.value, begins_at, ends_at })
    }

    fn local(&mut self, fields: &Fields<'_>, name: &str) -> Option<DateTime> {
        let Some(text) = fields.text(name, &mut self.problems) else {
            self.problems.add(fields.place, format!("{name} is missing, a local time such as 2026-11-16T09:00"));
            return None;
        };
        parse_local(&text.value).map_err(|message| self.problems.add(text.place, format!("{name}: {message}"))).ok()
    }

    fn check_user(&mut self, user: &str, place: crate::yaml::Place, receivers: &BTreeMap<String, Receiver>) {
        match receivers.get(user) {
            None => self.problems.add(place, format!("there is no receiver {user:?}")),
            // So nobody is asked for in a circle.
            Some(receiver) if receiver.on_call.is_some() => {
                self.problems.add(place, format!("receiver {user:?} is who is on call himself"));
            }
            Some(_) => {}
        }
    }

    /// `escalation_policies`.
    pub(super) fn escalations(
        &mut self,
        fields: &Fields<'_>,
        receivers: &BTreeMap<String, Receiver>,
        schedules: &BTreeMap<String, Schedule>,
    ) -> BTreeMap<String, Policy> {
        let mut policies = BTreeMap::new();
        for node in self.bounded(fields, "escalation_policies", SCHEDULES_MAX) {
            let known = ["name", "steps", "repeat"];
            let Some(fields) = Fields::of(node, "an escalation policy", &known, &mut self.problems) else { continue };
            let Some(name) = self.name(&fields, "an escalation policy") else { continue };
            let steps = self.bounded(&fields, "steps", STEPS_MAX);
            let steps: Vec<Step> = steps.iter().filter_map(|node| self.step(node, receivers, schedules)).collect();
            if steps.is_empty() {
                self.problems.add(node.place, format!("escalation policy {name:?} needs steps"));
                continue;
            }
            let repeat = fields.whole("repeat", &mut self.problems);
            if let Some(repeat) = repeat.as_ref().filter(|repeat| !(0..=REPEATS_MAX).contains(&repeat.value)) {
                self.problems.add(repeat.place, format!("repeat is from 0 to {REPEATS_MAX}"));
            }
            let repeat = repeat.and_then(|repeat| u32::try_from(repeat.value).ok()).unwrap_or_default();
            if policies.insert(name.clone(), Policy { steps, repeat }).is_some() {
                self.problems.add(node.place, format!("there is an escalation policy {name:?} already"));
            }
        }
        policies
    }

    fn step(
        &mut self,
        node: &Node,
        receivers: &BTreeMap<String, Receiver>,
        schedules: &BTreeMap<String, Schedule>,
    ) -> Option<Step> {
        let fields = Fields::of(node, "a step", &["notify", "on_call", "after"], &mut self.problems)?;
        let after = fields.duration_ms("after", &mut self.problems).map(|after| after.value);
        let Some(after_ms) = after else {
            self.problems.add(node.place, "a step needs after, how long it waits for the step before");
            return None;
        };
        let receiver = fields.text("notify", &mut self.problems);
        let schedule = fields.text("on_call", &mut self.problems);
        match (receiver, schedule) {
            (Some(receiver), None) => {
                if !receivers.contains_key(&receiver.value) {
                    self.problems.add(receiver.place, format!("there is no receiver {:?}", receiver.value));
                }
                Some(Step { whom: Whom::Receiver(receiver.value), after_ms })
            }
            (None, Some(schedule)) => {
                if !schedules.contains_key(&schedule.value) {
                    self.problems.add(schedule.place, format!("there is no on-call schedule {:?}", schedule.value));
                }
                Some(Step { whom: Whom::OnCall(schedule.value), after_ms })
            }
            _ => {
                self.problems.add(node.place, "a step tells either notify, a receiver, or on_call, a schedule");
                None
            }
        }
    }

    fn name(&mut self, fields: &Fields<'_>, what: &str) -> Option<String> {
        let name = fields.text("name", &mut self.problems).filter(|name| !name.value.is_empty());
        if name.is_none() {
            self.problems.add(fields.place, format!("{what} needs a name"));
        }
        name.map(|name| name.value)
    }

    fn bounded<'n>(&mut self, fields: &Fields<'n>, name: &str, max: usize) -> &'n [std::sync::Arc<Node>] {
        let nodes = fields.list(name, &mut self.problems);
        if nodes.len() > max {
            self.problems.add(fields.key_place(name), format!("{name} has more than {max} items"));
        }
        &nodes[..nodes.len().min(max)]
    }
}
