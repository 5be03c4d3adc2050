//! One evaluation of a group: each rule's query, its step, the samples that it stores for the rules behind it.

use bellwether_model::{Labels, Timestamp};
use bellwether_promql::{Expr, VectorSample};

use crate::rules::{Rule, RuleGroup};
use crate::state::alerting::{self, AlertEvent, AlertingState, Evaluation};
use crate::state::recording::{self, RecordingState};
use crate::state::{RuleSample, StepError};
use crate::template::Surroundings;

/// Knows the samples.
pub trait Querier {
    /// Evaluates an instant query; a scalar is a vector of one sample without labels.
    fn query(&self, expr: &Expr, time: Timestamp) -> Result<Vec<VectorSample>, QueryError>;

    /// Takes what a rule stores, before the next rule asks.
    fn store(&mut self, samples: Vec<RuleSample>);
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

/// Why a rule failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Its query did.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Its result is no good.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// What a rule remembers.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleState {
    /// Of a recording rule.
    Recording(RecordingState),
    /// Of an alerting rule.
    Alerting(AlertingState),
}

impl RuleState {
    /// Of a rule that was never evaluated.
    pub fn of(rule: &Rule) -> RuleState {
        match rule {
            Rule::Recording(_) => RuleState::Recording(RecordingState::default()),
            Rule::Alerting(_) => RuleState::Alerting(AlertingState::default()),
        }
    }
}

/// What is the same for all rules of a server.
#[derive(Debug, Clone, Default)]
pub struct External {
    /// Its labels.
    pub labels: Labels,
    /// Where people reach it.
    pub url: String,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// What happened to its alerts, or why it could not be evaluated.
    pub result: Result<Vec<AlertEvent>, RuleError>,
    /// Templates that could not be expanded.
    pub template_errors: Vec<String>,
}

/// Evaluates a group; one state for each of its rules. A rule that fails harms no other.
pub fn evaluate_group(
    group: &RuleGroup,
    states: &mut [RuleState],
    now: Timestamp,
    external: &External,
    querier: &mut dyn Querier,
) -> Vec<Evaluated> {
    assert_eq!(group.rules.len(), states.len(), "each rule has a state");
    let evaluate = |(rule, state): (&Rule, &mut RuleState)| {
        let mut template_errors = Vec::new();
        let result = evaluate_rule((group, rule), state, now, external, querier, &mut template_errors);
        Evaluated { result, template_errors }
    };
    group.rules.iter().zip(states).map(evaluate).collect()
}

fn evaluate_rule(
    (group, rule): (&RuleGroup, &Rule),
    state: &mut RuleState,
    now: Timestamp,
    external: &External,
    querier: &mut dyn Querier,
    template_errors: &mut Vec<String>,
) -> Result<Vec<AlertEvent>, RuleError> {
    let query_offset_ms = group.query_offset_ms.unwrap_or(0);
    let time = now.saturating_sub(query_offset_ms);
    let vector = querier.query(&rule.query().expr, time)?;
    let (samples, events) = match (rule, state) {
        (Rule::Recording(rule), RuleState::Recording(state)) => {
            let (next, samples) = recording::step(rule, state, time, vector, group.limit)?;
            *state = next;
            (samples, Vec::new())
        }
        (Rule::Alerting(rule), RuleState::Alerting(state)) => {
            let surroundings = Asking { querier: &*querier, now, url: &external.url };
            let evaluation = Evaluation {
                now,
                query_offset_ms,
                limit: group.limit,
                external_labels: &external.labels,
                surroundings: &surroundings,
            };
            let stepped = alerting::step(rule, state, &evaluation, &vector);
            if let Err(StepError::TooManyAlerts { .. }) = stepped {
                // As in Prometheus, alerts begin anew; their series end when they do. So do checks of series.
                state.alerts.clear();
                state.watched.clear();
            }
            let stepped = stepped?;
            *template_errors = stepped.template_errors;
            *state = stepped.state;
            (stepped.samples, stepped.events)
        }
        _ => unreachable!("a state is made for its rule"),
    };
    querier.store(samples);
    Ok(events)
}

/// What templates ask of a querier.
struct Asking<'q> {
    querier: &'q dyn Querier,
    now: Timestamp,
    url: &'q str,
}

impl Surroundings for Asking<'_> {
    fn now_ms(&self) -> i64 {
        self.now
    }

    fn external_url(&self) -> &str {
        self.url
    }

    fn query(&self, text: &str) -> Result<Vec<(Labels, f64)>, String> {
        let expr = bellwether_promql::parse(text).map_err(|error| error.to_string())?;
        let vector = self.querier.query(&expr, self.now).map_err(|error| error.to_string())?;
        // As in Prometheus, a histogram is 0 for those who ask for a number.
        let value = |sample: &VectorSample| if sample.histogram.is_some() { 0.0 } else { sample.point.value };
        Ok(vector.into_iter().map(|sample| (sample.labels.clone(), value(&sample))).collect())
    }
}
