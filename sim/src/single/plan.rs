//! What a seed makes happen: knobs of the node, and a list of steps.

use std::time::Duration;

use bellwether_kv::Unsynced;
use bellwether_model::{Labels, Matcher, Tenant};

use crate::random::Random;

/// Minutes of simulated time that a write's timestamps reach back, usually.
const BACK_MS: i64 = 3 * 3_600_000;
/// They reach ahead this far, and are accepted.
const AHEAD_MS: i64 = 5 * 60_000;
/// This far ahead is refused.
pub const TOO_FAR_AHEAD_MS: i64 = 20 * 60_000;
/// Series of one tenant.
const SERIES: usize = 24;

/// Everything that a seed decides beforehand.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Shard groups to found.
    pub shard_groups: u32,
    /// Unflushed log that triggers a flush: small, so that flushes happen.
    pub flush_log_bytes: u64,
    /// Age of data that triggers a flush.
    pub flush_age: Duration,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    /// Requests at the same time; no two of them touch one series.
    Write(Vec<Request>),
    /// A selection, compared with the oracle.
    Query(Selection),
    /// `admin/flush`.
    Flush,
    /// `admin/seal`.
    Seal,
    /// Samples of matching series are deleted.
    Delete(Selection),
    /// Time passes.
    Sleep(Duration),
    /// The volume says that it is nearly full, or no longer.
    Room(bool),
    /// The disk misbehaves from now on.
    Fault(Fault),
    /// The process ends while these requests are under way, and a new one starts later.
    End {
        /// How it ends.
        how: End,
        /// What is under way.
        during: Vec<Request>,
        /// How long those have had.
        after: Duration,
        /// How long nothing runs.
        pause: Duration,
    },
}

/// How a disk misbehaves.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It does not any more.
    None,
    /// It takes only so many more bytes.
    Full {
        /// Bytes that still fit.
        room_bytes: u64,
    },
    /// The `nth` sync from now fails: the process must end itself.
    SyncFails {
        /// Which.
        nth: u64,
    },
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// It is asked to stop and does.
    Graceful,
    /// It is killed.
    Crash,
    /// The machine loses power.
    PowerLoss(Unsynced),
}

/// One write.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub tenant: usize,
    /// Series, and the times of their samples relative to the wall clock; `None` asks for a time far in the past.
    pub series: Vec<(usize, Vec<Option<i64>>)>,
}

/// Which series, of which time.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Whose.
    pub tenant: usize,
    /// Conditions.
    pub matchers: Vec<Matcher>,
    /// Relative to the wall clock, first and last.
    pub range: (i64, i64),
}

/// The tenants of every plan.
pub fn tenant(index: usize) -> Tenant {
    if index == 0 { Tenant::default_tenant() } else { Tenant::new(&format!("tenant-{index}")).expect("a legal name") }
}

/// A series of every plan.
pub fn labels(index: usize) -> Labels {
    let metric = ["cpu_seconds_total", "memory_bytes", "up"][index % 3];
    let host = format!("host-{}", index / 3 % 5);
    let zone = ["a", "b", "c", "d"][index / 2 % 4];
    let number = index.to_string();
    Labels::of(&[("__name__", metric), ("host", &host), ("zone", zone), ("n", &number)])
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut random = Random::of(seed, "plan");
        let shard_groups = 1 + random.below(4) as u32;
        let flush_log_bytes = 1 << (11 + random.below(10));
        let flush_age = Duration::from_secs(60 + random.below(3600));
        let count = 40 + random.below(80);
        let ends_percent = random.below(12);
        let long_sleeps_percent = random.below(15);
        let mut steps: Vec<Step> = Vec::new();
        let faults_percent = if random.percent(60) { random.below(12) } else { 0 };
        let mut has_room = true;
        for _ in 0..count {
            if random.percent(faults_percent) {
                steps.push(Step::Fault(fault(&mut random)));
            }
            let step = match random.below(100) {
                roll if roll < ends_percent => end(&mut random),
                12..40 => Step::Write(requests(&mut random)),
                40..60 => Step::Query(selection(&mut random)),
                60..68 => Step::Flush,
                68..74 => Step::Seal,
                74..77 => Step::Delete(selection(&mut random)),
                77..80 => {
                    has_room = !has_room;
                    Step::Room(has_room)
                }
                _ if random.percent(long_sleeps_percent) => Step::Sleep(Duration::from_secs(random.below(9000))),
                _ => Step::Sleep(Duration::from_millis(random.below(20_000))),
            };
            steps.push(step);
        }
        steps.push(Step::Room(true));
        Plan { seed, shard_groups, flush_log_bytes, flush_age, steps }
    }
}

fn fault(random: &mut Random) -> Fault {
    match random.below(5) {
        0 | 1 => Fault::None,
        2 | 3 => Fault::Full { room_bytes: random.below(20_000) },
        _ => Fault::SyncFails { nth: 1 + random.below(12) },
    }
}

fn end(random: &mut Random) -> Step {
    let how = match random.below(4) {
        0 => End::Graceful,
        1 => End::Crash,
        2 => End::PowerLoss(Unsynced::Lost),
        _ => End::PowerLoss(Unsynced::SomeKept { seed: random.bits() }),
    };
    Step::End {
        how,
        during: requests(random),
        after: Duration::from_millis(random.below(20)),
        pause: Duration::from_millis(random.below(600_000)),
    }
}

fn requests(random: &mut Random) -> Vec<Request> {
    let count = 1 + random.below(4) as usize;
    (0..count).map(|at| request(random, at, count)).collect()
}

/// A request over the series whose number is `at` modulo `count`.
fn request(random: &mut Random, at: usize, count: usize) -> Request {
    let tenant = random.below(2) as usize;
    let series = (0..SERIES).filter(|series| series % count == at);
    let mut chosen = Vec::new();
    for series in series {
        if random.percent(40) {
            let samples = 1 + random.below(6);
            chosen.push((series, (0..samples).map(|_| time(random)).collect()));
        }
    }
    Request { tenant, series: chosen }
}

fn time(random: &mut Random) -> Option<i64> {
    match random.below(100) {
        0..2 => None,
        2..4 => Some(TOO_FAR_AHEAD_MS + random.below(1_000_000) as i64),
        // On a grid, so that samples of one time come more than once.
        4..60 => Some(-(random.below(60) as i64) * 15_000),
        60..70 => Some(random.between(0, AHEAD_MS)),
        _ => Some(random.between(-BACK_MS, 0)),
    }
}

fn selection(random: &mut Random) -> Selection {
    let regex = |op, name: &str, value: &str| Matcher::new(op, name, value).expect("the pattern is legal");
    let matchers = match random.below(6) {
        0 => vec![Matcher::equal("__name__", "up")],
        1 => vec![regex(bellwether_model::MatchOp::Regex, "__name__", "cpu_.*|up")],
        2 => vec![Matcher::equal("__name__", "memory_bytes"), Matcher::equal("zone", "b")],
        3 => vec![regex(bellwether_model::MatchOp::NotRegex, "host", "host-[12]")],
        4 => vec![regex(bellwether_model::MatchOp::NotEqual, "zone", "a"), Matcher::equal("absent", "")],
        _ => vec![regex(bellwether_model::MatchOp::Regex, "n", "1.*")],
    };
    let first = -random.between(0, 2 * BACK_MS);
    Selection { tenant: random.below(2) as usize, matchers, range: (first, first + random.between(0, 2 * BACK_MS)) }
}
