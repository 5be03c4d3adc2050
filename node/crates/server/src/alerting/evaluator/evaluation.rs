//! One evaluation of a rule group, up to what is told to its alert group: each rule is asked in turn; what is recorded is
//! stored before a rule that reads it is asked, at the end otherwise; of alerts comes what the alert group does not know.
//!
//! A rule that fails, by its query or because its series are not stored, harms no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{self, Evaluated, Found, RuleProgress, RuleResult, StoredGroup};
use bellwether_alert::evaluate::External;
use bellwether_alert::rules::{RecordingRule, Rule, RuleGroup};
use bellwether_alert::state::RuleSample;
use bellwether_alert::state::alerting::Present;
use bellwether_alert::state::recording::{self, RecordingState};
use bellwether_model::{Labels, Tenant, Timestamp};
use bellwether_promql::{Expr, Point, Value, VectorSample};
use tokio::time::{Instant, timeout};

use super::answers::{Answer, Answers};
use super::expansion::{Expanded, Expansion};
use super::metrics::EvaluatorMetrics;
use super::patience::Patience;
use super::prepared::Prepared;
use super::schedule::GroupKey;
use super::store::{StoreError, leave_out_vain_ends, store};
use super::written::Written;
use crate::query::{Coordinator, QueryError, RuleQuery};
use crate::shards::SelectError;
use crate::write::WritePath;

/// Up to so many alerts of a rule are expanded without a hop to the scan executor.
const INLINE_ALERTS_MAX: usize = 100;
/// An evaluation may take so long, or the group's interval if that is longer; the rules that are not done by then fail.
const EVALUATION_MAX: Duration = Duration::from_secs(120);
/// How long a write may take. The write path has its own bound for others, which is longer than a rule group should wait.
const STORE_MAX: Duration = Duration::from_secs(10);

/// What evaluations need of the node.
pub struct Evaluations {
    /// Who answers rules.
    pub queries: Arc<Coordinator>,
    /// Where samples go.
    pub write: Arc<WritePath>,
    /// What templates know of the cluster.
    pub external: Arc<External>,
    /// How long rules wait for what is not there.
    pub patience: Patience,
    /// Counts.
    pub metrics: EvaluatorMetrics,
}

/// What is evaluated.
pub struct Subject<'s> {
    /// Which group.
    pub key: &'s GroupKey,
    /// What its alert group knows of it.
    pub known: &'s StoredGroup,
    /// Its rules.
    pub group: &'s Arc<RuleGroup>,
    /// What follows from them.
    pub prepared: &'s Prepared,
    /// The epoch of the ring by which it is evaluated here.
    pub epoch: u64,
    /// For what time.
    pub at: Timestamp,
    /// Whether the conditions of composite rules hold, by the rules' numbers.
    pub composites: BTreeMap<usize, Result<bool, String>>,
}

/// What has come of the rules so far.
struct Progress {
    results: Vec<RuleResult>,
    /// Recorded and not stored yet.
    waiting: Vec<Recorded>,
    /// What the evaluation before has left, less what rules have taken over.
    before: Written,
    written: Written,
    end: Instant,
}

/// What a recording rule gave.
struct Recorded {
    rule: usize,
    identity: u128,
    samples: Vec<RuleSample>,
    before: RecordingState,
    next: RecordingState,
}

impl Subject<'_> {
    /// The time of queries and samples.
    pub fn timestamp(&self) -> Timestamp {
        self.at.saturating_sub(self.group.query_offset_ms.unwrap_or(0))
    }

    /// What is told of the evaluation as a whole, which ends now.
    fn evaluation(&self, began: Instant) -> alert_group::Evaluation {
        alert_group::Evaluation {
            tenant: self.key.tenant.clone(),
            namespace: self.key.namespace.to_string(),
            group: self.key.group.to_string(),
            epoch: self.epoch,
            at: self.at,
            missed: self.prepared.ticks.missed(self.known.progress.last_evaluation, self.at),
            duration_us: micros(began.elapsed()),
        }
    }
}

impl Evaluations {
    /// Evaluates a group: what to tell, and what has been written.
    pub async fn evaluate(&self, subject: &Subject<'_>, before: Written) -> (Evaluated, Written) {
        let Subject { key, known, group, prepared, at, .. } = subject;
        let last = known.progress.last_evaluation;
        let began = Instant::now();
        let interval = Duration::from_millis(prepared.ticks.interval_ms().unsigned_abs());
        let mut progress = Progress {
            results: Vec::with_capacity(group.rules.len()),
            waiting: Vec::new(),
            before: before.since(last),
            written: Written::at(*at),
            end: began + interval.max(EVALUATION_MAX),
        };
        for (number, (rule, of_rule)) in group.rules.iter().zip(&known.progress.rules).enumerate() {
            if prepared.store_before[number] {
                self.store(&key.tenant, &mut progress).await;
            }
            let began = Instant::now();
            let found = match rule {
                Rule::Recording(rule) => self.record(subject, (number, rule, of_rule), &mut progress).await,
                Rule::Alerting(rule) => {
                    progress.before.forget_alerts(of_rule.shape.identity);
                    let has_thresholds = rule.thresholds.is_some();
                    self.found(subject, (number, of_rule, has_thresholds), progress.end).await
                }
            };
            let (duration_us, generator_url) = (micros(began.elapsed()), prepared.generator_urls[number].clone());
            progress.results.push(RuleResult { found, duration_us, generator_url, is_muted: rule.is_muted(*at) });
        }
        self.store(&key.tenant, &mut progress).await;
        let ended = progress.before.ended(subject.timestamp(), &progress.written);
        self.store_beside(key, &ended).await;
        (Evaluated::of(subject.evaluation(began), known, progress.results), progress.written)
    }

    /// Evaluates some alerting rules of a group: what to tell.
    pub async fn evaluate_some(&self, subject: &Subject<'_>, rules: &BTreeSet<usize>) -> Evaluated {
        let began = Instant::now();
        let end = began + EVALUATION_MAX;
        let mut results = Vec::with_capacity(subject.group.rules.len());
        for (number, (rule, of_rule)) in subject.group.rules.iter().zip(&subject.known.progress.rules).enumerate() {
            let Rule::Alerting(rule) = rule else {
                results.push(None);
                continue;
            };
            if !rules.contains(&number) {
                results.push(None);
                continue;
            }
            let began = Instant::now();
            let found = self.found(subject, (number, of_rule, rule.thresholds.is_some()), end).await;
            let (duration_us, generator_url) =
                (micros(began.elapsed()), subject.prepared.generator_urls[number].clone());
            let is_muted = subject.group.rules[number].is_muted(subject.at);
            results.push(Some(RuleResult { found, duration_us, generator_url, is_muted }));
        }
        Evaluated::of_some(subject.evaluation(began), subject.known, results)
    }

    /// Stores samples that no rule's health depends on.
    pub async fn store_beside(&self, key: &GroupKey, samples: &[RuleSample]) {
        if samples.is_empty() {
            return;
        }
        let samples: Vec<&RuleSample> = samples.iter().collect();
        if let Err(error) = self.store_samples(&key.tenant, &samples).await {
            self.metrics.unstored.inc_by(samples.len() as u64);
            tracing::warn!(rule_group = %key, %error, "samples that tell of alerts, or the ends of series");
        }
    }

    async fn store_samples(&self, tenant: &Tenant, samples: &[&RuleSample]) -> Result<(), StoreError> {
        let wait = self.patience.wait(STORE_MAX);
        let stored = timeout(wait, store(&self.write, tenant, samples)).await;
        match &stored {
            Ok(Err(StoreError::Unavailable(_))) => self.patience.note_missing(),
            Ok(_) => {}
            Err(_) => self.patience.note_waited(wait, STORE_MAX),
        }
        stored.unwrap_or_else(|_| Err(StoreError::Unavailable(format!("not acknowledged within {wait:?}"))))
    }

    async fn record(
        &self,
        subject: &Subject<'_>,
        (number, rule, of_rule): (usize, &RecordingRule, &RuleProgress),
        progress: &mut Progress,
    ) -> Result<Found, String> {
        let identity = of_rule.shape.identity;
        let before = progress.before.take_recorded(identity);
        let stepped = match self.vector(subject, &rule.query.text, &rule.query.expr, progress.end).await {
            Ok(vector) => recording::step(rule, &before, subject.timestamp(), vector, subject.group.limit)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        // One that failed stands among the others: rules that are known by the same take their series over in their order.
        let (found, recorded) = match stepped {
            Ok((next, samples)) => {
                (Ok(Found::Alerts(Present::default())), Recorded { rule: number, identity, samples, before, next })
            }
            Err(error) => {
                let (samples, none) = (Vec::new(), RecordingState::default());
                (Err(error), Recorded { rule: number, identity, samples, before: none, next: before })
            }
        };
        progress.waiting.push(recorded);
        found
    }

    /// Stores what waits. Rules whose series could not be stored have failed.
    async fn store(&self, tenant: &Tenant, progress: &mut Progress) {
        let mut waiting = std::mem::take(&mut progress.waiting);
        leave_out_vain_ends(waiting.iter_mut().map(|recorded| &mut recorded.samples), progress.written.series());
        let together: Vec<&RuleSample> = waiting.iter().flat_map(|recorded| &recorded.samples).collect();
        let stored = self.store_samples(tenant, &together).await;
        drop(together);
        let is_one = waiting.len() == 1;
        for Recorded { rule, identity, samples, before, next } in waiting {
            let stored = match &stored {
                _ if samples.is_empty() => Ok(()),
                // Whose samples were refused shows when each rule's are stored alone.
                Err(StoreError::Refused(_)) if !is_one => {
                    self.store_samples(tenant, &samples.iter().collect::<Vec<_>>()).await
                }
                stored => stored.clone(),
            };
            let mut series = next;
            if let Err(error) = stored {
                // Some of them may have been stored: all must be ended when they vanish.
                series.series.extend(before.series);
                progress.results[rule].found = Err(error.to_string());
            }
            progress.written.add_recorded(identity, series);
        }
    }

    /// The alerts that there are of a rule, or the series of a threshold rule.
    async fn found(
        &self,
        subject: &Subject<'_>,
        (rule, of_rule, has_thresholds): (usize, &RuleProgress, bool),
        end: Instant,
    ) -> Result<Found, String> {
        let query = subject.group.rules[rule].query();
        let vector = match subject.composites.get(&rule) {
            None => self.vector(subject, &query.text, &query.expr, end).await?,
            Some(holds) => true_or_nothing(holds.clone()?, subject.timestamp()),
        };
        // To a threshold rule, no series says something.
        if vector.is_empty() && !has_thresholds {
            return Ok(Found::Alerts(Present::default()));
        }
        let answers = Answers::new(subject.at, self.external.clone());
        let (group, external) = (subject.group.clone(), self.external.clone());
        let watched = of_rule.watched.clone();
        let mut expansion = Expansion { group, rule, external, watched, vector, answers };
        loop {
            let is_short = expansion.vector.len().max(expansion.watched.len()) <= INLINE_ALERTS_MAX;
            let Expanded { of, found, errors } = match is_short {
                true => expansion.expand(),
                false => {
                    let expanded = self.queries.executor().run(move || expansion.expand()).await;
                    expanded.map_err(|error| error.to_string())?
                }
            };
            expansion = of;
            let asked = expansion.answers.take_asked();
            if asked.is_empty() {
                self.metrics.template_errors.inc_by(errors.len() as u64);
                if let Some(error) = errors.first() {
                    tracing::debug!(rule_group = %subject.key, %error, "a template of an alert cannot be expanded");
                }
                return found.map_err(|error| error.to_string());
            }
            for query in asked {
                let answer = self.answer(subject, &query, end).await;
                expansion.answers.learn(query, answer);
            }
        }
    }

    /// What a template asks.
    async fn answer(&self, subject: &Subject<'_>, query: &str, end: Instant) -> Answer {
        let expr = bellwether_promql::parse(query).map_err(|error| error.to_string())?;
        let vector = self.ask(&subject.key.tenant, (query, &expr), subject.at, end).await?;
        // As in Prometheus, a histogram is 0 for those who ask for a number.
        let value = |sample: &VectorSample| if sample.histogram.is_some() { 0.0 } else { sample.point.value };
        Ok(vector.into_iter().map(|sample| (sample.labels.clone(), value(&sample))).collect())
    }

    async fn vector(
        &self,
        subject: &Subject<'_>,
        text: &str,
        expr: &Expr,
        end: Instant,
    ) -> Result<Vec<VectorSample>, String> {
        self.ask(&subject.key.tenant, (text, expr), subject.timestamp(), end).await
    }

    async fn ask(
        &self,
        tenant: &Tenant,
        (text, expr): (&str, &Expr),
        time: Timestamp,
        end: Instant,
    ) -> Result<Vec<VectorSample>, String> {
        let timeout = end.saturating_duration_since(Instant::now());
        if timeout.is_zero() {
            return Err("not evaluated: the rules before it have taken all the time that the group has".to_owned());
        }
        let timeout = self.patience.wait(timeout);
        let value = self.queries.ask(RuleQuery { tenant, text, expr, time, timeout }).await;
        if let Err(QueryError::Select(SelectError::Unavailable { .. })) = &value {
            self.patience.note_missing();
        }
        match value.map_err(|error| error.to_string())? {
            Value::Vector(vector) => Ok(vector),
            Value::Scalar(point) => Ok(vec![VectorSample { labels: Labels::empty(), point, histogram: None }]),
            Value::Matrix(_) | Value::String { .. } => Err("rule result is not a vector or scalar".to_owned()),
        }
    }
}

/// What a condition comes to, as a query's result.
fn true_or_nothing(holds: bool, timestamp: Timestamp) -> Vec<VectorSample> {
    let point = Point { timestamp, value: 1.0 };
    let sample = VectorSample { labels: Labels::empty(), point, histogram: None };
    holds.then_some(sample).into_iter().collect()
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
