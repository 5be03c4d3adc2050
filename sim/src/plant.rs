//! Plants bugs in the code and sees whether runs catch them: what a simulation is worth is what it notices.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether_probe::Bug;

use crate::shrink::claim;
use crate::sweep::judge;
use crate::work::lock;

/// What became of a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The bug.
    pub bug: Bug,
    /// Seeds that ran.
    pub seeds: u64,
    /// The first seed that caught it.
    pub first: Option<u64>,
    /// By what it was caught, and how often.
    pub claims: BTreeMap<String, u64>,
}

impl Outcome {
    /// In how many seeds it was caught.
    pub fn caught(&self) -> u64 {
        self.claims.values().sum()
    }
}

impl fmt::Display for Outcome {
    /// A row of a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claims: Vec<String> = self.claims.iter().map(|(claim, count)| format!("{claim} ({count})")).collect();
        write!(f, "| {} | {} of {} | {} |", self.bug, self.caught(), self.seeds, claims.join(", "))
    }
}

/// How bugs are looked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// The seeds to run.
    pub seeds: Range<u64>,
    /// Run them all, also once the bug is caught.
    pub every: bool,
    /// Bugs that are looked for at a time.
    pub jobs: usize,
}

impl Search {
    /// Looks for each bug, with `command` for each run. `told` hears of each run that catches one, and of each outcome.
    pub fn run(
        &self,
        bugs: &[Bug],
        command: impl Fn(Bug, u64) -> io::Result<Command> + Sync,
        told: impl Fn(&str) + Sync,
    ) -> Vec<Outcome> {
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::new());
        let work = || {
            while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.look_for(*bug, &command, &told);
                told(&outcome.to_string());
                lock(&outcomes).push(outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_default();
        outcomes.sort_by_key(|outcome| outcome.bug);
        outcomes
    }

    fn look_for(&self, bug: Bug, command: &impl Fn(Bug, u64) -> io::Result<Command>, told: &impl Fn(&str)) -> Outcome {
        let mut outcome = Outcome { bug, seeds: 0, first: None, claims: BTreeMap::new() };
        for seed in self.seeds.clone() {
            let (verdict, _) = judge(seed, command(bug, seed));
            outcome.seeds += 1;
            let Some(failure) = verdict.failure else { continue };
            told(&format!("{bug}, seed {seed}: {failure}"));
            outcome.first.get_or_insert(seed);
            *outcome.claims.entry(claim(&failure)).or_default() += 1;
            if !self.every {
                break;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Verdict;

    /// Answers as a run would whose bug is caught by every third seed.
    fn command(_: Bug, seed: u64) -> io::Result<Command> {
        let failure = (seed % 3 == 2).then(|| "acknowledged is never lost: 7 is".to_owned());
        let summary = String::new();
        let verdict =
            Verdict { seed, failure, summary, simulated: std::time::Duration::ZERO, marks: Default::default() };
        let mut command = Command::new("echo");
        command.arg(verdict.to_json());
        Ok(command)
    }

    #[test]
    fn a_search_ends_with_the_first_seed_that_catches_the_bug() {
        let search = Search { seeds: 0..9, every: false, jobs: 2 };
        let bugs = [Bug::StaleRead, Bug::AnswerBeforeSync];
        let outcomes = search.run(&bugs, command, |_| {});
        assert_eq!(outcomes.iter().map(|outcome| outcome.bug).collect::<Vec<_>>(), [bugs[1], bugs[0]]);
        assert!(outcomes.iter().all(|outcome| (outcome.seeds, outcome.first, outcome.caught()) == (3, Some(2), 1)));
        let all = Search { every: true, ..search }.run(&bugs[..1], command, |_| {});
        assert_eq!(all[0].to_string(), "| stale-read | 3 of 9 | acknowledged is never lost (3) |");
    }
}
