//! Many seeds, several at a time, and what they came to together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::coverage::Marks;
use crate::cluster::run::{Failure, Manner, Report, simulate};
use crate::work::lock;

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Runs without a violation.
    pub reports: BTreeMap<u64, Report>,
    /// The others.
    pub failures: BTreeMap<u64, Failure>,
    /// What was reached by any run.
    pub marks: Marks,
}

/// Runs seeds, so many at a time. `told` hears of each run as it ends.
pub fn sweep(
    seeds: Range<u64>,
    nodes: usize,
    jobs: usize,
    told: impl Fn(u64, &Result<Report, Box<Failure>>) + Sync,
) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let sweep = Mutex::new(Sweep::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = simulate(seed, nodes, Manner::default());
                    told(seed, &result);
                    let mut sweep = lock(&sweep);
                    match result {
                        Ok(report) => {
                            sweep.marks.add(&report.marks);
                            sweep.reports.insert(seed, report);
                        }
                        Err(failure) => {
                            sweep.failures.insert(seed, *failure);
                        }
                    }
                }
            });
        }
    });
    sweep.into_inner().unwrap_or_default()
}

/// Runs a seed twice; says where the runs part, if they do.
pub fn twice(seed: u64, nodes: usize) -> Result<Report, String> {
    let manner = Manner { keep: true, ..Manner::default() };
    let both = (simulate(seed, nodes, manner), simulate(seed, nodes, manner));
    match both {
        (Ok(first), Ok(second)) if first == second => Ok(first),
        (Ok(first), Ok(second)) => {
            let mut pairs = first.first_events.iter().zip(&second.first_events).enumerate();
            let parting = pairs.find(|(_, (a, b))| a != b);
            Err(format!(
                "seed {seed}: two runs differ, {:016x} and {:016x}; first at {parting:#?}",
                first.trace_hash, second.trace_hash
            ))
        }
        (Err(first), Err(second)) if (&first.reason, first.trace_hash) == (&second.reason, second.trace_hash) => {
            Err(format!("seed {seed}: both runs alike: {}", first.reason))
        }
        (first, second) => {
            let said = |result: Result<Report, Box<Failure>>| match result {
                Ok(report) => format!("passes, {:016x}", report.trace_hash),
                Err(failure) => failure.reason.clone(),
            };
            Err(format!("seed {seed}: one run {}; the other {}", said(first), said(second)))
        }
    }
}
