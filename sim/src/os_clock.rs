//! The operating system's clocks, for libraries that ask them and not tokio: HTTP/2 forgets a stream that was reset one second
//! later, and what it answers to late frames depends on that. On a thread that simulates they show simulated time, elsewhere
//! what they always do.

use std::cell::Cell;
use std::ffi::{c_int, c_long};
use std::time::Duration;

use crate::EPOCH_MS;

const CLOCK_REALTIME: c_int = 0;
/// Clocks of the time that something runs, which are left alone.
const CLOCKS_OF_PROCESSOR: [c_int; 2] = [2, 3];
/// What clocks without a calendar show when a simulation begins: enough for whoever looks back.
const BEGINNING: Duration = Duration::from_secs(1_000_000);

#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const SYS_CLOCK_GETTIME: c_long = 113;

thread_local! {
    static ELAPSED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Ends what [`begin`] began when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Simulated(());

impl Drop for Simulated {
    fn drop(&mut self) {
        ELAPSED.set(None);
    }
}

/// This thread's clocks stand still from now on, until they are [`set`].
pub fn begin() -> Simulated {
    set(Duration::ZERO);
    Simulated(())
}

/// So much simulated time has passed on this thread.
pub fn set(elapsed: Duration) {
    ELAPSED.set(Some(elapsed));
}

/// The C library's structure.
#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// Takes the place of the C library's function, in this program and its tests.
///
/// # Safety
/// `time` is valid for writes, as callers of the C library's function promise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let elapsed = ELAPSED.get().filter(|_| !CLOCKS_OF_PROCESSOR.contains(&clock));
    let Some(elapsed) = elapsed else {
        // SAFETY: the arguments are those of the system call, and the pointer is the caller's, who promises that it is valid.
        return unsafe { syscall(SYS_CLOCK_GETTIME, c_long::from(clock), time) } as c_int;
    };
    let since = if clock == CLOCK_REALTIME { Duration::from_millis(EPOCH_MS.unsigned_abs()) } else { BEGINNING };
    let now = since + elapsed;
    let shown = Timespec { seconds: now.as_secs() as i64, nanoseconds: i64::from(now.subsec_nanos()) };
    // SAFETY: the caller promises that the pointer is valid.
    unsafe { time.write(shown) };
    0
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "this is about the real clocks")]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;

    #[test]
    fn on_a_thread_that_simulates_the_clocks_show_simulated_time() {
        let real = SystemTime::now();
        let simulated = begin();
        let (began, day) = (Instant::now(), SystemTime::now());
        set(Duration::from_secs(5));
        assert_eq!((began.elapsed(), day.elapsed().unwrap()), (Duration::from_secs(5), Duration::from_secs(5)));
        assert_eq!(day.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis(), EPOCH_MS as u128);
        let elsewhere = std::thread::scope(|scope| scope.spawn(SystemTime::now).join().unwrap());
        assert!(elsewhere.duration_since(real).is_ok_and(|passed| passed < Duration::from_secs(3600)));
        drop(simulated);
        assert!(SystemTime::now().duration_since(real).is_ok_and(|passed| passed < Duration::from_secs(3600)));
    }
}
