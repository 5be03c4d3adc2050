//! What can go wrong on a [`MemDisk`](super::MemDisk), and when: nothing goes wrong that was not asked for.

use crate::Error;

/// Which of the calls of one kind fail, counted from the moment it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trigger {
    /// None.
    #[default]
    Never,
    /// The `n`th from now, once; 1 is the next.
    Nth(u64),
    /// Every one.
    Always,
    /// One in so many, by a generator that starts from `seed`.
    OneIn {
        /// Mean number of calls per failure; 0 is never.
        calls: u64,
        /// Decides which.
        seed: u64,
    },
}

impl Trigger {
    /// Counts one call and says whether it fails.
    fn fires(&mut self) -> bool {
        match self {
            Trigger::Never => false,
            Trigger::Always => true,
            Trigger::Nth(left) if *left > 1 => {
                *left -= 1;
                false
            }
            Trigger::Nth(_) => {
                *self = Trigger::Never;
                true
            }
            Trigger::OneIn { calls: 0, .. } => false,
            Trigger::OneIn { calls, seed } => next_random(seed).is_multiple_of(*calls),
        }
    }
}

/// Faults that are switched on; the default is a disk without any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// `get`, `scan`, `scan_back` and `read_small_file` fail with [`Error::Io`].
    pub read: Trigger,
    /// What writes fails with [`Error::Io`], and nothing of it is there.
    pub write: Trigger,
    /// What makes durable fails with [`Error::SyncFailed`]; the engine takes no write after that, until reopened.
    pub sync: Trigger,
    /// Bytes that fit: a write that would pass it fails with [`Error::DiskFull`]. `None` is no bound.
    pub capacity_bytes: Option<u64>,
}

impl Faults {
    pub(super) fn check_read(&mut self, place: &str) -> Result<(), Error> {
        if self.read.fires() { Err(Error::Io(format!("{place}: read failed, as asked for"))) } else { Ok(()) }
    }

    pub(super) fn check_write(&mut self, place: &str) -> Result<(), Error> {
        if self.write.fires() { Err(Error::Io(format!("{place}: write failed, as asked for"))) } else { Ok(()) }
    }

    pub(super) fn check_sync(&mut self, place: &str) -> Result<(), Error> {
        if self.sync.fires() { Err(Error::SyncFailed(format!("{place}: as asked for"))) } else { Ok(()) }
    }

    /// Refuses to grow by `growth` when `used` bytes are taken.
    pub(super) fn check_room(&self, place: &str, used: u64, growth: u64) -> Result<(), Error> {
        match self.capacity_bytes {
            Some(capacity) if growth > 0 && used.saturating_add(growth) > capacity => Err(Error::DiskFull(format!(
                "{place}: {growth} bytes more would pass the {capacity} bytes of the disk, {used} are taken"
            ))),
            _ => Ok(()),
        }
    }
}

/// The next number of the SplitMix64 generator with this state.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(mut trigger: Trigger, calls: usize) -> Vec<bool> {
        (0..calls).map(|_| trigger.fires()).collect()
    }

    #[test]
    fn the_nth_call_fails_and_no_other() {
        assert_eq!(fired(Trigger::Nth(3), 5), [false, false, true, false, false]);
        assert_eq!(fired(Trigger::Nth(1), 2), [true, false]);
    }

    #[test]
    fn odds_come_out_and_a_seed_repeats_them() {
        let first = fired(Trigger::OneIn { calls: 10, seed: 7 }, 10_000);
        assert_eq!(first, fired(Trigger::OneIn { calls: 10, seed: 7 }, 10_000));
        let count = first.iter().filter(|fired| **fired).count();
        assert!((800..1200).contains(&count), "{count}");
        assert_eq!(fired(Trigger::OneIn { calls: 0, seed: 7 }, 3), [false; 3]);
    }
}
