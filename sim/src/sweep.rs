//! Many seeds, each in a process of its own, several at a time; and one seed twice.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::coverage::Marks;
use crate::cluster::run::{Failure, Manner, Report, simulate};
use crate::work::lock;

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Sweep {
    /// What is wrong with seeds that failed.
    pub failures: BTreeMap<u64, String>,
    /// Seeds that ran.
    pub count: u64,
    /// Simulated time of those that passed.
    pub simulated: Duration,
    /// What was reached by any run.
    pub marks: Marks,
}

/// What is known of a run in another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// What is wrong, if anything.
    pub failure: Option<String>,
    /// One line about it.
    pub summary: String,
    /// Simulated time.
    pub simulated: Duration,
    /// What was reached.
    pub marks: Marks,
}

impl Verdict {
    /// Of a run.
    pub fn of(seed: u64, result: &Result<Report, Box<Failure>>) -> Verdict {
        let (failure, simulated, marks) = match result {
            Ok(report) => (None, report.simulated, report.marks.clone()),
            Err(failure) => (Some(failure.reason.clone()), Duration::ZERO, Marks::default()),
        };
        Verdict { seed, failure, summary: summary(seed, result), simulated, marks }
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        json!({
            "seed": self.seed,
            "failure": self.failure,
            "summary": self.summary,
            "simulated_ms": self.simulated.as_millis() as u64,
            "marks": self.marks.names(),
        })
        .to_string()
    }

    /// Reads a line of JSON back.
    pub fn of_json(text: &str) -> Option<Verdict> {
        let json: Value = serde_json::from_str(text).ok()?;
        let marks: Vec<String> =
            json["marks"].as_array()?.iter().filter_map(|mark| Some(mark.as_str()?.to_owned())).collect();
        Some(Verdict {
            seed: json["seed"].as_u64()?,
            failure: json["failure"].as_str().map(str::to_owned),
            summary: json["summary"].as_str()?.to_owned(),
            simulated: Duration::from_millis(json["simulated_ms"].as_u64()?),
            marks: Marks::named(&marks),
        })
    }
}

/// One line about a run.
pub fn summary(seed: u64, result: &Result<Report, Box<Failure>>) -> String {
    match result {
        Ok(report) => format!(
            "seed {seed}: trace {:016x}, {} events, {} s, {} processes, {} writes ({} unknown), {} queries ({} failed), \
             {} samples",
            report.trace_hash,
            report.events,
            report.simulated.as_secs(),
            report.processes,
            report.counts.writes,
            report.counts.unknown,
            report.counts.queries,
            report.counts.failed,
            report.samples
        ),
        Err(failure) => format!("seed {seed}: FAILED, trace {:016x}: {}", failure.trace_hash, failure.reason),
    }
}

/// Runs seeds, so many at a time, with `command` for each. `told` hears of each run as it ends, and what it said of itself.
pub fn sweep(
    seeds: Range<u64>,
    jobs: usize,
    command: impl Fn(u64) -> io::Result<Command> + Sync,
    told: impl Fn(&Verdict, &str) + Sync,
) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let sweep = Mutex::new(Sweep::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (verdict, said) = run(seed, &command);
            let mut sweep = lock(&sweep);
            told(&verdict, &said);
            sweep.count += 1;
            sweep.simulated += verdict.simulated;
            sweep.marks.add(&verdict.marks);
            if let Some(failure) = verdict.failure {
                sweep.failures.insert(seed, failure);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    sweep.into_inner().unwrap_or_default()
}

fn run(seed: u64, command: &impl Fn(u64) -> io::Result<Command>) -> (Verdict, String) {
    let broken = |reason: String| Verdict {
        seed,
        summary: format!("seed {seed}: {reason}"),
        failure: Some(reason),
        simulated: Duration::ZERO,
        marks: Marks::default(),
    };
    match command(seed).and_then(|mut command| command.output()) {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let verdict = String::from_utf8_lossy(&output.stdout).lines().last().and_then(Verdict::of_json);
            let verdict =
                verdict.unwrap_or_else(|| broken(format!("the process ended without a verdict: {}", output.status)));
            (verdict, said)
        }
        Err(error) => (broken(format!("no process: {error}")), String::new()),
    }
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
            let (first, second) = (first.trace_hash, second.trace_hash);
            Err(format!("seed {seed}: two runs differ, {first:016x} and {second:016x}; first at {parting:#?}"))
        }
        (first, second) => {
            let both = [first, second].map(|result| summary(seed, &result));
            if both[0] == both[1] {
                Err(format!("both runs alike: {}", both[0]))
            } else {
                Err(format!("two runs differ: {}\n{}", both[0], both[1]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_travels() {
        let failure = Failure { seed: 7, reason: "lost".to_owned(), details: String::new(), trace_hash: 1 };
        let verdict = Verdict::of(7, &Err(Box::new(failure)));
        assert_eq!(Verdict::of_json(&verdict.to_json()), Some(verdict));
        assert_eq!(Verdict::of_json("{}"), None);
    }
}
