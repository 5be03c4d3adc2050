//! A rule group's turn: it is evaluated, what is new is committed, and the series of its alerts are stored. Between its ticks it is so of some
//! critical rules alone, and nothing is committed if nothing has become of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{Command, Evaluated, Health, RuleProgress, StoredGroup};
use bellwether_alert::rules::{Rule, RuleGroup};
use bellwether_alert::state::RuleSample;
use bellwether_alert::state::alerting::{Phase, samples_after};
use bellwether_model::{NodeId, Timestamp};
use bellwether_probe::{Bug, Seen, planted, tell};
use tokio::time::Instant;
use tracing::Instrument;

use super::evaluation::{Evaluations, Subject};
use super::metrics::EvaluatorMetrics;
use super::prepared::Prepared;
use super::schedule::GroupKey;
use super::store::leave_out_vain_ends;
use super::touched::Wanted;
use super::written::Written;
use crate::alerting::{Alerting, AlertingError};
use crate::env::WallClock;

/// What turns need of the node.
pub struct Turns {
    /// The alert groups.
    pub alerting: Alerting,
    /// Evaluates.
    pub evaluations: Evaluations,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// How often groups are evaluated that do not say it.
    pub default_interval_ms: i64,
}

/// What is remembered of a group between its turns.
#[derive(Default)]
pub struct Memory {
    prepared: Option<Arc<Prepared>>,
    written: Written,
}

/// What has come of a task.
pub enum Ended {
    /// A turn is over.
    Turn(Box<EndedTurn>),
    /// The series of a group that is no more have ended.
    LetGo,
}

/// What has come of a turn.
pub struct EndedTurn {
    /// Whose.
    pub key: GroupKey,
    /// What is to be remembered.
    pub memory: Memory,
    /// The group's last evaluation, as it is known here.
    pub last: Option<Timestamp>,
    /// Whether the group goes on with its next tick.
    pub succeeded: bool,
    /// What it was evaluated for, if that was between its ticks.
    pub wanted: Option<Wanted>,
    /// How long it took.
    pub took: Duration,
    /// How far in the past its queries look.
    pub offset_ms: i64,
    /// When something becomes of alerts of critical rules by time alone.
    pub next_change: Option<Timestamp>,
}

/// What is evaluated: the group as it is known, its rules, and what follows from them.
type Known = (Arc<StoredGroup>, Arc<RuleGroup>, Arc<Prepared>);

impl Turns {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.alerting.groups()[0].node()
    }

    /// Counts.
    pub fn metrics(&self) -> &EvaluatorMetrics {
        &self.evaluations.metrics
    }

    /// A group's turn, by the ring of `epoch`.
    pub async fn take(
        self: Arc<Self>,
        key: GroupKey,
        time: Timestamp,
        epoch: u64,
        mut memory: Memory,
        wanted: Option<Wanted>,
    ) -> Ended {
        let began = Instant::now();
        let span = tracing::debug_span!("rule group", group = %key, time);
        let succeeded = match &wanted {
            None => self.evaluated(&key, time, epoch, &mut memory).instrument(span).await,
            Some(wanted) => self.evaluated_between(&key, time, epoch, &mut memory, wanted).instrument(span).await,
        };
        if !succeeded {
            self.metrics().uncommitted.inc();
        }
        let took = began.elapsed();
        let stored = self.stored(&key);
        let last = stored.as_ref().and_then(|stored| stored.progress.last_evaluation);
        let group = stored.as_ref().and_then(|stored| stored.parsed.as_ref().ok());
        let offset_ms = group.and_then(|group| group.query_offset_ms).unwrap_or(0);
        let next_change = stored.as_ref().and_then(|stored| next_change(stored));
        let ended = EndedTurn { key, memory, last, succeeded, wanted, took, offset_ms, next_change };
        Ended::Turn(Box::new(ended))
    }

    /// Ends the series of a group that is no more. Those of one that another node evaluates now are that node's.
    pub async fn let_go(self: Arc<Self>, key: GroupKey, memory: Memory) -> Ended {
        self.metrics().forget_group(&key);
        if self.stored(&key).is_none() {
            let ended = memory.written.ended(self.clock.now_ms(), &Written::default());
            self.evaluations.store_beside(&key, &ended).await;
        }
        Ended::LetGo
    }

    fn stored(&self, key: &GroupKey) -> Option<Arc<StoredGroup>> {
        self.alerting.read(&key.tenant, |state| state.group(&key.tenant, &key.namespace, &key.group).cloned())
    }

    /// What is to be evaluated, if it is by this ring, and if that can be.
    fn subject(&self, key: &GroupKey, time: Timestamp, epoch: u64, memory: &mut Memory) -> Option<Known> {
        let current = self.alerting.read(&key.tenant, |state| state.ring.epoch);
        let mut known = self.stored(key).filter(|_| current == epoch)?;
        if planted(Bug::TimersOfTheEvaluator) && memory.prepared.is_none() {
            let rules = &mut Arc::make_mut(&mut known).progress.rules;
            rules.iter_mut().for_each(|rule| rule.alerts = Arc::default());
        }
        let group = known.parsed.as_ref().ok()?.clone();
        // A program that reads a text otherwise than the one that proposed it would give each rule another one's alerts.
        if group.rules.len() != known.progress.rules.len() || known.progress.last_evaluation >= Some(time) {
            return None;
        }
        let is_known = |prepared: &Arc<Prepared>| prepared.revision == known.revision;
        let prepared = memory.prepared.take().filter(is_known);
        let new = || Arc::new(Prepared::new(key, known.revision, &group, self.default_interval_ms));
        let prepared = memory.prepared.insert(prepared.unwrap_or_else(new)).clone();
        Some((known, group, prepared))
    }

    /// Whether an evaluation was committed.
    async fn commit(&self, key: &GroupKey, evaluated: Evaluated) -> bool {
        let (epoch, at) = (evaluated.epoch, evaluated.at);
        tell(|| Seen::Evaluated { node: self.node().0, rule_group: key.to_string(), epoch, at });
        let committed = self.alerting.propose(&key.tenant, Command::Evaluated(Box::new(evaluated))).await;
        match &committed {
            Ok(_) => {}
            Err(AlertingError::Refused(error)) => tracing::debug!(%error, "an evaluation comes to nothing"),
            Err(AlertingError::Unanswered(error)) => {
                tracing::warn!(rule_group = %key, %error, "an evaluation was not committed");
            }
        }
        committed.is_ok()
    }

    /// Whether critical rules were evaluated and what came of it, if anything did, was committed.
    async fn evaluated_between(
        &self,
        key: &GroupKey,
        time: Timestamp,
        epoch: u64,
        memory: &mut Memory,
        wanted: &Wanted,
    ) -> bool {
        let Some((known, group, prepared)) = self.subject(key, time, epoch, memory) else { return false };
        let composites = self.composites(key, &group);
        let subject = Subject { key, known: &known, group: &group, prepared: &prepared, epoch, at: time, composites };
        let rules = wanted.rules(known.revision, &critical(&known));
        let evaluated = self.evaluations.evaluate_some(&subject, &rules).await;
        let is_news = !evaluated.changes_nothing(&known);
        if is_news && !self.commit(key, evaluated).await {
            return false;
        }
        self.metrics().evaluations.inc_by(rules.len() as u64);
        self.metrics().between_ticks.inc_by(rules.len() as u64);
        if let Some(since) = wanted.since() {
            self.metrics().stored_to_evaluated_seconds.observe(since.elapsed().as_secs_f64());
        }
        let after = self.stored(key).filter(|after| is_news && after.progress.last_evaluation == Some(time));
        if let Some(after) = after {
            let is_changed =
                |(before, after): &(&RuleProgress, &RuleProgress)| !Arc::ptr_eq(&before.alerts, &after.alerts);
            let samples = alert_samples(&known, &after, subject.timestamp(), is_changed);
            self.evaluations.store_beside(key, &samples).await;
            memory.written.evaluated_between(known.progress.last_evaluation, time, &after.progress.rules);
        }
        true
    }

    /// Whether the conditions of a group's composite rules hold now.
    fn composites(&self, key: &GroupKey, group: &RuleGroup) -> BTreeMap<usize, Result<bool, String>> {
        let composite = |rule: &Rule| match rule {
            Rule::Alerting(rule) => rule.composite.clone(),
            Rule::Recording(_) => None,
        };
        let rules = group.rules.iter().enumerate();
        let (numbers, composites): (Vec<usize>, Vec<_>) =
            rules.filter_map(|(number, rule)| Some((number, composite(rule)?))).unzip();
        if numbers.is_empty() {
            return BTreeMap::new();
        }
        let hold = self.alerting.read(&key.tenant, |state| {
            let of_tenant = state.tenants.get(&key.tenant);
            of_tenant.map_or_else(Vec::new, |of_tenant| of_tenant.composites(composites.iter().map(|one| &**one)))
        });
        numbers.into_iter().zip(hold).collect()
    }

    /// Whether an evaluation was committed.
    async fn evaluated(&self, key: &GroupKey, time: Timestamp, epoch: u64, memory: &mut Memory) -> bool {
        let began = Instant::now();
        let lag_ms = self.clock.now_ms().saturating_sub(time).max(0);
        let Some((known, group, prepared)) = self.subject(key, time, epoch, memory) else { return false };
        let composites = self.composites(key, &group);
        let subject = Subject { key, known: &known, group: &group, prepared: &prepared, epoch, at: time, composites };
        let before = std::mem::take(&mut memory.written);
        let alerts = before.alerts().clone();
        let missed = prepared.ticks.missed(known.progress.last_evaluation, time);
        let (evaluated, written) = self.evaluations.evaluate(&subject, before).await;
        memory.written = written;
        if !self.commit(key, evaluated).await {
            memory.written.keep_alerts(alerts);
            return false;
        }
        let seconds = Duration::from_millis(lag_ms.unsigned_abs()).as_secs_f64();
        self.metrics().lag_seconds.observe(seconds);
        self.metrics().missed_ticks.inc_by(missed);
        self.metrics().evaluations.inc_by(known.progress.rules.len() as u64);
        if let Some(after) = self.stored(key).filter(|after| after.progress.last_evaluation == Some(time)) {
            let samples = alert_samples(&known, &after, subject.timestamp(), |_| true);
            self.evaluations.store_beside(key, &samples).await;
            memory.written.set_alerts(&after.progress.rules);
            let has_failed = |rule: &&RuleProgress| matches!(rule.health, Health::Failed(_));
            self.metrics().failures.inc_by(after.progress.rules.iter().filter(has_failed).count() as u64);
        }
        self.metrics().group_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics().note_group(key, began.elapsed(), time);
        true
    }
}

/// The critical rules of a group, by their numbers.
fn critical(known: &StoredGroup) -> BTreeSet<usize> {
    let rules = known.progress.rules.iter().enumerate();
    rules.filter(|(_, rule)| rule.shape.critical).map(|(number, _)| number).collect()
}

/// When something becomes of alerts of critical rules by time alone.
fn next_change(known: &StoredGroup) -> Option<Timestamp> {
    // Of one that fails nothing becomes by time.
    let fails = |rule: &RuleProgress| matches!(rule.health, Health::Failed(_));
    let critical = known.progress.rules.iter().filter(|rule| rule.shape.critical && !fails(rule));
    let changes = critical.filter_map(|rule| Some((rule, rule.shape.timing()?))).flat_map(|(rule, timing)| {
        rule.alerts.values().filter_map(move |alert| match alert.phase {
            Phase::Pending => Some(alert.active_at.saturating_add(timing.for_ms)),
            Phase::Firing { kept_since: Some(since), .. } => Some(since.saturating_add(timing.keep_firing_for_ms)),
            Phase::Firing { .. } | Phase::Resolved { .. } => None,
        })
    });
    changes.min()
}

/// The series that say which alerts there are, after an evaluation; ends of those that there are no more. Of a rule that failed
/// nothing is said, unless its alerts were forgotten.
fn alert_samples(
    before: &StoredGroup,
    after: &StoredGroup,
    timestamp: Timestamp,
    which: impl Fn(&(&RuleProgress, &RuleProgress)) -> bool,
) -> Vec<RuleSample> {
    let rules = before.progress.rules.iter().zip(&after.progress.rules).filter(which);
    let told = rules.filter(|(_, after)| !matches!(after.health, Health::Failed(_)) || after.alerts.is_empty());
    let mut samples =
        told.flat_map(|(before, after)| samples_after(&before.alerts, &after.alerts, timestamp)).collect();
    leave_out_vain_ends(std::iter::once(&mut samples), std::iter::empty());
    samples
}
