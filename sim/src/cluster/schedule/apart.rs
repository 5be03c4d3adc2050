//! Faults that belong together, each kind drawn from a stream of its own: what one fault alone meets too rarely.

use std::time::Duration;

use bellwether_model::limits::WINDOW_MS;

use super::{Ambush, Event, Fault, Kind, Strike};
use crate::cluster::operator::Task;
use crate::cluster::options::Options;
use crate::random::Random;

/// Where processes are struck: between two steps that a loss of power must not part.
pub const MOMENTS: &[&str] = &[
    CUT_OFF,
    GIVEN_AWAY,
    "a flush was stored",
    "a copy took the place of a replica's data",
    "a group was split while it was read",
    "a half-done change of voters was ended by the mover",
    "a series was registered where it no longer is",
    "a split was applied again after a crash",
    "leaderships handed over",
    "log cut while a follower lagged",
];
const CUT_OFF: &str = "the end of a log was cut off";
const SHORTER: &str = "a shorter end of a log is durable";
const GIVEN_AWAY: &str = "a group gave a part of itself away";

/// Mean pause between two faults of one kind.
const PAUSE_MS: u64 = 9_000;
/// A leader that was overruled is struck within this after it heard of it.
const OVERRULED_MS_MAX: u64 = 150;
/// Others are struck within this after the moment, if not at once.
const LATER_MS_MAX: u64 = 40;
/// A node is flooded for so long at most.
const FLOOD_MS_MAX: u64 = 2_500;
/// Disks of a quorum are full for so long at most, and a disk fails now and then.
const FULL_MS_MAX: u64 = 8_000;
const DISK_ERRORS_MS_MAX: u64 = 6_000;
/// After a leap a Window ends within this, and what was written before is over by so many Windows at most.
const WINDOW_ENDS_MS_MAX: u64 = 60_000;
const WINDOWS_OVER_MAX: i64 = 3;
/// Who was struck comes back within this.
const DOWN_MS_MAX: u64 = 4_000;

/// Everything of these kinds that goes wrong in a run.
pub fn draw(options: &Options) -> Vec<Event> {
    let kinds = Kind::APART.into_iter().filter(|kind| options.kinds.contains(kind));
    kinds.flat_map(|kind| of_kind(kind, options)).collect()
}

fn of_kind(kind: Kind, options: &Options) -> Vec<Event> {
    let mut random = Random::of(options.seed, &format!("schedule of {kind:?}"));
    if kind == Kind::Leap {
        return vec![leap(options, &mut random)];
    }
    let mut events = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(random.below(2 * PAUSE_MS) + 1);
        if at >= options.chaos {
            return events;
        }
        let mut event =
            |fault: Fault, lasts_ms: u64| events.push(Event { at, fault, lasts: Duration::from_millis(lasts_ms) });
        match kind {
            Kind::Ambush => {
                let moment = MOMENTS[random.below(MOMENTS.len() as u64) as usize];
                let later_ms = if random.percent(60) { 0 } else { random.below(LATER_MS_MAX) };
                event(ambush(moment, later_ms, &mut random), 200 + random.below(DOWN_MS_MAX));
            }
            Kind::Overrule => {
                let node = 1 + random.below(options.nodes as u64) as usize;
                let others: Vec<usize> = (1..=options.nodes).filter(|other| *other != node).collect();
                let lasts_ms = 2_500 + random.below(5_000);
                event(Fault::Cut(vec![0, node], others.clone()), lasts_ms);
                event(Fault::Cut(others, vec![0, node]), lasts_ms);
                // Either in the midst of it, or a while after.
                let (moment, later_ms) =
                    if random.percent(50) { (SHORTER, 0) } else { (CUT_OFF, random.below(OVERRULED_MS_MAX)) };
                event(ambush(moment, later_ms, &mut random), 200 + random.below(DOWN_MS_MAX));
            }
            Kind::SplitOften => {
                if random.percent(50) {
                    event(ambush(GIVEN_AWAY, 0, &mut random), 200 + random.below(DOWN_MS_MAX));
                }
                let part = random.percent(30).then(|| 1 + random.below(98) as u8);
                event(Fault::Ask(Task::Split(random.bits() >> 32, part)), 0);
            }
            // With fewer copies than there usually are, one that is lost may have been the last.
            Kind::Factor
                if options.dead_minority
                    || [Kind::LostDisk, Kind::Rot].iter().any(|lost| options.kinds.contains(lost)) => {}
            Kind::Factor => {
                let copies = [1, 2, 2, 3, 5][random.below(5) as usize].to_string();
                event(Fault::Ask(Task::Set("replication.factor".to_owned(), Some(copies))), 0);
                // With as many copies as nodes none could be emptied.
                if random.percent(25) {
                    let node = 1 + random.below(options.nodes as u64) as usize;
                    event(Fault::Ask(Task::Retire(node)), 0);
                }
            }
            Kind::Flood => {
                let node = 1 + random.below(options.nodes as u64) as usize;
                event(Fault::Flood(node), 300 + random.below(FLOOD_MS_MAX));
            }
            Kind::FullQuorum => {
                let spared = 1 + random.below(options.nodes as u64) as usize;
                let lasts_ms = 2_000 + random.below(FULL_MS_MAX);
                for node in (1..=options.nodes).filter(|node| *node != spared) {
                    event(Fault::DiskFull(node, random.below(4_000)), lasts_ms);
                }
            }
            Kind::DiskErrors => {
                let node = 1 + random.below(options.nodes as u64) as usize;
                let mut one_in = || if random.percent(60) { 2 + random.below(300) } else { 0 };
                let (reads, writes) = (one_in(), one_in());
                event(Fault::DiskErrors(node, reads, writes, random.bits()), 500 + random.below(DISK_ERRORS_MS_MAX));
            }
            _ => {}
        }
    }
}

/// One leap, in the first half: what follows from it takes a while.
fn leap(options: &Options, random: &mut Random) -> Event {
    let at = options.chaos * (10 + random.below(40) as u32) / 100;
    let kept = options.retention().as_millis() as i64 / WINDOW_MS;
    let windows = kept + random.between(1, WINDOWS_OVER_MAX);
    let fault = Fault::Leap(windows * WINDOW_MS - random.below(WINDOW_ENDS_MS_MAX) as i64);
    Event { at, fault, lasts: Duration::ZERO }
}

fn ambush(moment: &str, later_ms: u64, random: &mut Random) -> Fault {
    let kept = random.percent(50).then(|| random.bits());
    let strike = if random.percent(30) { Strike::Crash } else { Strike::PowerLoss(kept) };
    Fault::Ambush(Ambush { at: moment.to_owned(), later: Duration::from_millis(later_ms), strike })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::coverage::TOLD;

    #[test]
    fn moments_are_what_the_code_can_tell() {
        let unknown = MOMENTS.iter().find(|moment| !TOLD.contains(moment));
        assert_eq!(unknown, None);
    }

    #[test]
    fn seeds_draw_all_kinds() {
        // What comes at the end is not in the schedule.
        for kind in Kind::APART.into_iter().filter(|kind| *kind != Kind::LostMajority) {
            let drawn = (0..30).map(|seed| of_kind(kind, &Options::of(seed, 3)).len()).sum::<usize>();
            assert!(drawn > 10, "{kind:?}: {drawn}");
        }
    }
}
