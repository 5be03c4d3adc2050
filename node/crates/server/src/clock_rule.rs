//! Whose wall clock can be trusted. A leader's clock stamps what its groups store: an hour ahead it would drop data before
//! their time, an hour behind it would refuse samples as too new. So a node whose clock most others contradict leads
//! nothing until it is set right, and what it does by its clock alone, it does by theirs.
//!
//! Each node compares its clock with all others ([`Peers::clock_offsets`]) and judges for itself: the median of more than
//! half of the cluster is right. Two nodes that differ cannot tell who is wrong: nothing follows then, and `bwctl doctor`
//! tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{NodeId, Timestamp};
use bellwether_probe::reached;
use bellwether_raft::{RaftNode, Standing};
use parking_lot::Mutex;
use prometheus::{IntGauge, Registry};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::env::WallClock;
use crate::meta::{EventKind, Meta, MetaCommand, MetaState};
use crate::peers::Peers;

/// A clock that differs from the median by more is wrong: far more than NTP leaves and a comparison over a slow network
/// adds, far less than the ten minutes by which a sample may lie ahead.
pub const CLOCK_OFF_MS_MAX: i64 = 5_000;
/// A clock that was wrong is right again within this: leaderships do not go to and fro with one that drifts.
const CLOCK_RIGHT_AGAIN_MS: i64 = CLOCK_OFF_MS_MAX / 2;
/// How often clocks are judged.
const TICK: Duration = Duration::from_millis(500);
/// For how long a clock of which nothing is known, at a start or after a jump, waits to be compared before it is taken as
/// it is.
const JUDGEMENT_WAIT: Duration = Duration::from_secs(3);
/// How long others may take to take over what a node with a wrong clock leads.
const HAND_OVER_WAIT: Duration = Duration::from_secs(5);
/// In a cluster of fewer nodes no clock is outvoted.
const JUDGES_MIN: usize = 3;

const _: () = assert!(CLOCK_OFF_MS_MAX < bellwether_model::limits::FUTURE_SAMPLE_MS_MAX);

/// What is thought of the clocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// By how much this node's clock is ahead of the median, if that is too much.
    pub off_ms: Option<i64>,
    /// The other nodes whose clocks are wrong.
    pub wrong: BTreeSet<NodeId>,
}

impl Judgement {
    /// What follows from clocks that differ from this node's by so much, in a cluster of so many nodes. Nothing where too
    /// few were compared, or where they are of two minds.
    fn next(&self, offsets: &BTreeMap<NodeId, i64>, node_count: usize) -> Option<Judgement> {
        let mut all: Vec<i64> = offsets.values().copied().chain([0]).collect();
        all.sort_unstable();
        if all.len() * 2 <= node_count || node_count < JUDGES_MIN {
            return None;
        }
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        let is_far = |off_ms: i64, was_wrong: bool| {
            let bound = if was_wrong { CLOCK_RIGHT_AGAIN_MS } else { CLOCK_OFF_MS_MAX };
            off_ms.unsigned_abs() > bound.unsigned_abs()
        };
        if is_far(high.saturating_sub(low), false) {
            return None;
        }
        let median = low + (high - low) / 2;
        let off_ms = median.saturating_neg();
        let wrong =
            offsets.iter().filter(|(node, offset)| is_far(offset.saturating_sub(median), self.wrong.contains(node)));
        Some(Judgement {
            off_ms: is_far(off_ms, self.off_ms.is_some()).then_some(off_ms),
            wrong: wrong.map(|(node, _)| *node).collect(),
        })
    }

    fn standing(&self) -> Standing {
        Standing { abstains: self.off_ms.is_some(), unfit: self.wrong.iter().map(|node| node.0).collect() }
    }
}

/// A node's clock, put right by as much as the others contradict it. One that jumps, to a wrong time or back from it, goes
/// on as before until it is judged again.
pub struct CorrectedClock {
    own: Arc<dyn WallClock>,
    judged: Mutex<Judged>,
}

/// What the node's own clock showed when it was judged last, and by how much that was ahead.
#[derive(Debug, Clone, Copy)]
struct Judged {
    at: Instant,
    own_ms: Timestamp,
    off_ms: i64,
}

impl Judged {
    /// What the node's own clock shows now unless it has jumped.
    fn expected_ms(&self) -> Timestamp {
        self.own_ms.saturating_add(self.at.elapsed().as_millis() as i64)
    }
}

impl CorrectedClock {
    /// The node's own clock, for now.
    pub fn new(own: Arc<dyn WallClock>) -> Arc<CorrectedClock> {
        let judged = Mutex::new(Judged { at: Instant::now(), own_ms: own.now_ms(), off_ms: 0 });
        Arc::new(CorrectedClock { own, judged })
    }

    fn is_judged(&self, off_ms: i64) {
        *self.judged.lock() = Judged { at: Instant::now(), own_ms: self.own.now_ms(), off_ms };
    }
}

impl WallClock for CorrectedClock {
    fn now_ms(&self) -> Timestamp {
        let judged = *self.judged.lock();
        let (own_ms, expected_ms) = (self.own.now_ms(), judged.expected_ms());
        let shown_ms = if has_jumped(own_ms, expected_ms) { expected_ms } else { own_ms };
        shown_ms.saturating_sub(judged.off_ms)
    }
}

fn has_jumped(shown_ms: Timestamp, expected_ms: Timestamp) -> bool {
    shown_ms.abs_diff(expected_ms) > CLOCK_OFF_MS_MAX.unsigned_abs()
}

/// What keeps a node from leading while its clock is wrong.
pub struct ClockRule {
    meta: Meta,
    peers: Peers,
    raft: RaftNode,
    clock: Arc<CorrectedClock>,
    judgement: watch::Sender<Judgement>,
    off_ms: IntGauge,
    is_wrong: IntGauge,
}

impl ClockRule {
    /// Judges nothing yet.
    pub fn new(
        meta: Meta,
        peers: Peers,
        raft: RaftNode,
        clock: Arc<CorrectedClock>,
        registry: &Registry,
    ) -> prometheus::Result<ClockRule> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(ClockRule {
            off_ms: gauge(
                "bellwether_clock_off_milliseconds",
                "By how much this node's clock is ahead of most nodes' clocks, where that is so much that it leads nothing",
            )?,
            is_wrong: gauge("bellwether_clock_wrong", "1 while this node leads nothing because its clock is wrong")?,
            meta,
            peers,
            raft,
            clock,
            judgement: watch::Sender::default(),
        })
    }

    /// What is thought of the clocks now.
    pub fn judgement(&self) -> watch::Receiver<Judgement> {
        self.judgement.subscribe()
    }

    /// Judges until `stop` is true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.judge() => {}
        }
    }

    async fn judge(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waits_until = Instant::now() + JUDGEMENT_WAIT;
        let mut is_first = true;
        let mut notes = JoinSet::new();
        let mut looked = (Instant::now(), self.clock.own.now_ms());
        loop {
            ticks.tick().await;
            let (at, own_ms) = std::mem::replace(&mut looked, (Instant::now(), self.clock.own.now_ms()));
            let expected_ms = own_ms.saturating_add(at.elapsed().as_millis() as i64);
            if has_jumped(looked.1, expected_ms) {
                self.peers.forget_clocks();
                waits_until = Instant::now() + JUDGEMENT_WAIT;
            }
            let node_count = self.meta.now().present_nodes().count();
            let offsets = self.peers.clock_offsets();
            let before = self.judgement.borrow().clone();
            let judged = before.next(&offsets, node_count);
            let waits = judged.is_none() && node_count >= JUDGES_MIN && Instant::now() < waits_until;
            if is_first && waits {
                continue;
            }
            let next = judged.unwrap_or_else(|| before.clone());
            if !waits {
                self.clock.is_judged(next.off_ms.unwrap_or(0));
            }
            if next != before || is_first || next.off_ms.is_some() {
                self.raft.set_standing(next.standing());
            }
            is_first = false;
            if next != before {
                while notes.try_join_next().is_some() {}
                if let Some(note) = self.tell(&before, &next) {
                    notes.spawn(self.note(note));
                }
                self.judgement.send_replace(next.clone());
            }
            if next.off_ms.is_some() && self.raft.led_with_others() > 0 {
                for (group, error) in self.raft.hand_over_all(HAND_OVER_WAIT).await.kept {
                    tracing::warn!(group = group.0, %error, "this node goes on leading with a wrong clock");
                }
            }
        }
    }

    /// Tells what has changed; what is worth an event is returned.
    fn tell(&self, before: &Judgement, now: &Judgement) -> Option<String> {
        self.off_ms.set(now.off_ms.unwrap_or(0));
        self.is_wrong.set(i64::from(now.off_ms.is_some()));
        match (before.off_ms, now.off_ms) {
            (None, Some(off_ms)) => {
                match off_ms > 0 {
                    true => reached("a fast clock leads nothing"),
                    false => reached("a slow clock leads nothing"),
                }
                tracing::error!(
                    off_ms,
                    "this node's clock differs from most nodes' clocks: it leads nothing until the clock is set right"
                );
                Some(format!("differs by {off_ms:+} ms from most nodes' clocks: it leads nothing"))
            }
            (Some(_), None) => {
                tracing::info!("this node's clock is right again: it may lead");
                Some("is right again: it may lead".to_owned())
            }
            _ => None,
        }
    }

    /// Keeps it among the cluster's events; who looks at clocks does not wait for that.
    fn note(&self, what: String) -> impl Future<Output = ()> + Send + use<> {
        let meta = self.meta.clone();
        let text = format!("the clock of node {} {what}", meta.node());
        async move {
            if let Err(error) = meta.propose(MetaCommand::RecordEvent { kind: EventKind::Trouble, text }).await {
                tracing::debug!(%error, "an event is not kept");
            }
        }
    }
}

/// How a node of a cluster starts: where clocks can be judged, it leads nothing before its own has been.
pub fn standing_at_start(state: &MetaState) -> Standing {
    Standing { abstains: state.present_nodes().count() >= JUDGES_MIN, unfit: BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// The judgement of a node whose peers, from node 2 on, are so far ahead of it.
    fn judged(before: &Judgement, offsets: &[i64], node_count: usize) -> Judgement {
        let offsets = (2..).map(NodeId).zip(offsets.iter().copied()).collect();
        before.next(&offsets, node_count).unwrap_or_else(|| before.clone())
    }

    fn wrong(off_ms: Option<i64>, nodes: &[u64]) -> Judgement {
        Judgement { off_ms, wrong: nodes.iter().copied().map(NodeId).collect() }
    }

    #[test]
    fn the_one_that_most_others_contradict_is_wrong() {
        let none = Judgement::default();
        assert_eq!(judged(&none, &[HOUR_MS, HOUR_MS + 3], 3), wrong(Some(-HOUR_MS), &[]));
        assert_eq!(judged(&none, &[-HOUR_MS, 20 - HOUR_MS], 3), wrong(Some(HOUR_MS - 20), &[]));
        assert_eq!(judged(&none, &[HOUR_MS, 4], 3), wrong(None, &[2]));
        assert_eq!(judged(&none, &[HOUR_MS, -HOUR_MS], 3), wrong(None, &[2, 3]), "the one in the middle is right");
        assert_eq!(judged(&none, &[400, -400], 3), none);
    }

    #[test]
    fn nothing_follows_where_nobody_is_outvoted() {
        let none = Judgement::default();
        assert_eq!(judged(&none, &[HOUR_MS], 2), none);
        assert_eq!(judged(&none, &[HOUR_MS], 3), none, "one of the two is wrong, and the third does not answer");
        assert_eq!(judged(&none, &[HOUR_MS, HOUR_MS], 5), wrong(Some(-HOUR_MS), &[]));
        assert_eq!(judged(&none, &[HOUR_MS, HOUR_MS], 6), none, "three of six are not most");
        assert_eq!(judged(&none, &[0, HOUR_MS, HOUR_MS], 4), none);
        let known = wrong(Some(-HOUR_MS), &[]);
        assert_eq!(judged(&known, &[HOUR_MS], 3), known, "it does not become right because another node died");
    }

    #[test]
    fn a_clock_at_the_bound_does_not_go_to_and_fro() {
        let none = Judgement::default();
        assert_eq!(judged(&none, &[CLOCK_OFF_MS_MAX, CLOCK_OFF_MS_MAX], 3), none);
        let off = judged(&none, &[CLOCK_OFF_MS_MAX + 1, CLOCK_OFF_MS_MAX + 1], 3);
        assert_eq!(off, wrong(Some(-CLOCK_OFF_MS_MAX - 1), &[]));
        assert_eq!(judged(&off, &[4_000, 4_000], 3), wrong(Some(-4_000), &[]));
        assert_eq!(judged(&off, &[2_000, 2_000], 3), none);
    }

    struct SetClock(AtomicI64);

    impl WallClock for SetClock {
        fn now_ms(&self) -> Timestamp {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_goes_on_as_before_until_it_is_judged() {
        let own = Arc::new(SetClock(AtomicI64::new(HOUR_MS)));
        let clock = CorrectedClock::new(own.clone());
        let set = |to_ms| own.0.store(to_ms, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), HOUR_MS);
        set(HOUR_MS + CLOCK_OFF_MS_MAX);
        assert_eq!(clock.now_ms(), HOUR_MS + CLOCK_OFF_MS_MAX, "so much is no jump");
        set(2 * HOUR_MS);
        assert_eq!(clock.now_ms(), HOUR_MS);
        tokio::time::advance(Duration::from_secs(1)).await;
        set(2 * HOUR_MS + 1_000);
        assert_eq!(clock.now_ms(), HOUR_MS + 1_000);
        clock.is_judged(HOUR_MS);
        assert_eq!(clock.now_ms(), HOUR_MS + 1_000, "it is known to be wrong");
        set(HOUR_MS + 1_000);
        assert_eq!(clock.now_ms(), HOUR_MS + 1_000, "it is set right");
        clock.is_judged(0);
        assert_eq!(clock.now_ms(), HOUR_MS + 1_000);
    }

    #[test]
    fn hostile_clocks_do_not_overflow() {
        for offsets in [[i64::MAX, i64::MAX], [i64::MIN, i64::MIN], [i64::MIN, i64::MAX]] {
            judged(&Judgement::default(), &offsets, 3);
        }
    }
}
