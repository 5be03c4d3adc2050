//! Aligned spans of time: the unit of storage, sealing and retention.

use bellwether_model::{TimeRange, Timestamp, limits};

/// A Window's name: its start. All Windows are [`limits::WINDOW_MS`] long as yet; the length class in stored keys leaves
/// room for longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowStart(pub Timestamp);

/// The only length class so far.
pub const LENGTH_CLASS_HOT: u8 = 0;

impl WindowStart {
    /// The Window that holds `timestamp`.
    pub fn of(timestamp: Timestamp) -> WindowStart {
        WindowStart(timestamp.saturating_sub(timestamp.rem_euclid(limits::WINDOW_MS)))
    }

    /// Its number, counted from 1970; times beyond 400,000 years share the first and the last.
    pub fn number(self) -> i32 {
        let number = self.0.div_euclid(limits::WINDOW_MS);
        i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
    }

    /// All its times.
    pub fn range(self) -> TimeRange {
        TimeRange::new(self.0, self.0.saturating_add(limits::WINDOW_MS - 1))
    }

    /// The first time after it.
    pub fn end(self) -> Timestamp {
        self.0.saturating_add(limits::WINDOW_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_tile_time_on_both_sides_of_the_epoch() {
        for t in [0, 1, -1, limits::WINDOW_MS, limits::WINDOW_MS - 1, -limits::WINDOW_MS, 1_795_132_800_123] {
            let window = WindowStart::of(t);
            assert!(window.range().contains(t));
            assert_eq!(WindowStart::of(window.end()).0, window.end());
        }
    }
}
