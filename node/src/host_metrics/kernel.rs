//! Interrupts, context switches, forks, boot time and runnable processes, from the rest of /proc/stat.

use bellwether_model::MetricKind::{self, Counter, Gauge};

use super::samples::{Samples, count};

/// /proc/stat's key, and what it is called.
const FIELDS: [(&str, &str, MetricKind, &str); 6] = [
    ("intr", "node_intr_total", Counter, "Total number of interrupts serviced."),
    ("ctxt", "node_context_switches_total", Counter, "Total number of context switches."),
    ("btime", "node_boot_time_seconds", Gauge, "Node boot time, in unixtime."),
    ("processes", "node_forks_total", Counter, "Total number of forks."),
    ("procs_running", "node_procs_running", Gauge, "Number of processes in runnable state."),
    ("procs_blocked", "node_procs_blocked", Gauge, "Number of processes blocked waiting for I/O to complete."),
];

/// Reads /proc/stat's text.
pub fn parse(text: &str, samples: &mut Samples) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next().and_then(count)) else { continue };
        if let Some((_, name, kind, help)) = FIELDS.iter().find(|field| field.0 == key) {
            samples.push(*kind, *name, help, &[], value);
        }
    }
}

/// When the host started, in seconds since the Unix epoch, according to /proc/stat's text.
pub fn boot_time_seconds(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|value| count(value.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const STAT: &str = include_str!("fixtures/stat.txt");

    #[test]
    fn the_real_file_has_all_six() {
        let lines = check::lines(|samples| parse(STAT, samples));
        assert_eq!(lines.lines().count(), FIELDS.len());
        assert!(lines.contains("node_boot_time_seconds{} 1795169429\n"), "{lines}");
        assert_eq!(boot_time_seconds(STAT), Some(1795169429.0));
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(STAT, parse);
    }
}
