//! Makes a case that fails smaller, as long as it fails in the same way.
//!
//! First the schedule, by delta debugging ([`Zeller and Hildebrandt`][ddmin]): the list is cut into parts, and what remains without one
//! of them is kept if it still fails; parts become smaller until they are single events. Then one knob after the other is
//! set to what disturbs least, and faults last half as long. This is repeated until nothing becomes smaller.
//!
//! [ddmin]: https://doi.org/10.1109/32.988498

use std::time::Duration;

use crate::cluster::workload::Workload;
use crate::cluster::{Case, Options};

/// A fault that is shorter than this is not made shorter.
const LASTING_MIN: Duration = Duration::from_millis(200);

/// What is claimed by a violation, without numbers: those of nodes and times may differ from run to run.
pub fn claim(reason: &str) -> String {
    let claim = reason.split_once(": ").map_or(reason, |(claim, _)| claim);
    claim.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// The smallest case that was found and that `fails`. `told` hears of progress.
pub fn shrink(case: Case, mut fails: impl FnMut(&Case) -> bool, mut told: impl FnMut(&str)) -> Case {
    let mut best = case;
    loop {
        let before = best.clone();
        best.schedule = ddmin(best.schedule.clone(), |events| {
            let failed = fails(&Case { schedule: events.to_vec(), ..best.clone() });
            if failed {
                told(&format!("fails with {} events", events.len()));
            }
            failed
        });
        for (name, simpler) in KNOBS {
            while let Some(options) = simpler(&best.options).filter(|options| *options != best.options) {
                let case = Case { options, ..best.clone() };
                if !fails(&case) {
                    break;
                }
                told(&format!("fails with {name}"));
                best = case;
            }
        }
        for at in 0..best.schedule.len() {
            let mut case = best.clone();
            case.schedule[at].lasts /= 2;
            if case.schedule[at].lasts >= LASTING_MIN && fails(&case) {
                told(&format!("fails with event {at} half as long"));
                best = case;
            }
        }
        if best == before {
            return best;
        }
    }
}

/// A name and a step of a knob towards what disturbs least, if there is one.
type Knob = (&'static str, fn(&Options) -> Option<Options>);

const KNOBS: [Knob; 15] = [
    ("fewer nodes", |options| {
        let nodes = options.nodes.checked_sub(1).filter(|nodes| *nodes >= 3)?;
        Some(Options { nodes, clocks: options.clocks[..nodes].to_vec(), ..options.clone() })
    }),
    ("no readers", |options| Some(Options { readers: 0, ..options.clone() })),
    ("fewer readers", |options| Some(Options { readers: options.readers.checked_sub(1)?, ..options.clone() })),
    ("fewer writers", |options| Some(Options { writers: options.writers.saturating_sub(1).max(1), ..options.clone() })),
    ("nobody who deletes", |options| Some(workload(options, |workload| workload.erasers = 0))),
    ("one tenant", |options| Some(workload(options, |workload| workload.tenants = 1))),
    ("no new series", |options| Some(workload(options, |workload| workload.new_series_percent = 0))),
    ("no late samples", |options| Some(workload(options, |workload| workload.late_percent = 0))),
    ("nobody dead for ever", |options| Some(Options { dead_minority: false, ..options.clone() })),
    ("right clocks", |options| Some(Options { clocks: vec![(0, 0); options.nodes], ..options.clone() })),
    ("no repeated writes", |options| Some(Options { repeat_percent: 0, ..options.clone() })),
    ("no overwritten times", |options| Some(Options { overwrite_percent: 0, ..options.clone() })),
    ("a fast network", |options| Some(Options { latency_max: Duration::from_millis(5), ..options.clone() })),
    ("one group", |options| Some(Options { shard_groups: 1, ..options.clone() })),
    ("half the time", |options| {
        let chaos = options.chaos / 2;
        (chaos >= Duration::from_secs(2)).then(|| Options { chaos, ..options.clone() })
    }),
];

fn workload(options: &Options, change: impl FnOnce(&mut Workload)) -> Options {
    let mut options = options.clone();
    change(&mut options.workload);
    options
}

/// A list that fails and of which no single part can be left out.
fn ddmin<T: Clone>(list: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut list = list;
    if list.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut parts = 2;
    while list.len() >= 2 {
        let size = list.len().div_ceil(parts);
        let without = |at: usize| -> Vec<T> {
            let end = (at + size).min(list.len());
            list[..at].iter().chain(&list[end..]).cloned().collect()
        };
        let smaller = (0..list.len()).step_by(size).map(without).find(|rest| fails(rest));
        match smaller {
            Some(rest) => {
                list = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (2 * parts).min(list.len()),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_remains_and_nothing_else() {
        let mut tries = 0;
        let needed = ddmin((0..64).collect(), |list| {
            tries += 1;
            list.contains(&7) && list.contains(&40) && list.contains(&41)
        });
        assert_eq!(needed, [7, 40, 41]);
        assert!(tries < 100, "{tries} tries");
        assert!(ddmin(vec![1, 2, 3], |_| true).is_empty());
        assert_eq!(ddmin(vec![1], |list| !list.is_empty()), [1]);
    }

    #[test]
    fn a_case_loses_what_its_failure_does_not_need() {
        let case = (0..).map(|seed| Case::of(seed, 5)).find(|case| case.schedule.len() > 8).unwrap();
        let wanted = case.schedule[3].fault.clone();
        let fails = |case: &Case| case.options.writers >= 1 && case.schedule.iter().any(|event| event.fault == wanted);
        let small = shrink(case.clone(), fails, |_| {});
        assert!(small.schedule.len() == 1 && small.schedule[0].fault == wanted, "{small:?}");
        let options = &small.options;
        assert_eq!((options.nodes, options.writers, options.readers, options.shard_groups), (3, 1, 0, 1));
        assert_eq!(Case::of_json(&small.to_json()), Ok(small));
    }

    #[test]
    fn a_claim_has_no_numbers() {
        assert_eq!(claim("the process on node 3 ended itself: 7"), claim("the process on node 1 ended itself: x"));
        assert_ne!(claim("no phantoms: x"), claim("nothing crosses series: x"));
    }
}
