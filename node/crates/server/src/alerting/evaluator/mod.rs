//! Rules are evaluated here. Each node evaluates the rule groups that the ring gives to it, as its own replicas of the alert
//! groups have them; what it sees it proposes to their alert group, which refuses it if somebody else evaluates by now.
//!
//! 1. The [schedule](schedule) says which group is next, of [ticks](ticks) that are the same whoever evaluates.
//! 2. An [evaluation] asks the rules' queries, one after the other, and [stores](store) what is recorded.
//! 3. What the alert group does not know is proposed. Once it is applied here, the series of alerts are stored.
//!
//! Groups with critical rules are evaluated between their ticks as well, as [touched] says; composite ones as [composites] says.
//!
//! There is no task per group: so many groups as the machine has use for are evaluated at a time, the one first that has been due
//! longest. Nothing is remembered that has to outlive the node: the next evaluator goes on from the alert group's state.

mod answers;
mod composites;
mod dependencies;
mod evaluation;
mod expansion;
mod metrics;
mod patience;
mod prepared;
mod schedule;
mod store;
mod ticks;
mod touched;
mod turn;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::AlertGroupState;
use bellwether_alert::evaluate::External;
use bellwether_model::Timestamp;
use bellwether_placement::EvaluatorRing;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Alerting;
use super::on_write::critical_groups;
use crate::config::AlertingConfig;
use crate::env::WallClock;
use crate::query::Coordinator;
use crate::write::WritePath;
use composites::Composites;
use evaluation::Evaluations;
use metrics::EvaluatorMetrics;
use patience::Patience;
pub use schedule::GroupKey;
use schedule::{Begun, Known, Schedule};
use touched::{TouchedGroups, Wanted};
use turn::{Ended, EndedTurn, Memory, Turns};

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
    /// Groups that are evaluated between their ticks at a time, beside the others.
    between_at_once: usize,
    schedule: Schedule,
    touched: TouchedGroups,
    /// The revisions of groups with critical rules that were looked at once.
    critical: BTreeMap<GroupKey, u64>,
    composites: Composites,
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
        let between_at_once = queries.executor().threads().div_ceil(2);
        let rings = alerting.groups().iter().map(|_| (0, EvaluatorRing::new(Default::default()))).collect();
        let metrics = EvaluatorMetrics::new(registry)?;
        let evaluations =
            Evaluations { queries, write, external: Arc::new(external), patience: Patience::default(), metrics };
        let default_interval_ms = i64::try_from(config.evaluation_interval.as_millis()).unwrap_or(i64::MAX);
        let turns = Arc::new(Turns { alerting, evaluations, clock: clock.clone(), default_interval_ms });
        Ok(Evaluator {
            turns,
            clock,
            default_interval_ms,
            at_once,
            between_at_once,
            schedule: Schedule::default(),
            touched: TouchedGroups::default(),
            critical: BTreeMap::new(),
            composites: Composites::default(),
            memories: BTreeMap::new(),
            rings,
        })
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
        let mut turns: Vec<watch::Receiver<u64>> =
            self.turns.alerting.groups().iter().map(|group| group.turns()).collect();
        let touches = self.turns.alerting.touches().clone();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Those that are left when it stops end where they wait.
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut between: JoinSet<Ended> = JoinSet::new();
        let mut before = self.clock.now_ms();
        loop {
            let now = self.clock.now_ms();
            if now < std::mem::replace(&mut before, now) {
                self.schedule.clock_went_back(now);
                self.touched.clock_went_back(now);
            }
            self.begin_touched(now, &mut running, &mut between);
            while running.len() < self.at_once
                && let Some((key, time)) = self.schedule.start(now)
            {
                self.begin(key, time, None, &mut running);
            }
            let next_tick = self.schedule.next().filter(|_| running.len() < self.at_once);
            // One that is due waits for an evaluation to end, or it would have begun.
            let next_touched = self.touched.next().filter(|next| *next > now);
            let next = [next_tick, next_touched].into_iter().flatten().min();
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
                Some(ended) = between.join_next(), if !between.is_empty() => {
                    if let Ok(ended) = ended {
                        self.ended(ended, &mut running);
                    }
                }
                () = touches.news() => {
                    for (key, touch) in touches.take().into_iter().filter(|(key, _)| self.schedule.wants(key)) {
                        self.touched.touch(key, touch);
                    }
                }
                _ = looks.tick() => {
                    self.observe();
                    if changes.iter().any(|changes| changes.has_changed().unwrap_or(false)) {
                        changes.iter_mut().for_each(watch::Receiver::mark_unchanged);
                        self.look(&mut running);
                    }
                }
                () = any_changed(&mut turns), if !self.composites.is_empty() => self.touch_composites(),
                () = tokio::time::sleep(pause.unwrap_or(LOOK)) => {}
            }
        }
    }

    /// Begins what is to be evaluated between ticks. A tick of such a group that is due comes before those of other groups.
    fn begin_touched(&mut self, now: Timestamp, running: &mut JoinSet<Ended>, between: &mut JoinSet<Ended>) {
        while between.len() < self.between_at_once
            && let Some((key, wanted)) = self.touched.start(now, |key| self.schedule.is_idle(key))
        {
            match self.schedule.begin(&key, now) {
                Some(Begun::Between(at)) => self.begin(key, at, Some(wanted), between),
                Some(Begun::Tick(time)) => {
                    self.touched.put_back(&key, wanted, now);
                    self.begin(key, time, None, running);
                }
                // The last evaluation is ahead of this node's clock.
                None => self.touched.failed(&key, wanted, now),
            }
        }
    }

    /// Has composite rules evaluated that ask after alerts of which something has become.
    fn touch_composites(&mut self) {
        let alerting = &self.turns.alerting;
        let touched = self.composites.touched(&|tenant, index| alerting.group(tenant).turned_since(tenant, index));
        touched.into_iter().for_each(|(key, touch)| self.touched.touch(key, touch));
    }

    fn begin(&mut self, key: GroupKey, time: Timestamp, wanted: Option<Wanted>, running: &mut JoinSet<Ended>) {
        let memory = self.memories.remove(&key).unwrap_or_default();
        let epoch = self.rings[self.turns.alerting.group(&key.tenant).number() as usize].0;
        running.spawn(self.turns.clone().take(key, time, epoch, memory, wanted));
    }

    /// Takes over which groups there are to evaluate here.
    fn look(&mut self, running: &mut JoinSet<Ended>) {
        let node = self.turns.node();
        let default_interval_ms = self.default_interval_ms;
        let (mut wanted, mut critical) = (BTreeMap::new(), Vec::new());
        for (group, (epoch, ring)) in self.turns.alerting.groups().iter().zip(&mut self.rings) {
            group.read(|state| {
                if *epoch != state.ring.epoch {
                    (*epoch, *ring) = (state.ring.epoch, EvaluatorRing::new(state.ring.nodes.clone()));
                }
                let is_here = |key: &GroupKey| ring.evaluator(key.to_string().as_bytes()) == Some(node);
                wanted.extend(evaluated(state, default_interval_ms).filter(|(key, _)| is_here(key)));
                critical.extend(critical_groups(state).filter(|(key, _)| is_here(key)));
            });
        }
        let alerting = &self.turns.alerting;
        self.composites.set(&critical, &|tenant| *alerting.group(tenant).changes().borrow());
        let now = self.clock.now_ms();
        // What was stored before its rule was known, or told to who evaluated before, is looked for once.
        let critical = wanted.iter().filter_map(|(key, known)| Some((key.clone(), known.critical?))).collect();
        let before = std::mem::replace(&mut self.critical, critical);
        let is_new = |(key, revision): &(&GroupKey, &u64)| before.get(key) != Some(revision);
        self.critical.iter().filter(is_new).for_each(|(key, _)| self.touched.look_at(key.clone(), now));
        self.schedule.set(wanted, now);
        self.touched.retain(|key| self.schedule.wants(key));
        self.turns.metrics().groups.set(self.schedule.len() as i64);
        let on = self.rings.iter().filter(|(_, ring)| ring.nodes().contains(&node));
        self.turns.metrics().rings.set(on.count() as i64);
        let gone = self.memories.extract_if(.., |key, _| !self.schedule.wants(key));
        for (key, memory) in gone {
            running.spawn(self.turns.clone().let_go(key, memory));
        }
    }

    fn ended(&mut self, ended: Ended, running: &mut JoinSet<Ended>) {
        let Ended::Turn(ended) = ended else { return };
        let EndedTurn { key, memory, last, succeeded, wanted, took, offset_ms, next_change } = *ended;
        let (is_wanted, now) = (self.schedule.wants(&key), self.clock.now_ms());
        self.schedule.end(key.clone(), last, succeeded, now);
        match (wanted, succeeded) {
            (Some(wanted), true) => self.touched.ended(&key, &wanted, took.as_millis() as i64, offset_ms, now),
            (Some(wanted), false) => self.touched.failed(&key, wanted, now),
            (None, true) => {}
            (None, false) => self.touched.tick_failed(&key, now),
        }
        if let Some(at) = next_change.filter(|_| is_wanted) {
            self.touched.look_at(key.clone(), at);
        }
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

/// Waits until one of them has changed; it counts as seen then.
async fn any_changed(all: &mut [watch::Receiver<u64>]) {
    let changed = all.iter_mut().map(|one| {
        Box::pin(async move {
            // What never changes again is waited for without end.
            if one.changed().await.is_err() {
                std::future::pending().await
            }
        })
    });
    futures::future::select_all(changed).await;
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
                let is_critical = stored.progress.rules.iter().any(|rule| rule.shape.critical);
                let critical = is_critical.then_some(stored.revision);
                Some((key, Known { ticks, last: stored.progress.last_evaluation, critical }))
            })
        })
    })
}
