//! What an evaluation tells the alert group: what it saw that the group did not know, and nothing else.

mod room;

use std::sync::Arc;

use bellwether_model::{Labels, Tenant, Timestamp};

use super::limits::{ALERT_BYTES_MAX, ERROR_BYTES_MAX, REFRESH_MS};
use super::state::RuleKind;
use super::state::{Health, RuleProgress, StoredGroup};
use crate::state::StepError;
use crate::state::alerting::{Observation, Present, Seen, Timing, advance, check_limit, is_still};
use crate::state::threshold::Grading;
use crate::state::threshold::reading::Reading;
use crate::state::threshold::watch::{self, Sighting, Sightings};

/// What an evaluation of a rule group saw that was not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Whose.
    pub tenant: Tenant,
    /// The group's namespace.
    pub namespace: String,
    /// The group's name.
    pub group: String,
    /// The ring's epoch by which its evaluator was chosen.
    pub epoch: u64,
    /// The revision that was evaluated.
    pub revision: u64,
    /// The time of the evaluation before, as its evaluator knew it.
    pub before: Option<Timestamp>,
    /// The time of the evaluation; later than the one before.
    pub at: Timestamp,
    /// Evaluations that there should have been since, and that are given up.
    pub missed: u64,
    /// How long it took, in microseconds.
    pub duration_us: u32,
    /// How long each rule took, in microseconds, in the order of the rules.
    pub rule_durations_us: Vec<u32>,
    /// Rules of which there is something to tell, ascending.
    pub differences: Vec<RuleDifference>,
}

/// What is new of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleDifference {
    /// Which, counted from 0.
    pub rule: u32,
    /// How it is, if it is not as it was.
    pub health: Option<Health>,
    /// What became of its alerts.
    pub observation: Observation,
    /// What became of the series that it watches, if it is a threshold rule.
    pub sightings: Sightings,
    /// It has more alerts than its group's limit: they are all forgotten.
    pub forgets: bool,
    /// Where people see its query, if that is not known.
    pub generator_url: Option<Arc<str>>,
    /// Whether people are not told of its alerts from now on, if that is not as it was.
    pub is_muted: Option<bool>,
}

/// What is the same for all rules of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Whose.
    pub tenant: Tenant,
    /// The group's namespace.
    pub namespace: String,
    /// The group's name.
    pub group: String,
    /// The ring's epoch by which the evaluator was chosen.
    pub epoch: u64,
    /// The time of the evaluation.
    pub at: Timestamp,
    /// Evaluations that are given up.
    pub missed: u64,
    /// How long it took, in microseconds.
    pub duration_us: u32,
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleResult {
    /// What was found (no alerts for a recording rule), or why it failed.
    pub found: Result<Found, String>,
    /// How long it took, in microseconds.
    pub duration_us: u32,
    /// Where people see its query: `/graph?...`, the address of whoever shows it before it.
    pub generator_url: Arc<str>,
    /// Whether people are not told of its alerts.
    pub is_muted: bool,
}

/// What the result of a rule's query comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Alerts that are there.
    Alerts(Present),
    /// Series that a threshold rule watches.
    Series(Reading),
}

impl From<Present> for Found {
    fn from(present: Present) -> Found {
        Found::Alerts(present)
    }
}

impl Evaluated {
    /// The difference between what is known and the results, one for each rule of `known`, of which the evaluation was made.
    pub fn of(evaluation: Evaluation, known: &StoredGroup, results: Vec<RuleResult>) -> Evaluated {
        Evaluated::of_some(evaluation, known, results.into_iter().map(Some).collect())
    }

    /// The same of an evaluation of some rules alone: what became of the others stays unknown, also to time.
    pub fn of_some(evaluation: Evaluation, known: &StoredGroup, results: Vec<Option<RuleResult>>) -> Evaluated {
        let Evaluation { tenant, namespace, group, epoch, at, missed, duration_us } = evaluation;
        assert_eq!(known.progress.rules.len(), results.len(), "each rule has a result");
        let limit = known.parsed.as_ref().ok().and_then(|group| group.limit);
        let mut differences = Vec::with_capacity(results.len());
        let mut rule_durations_us = Vec::with_capacity(results.len());
        for (rule, (known, result)) in known.progress.rules.iter().zip(results).enumerate() {
            rule_durations_us.push(result.as_ref().map_or(known.duration_us, |result| result.duration_us));
            let difference = match result {
                Some(result) => RuleDifference::of(known, result, limit, at),
                None => RuleDifference::unknown(known),
            };
            differences.push(RuleDifference { rule: rule as u32, ..difference });
        }
        room::fit(&known.progress.rules, &mut differences);
        differences.retain(|difference| !difference.is_empty());
        Evaluated {
            tenant,
            namespace,
            group,
            epoch,
            revision: known.revision,
            before: known.progress.last_evaluation,
            at,
            missed,
            duration_us,
            rule_durations_us,
            differences,
        }
    }

    /// Whether nothing at all becomes of what is known, by the evaluation or by its time.
    pub fn changes_nothing(&self, known: &StoredGroup) -> bool {
        let mut differences = self.differences.iter().peekable();
        known.progress.rules.iter().enumerate().all(|(number, rule)| {
            match differences.next_if(|difference| difference.rule as usize == number) {
                Some(difference) => {
                    *difference == RuleDifference { rule: number as u32, ..RuleDifference::unknown(rule) }
                }
                None => matches!(rule.health, Health::Failed(_)) || rule.is_still(self.at),
            }
        })
    }
}

impl RuleProgress {
    /// Whether nothing becomes of its alerts by an evaluation that sees nothing new.
    fn is_still(&self, at: Timestamp) -> bool {
        match &self.shape.kind {
            RuleKind::Recording => true,
            RuleKind::Alerting(timing) => is_still(*timing, &self.alerts, at, &Observation::default()),
            RuleKind::Threshold(timing, grading) => {
                watch::is_still((*timing, grading), &self.watched, &self.alerts, at, &Sightings::default())
            }
        }
    }
}

impl RuleDifference {
    /// Of a rule of which nothing was found out.
    fn unknown(known: &RuleProgress) -> RuleDifference {
        let mut difference = RuleDifference::default();
        match known.shape.kind {
            RuleKind::Recording | RuleKind::Alerting(_) => difference.observation.is_cut = true,
            RuleKind::Threshold(..) => difference.sightings.is_cut = true,
        }
        difference
    }

    fn of(known: &RuleProgress, result: RuleResult, limit: Option<usize>, at: Timestamp) -> RuleDifference {
        let mut difference = RuleDifference::default();
        let health = match (result.found, known.shape.kind) {
            (Err(error), _) => Health::Failed(shortened(error)),
            (Ok(_), RuleKind::Recording) => Health::Ok,
            (Ok(Found::Alerts(present)), RuleKind::Alerting(timing)) => {
                let observation = Observation::difference(&known.alerts, &present, at, REFRESH_MS);
                let largest = present.iter().map(|(labels, seen)| bytes(labels, seen)).max().unwrap_or_default();
                let checked = fits(largest).and_then(|()| exceeded(limit, known, timing, at, &observation));
                difference.observation = observation;
                difference.settle(known, checked)
            }
            (Ok(Found::Series(reading)), RuleKind::Threshold(timing, grading)) => {
                let sightings = Sightings::difference(&known.watched, &reading, at, REFRESH_MS);
                let largest = reading.iter().map(|(labels, sighting)| sighting_bytes(labels, sighting)).max();
                let checked = fits(largest.unwrap_or_default());
                let checked = checked.and_then(|()| too_many(limit, known, (timing, &grading), at, &sightings));
                difference.sightings = sightings;
                difference.settle(known, checked)
            }
            (Ok(_), _) => Health::Failed("this program reads the rule otherwise than the one that took it".to_owned()),
        };
        let has_news = !difference.observation.is_empty() || !difference.sightings.is_empty();
        let is_new = known.generator_url != result.generator_url && has_news;
        difference.generator_url = is_new.then_some(result.generator_url);
        difference.health = (health != known.health).then_some(health);
        difference.is_muted = (result.is_muted != known.is_muted).then_some(result.is_muted);
        difference
    }

    /// How the rule is by what was found. If that is wrong, it is not told of.
    fn settle(&mut self, known: &RuleProgress, checked: Result<(), Unfit>) -> Health {
        let Err(error) = checked else { return Health::Ok };
        (self.observation, self.sightings) = (Observation::default(), Sightings::default());
        let is_known = !known.alerts.is_empty() || !known.watched.is_empty();
        self.forgets = is_known && matches!(error, Unfit::TooMany(_));
        Health::Failed(error.to_string())
    }

    fn is_empty(&self) -> bool {
        self.health.is_none()
            && !self.forgets
            && self.observation.is_empty()
            && !self.observation.is_cut
            && self.sightings.is_empty()
            && self.is_muted.is_none()
    }
}

/// Why alerts are not told of.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("an alert has more than {ALERT_BYTES_MAX} bytes of labels and annotations")]
    TooLarge,
    #[error(transparent)]
    TooMany(#[from] StepError),
}

fn fits(largest: usize) -> Result<(), Unfit> {
    if largest > ALERT_BYTES_MAX { Err(Unfit::TooLarge) } else { Ok(()) }
}

/// Whether more alerts would be there than may be.
fn exceeded(
    limit: Option<usize>,
    known: &RuleProgress,
    timing: Timing,
    at: Timestamp,
    observation: &Observation,
) -> Result<(), Unfit> {
    // Most rules have too few alerts, whatever becomes of them.
    if limit.is_none_or(|limit| known.alerts.len() + observation.appeared.len() <= limit) {
        return Ok(());
    }
    let mut alerts = (*known.alerts).clone();
    advance(timing, &mut alerts, at, observation);
    Ok(check_limit(limit, &alerts)?)
}

/// The same of a threshold rule.
fn too_many(
    limit: Option<usize>,
    known: &RuleProgress,
    rule: (Timing, &Grading),
    at: Timestamp,
    sightings: &Sightings,
) -> Result<(), Unfit> {
    if limit.is_none() {
        return Ok(());
    }
    let (mut watched, mut alerts) = ((*known.watched).clone(), (*known.alerts).clone());
    watch::advance(rule, &mut watched, &mut alerts, at, sightings);
    Ok(check_limit(limit, &alerts)?)
}

fn bytes(labels: &Labels, seen: &Seen) -> usize {
    labels.byte_len() + seen.annotations.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>()
}

fn sighting_bytes(labels: &Labels, sighting: &Sighting) -> usize {
    match sighting {
        Sighting::There { seen, .. } | Sighting::Gone { seen: Some(seen) } | Sighting::Nothing { seen } => {
            bytes(labels, seen)
        }
        Sighting::Gone { seen: None } | Sighting::Over => labels.byte_len(),
    }
}

/// An error as it is kept.
pub(super) fn shortened(mut error: String) -> String {
    let mut end = error.len().min(ERROR_BYTES_MAX);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error.truncate(end);
    error
}
