//! `node_netstat_*` from /proc/net/{netstat,snmp,snmp6}: what the network protocols counted, the fields that
//! node_exporter takes by default.

use super::samples::{Samples, count};

const HELP: &str = "Statistic of a network protocol.";

/// Reads /proc/net/netstat's or snmp's text: pairs of lines, names and values, both behind the protocol.
pub fn parse_pairs(text: &str, samples: &mut Samples) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((repeated, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        if protocol != repeated {
            continue;
        }
        for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
            report(protocol, name, value, samples);
        }
    }
}

/// Reads /proc/net/snmp6's text: one name and value per line, the protocol at the name's beginning, up to its 6.
pub fn parse_snmp6(text: &str, samples: &mut Samples) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        if let Some(six) = name.find('6') {
            let (protocol, name) = name.split_at(six + 1);
            report(protocol, name, value, samples);
        }
    }
}

fn report(protocol: &str, name: &str, value: &str, samples: &mut Samples) {
    if is_taken(protocol, name)
        && let Some(value) = count(value)
    {
        samples.untyped(format!("node_netstat_{protocol}_{name}"), HELP, &[], value);
    }
}

fn is_taken(protocol: &str, name: &str) -> bool {
    let legal = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if matches!(name, "InErrors" | "InErrs") {
        return legal(protocol);
    }
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "TcpExt" => {
            legal(name)
                && (name.starts_with("Listen")
                    || name.starts_with("Syncookies")
                    || matches!(name, "TCPSynRetrans" | "TCPTimeouts"))
        }
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const NETSTAT: &str = include_str!("fixtures/netstat.txt");
    const SNMP: &str = include_str!("fixtures/snmp.txt");
    const SNMP6: &str = include_str!("fixtures/snmp6.txt");

    #[test]
    fn names_and_values_of_the_real_files_are_paired() {
        let lines = check::lines(|samples| {
            parse_pairs(NETSTAT, samples);
            parse_pairs(SNMP, samples);
            parse_snmp6(SNMP6, samples);
        });
        for name in ["Tcp_CurrEstab", "TcpExt_ListenDrops", "IpExt_InOctets", "Udp6_NoPorts", "UdpLite6_InErrors"] {
            assert!(lines.contains(&format!("node_netstat_{name}{{}} ")), "{name} in {lines}");
        }
        assert_eq!(lines.lines().count(), 40, "{lines}");
    }

    #[test]
    fn values_stand_under_their_names() {
        let text = "Tcp: RtoAlgorithm MaxConn ActiveOpens\nTcp: 1 -1 77\nUdp: InDatagrams\nTcp: 5\n";
        let lines = check::lines(|samples| parse_pairs(text, samples));
        assert_eq!(lines, "node_netstat_Tcp_ActiveOpens{} 77\n");
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(NETSTAT, parse_pairs);
        check::survives_hostile_text(SNMP, parse_pairs);
        check::survives_hostile_text(SNMP6, parse_snmp6);
    }
}
