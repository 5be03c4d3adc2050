//! From the replicas that stored a sample to the evaluators of the rules that may see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{NodeId, ShardGroupId};
use bellwether_placement::EvaluatorRing;
use bellwether_proto::peer::v1::{TouchedGroup, TouchedRequest};
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until};

use super::table::{Table, critical_groups};
use super::{GroupKey, Touch, add};
use crate::alerting::{AlertGroup, Alerting};
use crate::peers::{PeerError, Peers};
use crate::shards::Shards;
use crate::shards::watches::TouchedSelectors;

/// How often it is looked whether there are other rules, or another ring.
const LOOK: Duration = Duration::from_millis(500);
/// What is touched gathers for so long: every entry of a shard group can touch something.
const GATHER: Duration = Duration::from_millis(5);
/// Rule groups of one call.
const GROUPS_PER_CALL_MAX: usize = 1_000;
/// How long a call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(1);
/// The pause before what could not be told is told again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a carrier is made of.
pub struct Parts {
    /// The alert groups, and where this node's evaluator finds what it is told.
    pub alerting: Alerting,
    /// This node's replicas.
    pub shards: Arc<Shards>,
    /// The other nodes.
    pub peers: Peers,
}

/// See the module.
pub struct Carrier {
    parts: Parts,
    table: Table,
    /// What the table was made of: revisions of rules, how many groups there are.
    made_of: Vec<(u64, usize)>,
    rings: Vec<(u64, EvaluatorRing)>,
    /// Not told yet.
    waiting: BTreeMap<GroupKey, Touch>,
    /// Nodes that are being told something.
    busy: BTreeSet<NodeId>,
    retry_at: Option<Instant>,
    selectors: IntGauge,
    without_room: IntGauge,
    failed_calls: IntCounter,
}

/// What came of a call.
struct Told {
    node: NodeId,
    /// What was not told.
    failed: Option<(PeerError, Vec<(GroupKey, Touch)>)>,
}

impl Carrier {
    /// A carrier that has not begun.
    pub fn new(parts: Parts, registry: &Registry) -> Result<Carrier, prometheus::Error> {
        let selectors = IntGauge::new(
            "bellwether_critical_rule_selectors",
            "Selectors of critical rules whose series this node looks for among the samples that it stores.",
        )?;
        let without_room = IntGauge::new(
            "bellwether_critical_rule_selectors_without_room",
            "Selectors of critical rules that are too many to look for: their rules are evaluated at their ticks alone.",
        )?;
        let failed_calls = IntCounter::new(
            "bellwether_critical_rule_failed_calls_total",
            "Calls that were to tell another node that samples of critical rules were stored, and failed. They are repeated.",
        )?;
        registry.register(Box::new(selectors.clone()))?;
        registry.register(Box::new(without_room.clone()))?;
        registry.register(Box::new(failed_calls.clone()))?;
        let groups = parts.alerting.groups().len();
        let rings = (0..groups).map(|_| (0, EvaluatorRing::new(BTreeSet::new()))).collect();
        Ok(Carrier {
            parts,
            table: Table::default(),
            made_of: Vec::new(),
            rings,
            waiting: BTreeMap::new(),
            busy: BTreeSet::new(),
            retry_at: None,
            selectors,
            without_room,
            failed_calls,
        })
    }

    /// Carries until `stop` is true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let board = self.parts.shards.watch_board().clone();
        let mut calls: JoinSet<Told> = JoinSet::new();
        loop {
            let retry = async {
                match self.retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let is_touched = tokio::select! {
                biased;
                () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
                Some(told) = calls.join_next(), if !calls.is_empty() => {
                    self.told(told.ok());
                    false
                }
                () = retry => {
                    self.retry_at = None;
                    false
                }
                _ = looks.tick() => {
                    self.look();
                    false
                }
                () = board.news() => true,
            };
            if is_touched {
                sleep(GATHER).await;
                self.collect(board.take());
            }
            if self.retry_at.is_none() {
                self.send(&mut calls);
            }
        }
    }

    /// Takes over other rules and another ring.
    fn look(&mut self) {
        let groups = self.parts.alerting.groups();
        let made_of: Vec<(u64, usize)> = groups
            .iter()
            .zip(&mut self.rings)
            .map(|(group, (epoch, ring))| {
                group.read(|state| {
                    if *epoch != state.ring.epoch {
                        (*epoch, *ring) = (state.ring.epoch, EvaluatorRing::new(state.ring.nodes.clone()));
                    }
                    let tenants = state.tenants.values().flat_map(|tenant| tenant.namespaces.values());
                    let revisions = tenants.flat_map(|groups| groups.values().map(|group| group.revision));
                    revisions.fold((0, 0), |(newest, count), revision| (revision.max(newest), count + 1))
                })
            })
            .collect();
        if made_of == self.made_of {
            return;
        }
        self.made_of = made_of;
        let critical = |group: &AlertGroup| group.read(|state| critical_groups(state).collect::<Vec<_>>());
        self.table.read(&groups.iter().flat_map(critical).collect::<Vec<_>>());
        let selectors = self.table.selectors();
        self.selectors.set(selectors.len() as i64);
        let without_room = self.table.without_room() as i64;
        if without_room > self.without_room.get() {
            tracing::warn!(
                selectors = without_room,
                "critical rules read too much: some are evaluated at their ticks alone"
            );
        }
        self.without_room.set(without_room);
        self.parts.shards.watch_board().set(selectors);
    }

    /// Takes what was touched in shard groups that are led here: each has one node that tells of it.
    fn collect(&mut self, mut touched: TouchedSelectors) {
        let mut leads: BTreeMap<ShardGroupId, bool> = BTreeMap::new();
        touched.retain(|(group, _), _| {
            let shards = &self.parts.shards;
            *leads.entry(*group).or_insert_with(|| shards.local(*group).is_ok_and(|local| local.raft.state().is_leader))
        });
        self.table.concerned(&touched, &mut self.waiting);
    }

    /// Tells evaluators what waits for them; of those that are being told something, when that is over.
    fn send(&mut self, calls: &mut JoinSet<Told>) {
        let alerting = &self.parts.alerting;
        let own = alerting.groups()[0].node();
        let mut of_nodes: BTreeMap<NodeId, Vec<(GroupKey, Touch)>> = BTreeMap::new();
        for (key, touch) in std::mem::take(&mut self.waiting) {
            let (_, ring) = &self.rings[alerting.group(&key.tenant).number() as usize];
            match ring.evaluator(key.to_string().as_bytes()) {
                Some(node) if node == own => alerting.touches().tell(key, touch),
                Some(node) if !self.busy.contains(&node) => {
                    let batch = of_nodes.entry(node).or_default();
                    match batch.len() < GROUPS_PER_CALL_MAX {
                        true => batch.push((key, touch)),
                        false => add(&mut self.waiting, key, touch),
                    }
                }
                // Until there is somebody who evaluates, or the call is over.
                _ => add(&mut self.waiting, key, touch),
            }
        }
        for (node, batch) in of_nodes {
            self.busy.insert(node);
            let peers = self.parts.peers.clone();
            calls.spawn(async move {
                let groups = batch.iter().map(|(key, touch)| message(key, touch)).collect();
                let called = match peers.client(node) {
                    Ok(client) => client.touched(TouchedRequest { groups }, CALL_DEADLINE).await,
                    Err(error) => Err(error),
                };
                Told { node, failed: called.err().map(|error| (error, batch)) }
            });
        }
    }

    fn told(&mut self, told: Option<Told>) {
        // A panic has been logged where it happened; the next look at the ring frees all.
        let Some(Told { node, failed }) = told else { return self.busy.clear() };
        self.busy.remove(&node);
        let Some((error, batch)) = failed else { return };
        self.failed_calls.inc();
        tracing::debug!(node = node.0, %error, "an evaluator is told later of what was stored");
        batch.into_iter().for_each(|(key, touch)| add(&mut self.waiting, key, touch));
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
    }
}

fn message(key: &GroupKey, touch: &Touch) -> TouchedGroup {
    TouchedGroup {
        tenant: key.tenant.to_string(),
        namespace: key.namespace.to_string(),
        group: key.group.to_string(),
        revision: touch.revision,
        rules: touch.rules.iter().copied().collect(),
        age_us: u64::try_from(touch.since.elapsed().as_micros()).unwrap_or(u64::MAX),
        newest_ms: touch.newest,
    }
}
