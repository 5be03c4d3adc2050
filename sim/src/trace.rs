//! What happened, folded into a hash, so that two runs of one seed can be compared.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Events kept for a look at where two runs part.
const EVENTS_KEPT: usize = 10_000;

/// A running hash of events, and the events themselves.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    /// The first events, each with the hash after it.
    pub events: Vec<(u64, String)>,
    echo: bool,
}

impl Trace {
    /// An empty trace; `echo` prints events as they happen.
    pub fn new(echo: bool) -> Trace {
        Trace { echo, ..Trace::default() }
    }

    /// Adds an event.
    pub fn add(&mut self, event: String) {
        self.hash = xxh3_64_with_seed(event.as_bytes(), self.hash);
        if self.echo {
            println!("{:016x} {event}", self.hash);
        }
        if self.events.len() < EVENTS_KEPT {
            self.events.push((self.hash, event));
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
