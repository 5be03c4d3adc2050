//! `node_pressure_*` from /proc/pressure: how long tasks waited for a resource.

use super::samples::{Samples, count};

const MICROS_PER_SECOND: f64 = 1e6;

/// A resource that can be short, and its metrics' names.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// The file's name below /proc/pressure.
    pub file: &'static str,
    /// Some tasks waited: name and help.
    waiting: (&'static str, &'static str),
    /// All tasks waited, where that can be.
    stalled: Option<(&'static str, &'static str)>,
}

/// The resources in the order in which they are reported.
pub const RESOURCES: [Resource; 3] = [
    Resource {
        file: "cpu",
        waiting: (
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        ),
        stalled: None,
    },
    Resource {
        file: "io",
        waiting: (
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        ),
        stalled: Some((
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        )),
    },
    Resource {
        file: "memory",
        waiting: (
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        ),
        stalled: Some((
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        )),
    },
];

/// Reads the text of one resource's file.
pub fn parse(resource: &Resource, text: &str, samples: &mut Samples) {
    for line in text.lines() {
        let metric = match line.split_once(' ') {
            Some(("some", _)) => Some(resource.waiting),
            Some(("full", _)) => resource.stalled,
            _ => None,
        };
        let total = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="));
        if let (Some((name, help)), Some(micros)) = (metric, total.and_then(count)) {
            samples.counter(name, help, &[], micros / MICROS_PER_SECOND);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const IO: &str = include_str!("fixtures/pressure_io.txt");

    #[test]
    fn waiting_and_stalled_are_in_seconds() {
        let text =
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        let lines = check::lines(|samples| RESOURCES.iter().for_each(|resource| parse(resource, text, samples)));
        expect_test::expect![[r#"
            node_pressure_cpu_waiting_seconds_total{} 2.5
            node_pressure_io_waiting_seconds_total{} 2.5
            node_pressure_io_stalled_seconds_total{} 0.000001
            node_pressure_memory_waiting_seconds_total{} 2.5
            node_pressure_memory_stalled_seconds_total{} 0.000001
        "#]]
        .assert_eq(&lines);
    }

    #[test]
    fn the_real_file_is_read_and_hostile_text_survived() {
        assert_eq!(check::lines(|samples| parse(&RESOURCES[1], IO, samples)).lines().count(), 2);
        check::survives_hostile_text(IO, |text, samples| parse(&RESOURCES[1], text, samples));
    }
}
