//! `node_vmstat_*` from /proc/vmstat: paging, swapping, faults and kills for want of memory.

use super::samples::{Samples, count};

/// Reads /proc/vmstat's text.
pub fn parse(text: &str, samples: &mut Samples) {
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if is_taken(name)
            && let Some(value) = count(value.trim())
        {
            samples.untyped(format!("node_vmstat_{name}"), "/proc/vmstat information field.", &[], value);
        }
    }
}

/// node_exporter's default: `^(oom_kill|pgpg|pswp|pg.*fault).*`.
fn is_taken(name: &str) -> bool {
    let taken = ["oom_kill", "pgpg", "pswp"].iter().any(|prefix| name.starts_with(prefix))
        || name.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"));
    taken && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const VMSTAT: &str = include_str!("fixtures/vmstat.txt");

    #[test]
    fn the_real_file_has_the_seven() {
        let lines = check::lines(|samples| parse(VMSTAT, samples));
        let mut names: Vec<&str> =
            lines.lines().filter_map(|line| line.split_once('{')).map(|(name, _)| name).collect();
        names.sort();
        let expected = ["oom_kill", "pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout"];
        assert_eq!(names, expected.map(|name| format!("node_vmstat_{name}")));
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(VMSTAT, parse);
    }
}
