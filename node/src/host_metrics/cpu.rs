//! `node_cpu_*` from /proc/stat.
//!
//! The kernel lets idle, iowait and others step back by a few ticks, and a counter that falls looks like a restart: `rate()`
//! would add everything since boot once more. So the last values are kept and a small step back is not passed on. A CPU
//! whose idle time falls by seconds was taken offline and came back: its counters begin anew.

use std::collections::BTreeMap;

use super::samples::Samples;

/// Ticks per second in /proc, on every architecture that runs this.
pub const USER_HZ: f64 = 100.0;

/// A larger step back of idle time is a CPU that came back.
const STEP_BACK_TICKS_MAX: u64 = 3 * USER_HZ as u64;

/// The columns of a `cpuN` line, in order.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const COLUMNS: usize = MODES.len() + GUEST_MODES.len();
const IDLE: usize = 3;

/// The last values of every CPU, so that none falls without cause.
#[derive(Debug, Default)]
pub struct CpuTimes {
    cpus: BTreeMap<u32, [u64; COLUMNS]>,
}

impl CpuTimes {
    /// Reads /proc/stat's text and reports every CPU in it.
    pub fn advance(&mut self, text: &str, samples: &mut Samples) {
        let mut cpus = BTreeMap::new();
        for (cpu, ticks) in text.lines().filter_map(cpu_line) {
            let ticks = match self.cpus.get(&cpu) {
                Some(last) => without_steps_back(last, &ticks),
                None => ticks,
            };
            cpus.insert(cpu, ticks);
        }
        self.cpus = cpus;
        for (cpu, ticks) in &self.cpus {
            report(*cpu, ticks, samples);
        }
    }
}

fn cpu_line(line: &str) -> Option<(u32, [u64; COLUMNS])> {
    let (cpu, columns) = line.strip_prefix("cpu")?.split_once(' ')?;
    let cpu = cpu.parse().ok()?;
    // Old kernels print fewer columns: what is missing is zero.
    let mut ticks = [0; COLUMNS];
    for (tick, column) in ticks.iter_mut().zip(columns.split_ascii_whitespace()) {
        *tick = column.parse().ok()?;
    }
    Some((cpu, ticks))
}

fn without_steps_back(last: &[u64; COLUMNS], new: &[u64; COLUMNS]) -> [u64; COLUMNS] {
    if last[IDLE].saturating_sub(new[IDLE]) >= STEP_BACK_TICKS_MAX {
        return *new;
    }
    std::array::from_fn(|column| new[column].max(last[column]))
}

fn report(cpu: u32, ticks: &[u64; COLUMNS], samples: &mut Samples) {
    let cpu = cpu.to_string();
    let seconds = |ticks: u64| ticks as f64 / USER_HZ;
    let (times, guests) = ticks.split_at(MODES.len());
    for (mode, &ticks) in MODES.iter().zip(times) {
        samples.counter(
            "node_cpu_seconds_total",
            "Seconds the CPUs spent in each mode.",
            &[("cpu", &cpu), ("mode", mode)],
            seconds(ticks),
        );
    }
    for (mode, &ticks) in GUEST_MODES.iter().zip(guests) {
        samples.counter(
            "node_cpu_guest_seconds_total",
            "Seconds the CPUs spent in guests (VMs) for each mode.",
            &[("cpu", &cpu), ("mode", mode)],
            seconds(ticks),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const STAT: &str = include_str!("fixtures/stat.txt");

    #[test]
    fn every_cpu_has_its_modes_in_seconds() {
        let lines = check::lines(|samples| {
            CpuTimes::default().advance("cpu  9 9 9 9\ncpu1 150 2 3 400 5 6 7 8 9 10\nctxt 5\n", samples);
        });
        expect_test::expect![[r#"
            node_cpu_seconds_total{cpu="1",mode="user"} 1.5
            node_cpu_seconds_total{cpu="1",mode="nice"} 0.02
            node_cpu_seconds_total{cpu="1",mode="system"} 0.03
            node_cpu_seconds_total{cpu="1",mode="idle"} 4
            node_cpu_seconds_total{cpu="1",mode="iowait"} 0.05
            node_cpu_seconds_total{cpu="1",mode="irq"} 0.06
            node_cpu_seconds_total{cpu="1",mode="softirq"} 0.07
            node_cpu_seconds_total{cpu="1",mode="steal"} 0.08
            node_cpu_guest_seconds_total{cpu="1",mode="user"} 0.09
            node_cpu_guest_seconds_total{cpu="1",mode="nice"} 0.1
        "#]]
        .assert_eq(&lines);
    }

    #[test]
    fn the_real_file_has_two_cpus() {
        let lines = check::lines(|samples| CpuTimes::default().advance(STAT, samples));
        assert_eq!(lines.lines().count(), 2 * COLUMNS);
    }

    fn idle_after(texts: &[&str]) -> String {
        let mut times = CpuTimes::default();
        let mut last = String::new();
        for text in texts {
            last = check::lines(|samples| times.advance(text, samples));
        }
        last.lines().find(|line| line.contains("idle")).unwrap_or_default().to_owned()
    }

    #[test]
    fn a_small_step_back_is_not_passed_on() {
        assert!(idle_after(&["cpu0 1 1 1 500", "cpu0 1 1 1 490"]).ends_with(" 5"));
    }

    #[test]
    fn a_cpu_that_comes_back_begins_anew() {
        assert!(idle_after(&["cpu0 1 1 1 500", "cpu0 0 0 0 100"]).ends_with(" 1"));
        assert!(idle_after(&["cpu0 1 1 1 500", "ctxt 1", "cpu0 0 0 0 490"]).ends_with(" 4.9"));
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(STAT, |text, samples| CpuTimes::default().advance(text, samples));
    }
}
