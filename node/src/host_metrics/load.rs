//! `node_load*` from /proc/loadavg.

use super::samples::{Samples, decimal};

const FIELDS: [(&str, &str); 3] =
    [("node_load1", "1m load average."), ("node_load5", "5m load average."), ("node_load15", "15m load average.")];

/// Reads /proc/loadavg's text.
pub fn parse(text: &str, samples: &mut Samples) {
    for ((name, help), word) in FIELDS.into_iter().zip(text.split_ascii_whitespace()) {
        if let Some(load) = decimal(word) {
            samples.gauge(name, help, &[], load);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    #[test]
    fn the_three_averages_are_reported() {
        let lines = check::lines(|samples| parse("0.52 1.58 1.59 2/219 13842\n", samples));
        assert_eq!(lines, "node_load1{} 0.52\nnode_load5{} 1.58\nnode_load15{} 1.59\n");
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text("0.52 1.58 1.59 2/219 13842\n", parse);
    }
}
