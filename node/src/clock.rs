//! The system's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use bellwether_server::env::WallClock;

/// Reads the system's clock.
pub struct SystemClock;

impl WallClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that Env hands out")]
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            // Before 1970: the machine has no clock worth the name; group time never goes back anyway.
            Err(_) => 0,
        }
    }
}
