//! Wall clocks: the day and time where clocks are right, and what is wrong with a node's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bellwether_model::Timestamp;
use bellwether_server::env::WallClock;

use crate::EPOCH_MS;
use crate::work::lock;

/// What time it is where clocks are right: simulated time since a certain day, and now and then all at once some hours more, as
/// after a sleep of all machines.
#[derive(Debug, Default)]
pub struct Calendar {
    leapt_ms: AtomicI64,
}

impl Calendar {
    /// The time after so much simulated time.
    pub fn at(&self, elapsed_ms: i64) -> Timestamp {
        EPOCH_MS + self.leapt_ms() + elapsed_ms
    }

    /// By how much it has leapt so far.
    pub fn leapt_ms(&self) -> i64 {
        self.leapt_ms.load(Ordering::Relaxed)
    }

    /// Leaps to so long after the certain day, or stays where it is if that is over.
    pub fn leap_to(&self, since_epoch_ms: i64, elapsed_ms: i64) {
        self.leapt_ms.fetch_max(since_epoch_ms - elapsed_ms, Ordering::Relaxed);
    }
}

/// One machine's clock, whatever process reads it.
#[derive(Debug)]
pub struct SkewedClock {
    calendar: Arc<Calendar>,
    skew: Mutex<Skew>,
    /// The last time that was read, for readers outside of any host.
    last_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Skew {
    offset_ms: i64,
    drift_ppm: i64,
}

impl SkewedClock {
    /// A clock that is off by this from the beginning, and by more with time.
    pub fn new(calendar: Arc<Calendar>, offset_ms: i64, drift_ppm: i64) -> SkewedClock {
        SkewedClock { calendar, skew: Mutex::new(Skew { offset_ms, drift_ppm }), last_ms: AtomicI64::new(0) }
    }

    /// Jumps.
    pub fn jump(&self, by_ms: i64) {
        lock(&self.skew).offset_ms += by_ms;
    }

    /// Is as far off as it was in the beginning.
    pub fn set(&self, offset_ms: i64) {
        lock(&self.skew).offset_ms = offset_ms;
    }

    /// How far it is off, jumps included, drift excluded.
    pub fn offset_ms(&self) -> i64 {
        lock(&self.skew).offset_ms
    }

    /// By how much it is ahead after so much simulated time.
    pub fn ahead_ms(&self, elapsed_ms: i64) -> i64 {
        let skew = lock(&self.skew);
        skew.offset_ms + elapsed_ms * skew.drift_ppm / 1_000_000
    }
}

impl WallClock for SkewedClock {
    fn now_ms(&self) -> Timestamp {
        let elapsed = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis() as i64);
        let elapsed = elapsed.unwrap_or_else(|| self.last_ms.load(Ordering::Relaxed));
        self.last_ms.store(elapsed, Ordering::Relaxed);
        self.calendar.at(elapsed) + self.ahead_ms(elapsed)
    }
}
