//! `node_disk_*` from /proc/diskstats, with what udev knows about each device.

use bellwether_model::MetricKind::{self, Counter, Gauge};

use super::samples::{Samples, count};

/// The kernel counts sectors of this size whatever the device's own is.
const SECTOR_BYTES: f64 = 512.0;
const MILLIS_PER_SECOND: f64 = 1000.0;

/// The columns after the device's name, in order: name, factor, divisor, type, help. Old kernels print only the first 11 or 15.
const COLUMNS: [(&str, f64, f64, MetricKind, &str); 17] = [
    ("reads_completed_total", 1.0, 1.0, Counter, "The total number of reads completed successfully."),
    ("reads_merged_total", 1.0, 1.0, Counter, "The total number of reads merged."),
    ("read_bytes_total", SECTOR_BYTES, 1.0, Counter, "The total number of bytes read successfully."),
    ("read_time_seconds_total", 1.0, MILLIS_PER_SECOND, Counter, "The total number of seconds spent by all reads."),
    ("writes_completed_total", 1.0, 1.0, Counter, "The total number of writes completed successfully."),
    ("writes_merged_total", 1.0, 1.0, Counter, "The number of writes merged."),
    ("written_bytes_total", SECTOR_BYTES, 1.0, Counter, "The total number of bytes written successfully."),
    (
        "write_time_seconds_total",
        1.0,
        MILLIS_PER_SECOND,
        Counter,
        "This is the total number of seconds spent by all writes.",
    ),
    ("io_now", 1.0, 1.0, Gauge, "The number of I/Os currently in progress."),
    ("io_time_seconds_total", 1.0, MILLIS_PER_SECOND, Counter, "Total seconds spent doing I/Os."),
    ("io_time_weighted_seconds_total", 1.0, MILLIS_PER_SECOND, Counter, "The weighted # of seconds spent doing I/Os."),
    ("discards_completed_total", 1.0, 1.0, Counter, "The total number of discards completed successfully."),
    ("discards_merged_total", 1.0, 1.0, Counter, "The total number of discards merged."),
    ("discarded_sectors_total", 1.0, 1.0, Counter, "The total number of sectors discarded successfully."),
    (
        "discard_time_seconds_total",
        1.0,
        MILLIS_PER_SECOND,
        Counter,
        "This is the total number of seconds spent by all discards.",
    ),
    ("flush_requests_total", 1.0, 1.0, Counter, "The total number of flush requests completed successfully"),
    (
        "flush_requests_time_seconds_total",
        1.0,
        MILLIS_PER_SECOND,
        Counter,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

/// Reads /proc/diskstats' text; `udev` gives the text of udev's record of a block device, by major and minor number.
pub fn parse(text: &str, udev: impl Fn(u32, u32) -> Option<String>, samples: &mut Samples) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(Ok(major)), Some(Ok(minor)), Some(device)) =
            (words.next().map(str::parse), words.next().map(str::parse), words.next())
        else {
            continue;
        };
        if is_left_out(device) {
            continue;
        }
        report_info(device, major, minor, &udev(major, minor).unwrap_or_default(), samples);
        for ((name, factor, divisor, kind, help), word) in COLUMNS.iter().zip(words) {
            let Some(value) = count(word) else { continue };
            samples.push(*kind, format!("node_disk_{name}"), help, &[("device", device)], value * factor / divisor);
        }
    }
}

fn report_info(device: &str, major: u32, minor: u32, udev: &str, samples: &mut Samples) {
    let property = |key: &str| {
        let value = |line: &'_ str| line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        udev.lines().find_map(value).unwrap_or_default()
    };
    let serial = match property("SCSI_IDENT_SERIAL") {
        serial if serial.is_empty() => property("ID_SERIAL_SHORT"),
        serial => serial,
    };
    samples.gauge(
        "node_disk_info",
        "Info of /sys/block/<block_device>.",
        &[
            ("device", device),
            ("major", &major.to_string()),
            ("minor", &minor.to_string()),
            ("model", &property("ID_MODEL")),
            ("path", &property("ID_PATH")),
            ("revision", &property("ID_REVISION")),
            ("serial", &serial),
            ("wwn", &property("ID_WWN")),
        ],
        1.0,
    );
}

/// node_exporter's rule: RAM disks, loop devices, floppies and partitions, that is
/// `^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_left_out(device: &str) -> bool {
    let Some(stem) = without_number(device) else { return false };
    if matches!(stem, "ram" | "loop" | "fd") {
        return true;
    }
    if let Some(bus) = stem.strip_suffix(|letter: char| letter.is_ascii_lowercase())
        && matches!(bus, "hd" | "sd" | "vd" | "xvd")
    {
        return true;
    }
    let controller = stem.strip_suffix('p').and_then(without_number).and_then(|stem| stem.strip_suffix('n'));
    controller.and_then(without_number) == Some("nvme")
}

/// What precedes the number at the end; None if there is no number.
fn without_number(name: &str) -> Option<&str> {
    let stem = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    (stem.len() < name.len()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const DISKSTATS: &str = include_str!("fixtures/diskstats.txt");

    #[test]
    fn sectors_become_bytes_and_milliseconds_seconds() {
        let text = "8 0 sda 1 2 3 4000 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        let udev = |_, _| Some("S:disk\nE:ID_MODEL=Fast\nE:ID_SERIAL_SHORT=42\nE:ID_PATH=pci-1\n".to_owned());
        expect_test::expect![[r#"
            node_disk_info{device="sda",major="8",minor="0",model="Fast",path="pci-1",revision="",serial="42",wwn=""} 1
            node_disk_reads_completed_total{device="sda"} 1
            node_disk_reads_merged_total{device="sda"} 2
            node_disk_read_bytes_total{device="sda"} 1536
            node_disk_read_time_seconds_total{device="sda"} 4
            node_disk_writes_completed_total{device="sda"} 5
            node_disk_writes_merged_total{device="sda"} 6
            node_disk_written_bytes_total{device="sda"} 3584
            node_disk_write_time_seconds_total{device="sda"} 0.008
            node_disk_io_now{device="sda"} 9
            node_disk_io_time_seconds_total{device="sda"} 0.01
            node_disk_io_time_weighted_seconds_total{device="sda"} 0.011
            node_disk_discards_completed_total{device="sda"} 12
            node_disk_discards_merged_total{device="sda"} 13
            node_disk_discarded_sectors_total{device="sda"} 14
            node_disk_discard_time_seconds_total{device="sda"} 0.015
            node_disk_flush_requests_total{device="sda"} 16
            node_disk_flush_requests_time_seconds_total{device="sda"} 0.017
        "#]]
        .assert_eq(&check::lines(|samples| parse(text, udev, samples)));
    }

    #[test]
    fn the_real_file_has_one_disk_and_no_loop_device() {
        let lines = check::lines(|samples| parse(DISKSTATS, |_, _| None, samples));
        assert!(lines.contains(r#"device="vda""#) && !lines.contains("loop"), "{lines}");
    }

    #[test]
    fn partitions_loops_and_ram_disks_are_left_out() {
        for device in ["ram0", "loop12", "fd0", "hda1", "sda10", "vdb2", "xvda1", "nvme0n1p3"] {
            assert!(is_left_out(device), "{device}");
        }
        for device in ["sda", "vda", "xvda", "nvme0n1", "dm-0", "md0", "zram0", "sr0", "mmcblk0", "mmcblk0p1", "sdaa1"]
        {
            assert!(!is_left_out(device), "{device}");
        }
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(DISKSTATS, |text, samples| parse(text, |_, _| Some(text.to_owned()), samples));
    }
}
