//! What goes wrong, and when: a list that a seed draws beforehand, so that it can be shown and cut short.

mod apart;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::operator::{Task, draw_setting};
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
    /// Messages between two hosts are lost now and then.
    Loss,
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
    /// Something that a disk holds is damaged.
    Rot,
    /// A shard group is split.
    Split,
    /// A replica is moved.
    Move,
    /// A leadership is handed over.
    Transfer,
    /// A node is emptied for a while.
    Drain,
    /// A node is removed for ever.
    Retire,
    /// A node joins.
    Join,
    /// A setting is chosen.
    Setting,
    /// Somebody looks at everything.
    Look,
    /// A backup is made.
    Backup,
    /// Nodes are restarted one by one with a newer program.
    Upgrade,
    /// A process is struck at the moment when something rare happens to it.
    Ambush,
    /// A leader is cut off with its clients, overruled, and struck when it hears of that.
    Overrule,
    /// Shard groups are split again and again, some of them by replicas that are struck as they do so.
    SplitOften,
    /// It is chosen how many copies there are.
    Factor,
    /// Clients send more than a node may have in hand.
    Flood,
    /// So many disks are full that a quorum has no room.
    FullQuorum,
    /// Reads and writes of a disk fail now and then.
    DiskErrors,
    /// At the end two machines die for ever, and with them the majority of some groups.
    LostMajority,
    /// All clocks leap by hours at once, and what is kept is kept for hours only.
    Leap,
}

impl Kind {
    /// Those of which one is drawn after the other.
    pub const TOGETHER: [Kind; 26] = [
        Kind::Crash,
        Kind::Stop,
        Kind::PowerLoss,
        Kind::Blackout,
        Kind::Partition,
        Kind::Swizzle,
        Kind::Hold,
        Kind::SlowLink,
        Kind::Loss,
        Kind::DiskFull,
        Kind::SyncFails,
        Kind::SlowDisk,
        Kind::Pause,
        Kind::ClockJump,
        Kind::LostDisk,
        Kind::Rot,
        Kind::Split,
        Kind::Move,
        Kind::Transfer,
        Kind::Drain,
        Kind::Retire,
        Kind::Join,
        Kind::Setting,
        Kind::Look,
        Kind::Backup,
        Kind::Upgrade,
    ];

    /// Those that are drawn apart, each from a stream of its own: one more shifts nobody's draws.
    pub const APART: [Kind; 9] = [
        Kind::Ambush,
        Kind::Overrule,
        Kind::SplitOften,
        Kind::Factor,
        Kind::Flood,
        Kind::FullQuorum,
        Kind::DiskErrors,
        Kind::LostMajority,
        Kind::Leap,
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
    /// So many messages of a thousand between two hosts are lost.
    Loss(usize, usize, u16),
    /// A disk takes only so many more bytes.
    DiskFull(usize, u64),
    /// So many syncs from now, one fails.
    SyncFails(usize, u64),
    /// One in so many reads and one in so many writes of a disk fail; zero is none. The last number picks which.
    DiskErrors(usize, u64, u64, u64),
    /// Work beside the tasks takes so many times as long.
    SlowDisk(usize, u64),
    /// Nothing is done on a node and nothing reaches it; its timers run.
    Pause(usize),
    /// A clock jumps by so many milliseconds.
    ClockJump(usize, i64),
    /// All clocks leap to so many milliseconds after the simulation's first day began.
    Leap(i64),
    /// A node's machine dies, and its disk with it.
    LostDisk(usize),
    /// A record that a disk holds is damaged; the number picks which, and how.
    Rot(usize, u64),
    /// A machine that was not there from the beginning joins.
    Join(usize),
    /// A process is asked to stop, and a newer program is installed.
    Upgrade(usize),
    /// An operator does something.
    Ask(Task),
    /// Many clients write to a node without a pause.
    Flood(usize),
    /// Whoever says something is struck for that.
    Ambush(Ambush),
}

/// An ambush: a process in which something rare happens is struck at that moment, or a little later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ambush {
    /// What the code says when it happens.
    pub at: String,
    /// How much later the process is struck: at once, before it does anything else, or within some steps.
    pub later: Duration,
    /// How.
    pub strike: Strike,
}

/// How a process is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strike {
    /// It is killed.
    Crash,
    /// Its machine loses power; what was not synced is lost, or some of it is kept.
    PowerLoss(Option<u64>),
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

impl Fault {
    /// The machine on whose disk something is damaged.
    pub fn damages(&self) -> Option<usize> {
        if let Fault::Rot(machine, _) = self { Some(*machine) } else { None }
    }

    /// Whether a copy is lost by it.
    pub fn loses_copies(&self) -> bool {
        matches!(self, Fault::LostDisk(_) | Fault::Rot(..))
    }
}

/// Everything that goes wrong in a run, in order.
pub fn draw(options: &Options) -> Vec<Event> {
    let mut random = Random::of(options.seed, "schedule");
    let kinds: Vec<Kind> = options.kinds.iter().copied().filter(|kind| !Kind::APART.contains(kind)).collect();
    let mut events = apart::draw(options);
    let (mut has_lost_disk, mut has_joined) = (false, !options.joins_late);
    let mut at = Duration::ZERO;
    while !kinds.is_empty() {
        at += Duration::from_millis(random.below(2 * options.pause.as_millis() as u64) + 1);
        if at >= options.chaos {
            break;
        }
        let kind = kinds[random.below(kinds.len() as u64) as usize];
        // What a group has on one disk alone is lost with it: one disk per run, and not beside other losses of copies.
        if matches!(kind, Kind::LostDisk | Kind::Rot) && std::mem::replace(&mut has_lost_disk, true) {
            continue;
        }
        // There is one machine to add.
        if kind == Kind::Join && std::mem::replace(&mut has_joined, true) {
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
        Kind::Loss => {
            let (a, b) = pair(random);
            Fault::Loss(a, b, 1 + random.below(50) as u16)
        }
        // These are drawn apart.
        Kind::Ambush
        | Kind::Overrule
        | Kind::SplitOften
        | Kind::Factor
        | Kind::Flood
        | Kind::FullQuorum
        | Kind::DiskErrors
        | Kind::LostMajority
        | Kind::Leap => return Vec::new(),
        Kind::Rot => Fault::Rot(node, random.bits()),
        Kind::DiskFull => Fault::DiskFull(node, random.below(40_000)),
        Kind::SyncFails => Fault::SyncFails(node, 1 + random.below(20)),
        Kind::SlowDisk => Fault::SlowDisk(node, 5 + random.below(200)),
        Kind::Pause => Fault::Pause(node),
        Kind::ClockJump => Fault::ClockJump(node, random.between(-120_000, 120_000)),
        Kind::LostDisk => {
            let mut faults = vec![(Duration::ZERO, Fault::LostDisk(node), lasts)];
            if random.percent(60) {
                let later = Duration::from_millis(random.below(20_000));
                faults.push((later, Fault::Ask(Task::Forget(node)), lasts));
            }
            return faults;
        }
        Kind::Split => {
            let part = random.percent(50).then(|| 1 + random.below(98) as u8);
            Fault::Ask(Task::Split(random.bits() >> 32, part))
        }
        Kind::Move => Fault::Ask(Task::Move(random.bits() >> 32, random.bits() >> 32, random.bits() >> 32)),
        Kind::Transfer => Fault::Ask(Task::Transfer(random.bits() >> 32, random.bits() >> 32)),
        Kind::Drain => {
            let stays = Duration::from_millis(1_000 + random.below(40_000));
            return vec![(Duration::ZERO, Fault::Ask(Task::Drain(node)), stays)];
        }
        Kind::Retire => Fault::Ask(Task::Retire(node)),
        Kind::Join => Fault::Join(nodes),
        Kind::Setting => Fault::Ask(draw_setting(random)),
        Kind::Look => Fault::Ask(Task::Look),
        Kind::Backup => Fault::Ask(Task::Backup),
        Kind::Upgrade => {
            let pause = Duration::from_millis(1_000 + random.below(10_000));
            let mut steps: Vec<_> =
                (1..=nodes).map(|at| (pause * at as u32, Fault::Upgrade(1 + (node + at) % nodes), lasts / 4)).collect();
            if random.percent(60) {
                steps.push((pause * (nodes as u32 + 2), Fault::Ask(Task::Finalize), lasts));
            }
            return steps;
        }
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
        assert_eq!(names.len(), 21, "{names:?}");
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
