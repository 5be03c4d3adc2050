//! Which group to flush, if any: a pure function of what the groups hold.

use std::time::Duration;

use crate::config::Config;

/// When to flush.
#[derive(Debug, Clone, Copy)]
pub struct Triggers {
    log_bytes: u64,
    log_bytes_per_series: u64,
    age: Duration,
    heads_bytes: u64,
}

/// What counts of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupLoad {
    /// Log that a restart would apply again.
    pub log_bytes: u64,
    /// Memory of the head.
    pub head_bytes: u64,
    /// Series that samples come for.
    pub active_series: u64,
    /// How long the oldest unflushed sample has waited.
    pub age: Duration,
}

impl Triggers {
    /// As configured.
    pub fn new(config: &Config) -> Triggers {
        Triggers {
            log_bytes: config.storage.flush_log_bytes.0,
            log_bytes_per_series: config.storage.flush_log_bytes_per_series.0,
            age: config.storage.flush_age,
            heads_bytes: config.heads_bytes_flush(),
        }
    }

    /// The group to flush now. The largest while the node's log is too long or its heads too large, else the oldest if
    /// it is too old: one at a time, so that flushes are spread out.
    pub fn choose(&self, groups: &[GroupLoad]) -> Option<usize> {
        let sum = |figure: fn(&GroupLoad) -> u64| groups.iter().map(figure).sum::<u64>();
        let largest = |figure: fn(&GroupLoad) -> u64| (0..groups.len()).max_by_key(|at| figure(&groups[*at]));
        let active_series = sum(|group| group.active_series);
        let log_limit = self.log_bytes.max(self.log_bytes_per_series.saturating_mul(active_series));
        if sum(|group| group.log_bytes) > log_limit {
            return largest(|group| group.log_bytes);
        }
        if sum(|group| group.head_bytes) > self.heads_bytes {
            return largest(|group| group.head_bytes);
        }
        let oldest = (0..groups.len()).max_by_key(|at| groups[*at].age)?;
        (groups[oldest].age > self.age).then_some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIGGERS: Triggers =
        Triggers { log_bytes: 1000, log_bytes_per_series: 10, age: Duration::from_secs(60), heads_bytes: 5000 };

    fn group(log_bytes: u64) -> GroupLoad {
        GroupLoad { log_bytes, ..GroupLoad::default() }
    }

    #[test]
    fn nothing_is_flushed_without_a_reason() {
        assert_eq!(TRIGGERS.choose(&[]), None);
        assert_eq!(TRIGGERS.choose(&[group(500), group(500)]), None);
    }

    #[test]
    fn the_largest_goes_when_the_log_is_too_long_for_its_series() {
        assert_eq!(TRIGGERS.choose(&[group(300), group(500), group(201)]), Some(1));
        let many_series = GroupLoad { active_series: 200, ..group(500) };
        assert_eq!(TRIGGERS.choose(&[many_series, group(1400)]), None);
        assert_eq!(TRIGGERS.choose(&[many_series, group(1501)]), Some(1));
    }

    #[test]
    fn the_largest_head_goes_when_heads_take_too_much_memory() {
        let head = |head_bytes| GroupLoad { head_bytes, ..GroupLoad::default() };
        assert_eq!(TRIGGERS.choose(&[head(2000), head(3001)]), Some(1));
    }

    #[test]
    fn the_oldest_goes_when_it_is_too_old() {
        let aged = |seconds| GroupLoad { age: Duration::from_secs(seconds), ..GroupLoad::default() };
        assert_eq!(TRIGGERS.choose(&[aged(59), aged(60)]), None);
        assert_eq!(TRIGGERS.choose(&[aged(62), aged(70), aged(61)]), Some(1));
    }
}
