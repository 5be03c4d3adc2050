//! Buffers of requests that are done, for the next ones.

use bellwether_ingest::DistributorScratch;
use parking_lot::Mutex;

/// Scratches kept; more requests at a time than this make their own.
const SCRATCHES_MAX: usize = 16;
/// A body buffer that has grown beyond this is not kept.
const BODY_BYTES_KEPT_MAX: usize = 4 << 20;

/// What decoding one request needs.
#[derive(Default)]
pub struct Scratch {
    /// The decompressed body.
    pub body: Vec<u8>,
    /// What the walk over it fills.
    pub distributor: DistributorScratch,
}

/// Scratches that nobody uses at the moment.
#[derive(Default)]
pub struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
}

impl ScratchPool {
    /// One of the pool, or a new one.
    pub fn take(&self) -> Scratch {
        self.idle.lock().pop().unwrap_or_default()
    }

    /// Gives one back.
    pub fn give_back(&self, mut scratch: Scratch) {
        if scratch.body.capacity() > BODY_BYTES_KEPT_MAX {
            scratch.body = Vec::new();
        }
        let mut idle = self.idle.lock();
        if idle.len() < SCRATCHES_MAX {
            idle.push(scratch);
        }
    }
}
