//! Alert groups in memory: each command is applied at once.

use std::sync::{Arc, Mutex};

use bellwether_alert::alert_group::{
    AlertGroupState, Command, Evaluated, Evaluation, Found, Outcome, Request, RuleResult, apply,
};
use bellwether_alert::evaluate::External;
use bellwether_alert::rules::Rule;
use bellwether_alert::state::alerting::{self, Present, Seen};
use bellwether_alert::state::threshold::reading::expand;
use bellwether_alert::template::Surroundings;
use bellwether_model::{Labels, Tenant, Timestamp};
use bellwether_promql::{Point, VectorSample};
use bellwether_server::alerting::AlertingError;
use bellwether_server::alerting::desk::AlertStates;
use bellwether_server::env::{BoxFuture, WallClock};

use super::TestClock;

/// Templates ask nothing.
struct Nowhere;

impl Surroundings for Nowhere {
    fn now_ms(&self) -> Timestamp {
        0
    }

    fn external_url(&self) -> &str {
        ""
    }

    fn query(&self, _text: &str) -> Result<Vec<(Labels, f64)>, String> {
        Ok(Vec::new())
    }
}

pub struct MemoryStates {
    clock: Arc<TestClock>,
    state: Mutex<(AlertGroupState, u64)>,
}

impl MemoryStates {
    pub fn new(clock: Arc<TestClock>) -> MemoryStates {
        MemoryStates { clock, state: Mutex::default() }
    }

    pub fn apply(&self, command: Command) -> Result<Outcome, AlertingError> {
        let mut state = self.state.lock().unwrap();
        let (state, index) = &mut *state;
        *index += 1;
        Ok(apply(state, Request { proposed_ms: self.clock.now_ms(), command }, *index)?)
    }

    /// An evaluation of a rule group now: for each rule its alerts with their values (of a threshold rule, the series), or why it failed.
    pub fn evaluate(&self, namespace: &str, group: &str, results: &[Result<Vec<(Labels, f64)>, &str>]) {
        let tenant = Tenant::default_tenant();
        let known = self.state.lock().unwrap().0.group(&tenant, namespace, group).unwrap().clone();
        let evaluation = Evaluation {
            tenant,
            namespace: namespace.to_owned(),
            group: group.to_owned(),
            epoch: self.state.lock().unwrap().0.ring.epoch,
            at: self.clock.now_ms(),
            missed: 0,
            duration_us: 1_500,
        };
        let rules = known.parsed.clone().unwrap();
        let results = results.iter().zip(&rules.rules).zip(&known.progress.rules).map(|((result, rule), of_rule)| {
            if let (Rule::Alerting(alert), Ok(series)) = (rule, result)
                && let Some(of) = &alert.thresholds
            {
                let sample = |(labels, value): &(Labels, f64)| VectorSample {
                    labels: labels.clone(),
                    point: Point { timestamp: 0, value: *value },
                    histogram: None,
                };
                let vector: Vec<VectorSample> = series.iter().map(sample).collect();
                let external = External::default();
                let evaluation = alerting::Evaluation {
                    now: self.clock.now_ms(),
                    query_offset_ms: 0,
                    limit: None,
                    external_labels: &external.labels,
                    surroundings: &Nowhere,
                };
                let reading = expand(alert, of, &evaluation, &vector, &of_rule.watched, &mut Vec::new());
                let found = Ok(Found::Series(reading.unwrap()));
                let (generator_url, is_muted) = ("/graph?g0.expr=up".into(), alert.is_muted(self.clock.now_ms()));
                return RuleResult { found, duration_us: 250, generator_url, is_muted };
            }
            let seen = |(labels, value): &(Labels, f64)| {
                let annotations = Arc::from([("summary".to_owned(), "it is \"bad\"".to_owned())]);
                (labels.clone(), Seen { value: *value, annotations })
            };
            let present = result.as_ref().map(|alerts| alerts.iter().map(seen).collect::<Present>());
            let found = present.map(Found::from).map_err(|error| (*error).to_owned());
            RuleResult { found, duration_us: 250, generator_url: "/graph?g0.expr=up".into(), is_muted: false }
        });
        let evaluated = Evaluated::of(evaluation, &known, results.collect());
        self.apply(Command::Evaluated(Box::new(evaluated))).unwrap();
    }
}

impl AlertStates for MemoryStates {
    fn look(&self, _tenant: &Tenant, look: &mut dyn FnMut(&AlertGroupState)) {
        look(&self.state.lock().unwrap().0);
    }

    fn propose<'a>(&'a self, _tenant: &'a Tenant, command: Command) -> BoxFuture<'a, Result<Outcome, AlertingError>> {
        Box::pin(async move { self.apply(command) })
    }
}
