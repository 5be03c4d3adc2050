//! Alert groups in memory: each command is applied at once.

use std::sync::{Arc, Mutex};

use bellwether_alert::alert_group::{
    AlertGroupState, Command, Evaluated, Evaluation, Outcome, Request, RuleResult, apply,
};
use bellwether_alert::state::alerting::{Present, Seen};
use bellwether_model::{Labels, Tenant};
use bellwether_server::alerting::AlertingError;
use bellwether_server::alerting::desk::AlertStates;
use bellwether_server::env::{BoxFuture, WallClock};

use super::TestClock;

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

    /// An evaluation of a rule group now: for each rule its alerts with their values, or why it failed.
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
        let results = results.iter().map(|result| {
            let seen = |(labels, value): &(Labels, f64)| {
                let annotations = Arc::from([("summary".to_owned(), "it is \"bad\"".to_owned())]);
                (labels.clone(), Seen { value: *value, annotations })
            };
            let present = result.as_ref().map(|alerts| alerts.iter().map(seen).collect::<Present>());
            let present = present.map_err(|error| (*error).to_owned());
            RuleResult { present, duration_us: 250, generator_url: "/graph?g0.expr=up".into() }
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
