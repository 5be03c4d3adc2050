//! A run as whoever waits for it sees it: whether it goes on, and what is said of it when it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::super::net::SharedTrace;
use super::super::options::Options;
use super::super::schedule::Event;
use super::Failure;
use crate::trace::Trace;
use crate::work::lock;

/// A step of everybody that takes longer than so many of these, by the real clock, never ends: code waits for a lock that it
/// holds, or turns in a circle.
const STEP_PAUSE: Duration = Duration::from_secs(10);
const STEP_PAUSES_MAX: u32 = 12;
/// Events in a report of a failure: of everybody, and of each node.
const EVENTS_REPORTED: usize = 40;
const EVENTS_REPORTED_OF_NODE: usize = 10;

/// See the module.
#[derive(Clone)]
pub(super) struct Begun {
    pub(super) trace: SharedTrace,
    /// Steps that have ended.
    pub(super) steps: Arc<AtomicU64>,
}

impl Begun {
    /// Waits for the end; false if there will be none.
    pub(super) fn ends(&self, ended: &Receiver<()>) -> bool {
        let (mut steps, mut pauses) = (0, 0);
        // Pauses are counted, not time: whoever stops the whole process stops both.
        while pauses < STEP_PAUSES_MAX {
            if ended.recv_timeout(STEP_PAUSE) != Err(RecvTimeoutError::Timeout) {
                return true;
            }
            let before = std::mem::replace(&mut steps, self.steps.load(Ordering::Relaxed));
            pauses = if steps == before { pauses + 1 } else { 0 };
        }
        false
    }

    pub(super) fn failure(&self, options: &Options, schedule: &[Event], reason: String) -> Box<Failure> {
        let mut trace = lock(&self.trace);
        let details = details(options, schedule, &trace);
        let first_events = std::mem::take(&mut trace.events);
        Box::new(Failure { seed: options.seed, reason, details, trace_hash: trace.hash(), first_events })
    }
}

fn details(options: &Options, schedule: &[Event], trace: &Trace) -> String {
    let mut text = format!("{options:#?}\nschedule, from the beginning of the chaos:\n");
    for event in schedule {
        text += &format!("  {:>9.3?} {:?} for {:?}\n", event.at, event.fault, event.lasts);
    }
    for number in 1..=options.nodes {
        let of_node = format!(" n{number} ");
        text += &format!("last events of node {number}:\n");
        for event in trace.last(EVENTS_REPORTED_OF_NODE, |event| event.contains(&of_node)) {
            text += &format!("  {event}\n");
        }
    }
    text += "last events:\n";
    for event in trace.last(EVENTS_REPORTED, |_| true) {
        text += &format!("  {event}\n");
    }
    text
}
