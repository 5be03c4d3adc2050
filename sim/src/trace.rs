//! What happened, folded into a hash, so that two runs of one seed can be compared.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The first events that are kept for a look at where two runs part.
const FIRST_KEPT: usize = 10_000;
/// The last events that are kept for a report.
const LAST_KEPT: usize = 4_000;

/// A running hash of events, and the events themselves.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    count: u64,
    first_kept: usize,
    /// The first events, each with the hash after it.
    pub events: Vec<(u64, String)>,
    last: VecDeque<String>,
    echo: bool,
}

impl Trace {
    /// An empty trace; `echo` prints events as they happen.
    pub fn new(echo: bool) -> Trace {
        Trace { echo, first_kept: FIRST_KEPT, ..Trace::default() }
    }

    /// An empty trace that keeps so many first events.
    pub fn keeping(echo: bool, first_kept: usize) -> Trace {
        Trace { echo, first_kept, ..Trace::default() }
    }

    /// Adds an event.
    pub fn add(&mut self, event: String) {
        self.fold(event.as_bytes());
        self.count += 1;
        if self.echo {
            println!("{:016x} {event}", self.hash);
        }
        if self.events.len() < self.first_kept {
            self.events.push((self.hash, event.clone()));
        }
        if self.last.len() == LAST_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    /// Adds something that is too small for an event, such as the bytes of one write to a connection.
    pub fn fold(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last events that `wanted` wants, at most so many, oldest first.
    pub fn last(&self, most: usize, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        let found = self.last.iter().rev().filter(|event| wanted(event)).take(most);
        let mut found: Vec<&str> = found.map(String::as_str).collect();
        found.reverse();
        found
    }
}
