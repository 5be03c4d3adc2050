//! Many seeds, each in a process of its own, several at a time; and one seed twice.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Case;
use crate::cluster::coverage::Marks;
use crate::cluster::run::{Failure, Manner, Report, replay};
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
            "seed {seed}: trace {:016x}, {} events, {} s, {} processes, {} writes ({} unknown), {} deletions, {} queries \
             ({} failed, {} rows compared), {} samples",
            report.trace_hash,
            report.events,
            report.simulated.as_secs(),
            report.processes,
            report.counts.writes,
            report.counts.unknown,
            report.counts.deletions,
            report.counts.queries,
            report.counts.failed,
            report.counts.compared,
            report.samples
        ),
        Err(failure) => format!("seed {seed}: FAILED, trace {:016x}: {}", failure.trace_hash, failure.reason),
    }
}

/// Runs seeds, so many at a time, with `command` for each; begins another one as long as `goes_on`. `told` hears of each run as it
/// ends, and what it said of itself.
pub fn sweep(
    seeds: Range<u64>,
    jobs: usize,
    goes_on: impl Fn() -> bool + Sync,
    command: impl Fn(u64) -> io::Result<Command> + Sync,
    told: impl Fn(&Verdict, &str) + Sync,
) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let sweep = Mutex::new(Sweep::default());
    let work = || {
        while goes_on() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (verdict, said) = judge(seed, command(seed));
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

/// Runs a process that prints a verdict. Gives the verdict, and what the process said of itself.
pub fn judge(seed: u64, command: io::Result<Command>) -> (Verdict, String) {
    let broken = |reason: String| Verdict {
        seed,
        summary: format!("seed {seed}: {reason}"),
        failure: Some(reason),
        simulated: Duration::ZERO,
        marks: Marks::default(),
    };
    match command.and_then(|mut command| command.output()) {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let verdict = String::from_utf8_lossy(&output.stdout).lines().last().and_then(Verdict::of_json);
            let verdict =
                verdict.unwrap_or_else(|| broken(format!("a verdict: none, the process ended with {}", output.status)));
            (verdict, said)
        }
        Err(error) => (broken(format!("no process: {error}")), String::new()),
    }
}

/// Runs a case twice; says where the runs part, if they do, or what is wrong in both.
pub fn twice(case: &Case) -> Result<Report, String> {
    let manner = Manner { keep: true, ..Manner::default() };
    let [first, second] = [(); 2].map(|()| replay(case.clone(), manner));
    let seed = case.options.seed;
    match (first, second) {
        (Ok(first), Ok(second)) if first == second => Ok(first),
        (Err(first), Err(second)) if first.trace_hash == second.trace_hash && first.reason == second.reason => {
            Err(format!("both runs alike: {}", summary(seed, &Err(first))))
        }
        (mut first, mut second) => {
            let [first_events, second_events] = [&mut first, &mut second].map(|result| match result {
                Ok(report) => std::mem::take(&mut report.first_events),
                Err(failure) => std::mem::take(&mut failure.first_events),
            });
            let parting = parting(&first_events, &second_events);
            let [first, second] = [first, second].map(|result| summary(seed, &result));
            Err(format!("two runs differ:\n{first}\n{second}\n{parting}"))
        }
    }
}

/// Where two lists of events part.
fn parting(first: &[(u64, String)], second: &[(u64, String)]) -> String {
    let same = first.iter().zip(second).take_while(|(a, b)| a == b).count();
    let event = |events: &[(u64, String)], at: Option<usize>| match at.and_then(|at| events.get(at)) {
        Some((hash, event)) => format!("{hash:016x} {event}"),
        None => "nothing that was kept".to_owned(),
    };
    let last = event(first, same.checked_sub(1));
    let (first, second) = (event(first, Some(same)), event(second, Some(same)));
    format!("alike for {same} events, the last of them:\n  {last}\nthen once\n  {first}\nand once\n  {second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_part_at_the_first_event_that_differs() {
        let event = |hash, text: &str| (hash, text.to_owned());
        let first = [event(1, "a"), event(2, "b"), event(3, "c")];
        let second = [event(1, "a"), event(9, "b"), event(3, "c")];
        assert!(parting(&first, &second).starts_with("alike for 1 events"), "{}", parting(&first, &second));
        assert!(parting(&first, &first[..2]).contains("nothing"));
    }

    #[test]
    fn a_sweep_begins_no_seed_once_it_is_not_to_go_on() {
        let (asked, ran) = (AtomicU64::new(0), AtomicU64::new(0));
        let goes_on = || asked.fetch_add(1, Ordering::Relaxed) < 3;
        let swept = sweep(
            5..100,
            1,
            goes_on,
            |_| Ok(Command::new("true")),
            |verdict, _| {
                ran.fetch_max(verdict.seed, Ordering::Relaxed);
            },
        );
        assert_eq!((swept.count, ran.into_inner()), (3, 7));
        assert!(swept.failures.values().all(|failure| failure.starts_with("a verdict: none")), "{swept:?}");
    }

    #[test]
    fn a_verdict_travels() {
        let failure = Failure {
            seed: 7,
            reason: "lost".to_owned(),
            details: String::new(),
            trace_hash: 1,
            first_events: Vec::new(),
        };
        let verdict = Verdict::of(7, &Err(Box::new(failure)));
        assert_eq!(Verdict::of_json(&verdict.to_json()), Some(verdict));
        assert_eq!(Verdict::of_json("{}"), None);
    }
}
