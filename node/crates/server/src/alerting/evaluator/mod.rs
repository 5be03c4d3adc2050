//! Rules are evaluated here. Each node evaluates the rule groups that the ring gives to it, as its own replicas of the alert
//! groups have them; what it sees it proposes to their alert group, which refuses it if somebody else evaluates by now.
//!
//! 1. The [schedule](schedule) says which group is next, of [ticks](ticks) that are the same whoever evaluates.
//! 2. An [evaluation] asks the rules' queries, one after the other, and [stores](store) what is recorded.
//! 3. What the alert group does not know is proposed. Once it is applied here, the series of alerts are stored.
//!
//! There is no task per group: so many groups as the machine has use for are evaluated at a time, the one first that has been due
//! longest. Nothing is remembered that has to outlive the node: the next evaluator goes on from the alert group's state.

mod answers;
mod dependencies;
mod evaluation;
mod expansion;
mod metrics;
mod patience;
mod prepared;
mod schedule;
mod store;
mod ticks;
mod turn;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::AlertGroupState;
use bellwether_alert::evaluate::External;
use bellwether_placement::EvaluatorRing;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Alerting;
use crate::config::AlertingConfig;
use crate::env::WallClock;
use crate::query::Coordinator;
use crate::write::WritePath;
use evaluation::Evaluations;
use metrics::EvaluatorMetrics;
use patience::Patience;
use schedule::{GroupKey, Known, Schedule};
use turn::{Ended, Memory, Turns};

/// How often it is looked whether there are other rules, or another ring.
const LOOK: Duration = Duration::from_millis(500);
/// Rule groups that are evaluated at a time, for each thread of the scan executor: while some wait for a disk or for other
/// nodes, others compute.
const GROUPS_PER_SCAN_THREAD: usize = 4;

/// What an evaluator is made of.
pub struct Parts {
    /// The alert groups.
    pub alerting: Alerting,
    /// Who answers rules.
    pub queries: Arc<Coordinator>,
    /// Where samples go.
    pub write: Arc<WritePath>,
    /// What templates know of the cluster.
    pub external: External,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
}

/// See the module.
pub struct Evaluator {
    turns: Arc<Turns>,
    clock: Arc<dyn WallClock>,
    default_interval_ms: i64,
    at_once: usize,
    schedule: Schedule,
    /// What is remembered of groups that are not evaluated just now.
    memories: BTreeMap<GroupKey, Memory>,
    /// The ring of each alert group, as it was looked at last.
    rings: Vec<(u64, EvaluatorRing)>,
}

impl Evaluator {
    /// An evaluator that has not begun.
    pub fn new(parts: Parts, config: &AlertingConfig, registry: &Registry) -> Result<Evaluator, prometheus::Error> {
        let Parts { alerting, queries, write, external, clock } = parts;
        let at_once = queries.executor().threads() * GROUPS_PER_SCAN_THREAD;
        let rings = alerting.groups().iter().map(|_| (0, EvaluatorRing::new(Default::default()))).collect();
        let metrics = EvaluatorMetrics::new(registry)?;
        let evaluations =
            Evaluations { queries, write, external: Arc::new(external), patience: Patience::default(), metrics };
        let default_interval_ms = i64::try_from(config.evaluation_interval.as_millis()).unwrap_or(i64::MAX);
        let turns = Arc::new(Turns { alerting, evaluations, clock: clock.clone(), default_interval_ms });
        let (schedule, memories) = (Schedule::default(), BTreeMap::new());
        Ok(Evaluator { turns, clock, default_interval_ms, at_once, schedule, memories, rings })
    }

    /// Evaluates until `stop` is true, once the node is ready.
    pub async fn run(mut self, mut ready: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            // What is asked before would wait for replicas that have not caught up.
            _ = ready.wait_for(|ready| *ready) => {}
        }
        let mut changes: Vec<watch::Receiver<u64>> =
            self.turns.alerting.groups().iter().map(|group| group.changes()).collect();
        changes.iter_mut().for_each(watch::Receiver::mark_changed);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Those that are left when it stops end where they wait.
        let mut running: JoinSet<Ended> = JoinSet::new();
        loop {
            let now = self.clock.now_ms();
            while running.len() < self.at_once
                && let Some((key, time)) = self.schedule.start(now)
            {
                let memory = self.memories.remove(&key).unwrap_or_default();
                let epoch = self.rings[self.turns.alerting.group(&key.tenant).number() as usize].0;
                running.spawn(self.turns.clone().take(key, time, epoch, memory));
            }
            let next = self.schedule.next().filter(|_| running.len() < self.at_once);
            let pause = next.map(|next| Duration::from_millis((next - now).max(0).unsigned_abs()));
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    // A panic has been logged where it happened, and the group is evaluated no more until it is looked at anew.
                    if let Ok(ended) = ended {
                        self.ended(ended, &mut running);
                    }
                }
                _ = looks.tick() => {
                    self.observe();
                    if changes.iter().any(|changes| changes.has_changed().unwrap_or(false)) {
                        changes.iter_mut().for_each(watch::Receiver::mark_unchanged);
                        self.look(&mut running);
                    }
                }
                () = tokio::time::sleep(pause.unwrap_or(LOOK)) => {}
            }
        }
    }

    /// Takes over which groups there are to evaluate here.
    fn look(&mut self, running: &mut JoinSet<Ended>) {
        let node = self.turns.node();
        let default_interval_ms = self.default_interval_ms;
        let mut wanted = BTreeMap::new();
        for (group, (epoch, ring)) in self.turns.alerting.groups().iter().zip(&mut self.rings) {
            group.read(|state| {
                if *epoch != state.ring.epoch {
                    (*epoch, *ring) = (state.ring.epoch, EvaluatorRing::new(state.ring.nodes.clone()));
                }
                let key_of = |key: &GroupKey| ring.evaluator(key.to_string().as_bytes()) == Some(node);
                wanted.extend(evaluated(state, default_interval_ms).filter(|(key, _)| key_of(key)));
            });
        }
        self.schedule.set(wanted, self.clock.now_ms());
        self.turns.metrics().groups.set(self.schedule.len() as i64);
        let on = self.rings.iter().filter(|(_, ring)| ring.nodes().contains(&node));
        self.turns.metrics().rings.set(on.count() as i64);
        let gone = self.memories.extract_if(.., |key, _| !self.schedule.wants(key));
        for (key, memory) in gone {
            running.spawn(self.turns.clone().let_go(key, memory));
        }
    }

    fn ended(&mut self, ended: Ended, running: &mut JoinSet<Ended>) {
        let Ended::Turn { key, memory, last, succeeded } = ended else { return };
        let is_wanted = self.schedule.wants(&key);
        self.schedule.end(key.clone(), last, succeeded, self.clock.now_ms());
        if is_wanted {
            self.memories.insert(key, memory);
        } else {
            running.spawn(self.turns.clone().let_go(key, memory));
        }
    }

    fn observe(&self) {
        let now = self.clock.now_ms();
        let behind_ms = self.schedule.next().map_or(0, |next| (now - next).max(0));
        self.turns.metrics().oldest_due_seconds.set(behind_ms as f64 / 1000.0);
    }
}

/// The rule groups of an alert group that can be evaluated.
fn evaluated(state: &AlertGroupState, default_interval_ms: i64) -> impl Iterator<Item = (GroupKey, Known)> {
    state.tenants.iter().flat_map(move |(tenant, of_tenant)| {
        of_tenant.namespaces.iter().flat_map(move |(namespace, groups)| {
            let namespace: Arc<str> = namespace.as_str().into();
            groups.iter().filter_map(move |(name, stored)| {
                let group = stored.parsed.as_ref().ok()?;
                let key =
                    GroupKey { tenant: tenant.clone(), namespace: namespace.clone(), group: name.as_str().into() };
                let ticks = prepared::ticks(&key, group, default_interval_ms);
                Some((key, Known { ticks, last: stored.progress.last_evaluation }))
            })
        })
    })
}
