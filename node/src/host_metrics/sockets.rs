//! `node_sockstat_*` from /proc/net/sockstat and sockstat6: sockets in use, by protocol.

use super::samples::{Samples, count};

/// Reads the text of either file. `mem` counts pages, and is reported in bytes as well.
pub fn parse(text: &str, page_bytes: usize, samples: &mut Samples) {
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        if protocol.is_empty() || !protocol.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            continue;
        }
        let mut words = rest.split_ascii_whitespace();
        while let (Some(state), Some(value)) = (words.next(), words.next()) {
            let Some(value) = count(value) else { continue };
            let name = format!("node_sockstat_{protocol}_{state}");
            const HELP: &str = "Number of sockets of this protocol in this state.";
            if state == "mem" {
                samples.gauge(format!("{name}_bytes"), HELP, &[], value * page_bytes as f64);
            }
            samples.gauge(name, HELP, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    #[test]
    fn the_real_files_are_read() {
        let text = [include_str!("fixtures/sockstat.txt"), include_str!("fixtures/sockstat6.txt")].concat();
        let lines = check::lines(|samples| parse(&text, 4096, samples));
        for name in ["sockets_used{}", "TCP_inuse{}", "TCP_mem_bytes{}", "UDP_mem{}", "FRAG_memory{}", "TCP6_inuse{}"] {
            assert!(lines.contains(&format!("node_sockstat_{name}")), "{name} in {lines}");
        }
        check::survives_hostile_text(&text, |text, samples| parse(text, 4096, samples));
    }

    #[test]
    fn memory_is_given_in_pages_and_in_bytes() {
        let lines = check::lines(|samples| parse("TCP: inuse 2 mem 3\n", 4096, samples));
        assert_eq!(
            lines,
            "node_sockstat_TCP_inuse{} 2\nnode_sockstat_TCP_mem_bytes{} 12288\nnode_sockstat_TCP_mem{} 3\n"
        );
    }
}
