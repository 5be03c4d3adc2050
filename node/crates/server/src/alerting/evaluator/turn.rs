//! A rule group's turn: it is evaluated, what is new is committed, and the series of its alerts are stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{Command, Health, RuleProgress, StoredGroup};
use bellwether_alert::rules::{Rule, RuleGroup};
use bellwether_alert::state::RuleSample;
use bellwether_alert::state::alerting::samples_after;
use bellwether_model::{NodeId, Timestamp};
use tokio::time::Instant;
use tracing::Instrument;

use super::evaluation::{Evaluations, Subject};
use super::metrics::EvaluatorMetrics;
use super::prepared::Prepared;
use super::schedule::GroupKey;
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
    Turn {
        /// Whose.
        key: GroupKey,
        /// What is to be remembered.
        memory: Memory,
        /// The group's last evaluation, as it is known here.
        last: Option<Timestamp>,
        /// Whether the group goes on with its next tick.
        succeeded: bool,
    },
    /// The series of a group that is no more have ended.
    LetGo,
}

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
    pub async fn take(self: Arc<Self>, key: GroupKey, time: Timestamp, epoch: u64, mut memory: Memory) -> Ended {
        let span = tracing::debug_span!("rule group", group = %key, time);
        let committed = self.evaluated(&key, time, epoch, &mut memory).instrument(span).await;
        let last = self.stored(&key).and_then(|stored| stored.progress.last_evaluation);
        if !committed {
            self.metrics().uncommitted.inc();
        }
        Ended::Turn { key, memory, last, succeeded: committed }
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
        let current = self.alerting.read(&key.tenant, |state| state.ring.epoch);
        let Some(known) = self.stored(key).filter(|_| current == epoch) else { return false };
        let Ok(group) = &known.parsed else { return false };
        // A program that reads a text otherwise than the one that proposed it would give each rule another one's alerts.
        if group.rules.len() != known.progress.rules.len() || known.progress.last_evaluation >= Some(time) {
            return false;
        }
        let is_known = |prepared: &Arc<Prepared>| prepared.revision == known.revision;
        let prepared = memory.prepared.take().filter(is_known);
        let new = || Arc::new(Prepared::new(key, known.revision, group, self.default_interval_ms));
        let prepared = memory.prepared.insert(prepared.unwrap_or_else(new)).clone();
        let composites = self.composites(key, group);
        let subject = Subject { key, known: &known, group, prepared: &prepared, epoch, at: time, composites };
        let before = std::mem::take(&mut memory.written);
        let missed = prepared.ticks.missed(known.progress.last_evaluation, time);
        let (evaluated, written) = self.evaluations.evaluate(&subject, before).await;
        memory.written = written;
        if let Err(error) = self.alerting.propose(&key.tenant, Command::Evaluated(Box::new(evaluated))).await {
            match error {
                AlertingError::Refused(error) => tracing::debug!(%error, "an evaluation comes to nothing"),
                AlertingError::Unanswered(error) => {
                    tracing::warn!(rule_group = %key, %error, "an evaluation was not committed");
                }
            }
            return false;
        }
        let seconds = Duration::from_millis(lag_ms.unsigned_abs()).as_secs_f64();
        self.metrics().lag_seconds.observe(seconds);
        self.metrics().missed_ticks.inc_by(missed);
        self.metrics().evaluations.inc_by(known.progress.rules.len() as u64);
        if let Some(after) = self.stored(key).filter(|after| after.progress.last_evaluation == Some(time)) {
            let samples = alert_samples(&known, &after, subject.timestamp());
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

/// The series that say which alerts there are, after an evaluation; ends of those that there are no more. Of a rule that failed
/// nothing is said, unless its alerts were forgotten.
fn alert_samples(before: &StoredGroup, after: &StoredGroup, timestamp: Timestamp) -> Vec<RuleSample> {
    let rules = before.progress.rules.iter().zip(&after.progress.rules);
    let told = rules.filter(|(_, after)| !matches!(after.health, Health::Failed(_)) || after.alerts.is_empty());
    told.flat_map(|(before, after)| samples_after(&before.alerts, &after.alerts, timestamp)).collect()
}
