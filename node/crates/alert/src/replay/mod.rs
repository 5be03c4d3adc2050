//! When rules would have fired, over a stretch of time that is stored somewhere else.
//!
//! 1. Each rule's expression is cut into what only reads what is stored, which is asked there for all times at once ([`questions`]), and
//!    what reads series that rules of the replay record, which is evaluated here ([`memory`]).
//! 2. The groups are evaluated one time after the other, by the very machines that a cluster uses, and what is recorded is kept here for
//!    later rules: nothing is stored.
//! 3. What became of each alert is an [`Episode`].
//!
//! What was stored while the rules were in use is not read: a recorded metric is the replay's own and empty at its beginning, and so is what
//! says which alerts of a rule there are, which composite rules ask.

mod memory;
mod questions;
mod recorded;

use std::collections::BTreeMap;

use bellwether_model::{Labels, Timestamp};

use crate::evaluate::{External, RuleError, RuleState, evaluate_group};
use crate::limits::{REPLAY_EPISODES_MAX, REPLAY_EVALUATIONS_MAX};
use crate::rules::{RuleFile, RuleGroup};
use crate::state::StepError;
use crate::state::alerting::{AlertEvent, Change};
use crate::yaml::problems::Problem;
use memory::Memory;
pub use memory::{AnswerError, Answered};
use questions::Questions;
use recorded::Recorded;

/// The times of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first that may be evaluated.
    pub from: Timestamp,
    /// The last that may be.
    pub to: Timestamp,
    /// How often all groups are evaluated; without, each by its own interval.
    pub step_ms: Option<i64>,
    /// The interval of groups that say none.
    pub default_interval_ms: i64,
}

/// What is to be asked where samples are stored: a range query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number, for the answer.
    pub number: usize,
    /// PromQL.
    pub query: String,
    /// The first time.
    pub start: Timestamp,
    /// The last time.
    pub end: Timestamp,
    /// From one to the next.
    pub step_ms: i64,
}

/// What an alert went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// The alert.
    pub labels: Labels,
    /// Since when its series was there.
    pub pending: Timestamp,
    /// Since when it fired, if it did.
    pub firing: Option<Timestamp>,
    /// When it first fired while its rule was not muted: from then on people would have been told, as far as their routes say so.
    pub told: Option<Timestamp>,
    /// When it was over: resolved, or gone before it fired. None if it was not at the end of the replay.
    pub end: Option<Timestamp>,
}

/// What came of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleReport {
    /// How often it was evaluated.
    pub evaluations: u64,
    /// How often that failed.
    pub failures: u64,
    /// When it failed first, and why.
    pub first_error: Option<(Timestamp, String)>,
    /// Its alerts, in the order in which they began.
    pub episodes: Vec<Episode>,
    /// Templates that could not be expanded; the first one.
    pub template_error: Option<String>,
}

/// Why a replay ends early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It would take too long.
    #[error(
        "the replay would evaluate rules {evaluations} times, the limit is {REPLAY_EVALUATIONS_MAX}: take a longer --step, or less time"
    )]
    TooLong {
        /// How often.
        evaluations: u64,
    },
    /// There is too much to tell.
    #[error("more than {REPLAY_EPISODES_MAX} alerts begin by {at}")]
    TooManyEpisodes {
        /// The time of the evaluation, in milliseconds.
        at: Timestamp,
    },
    /// An answer cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// See the module.
pub struct Replay {
    groups: Vec<Group>,
    memory: Memory,
    external: External,
    span: Span,
    episodes: usize,
}

struct Group {
    /// Its rules, as they are evaluated here.
    rules: RuleGroup,
    step_ms: i64,
    questions: Questions,
    states: Vec<RuleState>,
    reports: Vec<RuleReport>,
    /// Of each rule, where its alerts that are not over are in its report.
    open: Vec<BTreeMap<Labels, usize>>,
}

impl Replay {
    /// A replay of a file's groups; what cannot be replayed is a problem of the file.
    pub fn new(file: &RuleFile, span: Span) -> Result<Replay, Vec<Problem>> {
        let recorded = Recorded::of(file);
        let (mut groups, mut problems, mut first) = (Vec::new(), Vec::new(), 0);
        for group in &file.groups {
            let mut rules = group.clone();
            let questions = Questions::cut(&mut rules, &recorded, first, &mut problems);
            first += questions.len();
            let step_ms = span.step_ms.or(group.interval_ms).unwrap_or(span.default_interval_ms).max(1);
            let states = group.rules.iter().map(RuleState::of).collect();
            let reports = vec![RuleReport::default(); group.rules.len()];
            let open = vec![BTreeMap::new(); group.rules.len()];
            groups.push(Group { rules, step_ms, questions, states, reports, open });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let whole = groups.iter().flat_map(|group: &Group| group.questions.whole()).copied().collect();
        let (memory, external) = (Memory::new(recorded, whole), External::default());
        Ok(Replay { groups, memory, external, span, episodes: 0 })
    }

    /// Whether it can be done; how often groups are evaluated.
    pub fn check(&self) -> Result<u64, ReplayError> {
        let count = |group: &Group| (self.times(group, self.span.from, self.span.to).len() as u64, group.reports.len());
        let counts = || self.groups.iter().map(count);
        let evaluations = counts().map(|(times, rules)| times.saturating_mul(rules as u64)).sum();
        match evaluations {
            0..=REPLAY_EVALUATIONS_MAX => Ok(counts().map(|(times, _)| times).sum()),
            _ => Err(ReplayError::TooLong { evaluations }),
        }
    }

    /// The longest stretch of time in which no group is evaluated more often than this.
    pub fn stretch_ms(&self, evaluations: i64) -> i64 {
        let shortest = self.groups.iter().map(|group| group.step_ms).min().unwrap_or(1);
        shortest.saturating_mul(evaluations)
    }

    /// What is to be asked for the evaluations from one time to another, both included.
    pub fn questions(&self, from: Timestamp, to: Timestamp) -> Vec<Question> {
        let of_group = |group: &Group| {
            let times = self.times(group, from, to);
            let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
            group.questions.between(first, last, group.step_ms, group.rules.query_offset_ms.unwrap_or(0))
        };
        self.groups.iter().flat_map(of_group).collect()
    }

    /// Takes the answer to a question of this stretch.
    pub fn answer(&mut self, number: usize, series: Vec<Answered>) -> Result<(), ReplayError> {
        Ok(self.memory.answer(number, series)?)
    }

    /// Evaluates all groups from one time to another, both included, for which all questions are answered. The stretch after that begins
    /// after it.
    pub fn run(&mut self, from: Timestamp, to: Timestamp) -> Result<(), ReplayError> {
        let times = |(at, group): (usize, &Group)| self.times(group, from, to).map(move |time| (time, at));
        // At one time in the order of the file.
        let mut all: Vec<(Timestamp, usize)> = self.groups.iter().enumerate().flat_map(times).collect();
        all.sort_unstable();
        for (now, at) in all {
            let group = &mut self.groups[at];
            let evaluated = evaluate_group(&group.rules, &mut group.states, now, &self.external, &mut self.memory);
            self.memory.check()?;
            for (rule, evaluated) in evaluated.into_iter().enumerate() {
                let is_muted = group.rules.rules[rule].is_muted(now);
                let (report, open) = (&mut group.reports[rule], &mut group.open[rule]);
                report.evaluations += 1;
                if let Some(error) = evaluated.template_errors.into_iter().next() {
                    report.template_error.get_or_insert(error);
                }
                match evaluated.result {
                    Ok(events) => self.episodes += report.note(events, open, now),
                    Err(error) => report.fail(&error, open, now),
                }
                if !is_muted {
                    report.tell(open, now);
                }
            }
            if self.episodes > REPLAY_EPISODES_MAX {
                return Err(ReplayError::TooManyEpisodes { at: now });
            }
        }
        self.memory.forget_answers();
        Ok(())
    }

    /// What came of each group and its rules, in the order of the file: how often it is evaluated, and the rules.
    pub fn reports(&self) -> impl Iterator<Item = (&RuleGroup, i64, &[RuleReport])> {
        self.groups.iter().map(|group| (&group.rules, group.step_ms, &group.reports[..]))
    }

    fn times(&self, group: &Group, from: Timestamp, to: Timestamp) -> Times {
        let step_ms = group.step_ms;
        let first = from.max(self.span.from);
        let first = first.saturating_add((step_ms - first.rem_euclid(step_ms)) % step_ms);
        Times { next: first, last: to.min(self.span.to), step_ms }
    }
}

/// Multiples of a step.
#[derive(Debug, Clone, Copy)]
struct Times {
    next: Timestamp,
    last: Timestamp,
    step_ms: i64,
}

impl Times {
    fn len(self) -> usize {
        if self.next > self.last { 0 } else { ((self.last - self.next) / self.step_ms) as usize + 1 }
    }

    fn first(self) -> Option<Timestamp> {
        (self.next <= self.last).then_some(self.next)
    }

    fn last(self) -> Option<Timestamp> {
        (self.next <= self.last).then(|| self.next + (self.last - self.next) / self.step_ms * self.step_ms)
    }
}

impl Iterator for Times {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let time = (self.next <= self.last).then_some(self.next)?;
        self.next = self.next.saturating_add(self.step_ms);
        Some(time)
    }
}

impl RuleReport {
    /// Takes what happened to alerts; how many have begun.
    fn note(&mut self, events: Vec<AlertEvent>, open: &mut BTreeMap<Labels, usize>, now: Timestamp) -> usize {
        let before = self.episodes.len();
        for AlertEvent { labels, change } in events {
            let known = open.get(&labels).and_then(|at| self.episodes.get_mut(*at));
            match (change, known) {
                (Change::Pending, _) => {
                    open.insert(labels.clone(), self.episodes.len());
                    self.episodes.push(Episode { labels, pending: now, firing: None, told: None, end: None });
                }
                (Change::Firing, Some(episode)) => episode.firing = Some(now),
                (Change::Resolved | Change::Dropped, Some(episode)) => {
                    episode.end = Some(now);
                    open.remove(&labels);
                }
                (_, None) => {}
            }
        }
        self.episodes.len() - before
    }

    /// People are told of what fires.
    fn tell(&mut self, open: &BTreeMap<Labels, usize>, now: Timestamp) {
        for at in open.values() {
            if let Episode { firing: Some(_), told: told @ None, .. } = &mut self.episodes[*at] {
                *told = Some(now);
            }
        }
    }

    fn fail(&mut self, error: &RuleError, open: &mut BTreeMap<Labels, usize>, now: Timestamp) {
        self.failures += 1;
        self.first_error.get_or_insert_with(|| (now, error.to_string()));
        if let RuleError::Step(StepError::TooManyAlerts { .. }) = error {
            // They are all forgotten, and begin anew.
            for at in std::mem::take(open).into_values() {
                self.episodes[at].end = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
