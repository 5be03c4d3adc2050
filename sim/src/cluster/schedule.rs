//! What goes wrong, and when: a list that a seed draws beforehand, so that it can be shown and cut short.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::Options;
use crate::random::Random;

/// A sort of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A process is killed.
    Crash,
    /// A process is asked to stop.
    Stop,
    /// A machine loses power.
    PowerLoss,
    /// All machines lose power.
    Blackout,
    /// Some hosts do not reach the others.
    Partition,
    /// Some hosts are cut off one after the other, and come back in another order.
    Swizzle,
    /// Messages between two hosts wait, and arrive later.
    Hold,
    /// Messages between two hosts take long.
    SlowLink,
    /// A disk is full.
    DiskFull,
    /// A sync fails, and the process must end itself.
    SyncFails,
    /// A disk is slow.
    SlowDisk,
    /// A machine does nothing for a while.
    Pause,
    /// A clock jumps.
    ClockJump,
    /// A machine comes back with an empty disk.
    LostDisk,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 14] = [
        Kind::Crash,
        Kind::Stop,
        Kind::PowerLoss,
        Kind::Blackout,
        Kind::Partition,
        Kind::Swizzle,
        Kind::Hold,
        Kind::SlowLink,
        Kind::DiskFull,
        Kind::SyncFails,
        Kind::SlowDisk,
        Kind::Pause,
        Kind::ClockJump,
        Kind::LostDisk,
    ];
}

/// One fault. Nodes count from 1; host 0 is the clients'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The process on a node is killed.
    Crash(usize),
    /// The process on a node is asked to stop.
    Stop(usize),
    /// The machines of nodes lose power. What was not synced is lost, or some of it is kept, as the seed says.
    PowerLoss(Vec<usize>, Option<u64>),
    /// Messages from these hosts to those are lost.
    Cut(Vec<usize>, Vec<usize>),
    /// Messages between two hosts wait.
    Hold(usize, usize),
    /// Messages between two hosts take this long.
    SlowLink(usize, usize, Duration),
    /// A disk takes only so many more bytes.
    DiskFull(usize, u64),
    /// So many syncs from now, one fails.
    SyncFails(usize, u64),
    /// Work beside the tasks takes so many times as long.
    SlowDisk(usize, u64),
    /// Nothing is done on a node and nothing reaches it; its timers run.
    Pause(usize),
    /// A clock jumps by so many milliseconds.
    ClockJump(usize, i64),
    /// A node's machine dies, and its disk with it.
    LostDisk(usize),
}

/// A fault, from when on, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// After the beginning of the chaos.
    pub at: Duration,
    /// What.
    pub fault: Fault,
    /// When what was ended begins again, or what is wrong is right again.
    pub lasts: Duration,
}

/// Everything that goes wrong in a run, in order.
pub fn draw(options: &Options) -> Vec<Event> {
    let mut random = Random::of(options.seed, "schedule");
    let kinds: Vec<Kind> = options.kinds.iter().copied().collect();
    let mut events = Vec::new();
    let mut has_lost_disk = false;
    let mut at = Duration::ZERO;
    while !kinds.is_empty() {
        at += Duration::from_millis(random.below(2 * options.pause.as_millis() as u64) + 1);
        if at >= options.chaos {
            break;
        }
        let kind = kinds[random.below(kinds.len() as u64) as usize];
        // What a group has on one disk alone is lost with it: one disk per run, and not beside other losses of copies.
        if kind == Kind::LostDisk && std::mem::replace(&mut has_lost_disk, true) {
            continue;
        }
        let lasts = Duration::from_millis(200 + random.below(options.lasting_max.as_millis() as u64));
        for (delay, fault, lasts) in faults(kind, options.nodes, lasts, &mut random) {
            events.push(Event { at: at + delay, fault, lasts });
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

fn faults(kind: Kind, nodes: usize, lasts: Duration, random: &mut Random) -> Vec<(Duration, Fault, Duration)> {
    let node = 1 + random.below(nodes as u64) as usize;
    let kept = |random: &mut Random| random.percent(50).then(|| random.bits());
    let pair = |random: &mut Random| {
        let a = random.below(nodes as u64 + 1) as usize;
        let b = (a + 1 + random.below(nodes as u64) as usize) % (nodes + 1);
        (a, b)
    };
    let fault = match kind {
        Kind::Crash => Fault::Crash(node),
        Kind::Stop => Fault::Stop(node),
        Kind::PowerLoss => Fault::PowerLoss(vec![node], kept(random)),
        Kind::Blackout => Fault::PowerLoss((1..=nodes).collect(), kept(random)),
        Kind::Partition => {
            let (some, others) = sides(nodes, random);
            let mut cuts = vec![(Duration::ZERO, Fault::Cut(some.clone(), others.clone()), lasts)];
            if random.percent(60) {
                cuts.push((Duration::ZERO, Fault::Cut(others, some), lasts));
            }
            return cuts;
        }
        Kind::Swizzle => {
            let all: Vec<usize> = (0..=nodes).collect();
            let chosen = (1..=nodes).filter(|_| random.percent(60)).collect::<Vec<_>>();
            let mut cuts = Vec::new();
            for cut in chosen {
                let begins = lasts * random.below(100) as u32 / 200;
                let lasts = lasts * (20 + random.below(80) as u32) / 100;
                let others: Vec<usize> = all.iter().copied().filter(|host| *host != cut).collect();
                cuts.push((begins, Fault::Cut(vec![cut], others.clone()), lasts));
                cuts.push((begins, Fault::Cut(others, vec![cut]), lasts));
            }
            return cuts;
        }
        Kind::Hold => {
            let (a, b) = pair(random);
            Fault::Hold(a, b)
        }
        Kind::SlowLink => {
            let (a, b) = pair(random);
            Fault::SlowLink(a, b, Duration::from_millis(50 + random.below(600)))
        }
        Kind::DiskFull => Fault::DiskFull(node, random.below(40_000)),
        Kind::SyncFails => Fault::SyncFails(node, 1 + random.below(20)),
        Kind::SlowDisk => Fault::SlowDisk(node, 5 + random.below(200)),
        Kind::Pause => Fault::Pause(node),
        Kind::ClockJump => Fault::ClockJump(node, random.between(-120_000, 120_000)),
        Kind::LostDisk => Fault::LostDisk(node),
    };
    vec![(Duration::ZERO, fault, lasts)]
}

/// Two halves of all hosts, neither of them empty. The clients are somewhere, too, or reach both halves: only then can they ask
/// a leader that does not know of its successor for what the successor took.
fn sides(nodes: usize, random: &mut Random) -> (Vec<usize>, Vec<usize>) {
    let first = 1 + random.below(nodes as u64) as usize;
    let (mut some, mut others) = (vec![first], Vec::new());
    let clients_reach_both = random.percent(40);
    for host in (usize::from(clients_reach_both)..=nodes).filter(|host| *host != first) {
        if random.percent(30) && some.len() + 1 < nodes { some.push(host) } else { others.push(host) }
    }
    (some, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_schedule_and_seeds_draw_all_kinds() {
        assert_eq!(draw(&Options::of(3, 3)), draw(&Options::of(3, 3)));
        let all: Vec<Event> = (0..60).flat_map(|seed| draw(&Options::of(seed, 3))).collect();
        let names = all.iter().map(|event| format!("{:?}", event.fault));
        let mut names: Vec<String> = names.map(|name| name.split('(').next().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 12, "{names:?}");
        assert!(all.windows(2).filter(|pair| pair[0].at > pair[1].at).count() < 60, "each seed's is in order");
    }

    #[test]
    fn a_run_loses_one_disk_at_most() {
        for seed in 0..60 {
            let lost =
                draw(&Options::of(seed, 3)).iter().filter(|event| matches!(event.fault, Fault::LostDisk(_))).count();
            assert!(lost <= 1, "seed {seed}");
        }
    }
}
