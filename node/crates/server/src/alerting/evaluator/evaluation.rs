//! One evaluation of a rule group, up to what is told to its alert group: each rule is asked in turn, what is recorded is
//! stored before a rule that reads it is asked, at the end otherwise, and of alerts comes what is new.
//!
//! A rule that fails, by its query or because its series are not stored, harms no other.

use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{self, Evaluated, RuleProgress, RuleResult, StoredGroup};
use bellwether_alert::evaluate::External;
use bellwether_alert::rules::{Query, Rule, RuleGroup};
use bellwether_alert::state::alerting::{self, Present};
use bellwether_alert::state::recording::{self, RecordingState};
use bellwether_alert::state::{RuleSample, StepError};
use bellwether_model::{Labels, Tenant, Timestamp};
use bellwether_promql::{Expr, Value, VectorSample};
use tokio::time::Instant;

use super::answers::{self, Answers};
use super::metrics::EvaluatorMetrics;
use super::prepared::Prepared;
use super::schedule::GroupKey;
use super::store::{StoreError, Stores};
use super::ticks::Due;
use super::written::{Written, WrittenRule, WrittenSeries};
use crate::query::{Coordinator, RuleQuery};

/// Up to so many alerts of a rule are expanded without a hop to the scan executor.
const INLINE_ALERTS_MAX: usize = 100;
/// Rules of one evaluation that are asked after an evaluation has taken this long, or its interval if that is longer, fail.
const EVALUATION_MAX: Duration = Duration::from_secs(120);

/// What evaluations need of the node.
pub struct Evaluations {
    /// Who answers rules.
    pub queries: Arc<Coordinator>,
    /// Where samples go.
    pub stores: Stores,
    /// What templates know of the cluster.
    pub external: Arc<External>,
    /// Counts.
    pub metrics: Arc<EvaluatorMetrics>,
}

/// What is evaluated.
pub struct Subject<'s> {
    /// The group's place.
    pub key: &'s GroupKey,
    /// What its alert group knows of it.
    pub known: &'s StoredGroup,
    /// Its rules.
    pub group: &'s Arc<RuleGroup>,
    /// What follows from them.
    pub prepared: &'s Prepared,
    /// The epoch of the ring that says that it is evaluated here.
    pub epoch: u64,
    /// For what time.
    pub due: Due,
}

/// What has come of the rules so far.
struct Progress {
    results: Vec<RuleResult>,
    /// Recorded and not stored yet.
    waiting: Vec<Recorded>,
    before: Written,
    written: Vec<WrittenRule>,
    end: Instant,
}

/// What a recording rule gave.
struct Recorded {
    rule: usize,
    samples: Vec<RuleSample>,
    before: RecordingState,
    next: RecordingState,
}

impl Evaluations {
    /// Evaluates a group: what to tell, and what has been written.
    pub async fn evaluate(&self, subject: &Subject<'_>, before: Written) -> (Evaluated, Written) {
        let Subject { key, known, group, prepared, epoch, due } = subject;
        let began = Instant::now();
        let interval = Duration::from_millis(prepared.ticks.interval_ms().unsigned_abs());
        let mut progress = Progress {
            results: Vec::with_capacity(group.rules.len()),
            waiting: Vec::new(),
            before: before.since(known.progress.last_evaluation),
            written: Vec::new(),
            end: began + interval.max(EVALUATION_MAX),
        };
        progress.before.forget_alerts_of(&known.progress.rules);
        for (at, (rule, of_rule)) in group.rules.iter().zip(&known.progress.rules).enumerate() {
            if prepared.store_before[at] {
                self.store(&key.tenant, &mut progress).await;
            }
            let began = Instant::now();
            let present = match rule {
                Rule::Recording(rule) => {
                    self.record(subject, (at, rule, of_rule), &mut progress).await.map(|()| Present::default())
                }
                Rule::Alerting(_) => {
                    let series = WrittenSeries::Alerts(of_rule.alerts.clone());
                    progress.written.push(WrittenRule { identity: of_rule.shape.identity, series });
                    self.present(subject, at, progress.end).await
                }
            };
            let (duration_us, generator_url) = (micros(began.elapsed()), prepared.generator_urls[at].clone());
            progress.results.push(RuleResult { present, duration_us, generator_url });
        }
        let timestamp = subject.timestamp();
        let recorded: Vec<&RuleSample> = progress.waiting.iter().flat_map(|recorded| &recorded.samples).collect();
        let ended = progress.before.ended(timestamp, &recorded);
        self.store(&key.tenant, &mut progress).await;
        self.stores.store_or_log(key, &ended).await;
        let failed = progress.results.iter().filter(|result| result.present.is_err()).count();
        self.metrics.observe(key, progress.results.len(), failed, due.missed, began.elapsed());
        let evaluation = alert_group::Evaluation {
            tenant: key.tenant.clone(),
            namespace: key.namespace.to_string(),
            group: key.group.to_string(),
            epoch: *epoch,
            at: due.time,
            missed: due.missed,
            duration_us: micros(began.elapsed()),
        };
        (Evaluated::of(evaluation, known, progress.results), Written::new(due.time, progress.written))
    }

    async fn record(
        &self,
        subject: &Subject<'_>,
        (at, rule, of_rule): (usize, &bellwether_alert::rules::RecordingRule, &RuleProgress),
        progress: &mut Progress,
    ) -> Result<(), String> {
        let before = progress.before.take_recorded(of_rule);
        let identity = of_rule.shape.identity;
        let stepped = match self.vector(subject, &rule.query, progress.end).await {
            Ok(vector) => recording::step(rule, &before, subject.timestamp(), vector, subject.group.limit)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match stepped {
            Ok((next, samples)) => {
                progress.waiting.push(Recorded { rule: at, samples, before, next });
                Ok(())
            }
            Err(error) => {
                progress.written.push(WrittenRule { identity, series: WrittenSeries::Recorded(before) });
                Err(error)
            }
        }
    }

    /// Stores what waits; the rules whose series could not be stored have failed.
    async fn store(&self, tenant: &Tenant, progress: &mut Progress) {
        let waiting = std::mem::take(&mut progress.waiting);
        if waiting.is_empty() {
            return;
        }
        let together: Vec<&RuleSample> = waiting.iter().flat_map(|recorded| &recorded.samples).collect();
        let stored = self.stores.store(tenant, &together).await;
        drop(together);
        for Recorded { rule, samples, before, next } in waiting {
            let stored = match &stored {
                // Somebody's samples were refused: whose shows when each rule's are stored alone.
                Err(StoreError::Refused(_)) => self.stores.store(tenant, &samples.iter().collect::<Vec<_>>()).await,
                stored => stored.clone(),
            };
            let mut series = next;
            if let Err(error) = stored {
                // Some of it may have been stored: all of it must be ended when it vanishes.
                series.series.extend(before.series);
                progress.results[rule].present = Err(error.to_string());
            }
            progress.stored(rule, series);
        }
    }

    /// The alerts that there are of a rule.
    async fn present(&self, subject: &Subject<'_>, at: usize, end: Instant) -> Result<Present, String> {
        let mut vector = self.vector(subject, subject.group.rules[at].query(), end).await?;
        if vector.is_empty() {
            return Ok(Present::default());
        }
        let mut answers = Answers::new(subject.due.time, self.external.clone());
        loop {
            let (group, external) = (subject.group.clone(), self.external.clone());
            let expand = move || {
                let expanded = expand(&group, at, &external, &answers, &vector);
                (expanded, vector, answers)
            };
            let expanded;
            (expanded, vector, answers) = if alerts_are_few(&expand.1) { expand() } else { expand() };
            let _ = &vector;
            let asked = answers.take_asked();
            if asked.is_empty() {
                return expanded.map_err(|error| error.to_string());
            }
            for query in asked {
                let answer = self.answer(subject, &query, end).await;
                answers.learn(query, answer);
            }
        }
    }
}
