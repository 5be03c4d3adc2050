//! `node_softnet_*` from /proc/net/softnet_stat: packets that each CPU took from its queue, dropped, or had to leave.

use super::samples::Samples;

/// Columns, in hexadecimal.
const COLUMNS: [(usize, &str, &str); 3] = [
    (0, "node_softnet_processed_total", "Number of processed packets"),
    (1, "node_softnet_dropped_total", "Number of dropped packets"),
    (2, "node_softnet_times_squeezed_total", "Number of times processing packets ran out of quota"),
];
/// Which CPU a line is about; older kernels leave it out and print the lines in order.
const CPU_COLUMN: usize = 12;

/// Reads /proc/net/softnet_stat's text.
pub fn parse(text: &str, samples: &mut Samples) {
    for (line_number, line) in text.lines().enumerate() {
        let words: Vec<Option<u32>> =
            line.split_ascii_whitespace().map(|word| u32::from_str_radix(word, 16).ok()).collect();
        let cpu = words.get(CPU_COLUMN).copied().flatten().map_or(line_number, |cpu| cpu as usize).to_string();
        for (column, name, help) in COLUMNS {
            if let Some(Some(value)) = words.get(column) {
                samples.counter(name, help, &[("cpu", &cpu)], f64::from(*value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const SOFTNET: &str = include_str!("fixtures/softnet_stat.txt");

    #[test]
    fn the_columns_are_hexadecimal() {
        let lines = check::lines(|samples| parse("00001aee 00000002 0000000a\n", samples));
        expect_test::expect![[r#"
            node_softnet_processed_total{cpu="0"} 6894
            node_softnet_dropped_total{cpu="0"} 2
            node_softnet_times_squeezed_total{cpu="0"} 10
        "#]]
        .assert_eq(&lines);
    }

    #[test]
    fn a_cpu_is_named_by_its_number_not_its_line() {
        let line = "1 0 0 0 0 0 0 0 0 0 0 0 7 0 0\n";
        assert!(check::lines(|samples| parse(line, samples)).contains("cpu=\"7\""));
    }

    #[test]
    fn the_real_file_is_read_and_hostile_text_survived() {
        assert_eq!(check::lines(|samples| parse(SOFTNET, samples)).lines().count(), 6);
        check::survives_hostile_text(SOFTNET, parse);
    }
}
