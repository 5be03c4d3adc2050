//! `node_arp_entries` from /proc/net/arp: neighbours known per interface.

use std::collections::BTreeMap;

use super::samples::Samples;

/// The interface's name is the sixth column.
const DEVICE_COLUMN: usize = 5;

/// Reads /proc/net/arp's text, whose first line is a heading.
pub fn parse(text: &str, samples: &mut Samples) {
    let mut entries: BTreeMap<&str, u64> = BTreeMap::new();
    for line in text.lines().skip(1) {
        if let Some(device) = line.split_ascii_whitespace().nth(DEVICE_COLUMN) {
            *entries.entry(device).or_default() += 1;
        }
    }
    for (device, count) in entries {
        samples.gauge("node_arp_entries", "ARP entries by device", &[("device", device)], count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const ARP: &str = include_str!("fixtures/arp.txt");

    #[test]
    fn entries_are_counted_per_interface() {
        assert_eq!(check::lines(|samples| parse(ARP, samples)), "node_arp_entries{device=\"eth0\"} 1\n");
        check::survives_hostile_text(ARP, parse);
    }
}
