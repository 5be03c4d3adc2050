//! Samples and spans of time.

/// Milliseconds since the Unix epoch; negative before it.
pub type Timestamp = i64;

/// One measurement. Every bit pattern of the value is legal and kept, stale markers and NaN payloads included.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was measured.
    pub timestamp: Timestamp,
    /// What was measured.
    pub value: f64,
}

impl Sample {
    /// Same time and same bits; unlike `==` on floats, a NaN equals itself here.
    pub fn same_bits(self, other: Sample) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

/// The NaN that Prometheus writes when a series ends (`value.StaleNaN`).
const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that says "this series has ended".
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_MARKER_BITS)
}

/// Whether the value is the stale marker; any other NaN is an ordinary value.
pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

/// A span of time, first and last included; empty when `first > last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Earliest time inside.
    pub first: Timestamp,
    /// Latest time inside.
    pub last: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { first: Timestamp::MIN, last: Timestamp::MAX };

    /// The span from `first` to `last`, both inside.
    pub fn new(first: Timestamp, last: Timestamp) -> TimeRange {
        TimeRange { first, last }
    }

    /// Whether `timestamp` lies inside.
    pub fn contains(self, timestamp: Timestamp) -> bool {
        self.first <= timestamp && timestamp <= self.last
    }

    /// Whether nothing lies inside.
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// Whether some time lies in both.
    pub fn overlaps(self, other: TimeRange) -> bool {
        !self.is_empty() && !other.is_empty() && self.first <= other.last && other.first <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stale_marker_is_stale() {
        assert!(is_stale_marker(stale_marker()));
        assert!(stale_marker().is_nan());
        assert!(!is_stale_marker(f64::NAN));
    }

    #[test]
    fn ranges_include_both_ends() {
        let range = TimeRange::new(10, 20);
        assert!(range.contains(10) && range.contains(20) && !range.contains(21));
        assert!(range.overlaps(TimeRange::new(20, 30)) && !range.overlaps(TimeRange::new(21, 30)));
        assert!(TimeRange::new(2, 1).is_empty() && !range.overlaps(TimeRange::new(12, 11)));
    }
}
