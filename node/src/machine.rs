//! What the machine has, where the configuration leaves the choice to the node.

use std::fs;

use bellwether_server::Config;
use bellwether_server::config::ByteSize;

/// When neither the machine nor its cgroup says how much memory there is.
const MEMORY_BYTES_FALLBACK: u64 = 4 << 30;

/// Replaces "choose for me" by figures of this machine, and what is relative to where the process runs.
pub fn fill_in(config: &mut Config) {
    if config.memory_limit.0 == 0 {
        config.memory_limit = ByteSize(memory_bytes() / 2);
    }
    // Snapshots below it are named by their whole path. One that has none is refused when it is opened.
    if let Ok(whole) = std::path::absolute(&config.data_dir) {
        config.data_dir = whole;
    }
}

/// Memory that this process may use: the machine's, or less if a cgroup says so.
fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup = limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).min();
    machine.into_iter().chain(cgroup).min().unwrap_or(MEMORY_BYTES_FALLBACK)
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total_of_meminfo("MemTotal:       24575996 kB\nMemFree: 1 kB\n"), Some(24_575_996 * 1024));
        assert_eq!(total_of_meminfo("nothing"), None);
    }
}
