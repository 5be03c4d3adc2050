//! The number that Prometheus and Alertmanager know an alert by: FNV-1a over its labels. It tells alerts apart for people and
//! programs that ask; nothing here decides by it.

use std::fmt;

use bellwether_model::Labels;

/// What FNV-1a begins with, and multiplies by, for 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// Between names and values: no byte of UTF-8.
const SEPARATOR: u8 = 0xff;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of an alert's labels.
    pub fn of(labels: &Labels) -> Fingerprint {
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        let add_text = |hash, text: &str| add(text.bytes().fold(hash, add), SEPARATOR);
        Fingerprint(labels.iter().fold(BASIS, |hash, label| add_text(add_text(hash, label.name), label.value)))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_number_that_alertmanager_computes() {
        // Answered by Alertmanager 0.25 for alerts with these labels.
        for (labels, fingerprint) in FROM_ALERTMANAGER {
            assert_eq!(Fingerprint::of(&Labels::of(labels)).to_string(), *fingerprint);
        }
    }

    const FROM_ALERTMANAGER: &[(&[(&str, &str)], &str)] = &[
        (&[("alertname", "A"), ("host", "a"), ("severity", "critical")], "12d3bbb9dac99d3c"),
        (&[("alertname", "C")], "d2beefc389d73779"),
        (&[("alertname", "B"), ("text", "ä \"x\" \n"), ("Zone", "eu"), ("a", "b,c")], "250d5437b04389d4"),
    ];
}
