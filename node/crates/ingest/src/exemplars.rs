//! Exemplars: off the wire of both versions of remote write, and in frames, where each is the value's bits and canonical label bytes.

use bellwether_model::limits::EXEMPLAR_LABEL_CHARS_MAX;
use bellwether_model::{Exemplar, Labels, Timestamp};

use crate::protobuf::{WireError, fixed64_field, varint_field};

/// Of a request's samples an exemplar counts as so many: the smallest takes two bytes of a body and forty in memory.
pub(crate) const SAMPLES_PER_EXEMPLAR: usize = 3;

pub(crate) const EXEMPLAR_VALUE: u64 = fixed64_field(2);
pub(crate) const EXEMPLAR_TIMESTAMP: u64 = varint_field(3);

/// Labels of an exemplar that are kept: one more than could be valid, so that they are refused.
pub(crate) const EXEMPLAR_LABELS_KEPT_MAX: usize = EXEMPLAR_LABEL_CHARS_MAX + 1;

/// An exemplar off the wire; the inner error says why it cannot be stored.
pub type WireExemplar = Result<Result<Exemplar, String>, WireError>;

/// What a frame has of an exemplar beside its time.
pub fn encode(exemplar: &Exemplar) -> Vec<u8> {
    let labels = exemplar.labels.canonical_bytes();
    let mut out = Vec::with_capacity(8 + labels.len());
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    out.extend_from_slice(labels);
    out
}

/// Reads what [`encode`] made; `None` if it is none, or one that may not be stored.
// What is valid must not change but with a version of entries: replicas would disagree.
pub fn decode(timestamp: Timestamp, bytes: &[u8]) -> Option<Exemplar> {
    let (bits, labels) = bytes.split_first_chunk::<8>()?;
    let labels = Labels::from_canonical(labels).ok()?;
    Exemplar::check_labels(&labels).ok()?;
    Some(Exemplar { labels, value: f64::from_bits(u64::from_le_bytes(*bits)), timestamp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_frame_has_round_trips(
            pairs in proptest::collection::btree_map("\\PC{1,8}", "\\PC{1,8}", 0..6),
            bits in any::<u64>(),
            timestamp in any::<i64>(),
        ) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let exemplar = Exemplar { labels: Labels::of(&pairs), value: f64::from_bits(bits), timestamp };
            let read = decode(timestamp, &encode(&exemplar)).unwrap();
            prop_assert_eq!((&read.labels, read.value.to_bits(), read.timestamp), (&exemplar.labels, bits, timestamp));
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(0, &bytes);
        }
    }

    #[test]
    fn bytes_are_golden_and_long_labels_are_none() {
        let exemplar = |value: &str| Exemplar { labels: Labels::of(&[("t", value)]), value: 1.5, timestamp: 7 };
        let bytes = encode(&exemplar("ab"));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "000000000000f83f010000007402000000 6162".replace(' ', ""));
        assert!(decode(7, &encode(&exemplar(&"x".repeat(128)))).is_none());
        assert!((0..bytes.len()).filter(|length| decode(7, &bytes[..*length]).is_some()).eq([8]));
    }
}
