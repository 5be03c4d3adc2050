//! A client that writes: values of its own series, again until they are acknowledged or given up.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_model::{Labels, Sample, Timestamp};
use tokio::time::sleep;

use super::{Client, DEADLINE, Phase};
use crate::EPOCH_MS;
use crate::body::remote_write;
use crate::cluster::coverage::Mark;
use crate::cluster::history::{Series, Write, tenant};
use crate::cluster::http::{Answer, ask};
use crate::work::lock;

/// Series of one writer that are there from the beginning.
const SERIES: usize = 14;
/// Series of one write.
const SERIES_OF_WRITE_MAX: u64 = 6;
/// Samples of one series of a write.
const SAMPLES_OF_WRITE_MAX: u64 = 4;
/// Writes go back by at most this, unless they are late.
pub(super) const BACK_MS: u64 = 600_000;
/// And late ones by this.
pub(super) const LATE_MS: u64 = 5 * 3_600_000;
/// Times that are written again and again.
const HOT_TIMES: u64 = 3;
/// Why nodes refuse samples for their times.
const TOO_OLD: &str = "older than retention allows";
const TOO_FAR_AHEAD: &str = "too far in the future";
/// How often a write is sent before its client gives it up.
pub(super) const ATTEMPTS_MAX: u32 = 6;

impl Client {
    pub(super) async fn write_on(mut self) {
        match self.gatherers() {
            Ok(gatherers) => self.gatherers = gatherers,
            Err(error) => return self.shared.violated(format!("no writers of the library: {error}")),
        }
        loop {
            self.work().await;
            self.pause().await;
            let writes = self.draw();
            self.write(&writes).await;
        }
    }

    /// Samples of one tenant.
    pub(super) fn draw(&mut self) -> Vec<Write> {
        let tenant = self.tenant();
        let mut writes = Vec::new();
        if self.random.percent(self.shared.options.workload.new_series_percent) {
            self.made += 1;
            let series = Series { tenant, writer: self.number, number: SERIES + self.made - 1 };
            let time = self.time();
            writes.push(lock(&self.shared.history).begin(series, time));
        }
        let first = self.below(SERIES + self.made);
        for at in 0..=self.random.below(SERIES_OF_WRITE_MAX) as usize {
            let series = Series { tenant, writer: self.number, number: (first + at) % (SERIES + self.made) };
            if writes.first().is_none_or(|write| write.series != series) {
                let times = self.times(series);
                let mut history = lock(&self.shared.history);
                writes.extend(times.into_iter().map(|timestamp| history.begin(series, timestamp)));
            }
        }
        writes
    }

    fn time(&mut self) -> Timestamp {
        let (options, now) = (self.shared.options.clone(), self.now());
        if self.random.percent(options.workload.late_percent) {
            let kept_ms = options.retention().as_millis() as u64;
            now - self.random.below(LATE_MS.min(kept_ms)) as i64
        } else if self.random.percent(options.workload.ordered_percent) {
            now
        } else {
            now - self.random.below(BACK_MS) as i64
        }
    }

    /// Times of one series' samples in a write, in any order.
    fn times(&mut self, series: Series) -> Vec<Timestamp> {
        if self.random.percent(self.shared.options.workload.hot_percent) {
            self.shared.reach(Mark::Overwritten);
            return vec![EPOCH_MS + self.shared.calendar.leapt_ms() + self.random.below(HOT_TIMES) as i64];
        }
        let mut times = Vec::new();
        for _ in 0..=self.random.below(SAMPLES_OF_WRITE_MAX) {
            let time = self.time();
            if !times.contains(&time) {
                times.push(time);
            }
        }
        let known = lock(&self.shared.history).times(series);
        if !known.is_empty() && self.random.percent(self.shared.options.overwrite_percent) {
            self.shared.reach(Mark::Overwritten);
            let again = known[self.below(known.len())];
            times.retain(|time| *time != again);
            times.push(again);
        }
        if self.random.percent(self.shared.options.workload.duplicate_percent) {
            times.push(times[0]);
        }
        times
    }

    /// Sends samples until they are acknowledged or given up, and sometimes once more.
    pub(super) async fn write(&mut self, writes: &[Write]) {
        let repeats = self.random.percent(self.shared.options.repeat_percent);
        // The library does not say how often it has sent something.
        let mut may_come_again = !self.gatherers.is_empty();
        let mut is_unknown = false;
        for attempt in 0..ATTEMPTS_MAX {
            let node = self.node();
            if self.send(node, writes).await {
                if is_unknown {
                    self.shared.reach(Mark::WriteRepeated);
                }
                self.shared.acknowledged(writes, may_come_again);
                self.shared.count(|counts| counts.writes += 1);
                break;
            }
            is_unknown = true;
            may_come_again = true;
            self.shared.reach(Mark::WriteUnknown);
            self.shared.count(|counts| counts.unknown += 1);
            if attempt + 1 == ATTEMPTS_MAX || self.random.percent(15) || *self.phase.borrow() != Phase::Work {
                return;
            }
            sleep(Duration::from_millis(100 + self.random.below(1000))).await;
        }
        if repeats {
            writes.iter().for_each(|write| lock(&self.shared.history).repeat(*write));
            let node = self.node();
            if self.send(node, writes).await && !may_come_again {
                self.shared.acknowledged(writes, false);
            }
        }
    }

    /// Whether a node acknowledged the samples.
    pub(super) async fn send(&mut self, node: usize, writes: &[Write]) -> bool {
        let Some(first) = writes.first() else { return true };
        if let Some(gatherer) = self.gatherers.get(first.series.tenant) {
            return self.gather(gatherer, writes).await;
        }
        let mut series: BTreeMap<Series, (Labels, Vec<Sample>)> = BTreeMap::new();
        for write in writes {
            let sample = Sample { timestamp: write.timestamp, value: write.series.value(write.serial) };
            series.entry(write.series).or_insert_with(|| (write.series.labels(), Vec::new())).1.push(sample);
        }
        let body = remote_write(&series.into_values().collect::<Vec<_>>());
        let tenant = tenant(first.series.tenant);
        let answer = ask(node, "POST", "/api/v1/write", &tenant, &body, DEADLINE).await;
        let said = match &answer {
            Ok(answer) => answer.status.to_string(),
            Err(reason) => reason.clone(),
        };
        let last = writes.last().map_or(0, |write| write.serial);
        self.event(&format!("writes {} to {last} to n{node}: {said}", first.serial));
        match answer {
            Ok(Answer { status: 204, .. }) => true,
            Ok(Answer { status: 503, body }) => {
                if String::from_utf8_lossy(&body).contains("not flushed yet") {
                    self.shared.reach(Mark::Overloaded);
                }
                false
            }
            Err(_) => false,
            Ok(Answer { status, body }) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                if status == 400 && self.may_be_refused(writes, &body) {
                    self.shared.reach(Mark::Refused);
                    return false;
                }
                self.shared.violated(format!("legal writes are taken: node {node} answers {status}: {body}"));
                false
            }
        }
    }

    /// Whether samples may be refused for their times, some of them while others are taken: those that retention is over for, and
    /// those of after a leap that nodes have yet to notice.
    pub(super) fn may_be_refused(&self, writes: &[Write], body: &str) -> bool {
        let history = lock(&self.shared.history);
        let (too_old, too_far_ahead) = (body.contains(TOO_OLD), body.contains(TOO_FAR_AHEAD));
        (too_old || too_far_ahead)
            && (!too_old || writes.iter().any(|write| !history.is_kept(write.timestamp)))
            && (!too_far_ahead || self.shared.calendar.leapt_ms() > 0)
    }
}
