//! What a seed switches on: each kind of fault or not, how often, how long, and the knobs of nodes, network and clients.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_model::limits::WINDOW_MS;
use serde::{Deserialize, Serialize};

use super::schedule::Kind;
use super::workload::Workload;
use crate::random::Random;

/// Nodes of a cluster.
pub const NODES_MAX: usize = 9;
/// Nothing goes wrong for longer than this.
pub const CHAOS_SECONDS_MAX: u64 = 3600;
/// Clocks are off by at most this from the beginning: nodes that differ by five seconds contradict each other.
const OFFSET_MS_MAX: i64 = 1_000;
/// One of them may be off by at most this: wrong, but well within what writes may lie ahead.
const WRONG_MS_MAX: i64 = 90_000;
/// And lose or gain at most this.
const DRIFT_PPM_MAX: i64 = 500;

/// Clients that delete, at least, where leaders are cut off with entries that others do not have.
const ERASERS_OF_OVERRULED: usize = 10;
/// How often a write has a new series, at least, where groups are split again and again: such a series has to find its group.
const NEW_SERIES_OF_SPLIT_PERCENT: u64 = 50;
/// Little memory where clients send too much: what is unflushed comes near its limits, and now and then those are tiny.
const MEMORY_BYTES_FEW: u64 = 10 << 20;

/// A seed switches on each kind that is drawn apart with this probability, in per cent.
const APART_ON_PERCENT: u64 = 35;
/// And leaps with this one, where nobody sets rules: of what rules say of the hours that nobody lived nothing is claimed.
const LEAP_ON_PERCENT: u64 = 60;

/// Retention where clocks do not leap: longer than what clients write is old.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Where they do, so many storage Windows at most, and a little more.
const WINDOWS_KEPT_MAX: u64 = 2;
const RETENTION_MORE_MS_MAX: u64 = 30_000;

/// Everything that a seed decides beforehand, its schedule excepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Shard groups that node 1 founds.
    pub shard_groups: u32,
    /// A step of the simulation.
    pub tick: Duration,
    /// Longest time that a message takes.
    pub latency_max: Duration,
    /// How long things go wrong.
    pub chaos: Duration,
    /// Mean pause between two faults.
    pub pause: Duration,
    /// Longest time that a fault lasts.
    pub lasting_max: Duration,
    /// What may go wrong.
    pub kinds: BTreeSet<Kind>,
    /// Whether the last node joins while things go wrong, rather than before.
    pub joins_late: bool,
    /// Whether a minority stays dead once the rest has healed.
    pub dead_minority: bool,
    /// Offset in milliseconds and drift in millionths of each node's clock.
    pub clocks: Vec<(i64, i64)>,
    /// Unflushed log that triggers a flush: small, so that flushes happen.
    pub flush_log_bytes: u64,
    /// Age of data that triggers a flush.
    pub flush_age: Duration,
    /// Bytes that a node's memory has: few where clients send too much, and as many as it needs where this is zero.
    pub memory_bytes: u64,
    /// Clients that write.
    pub writers: usize,
    /// Clients that read.
    pub readers: usize,
    /// Mean pause of a client.
    pub client_pause: Duration,
    /// How often a write is sent once more although it was acknowledged, in per cent.
    pub repeat_percent: u64,
    /// How often a write goes to a time that was written before, in per cent.
    pub overwrite_percent: u64,
    /// What clients write and ask.
    pub workload: Workload,
}

impl Options {
    /// The options of a seed for so many nodes.
    pub fn of(seed: u64, nodes: usize) -> Options {
        let mut random = Random::of(seed, "options");
        let millis =
            |random: &mut Random, first: u64, end: u64| Duration::from_millis(first + random.below(end - first));
        let odds = 20 + random.below(60);
        let kinds: BTreeSet<Kind> = Kind::TOGETHER.into_iter().filter(|_| random.percent(odds)).collect();
        let loses_copies = kinds.contains(&Kind::LostDisk) || kinds.contains(&Kind::Rot);
        let skewed = random.percent(50);
        // A minority: where most clocks are wrong, nobody can tell.
        let wrong = random.percent(30).then(|| random.below(nodes as u64) as usize);
        let clock = |random: &mut Random, node: usize| {
            let most = if wrong == Some(node) { WRONG_MS_MAX } else { OFFSET_MS_MAX };
            if skewed { (random.between(-most, most), random.between(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)) } else { (0, 0) }
        };
        let mut workload = Workload::of(seed);
        let kinds: BTreeSet<Kind> = kinds.into_iter().chain(apart(seed, workload.alerters > 0)).collect();
        if kinds.contains(&Kind::Overrule) {
            // A leader has one entry of samples under way, and so many of deletions as are asked for.
            workload.erasers = workload.erasers.max(ERASERS_OF_OVERRULED);
        }
        if kinds.contains(&Kind::SplitOften) {
            workload.new_series_percent = workload.new_series_percent.max(NEW_SERIES_OF_SPLIT_PERCENT);
        }
        let memory_bytes = if kinds.contains(&Kind::Flood) { MEMORY_BYTES_FEW } else { 0 };
        Options {
            seed,
            nodes,
            memory_bytes,
            shard_groups: 8,
            tick: Duration::from_millis([2, 5, 5, 10][random.below(4) as usize]),
            latency_max: millis(&mut random, 5, 60),
            chaos: Duration::from_secs(30 + random.below(60)),
            pause: millis(&mut random, 500, 8_000),
            lasting_max: millis(&mut random, 1_000, 15_000),
            // With two nodes one alone votes, and what it has is all there is. And a node whose clock is wrong leads nothing: where
            // it alone has the newest entries and another node is dead, nobody can.
            dead_minority: nodes > 2
                && random.percent(30)
                && (nodes > 3 || !kinds.contains(&Kind::Join))
                && !(skewed && wrong.is_some()),
            joins_late: kinds.contains(&Kind::Join) && nodes > 2 && (nodes > 3 || !loses_copies),
            clocks: (0..nodes).map(|node| clock(&mut random, node)).collect(),
            kinds,
            flush_log_bytes: 1 << (10 + random.below(8)),
            flush_age: Duration::from_secs(5 + random.below(120)),
            writers: 1 + random.below(4) as usize,
            readers: 1 + random.below(3) as usize,
            client_pause: millis(&mut random, 50, 600),
            repeat_percent: random.below(30),
            overwrite_percent: random.below(30),
            workload,
        }
    }

    /// How long nodes keep samples: where clocks leap, so short that what was written before is over then.
    pub fn retention(&self) -> Duration {
        if !self.kinds.contains(&Kind::Leap) {
            return RETENTION;
        }
        let mut random = Random::of(self.seed, "retention");
        let windows = 1 + random.below(WINDOWS_KEPT_MAX);
        Duration::from_millis(windows * WINDOW_MS.unsigned_abs() + random.below(RETENTION_MORE_MS_MAX))
    }
}

/// Which of the kinds that are drawn apart a seed switches on.
fn apart(seed: u64, has_rules: bool) -> impl Iterator<Item = Kind> {
    let is_on = move |kind: &Kind| {
        let percent = match kind {
            Kind::Leap if has_rules => 0,
            Kind::Leap => LEAP_ON_PERCENT,
            _ => APART_ON_PERCENT,
        };
        Random::of(seed, &format!("whether {kind:?}")).percent(percent)
    };
    Kind::APART.into_iter().filter(is_on)
}
