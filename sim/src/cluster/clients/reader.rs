//! A client that asks, and judges the answers.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::query::{Computed, Form, Lookup, Manner, STALE};
use super::{Client, DEADLINE, answer};
use crate::cluster::coverage::Mark;
use crate::cluster::history::{Cells, Found, Moment, tenant};
use crate::cluster::http::{Answer, ask};
use crate::cluster::net::now_ms;
use crate::invariants::{check_answer, computed, counted, named, phantom};
use crate::work::lock;

/// Queries that a client may ask again, how often it does, and how many steps later at most.
const RECENT_MAX: usize = 4;
const REPEATED_PERCENT: u64 = 50;
const LATER_STEPS_MAX: u64 = 4;

/// A replica reckons from when it hears its leader's word: that was said a little before.
const STALE_MARGIN: Duration = Duration::from_secs(1);

/// What the disk in memory says to a process that has ended.
const ENDED: &str = "by a process that has ended";
/// And where a read was asked to fail.
const UNREADABLE: &str = "read failed, as asked for";

impl Client {
    pub(super) async fn read_on(mut self) {
        // As dashboards do: a query that comes again finds what its node has kept of the last answer.
        let mut recent: VecDeque<(usize, Computed)> = VecDeque::new();
        loop {
            self.work().await;
            self.pause().await;
            let node = self.node();
            let result = if self.random.percent(self.shared.options.workload.computed_percent) {
                let (node, query) = match self.random.percent(REPEATED_PERCENT) && !recent.is_empty() {
                    true => {
                        let (node, query) = recent[self.below(recent.len())];
                        (node, query.later(self.random.below(LATER_STEPS_MAX)))
                    }
                    false => (node, self.computed()),
                };
                recent.push_back((node, query));
                if recent.len() > RECENT_MAX {
                    recent.pop_front();
                }
                self.compute(node, &query).await
            } else {
                let query = self.lookup();
                self.look_up(node, &query).await.map(drop)
            };
            match result {
                Ok(()) => self.shared.count(|counts| counts.queries += 1),
                Err(_) => {
                    self.shared.reach(Mark::QueryFailed);
                    self.shared.count(|counts| counts.failed += 1);
                }
            }
        }
    }

    /// Asks a node for what is stored and judges its answer. An error says why there is none.
    pub(super) async fn look_up(&mut self, node: usize, query: &Lookup) -> Result<Found, String> {
        let (before, sent) = {
            let history = lock(&self.shared.history);
            let cells = history.cells(|series| query.selector.means(series), query.times());
            // What was so when the query was sent is the measure, or what was so a while before.
            let sent = match query.manner {
                Manner::Whole | Manner::Partial => history.moment(),
                Manner::Stale => {
                    let now = Duration::from_millis(now_ms() as u64);
                    history.moment_at(now.saturating_sub(STALE + STALE_MARGIN))
                }
            };
            (cells, sent)
        };
        let answer = self.answer(node, query.selector.tenant, &query.path(), &format!("{query:?}")).await?;
        self.judge(query, &before, sent, &answer).map_err(|what| {
            self.shared.violated(format!("{what}; query {query:?} to node {node}"));
            what
        })
    }

    /// Asks a node for something computed and judges its answer. An error says why there is none.
    pub(super) async fn compute(&mut self, node: usize, query: &Computed) -> Result<(), String> {
        let cells =
            |client: &Client| lock(&client.shared.history).cells(|series| query.selector.means(series), query.sees());
        let before = cells(self);
        let text = query.shape.text(&query.selector.text());
        let answer = self.answer(node, query.selector.tenant, &query.path(), &text).await?;
        let rows = rows(&answer)?;
        let checked = answer::rows(query.selector.tenant, &query.shape, rows)
            .and_then(|found| computed::check(&query.shape, &query.times(), &before, &cells(self), &found));
        match checked {
            Ok(compared) => {
                self.shared.count(|counts| counts.compared += compared as u64);
                Ok(())
            }
            Err(what) => {
                self.shared.violated(format!("{what}; {text} at {:?} to node {node}", query.times()));
                Err(what)
            }
        }
    }

    /// A whole answer of a node. An error says why there is none.
    async fn answer(&mut self, node: usize, of: usize, path: &str, text: &str) -> Result<Value, String> {
        let answer = ask(node, "GET", path, &tenant(of), &[], DEADLINE).await;
        let answer = match answer {
            Ok(Answer { status: 200, body }) => serde_json::from_slice::<Value>(&body)
                .map(|json| (json, xxh3_64(&body)))
                // A close without an end is a failure of the connection, not of the answer.
                .map_err(|error| format!("no whole answer: {error}")),
            Ok(Answer { status: 503, body }) => Err(String::from_utf8_lossy(&body).into_owned()),
            // A process that ended itself says nothing any more; here it lives until its step is over.
            Ok(Answer { status: 500, body }) if String::from_utf8_lossy(&body).contains(ENDED) => {
                Err("the node has ended itself".to_owned())
            }
            // Nothing is made up where a disk cannot be read: this is said, and that is all that is promised.
            Ok(Answer { status: 500, body }) if String::from_utf8_lossy(&body).contains(UNREADABLE) => {
                Err("the disk cannot be read".to_owned())
            }
            Ok(Answer { status, body }) => {
                let body = String::from_utf8_lossy(&body);
                let reason = format!("legal queries are answered: {status} from node {node} to {text}: {body}");
                self.shared.violated(reason.clone());
                Err(reason)
            }
            Err(reason) => Err(reason),
        };
        match answer {
            Ok((json, hash)) => {
                self.event(&format!("asks n{node} tenant {of} {text}: {hash:016x}"));
                Ok(json)
            }
            Err(reason) => {
                self.event(&format!("asks n{node} tenant {of} {text}: {reason}"));
                Err(reason)
            }
        }
    }

    fn judge(&self, query: &Lookup, before: &Cells, sent: Moment, answer: &Value) -> Result<Found, String> {
        let of = query.selector.tenant;
        let rows = rows(answer)?;
        let mut history = lock(&self.shared.history);
        let after = || history.cells(|series| query.selector.means(series), query.times());
        match query.form {
            Form::Samples => {
                let found = answer::found(of, rows)?;
                let mut times = found.values().flatten().map(|(timestamp, _)| timestamp);
                if let Some(timestamp) = times.find(|timestamp| !query.times().contains(timestamp)) {
                    return Err(format!("answers keep to their times: {timestamp} is none of {:?}", query.times()));
                }
                if let Some(series) = found.keys().find(|series| !query.selector.means(**series)) {
                    return Err(format!("answers keep to their series: {series:?} was not asked for"));
                }
                let is_partial = answer["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
                match query.manner {
                    Manner::Partial if is_partial => self.shared.reach(Mark::PartialAnswer),
                    Manner::Partial | Manner::Whole => {
                        check_answer(before, sent, &history, &found)?;
                        history.missed(before, &found);
                    }
                    Manner::Stale => check_answer(before, sent, &history, &found)?,
                }
                phantom::check(&history, &found)?;
                return Ok(found);
            }
            Form::Counts => {
                let counts = answer::counts(rows, |labels| answer::series(of, labels))?;
                counted::check(before, sent, &after(), &counts, |series| series)?;
            }
            Form::Sums => {
                let writer = |labels: &Value| labels["writer"].as_str()?.parse::<usize>().ok();
                let counts = answer::counts(rows, writer)?;
                counted::check(before, sent, &after(), &counts, |series| series.writer)?;
            }
            Form::Names => named::check(before, sent, &after(), &answer::named(of, rows)?)?,
        }
        Ok(Found::new())
    }
}

fn rows(answer: &Value) -> Result<&[Value], String> {
    let rows = answer["data"]["result"].as_array().or_else(|| answer["data"].as_array());
    rows.map(Vec::as_slice).ok_or_else(|| format!("answers have rows: {answer}"))
}
