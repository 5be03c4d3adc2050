//! Numbers and addresses made short.

use std::net::IpAddr;

use super::numbers::general;

fn four(value: f64) -> String {
    general(value, Some(4), false)
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn large(mut value: f64, base: f64, prefixes: &[&'static str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = next;
        value /= base;
    }
    four(value) + prefix
}

/// A number below one with the prefix that makes it at least one.
fn small(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

pub(crate) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    if value.abs() >= 1.0 {
        return large(value, 1000.0, &LARGE);
    }
    let (value, prefix) = small(value);
    four(value) + prefix
}

pub(crate) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    large(value, 1024.0, &LARGE_1024)
}

pub(crate) fn percentage(value: f64) -> String {
    four(value * 100.0) + "%"
}

pub(crate) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return four(value) + "s";
    }
    if value.abs() < 1.0 {
        let (value, prefix) = small(value);
        return format!("{}{prefix}s", four(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let whole = value as i64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four(value)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// Host and port, if the text is both.
fn split(address: &str) -> Option<(&str, &str)> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return port.strip_prefix(':').filter(|port| !port.contains([':', '[', ']'])).map(|port| (host, port));
    }
    let (host, port) = address.rsplit_once(':')?;
    (!host.contains(':') && !address.contains(['[', ']'])).then_some((host, port))
}

pub(crate) fn strip_port(address: &str) -> String {
    split(address).map_or(address, |(host, _)| host).to_owned()
}

pub(crate) fn strip_domain(address: &str) -> String {
    let (host, port) = split(address).unwrap_or((address, ""));
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    if port.is_empty() { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_made_short() {
        let all = |of: fn(f64) -> String, values: &[f64]| values.iter().map(|value| of(*value)).collect::<Vec<_>>();
        assert_eq!(
            all(humanize, &[0.0, 1.0, 1_234_567.0, 0.12, -1000.0, 1e30, f64::NAN]),
            ["0", "1", "1.235M", "120m", "-1k", "1e+06Y", "NaN"]
        );
        assert_eq!(all(humanize_1024, &[0.5, 1048576.0, 1500.0]), ["0.5", "1Mi", "1.465ki"]);
        assert_eq!(
            all(duration, &[0.0, 1.5, 61.0, 3600.0, 90061.0, -61.0, 0.0123, 899.99]),
            ["0s", "1.5s", "1m 1s", "1h 0m 0s", "1d 1h 1m 1s", "-1m 1s", "12.3ms", "14m 59s"]
        );
        assert_eq!(percentage(0.123_456), "12.35%");
    }

    #[test]
    fn addresses_are_made_short() {
        for (address, without_port, without_domain) in [
            ("host.example.com:9090", "host.example.com", "host:9090"),
            ("host.example.com", "host.example.com", "host"),
            ("10.0.0.1:80", "10.0.0.1", "10.0.0.1:80"),
            ("[::1]:80", "::1", "[::1]:80"),
            ("::1", "::1", "::1"),
        ] {
            assert_eq!(strip_port(address), without_port);
            assert_eq!(strip_domain(address), without_domain);
        }
    }
}
