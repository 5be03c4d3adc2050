//! `process_*`: this process, as every Prometheus client library reports its own. Not about the host: it belongs to the job
//! that scrapes the node itself.

use super::cpu::USER_HZ;
use super::samples::{Samples, count};

/// What is known besides /proc/self/stat.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Bytes of a page of memory.
    pub page_bytes: usize,
    /// When the host started, in seconds since the Unix epoch.
    pub boot_time_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_descriptors: Option<u64>,
    /// How many may be open; None is no limit.
    pub descriptors_max: Option<u64>,
    /// How large the address space may be; None is no limit.
    pub address_space_bytes_max: Option<u64>,
}

/// Columns of /proc/self/stat, counted from the first after the command's name, which is the state.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Reads /proc/self/stat's text.
pub fn parse(stat: &str, around: &Surroundings, samples: &mut Samples) {
    // The command's name is in parentheses and may itself contain some, and blanks.
    let columns: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect()).unwrap_or_default();
    let column = |index: usize| columns.get(index).copied().and_then(count);

    if let (Some(user), Some(system)) = (column(USER_TICKS), column(SYSTEM_TICKS)) {
        samples.counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            &[],
            (user + system) / USER_HZ,
        );
    }
    let mut gauge = |name: &'static str, help, value: Option<f64>| {
        if let Some(value) = value {
            samples.gauge(name, help, &[], value);
        }
    };
    // Without a limit the libraries report what the C library calls infinity.
    let limit = |value: Option<u64>| Some(value.unwrap_or(u64::MAX) as f64);
    gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        around.open_descriptors.map(|descriptors| descriptors as f64),
    );
    gauge("process_max_fds", "Maximum number of open file descriptors.", limit(around.descriptors_max));
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", column(VIRTUAL_BYTES));
    gauge(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        limit(around.address_space_bytes_max),
    );
    gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        column(RESIDENT_PAGES).map(|pages| pages * around.page_bytes as f64),
    );
    gauge("process_threads", "Number of OS threads in the process.", column(THREADS));
    gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        around.boot_time_seconds.zip(column(START_TICKS)).map(|(boot, ticks)| boot + ticks / USER_HZ),
    );
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const STAT: &str = "13842 (a (b) c) R 13779 13779 12133 0 -1 4194304 99 0 0 0 150 50 0 0 20 0 7 0 130893 3133440 390 \
                        18446744073709551615 94298835992576 94298836012457\n";
    const AROUND: Surroundings = Surroundings {
        page_bytes: 4096,
        boot_time_seconds: Some(1_000_000.0),
        open_descriptors: Some(12),
        descriptors_max: Some(1024),
        address_space_bytes_max: None,
    };

    #[test]
    fn a_command_with_parentheses_shifts_no_column() {
        expect_test::expect![[r#"
            process_cpu_seconds_total{} 2
            process_open_fds{} 12
            process_max_fds{} 1024
            process_virtual_memory_bytes{} 3133440
            process_virtual_memory_max_bytes{} 18446744073709552000
            process_resident_memory_bytes{} 1597440
            process_threads{} 7
            process_start_time_seconds{} 1001308.93
        "#]]
        .assert_eq(&check::lines(|samples| parse(STAT, &AROUND, samples)));
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(STAT, |text, samples| parse(text, &AROUND, samples));
    }
}
