//! A node's wall clock: the simulation's time, and what is wrong with it here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use bellwether_model::Timestamp;
use bellwether_server::env::WallClock;

use crate::EPOCH_MS;
use crate::work::lock;

/// One machine's clock, whatever process reads it.
#[derive(Debug, Default)]
pub struct SkewedClock {
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
    pub fn new(offset_ms: i64, drift_ppm: i64) -> SkewedClock {
        SkewedClock { skew: Mutex::new(Skew { offset_ms, drift_ppm }), last_ms: AtomicI64::new(0) }
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
}

impl WallClock for SkewedClock {
    fn now_ms(&self) -> Timestamp {
        let elapsed = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis() as i64);
        let elapsed = elapsed.unwrap_or_else(|| self.last_ms.load(Ordering::Relaxed));
        self.last_ms.store(elapsed, Ordering::Relaxed);
        let skew = lock(&self.skew);
        EPOCH_MS + elapsed + skew.offset_ms + elapsed * skew.drift_ppm / 1_000_000
    }
}
