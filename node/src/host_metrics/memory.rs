//! `node_memory_*` from /proc/meminfo: every line becomes a metric. `Active(anon)` is called `Active_anon`; what is given in kB
//! becomes bytes and says so in its name.

use super::samples::{Samples, count};

/// Reads /proc/meminfo's text.
pub fn parse(text: &str, samples: &mut Samples) {
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        let Some(value) = words.next().and_then(count) else { continue };
        let Some(field) = field_name(key) else { continue };
        const HELP: &str = "Memory information field.";
        match words.next() {
            None => samples.gauge(format!("node_memory_{field}"), HELP, &[], value),
            Some("kB") => samples.gauge(format!("node_memory_{field}_bytes"), HELP, &[], value * 1024.0),
            Some(_) => {}
        }
    }
}

/// A key that cannot be part of a metric's name gives None.
fn field_name(key: &str) -> Option<String> {
    let name = match key.split_once('(') {
        Some((before, rest)) => format!("{before}_{}", rest.strip_suffix(')')?),
        None => key.to_owned(),
    };
    let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    legal.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const MEMINFO: &str = include_str!("fixtures/meminfo.txt");

    #[test]
    fn kilobytes_become_bytes_and_parentheses_underscores() {
        let text = "MemTotal:       1 kB\nActive(anon):    2 kB\nHugePages_Total:       3\nOdd(: 4 kB\nMiles: 5 mi\n";
        expect_test::expect![[r#"
            node_memory_MemTotal_bytes{} 1024
            node_memory_Active_anon_bytes{} 2048
            node_memory_HugePages_Total{} 3
        "#]]
        .assert_eq(&check::lines(|samples| parse(text, samples)));
    }

    #[test]
    fn every_line_of_the_real_file_is_reported() {
        let lines = check::lines(|samples| parse(MEMINFO, samples));
        assert_eq!(lines.lines().count(), MEMINFO.lines().count());
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(MEMINFO, parse);
    }
}
