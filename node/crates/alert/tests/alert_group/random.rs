//! Random sequences of evaluations: the parts of an evaluation, put together by a node and an alert group, come to what a whole
//! evaluation comes to, and that to what a plain model of Prometheus's rules says.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_alert::alert_group::Command;
use bellwether_alert::rules::{AlertingRule, Rule, read};
use bellwether_alert::state::alerting::{
    AlertingState, Alerts, Change, Evaluation, Observation, Phase, Present, Timing, advance, expand, is_still, step,
};
use bellwether_model::{Labels, Timestamp};
use bellwether_promql::{Point, VectorSample};
use proptest::prelude::*;

use crate::play::{Nowhere, Play, SECOND};

/// How long a resolved alert is remembered.
const REMEMBERED_MS: i64 = 15 * 60 * SECOND;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A plain model: each alert by itself, with the whole vector.
#[derive(Default)]
struct Model(BTreeMap<&'static str, Phase>, BTreeMap<&'static str, Timestamp>);

impl Model {
    fn step(&mut self, timing: Timing, now: Timestamp, present: &BTreeSet<usize>) -> Vec<(String, Change)> {
        let mut events = Vec::new();
        for (at, name) in NAMES.into_iter().enumerate() {
            let mut event = |change| events.push((name.to_owned(), change));
            let is_there = present.contains(&at);
            let before = self.0.get(name).copied();
            let after = match before {
                None | Some(Phase::Resolved { .. }) if is_there => {
                    event(Change::Pending);
                    self.1.insert(name, now);
                    Some(Phase::Pending)
                }
                Some(Phase::Pending) if !is_there => {
                    event(Change::Dropped);
                    None
                }
                Some(Phase::Firing { since, .. }) if is_there => Some(Phase::Firing { since, kept_since: None }),
                Some(Phase::Firing { since, kept_since }) => {
                    let first = kept_since.unwrap_or(now);
                    if now - first < timing.keep_firing_for_ms {
                        Some(Phase::Firing { since, kept_since: Some(first) })
                    } else {
                        event(Change::Resolved);
                        Some(Phase::Resolved { at: now })
                    }
                }
                Some(Phase::Resolved { at }) if now - at > REMEMBERED_MS => None,
                same => same,
            };
            let after = match after {
                Some(Phase::Pending) if now - self.1[name] >= timing.for_ms => {
                    event(Change::Firing);
                    Some(Phase::Firing { since: now, kept_since: None })
                }
                after => after,
            };
            self.0.remove(name);
            self.0.extend(after.map(|after| (name, after)));
        }
        events
    }
}

fn rule(timing: Timing) -> (String, AlertingRule) {
    let Timing { for_ms, keep_firing_for_ms } = timing;
    let text = format!(
        "name: g\nrules:\n- {{alert: A, expr: m, for: {for_ms}ms, keep_firing_for: {keep_firing_for_ms}ms, annotations: {{v: '{{{{ $value }}}}'}}}}\n"
    );
    let file = read(&format!("groups:\n- {}", text.replace('\n', "\n  "))).unwrap();
    let Rule::Alerting(rule) = file.groups[0].rules[0].clone() else { panic!("an alert") };
    (text, rule)
}

fn phases(alerts: &Alerts) -> BTreeMap<&str, Phase> {
    alerts.iter().map(|(labels, alert)| (labels.get("x").unwrap(), alert.phase)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn parts_and_whole_and_model_agree(
        timing in prop::sample::select(vec![(0, 0), (15, 0), (0, 25), (30, 40)]),
        evaluations in prop::collection::vec(
            (prop::collection::btree_set(0..4usize, 0..4), 0..3u8, prop::sample::select(vec![10, 10, 10, 20, 1000])), 1..40
        ),
    ) {
        let timing = Timing { for_ms: timing.0 * SECOND, keep_firing_for_ms: timing.1 * SECOND };
        let (text, rule) = rule(timing);
        let mut play = Play::new();
        play.set_rules(&text).unwrap();
        let mut model = Model::default();
        let mut whole = AlertingState::default();
        let mut parts = Alerts::new();
        for (present, value, after) in evaluations {
            let now = play.now;
            let sample = |at: &usize| VectorSample {
                labels: Labels::of(&[("__name__", "m"), ("x", NAMES[*at])]),
                point: Point { timestamp: now, value: f64::from(value) },
                histogram: None,
            };
            let vector: Vec<VectorSample> = present.iter().map(sample).collect();
            let evaluation = Evaluation {
                now, query_offset_ms: 0, limit: None, external_labels: &Labels::empty(), surroundings: &Nowhere,
            };
            let stepped = step(&rule, &whole, &evaluation, &vector).unwrap();
            let events: Vec<(String, Change)> = stepped.events.iter()
                .map(|event| (event.labels.get("x").unwrap().to_owned(), event.change)).collect();
            prop_assert_eq!(&events, &model.step(timing, now, &present));
            prop_assert_eq!(phases(&stepped.state.alerts), model.0.clone());
            whole = stepped.state;

            let seen: Present = expand(&rule, &evaluation, &vector, &mut Vec::new()).unwrap();
            let observation = Observation::difference(&parts, &seen, now, 0);
            let still = is_still(timing, &parts, now, &observation);
            let before = parts.clone();
            let of_parts = advance(timing, &mut parts, now, &observation);
            prop_assert_eq!(&of_parts, &stepped.events);
            prop_assert_eq!(&parts, &whole.alerts);
            prop_assert_eq!(still, before == parts);

            // Values are throttled there, phases are not.
            let names: Vec<&str> = present.iter().map(|at| NAMES[*at]).collect();
            let known = play.state.tenants[&play.tenant].history.len();
            let evaluated = play.evaluation("g", now, &[Ok(&names)]);
            play.apply(Command::Evaluated(evaluated.into())).unwrap();
            let history = play.tenant().history.iter().skip(known);
            let of_group: Vec<(Labels, Change)> = history.map(|event| (event.labels.clone(), event.change)).collect();
            prop_assert_eq!(of_group, stepped.events.into_iter().map(|event| (event.labels, event.change)).collect::<Vec<_>>());
            prop_assert_eq!(phases(&play.group("g").progress.rules[0].alerts), phases(&whole.alerts));
            prop_assert_eq!(play.tenant().totals.alerts, whole.alerts.len());
            play.now += after * SECOND;
        }
    }
}
