//! Alerts and silences written down with their times, and what a configuration makes of them:
//!
//! ```yaml
//! begin: 2026-11-20T08:00:00Z
//! until: 6h
//! events:
//! - {at: 0s, firing: {alertname: HostDown, host: a}}
//! - {at: 2m, silence: ['host=a'], for: 1h}
//! - {at: 90m, resolved: {alertname: HostDown, host: a}}
//! ```
//!
//! `firing` and `resolved` take a list of alerts, too; `annotations` beside them are those of all these alerts.

use std::sync::Arc;

use bellwether_model::{Labels, LabelsBuilder, PatternBudget, Timestamp};

use super::Config;
use super::dispatch::{Alert, Dispatch, DispatchError, Looking, Message};
use super::matchers::{Matchers, parse_matchers};
use super::on_call::Overrides;
use super::silence::Silence;
use super::throttle::Throttles;
use crate::yaml::fields::{Fields, text};
use crate::yaml::problems::{Problem, Problems};
use crate::yaml::{self, Kind, Node, Place};

/// How long a timeline goes on, unless it says.
const UNTIL_MS_DEFAULT: i64 = 24 * 3600 * 1000;
/// Messages that one run makes.
pub const MESSAGES_MAX: usize = 10_000;
/// Times at which one run looks at groups.
pub const LOOKS_MAX: usize = 1_000_000;

/// What happens when.
#[derive(Debug)]
pub struct Timeline {
    until: Timestamp,
    /// In order of their times.
    events: Vec<(Timestamp, Event)>,
}

#[derive(Debug)]
enum Event {
    Firing { labels: Labels, annotations: Labels },
    Resolved { labels: Labels, annotations: Labels },
    Silence(Silence),
}

/// Why a run ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Something had no room.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// More messages than anybody reads.
    #[error("there are more than {MESSAGES_MAX} messages")]
    TooManyMessages,
    /// Groups are looked at too often.
    #[error("groups are looked at more than {LOOKS_MAX} times")]
    TooManyLooks,
}

impl Timeline {
    /// Reads one.
    pub fn read(file: &str) -> Result<Timeline, Vec<Problem>> {
        let root = yaml::read(file).map_err(|problem| vec![problem])?;
        let empty = || vec![Problem { place: Place::START, message: "the file is empty".to_owned() }];
        let root = root.ok_or_else(empty)?;
        let mut problems = Problems::default();
        let timeline = timeline(&root, file, &mut problems);
        problems.into_result(timeline)?.ok_or_else(empty)
    }

    /// Plays it: each message with its time. All messages are sent at once.
    pub fn run(&self, config: &Config) -> Result<Vec<(Timestamp, Message)>, RunError> {
        let (mut dispatch, mut throttles) = (Dispatch::default(), Throttles::default());
        let mut silences: Vec<&Silence> = Vec::new();
        let mut sent = Vec::new();
        let mut events = self.events.iter().peekable();
        for _ in 0..LOOKS_MAX {
            let event_at = events.peek().map(|(at, _)| *at);
            let look_at = [dispatch.next(), throttles.next()].into_iter().flatten().min();
            let now = [event_at, look_at].into_iter().flatten().min().filter(|now| *now < self.until);
            let Some(now) = now else { return Ok(sent) };
            // Of what happens at one time, alerts come before looks.
            if let Some((_, event)) = events.next_if(|(at, _)| *at == now) {
                match event {
                    Event::Firing { labels, annotations } => {
                        let (labels, annotations) = (labels.clone(), annotations.clone());
                        dispatch.receive(config, alert(labels, annotations, now, None), now)?;
                    }
                    Event::Resolved { labels, annotations } => {
                        let (labels, annotations) = (labels.clone(), annotations.clone());
                        dispatch.receive(config, alert(labels, annotations, now, Some(now)), now)?;
                    }
                    Event::Silence(silence) => silences.push(silence),
                }
                continue;
            }
            silences.retain(|silence| silence.ends_at > now);
            let is_silenced = |labels: &Labels| silences.iter().any(|silence| silence.silences(labels, now));
            let looking = Looking {
                is_silenced: &is_silenced,
                is_acknowledged: &|_| false,
                overrides: &Overrides::default(),
                pending: &|_| None,
                is_given_up: &|_| false,
                messages_max: MESSAGES_MAX,
            };
            for message in dispatch.advance(config, &looking, &mut throttles, now).messages {
                dispatch.sent(config, &message, now);
                if sent.len() >= MESSAGES_MAX {
                    return Err(RunError::TooManyMessages);
                }
                sent.push((now, message));
            }
        }
        Err(RunError::TooManyLooks)
    }
}

fn alert(labels: Labels, annotations: Labels, begins_at: Timestamp, ends_at: Option<Timestamp>) -> Alert {
    Alert { labels, annotations, begins_at, ends_at, generator_url: "".into() }
}

fn timeline(root: &Node, file: &str, problems: &mut Problems) -> Option<Timeline> {
    let fields = Fields::of(root, "the timeline", &["begin", "until", "events"], problems)?;
    let begin = match fields.text("begin", problems) {
        Some(written) => match written.value.parse::<jiff::Timestamp>() {
            Ok(begin) => begin.as_millisecond(),
            Err(_) => {
                problems.add(written.place, "begin must be a time such as 2026-11-20T08:00:00Z");
                0
            }
        },
        None => {
            problems.add(root.place, "the timeline needs begin, a time such as 2026-11-20T08:00:00Z");
            0
        }
    };
    let until_ms = fields.duration_ms("until", problems).map_or(UNTIL_MS_DEFAULT, |until| until.value);
    let mut events = Vec::new();
    for node in fields.list("events", problems) {
        event(node, file, begin, &mut events, problems);
    }
    events.sort_by_key(|(at, _)| *at);
    Some(Timeline { until: begin.saturating_add(until_ms), events })
}

fn event(node: &Node, file: &str, begin: Timestamp, events: &mut Vec<(Timestamp, Event)>, problems: &mut Problems) {
    let known = ["at", "firing", "resolved", "annotations", "silence", "for"];
    let Some(fields) = Fields::of(node, "an event", &known, problems) else { return };
    let Some(at) = fields.duration_ms("at", problems) else {
        return problems.add(node.place, "an event needs at, how long after the begin it happens");
    };
    let at = begin.saturating_add(at.value);
    let before = events.len();
    let annotations = match fields.get("annotations") {
        Some(node) => labels(node, problems).unwrap_or_default(),
        None => Labels::empty(),
    };
    for name in ["firing", "resolved"] {
        let Some(written) = fields.get(name) else { continue };
        let one = [Arc::new(written.clone())];
        let nodes = if let Kind::Sequence(items) = &written.kind { items.as_slice() } else { &one };
        for node in nodes {
            let Some(labels) = labels(node, problems) else { continue };
            let annotations = annotations.clone();
            let event = match name {
                "firing" => Event::Firing { labels, annotations },
                _ => Event::Resolved { labels, annotations },
            };
            events.push((at, event));
        }
    }
    if fields.get("silence").is_some() {
        let Some(lasts) = fields.duration_ms("for", problems) else {
            return problems.add(node.place, "a silence needs for, how long it lasts");
        };
        let mut all = Vec::new();
        let mut patterns = PatternBudget::default();
        for item in fields.list("silence", problems) {
            let Some(line) = text(item, "silence", problems) else { continue };
            match parse_matchers(line, &mut patterns) {
                Ok(matchers) => all.extend(matchers.iter().cloned()),
                Err(error) => problems.add_within(file, item, error.offset, format!("silence: {error}")),
            }
        }
        let ends_at = at.saturating_add(lasts.value);
        events.push((at, Event::Silence(Silence { matchers: Matchers::new(all), begins_at: at, ends_at })));
    }
    if events.len() == before && problems.is_empty() {
        problems.add(node.place, "an event needs firing, resolved or silence");
    }
}

fn labels(node: &Node, problems: &mut Problems) -> Option<Labels> {
    let Kind::Mapping(entries) = &node.kind else {
        problems.add(node.place, "an alert is a mapping of its labels");
        return None;
    };
    let mut labels = LabelsBuilder::default();
    for (key, value) in entries {
        labels.push(text(key, "a label", problems)?, text(value, "a label", problems)?);
    }
    labels.build().map_err(|error| problems.add(node.place, error)).ok()
}
