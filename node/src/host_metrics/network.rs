//! `node_network_{receive,transmit}_*` from /proc/net/dev: what each interface counted.

use super::samples::{Samples, count};

/// The columns after the interface's name, in order.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

const HELP: &str = "Network device statistic.";

/// Reads /proc/net/dev's text; `nohandler` gives what an interface received and nobody wanted, which that file lacks.
pub fn parse(text: &str, nohandler: impl Fn(&str) -> Option<String>, samples: &mut Samples) {
    for line in text.lines() {
        let Some((device, columns)) = line.rsplit_once(':') else { continue };
        let device = device.trim();
        // Debian's node_exporter leaves the loopback interface out.
        if device.is_empty() || device == "lo" {
            continue;
        }
        for (column, word) in COLUMNS.iter().zip(columns.split_ascii_whitespace()) {
            if let Some(value) = count(word) {
                samples.counter(format!("node_network_{column}_total"), HELP, &[("device", device)], value);
            }
        }
        if let Some(value) = nohandler(device).as_deref().and_then(count) {
            samples.counter("node_network_receive_nohandler_total", HELP, &[("device", device)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const NET_DEV: &str = include_str!("fixtures/net_dev.txt");

    #[test]
    fn each_column_of_the_real_file_has_its_name() {
        let lines = check::lines(|samples| parse(NET_DEV, |_| Some("5".to_owned()), samples));
        let eth0: Vec<&str> = lines.lines().filter(|line| line.contains("eth0")).collect();
        assert_eq!(eth0.len(), COLUMNS.len() + 1);
        let line = NET_DEV.lines().find(|line| line.contains("eth0")).unwrap();
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(eth0[0], format!("node_network_receive_bytes_total{{device=\"eth0\"}} {}", columns[1]));
        assert_eq!(eth0[8], format!("node_network_transmit_bytes_total{{device=\"eth0\"}} {}", columns[9]));
        assert_eq!(eth0[16], "node_network_receive_nohandler_total{device=\"eth0\"} 5");
        assert!(!lines.contains("\"lo\""), "{lines}");
    }

    #[test]
    fn an_interface_without_a_space_after_its_colon_is_read() {
        let lines = check::lines(|samples| parse("eth0:7 8\n", |_| None, samples));
        assert!(lines.starts_with("node_network_receive_bytes_total{device=\"eth0\"} 7\n"), "{lines}");
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(NET_DEV, |text, samples| parse(text, |_| Some(text.to_owned()), samples));
    }
}
