//! `node_network_{up,info,mtu_bytes,...}` from /sys/class/net: what each interface is.

use bellwether_model::MetricKind::{self, Counter, Gauge};

use super::samples::{Samples, count};

/// A host with hundreds of containers has hundreds of interfaces of 20 files each; only so many are described.
pub const INTERFACES_MAX: usize = 32;

const BYTES_PER_MEGABIT: f64 = 1_000_000.0 / 8.0;

/// An interface's file, the metric that it becomes, the factor, the type and the help text.
const FILES: [(&str, &str, f64, MetricKind, &str); 17] = [
    ("addr_assign_type", "address_assign_type", 1.0, Gauge, "Network device property: address_assign_type"),
    ("carrier", "carrier", 1.0, Gauge, "Network device property: carrier"),
    ("carrier_changes", "carrier_changes_total", 1.0, Counter, "Network device property: carrier_changes_total"),
    ("carrier_up_count", "carrier_up_changes_total", 1.0, Counter, "Network device property: carrier_up_changes_total"),
    (
        "carrier_down_count",
        "carrier_down_changes_total",
        1.0,
        Counter,
        "Network device property: carrier_down_changes_total",
    ),
    ("dev_id", "device_id", 1.0, Gauge, "Network device property: device_id"),
    ("dormant", "dormant", 1.0, Gauge, "Network device property: dormant"),
    ("flags", "flags", 1.0, Gauge, "Network device property: flags"),
    ("ifindex", "iface_id", 1.0, Gauge, "Network device property: iface_id"),
    ("iflink", "iface_link", 1.0, Gauge, "Network device property: iface_link"),
    ("link_mode", "iface_link_mode", 1.0, Gauge, "Network device property: iface_link_mode"),
    ("mtu", "mtu_bytes", 1.0, Gauge, "Network device property: mtu_bytes"),
    ("name_assign_type", "name_assign_type", 1.0, Gauge, "Network device property: name_assign_type"),
    ("netdev_group", "net_dev_group", 1.0, Gauge, "Network device property: net_dev_group"),
    ("speed", "speed_bytes", BYTES_PER_MEGABIT, Gauge, "Network device property: speed_bytes"),
    ("tx_queue_len", "transmit_queue_length", 1.0, Gauge, "Network device property: transmit_queue_length"),
    ("type", "protocol_type", 1.0, Gauge, "Network device property: protocol_type"),
];

/// Describes one interface; `file` gives the trimmed content of one of its files, None where it has nothing to say.
pub fn describe(device: &str, file: impl Fn(&str) -> Option<String>, samples: &mut Samples) {
    let text = |name: &str| file(name).unwrap_or_default();
    let operstate = text("operstate");
    samples.gauge(
        "node_network_up",
        "Value is 1 if operstate is 'up', 0 otherwise.",
        &[("device", device)],
        if operstate == "up" { 1.0 } else { 0.0 },
    );
    samples.gauge(
        "node_network_info",
        "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
        &[
            ("address", &text("address")),
            ("broadcast", &text("broadcast")),
            ("device", device),
            ("duplex", &text("duplex")),
            ("ifalias", &text("ifalias")),
            ("operstate", &operstate),
        ],
        1.0,
    );
    for (name, metric, factor, kind, help) in FILES {
        if let Some(value) = file(name).as_deref().and_then(number) {
            samples.push(kind, format!("node_network_{metric}"), help, &[("device", device)], value * factor);
        }
    }
}

/// Flags and device ids are hexadecimal; an unknown speed is -1, which node_exporter passes on.
fn number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(|value| value as f64);
    }
    match text.strip_prefix('-') {
        Some(digits) => count(digits).map(|value| -value),
        None => count(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    #[test]
    fn what_an_interface_does_not_say_is_left_out() {
        let file = |name: &str| {
            let value = match name {
                "operstate" => "up",
                "address" => "02:fc:00:00:00:01",
                "flags" => "0x1003",
                "mtu" => "1500",
                "speed" => "1000",
                "carrier_changes" => "2",
                _ => return None,
            };
            Some(value.to_owned())
        };
        expect_test::expect![[r#"
            node_network_up{device="eth0"} 1
            node_network_info{address="02:fc:00:00:00:01",broadcast="",device="eth0",duplex="",ifalias="",operstate="up"} 1
            node_network_carrier_changes_total{device="eth0"} 2
            node_network_flags{device="eth0"} 4099
            node_network_mtu_bytes{device="eth0"} 1500
            node_network_speed_bytes{device="eth0"} 125000000
        "#]]
        .assert_eq(&check::lines(|samples| describe("eth0", file, samples)));
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text("0x1003", |text, samples| describe(text, |_| Some(text.to_owned()), samples));
    }
}
