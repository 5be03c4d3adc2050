//! What apply answers for one frame. Layout: `node/docs/format/shard-batch.md`.

use bellwether_model::{RefEpoch, SeriesRef};

use crate::cursor::{Cursor, FormatError, put_varint};
use crate::shard_batch::RefScope;

/// Where no histogram or exemplar was stored, and no exemplar refused.
const REPLY_VERSION_FIRST: u8 = 1;
const REPLY_VERSION: u8 = 2;
const FORMAT: &str = "the reply to a frame";

/// Why a shard group did not store a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// Older than the retention.
    TooOld,
    /// Too far ahead of the group's clock.
    TooFarAhead,
    /// The series is new and the tenant has as many as it may have.
    SeriesLimit,
    /// The ref belongs to no series, or the frame's scope is not the group's: resolve and send again.
    UnknownRef,
    /// Another series has the same hash.
    HashConflict,
    /// The group does not own the series: find the owner and send again.
    Moved,
    /// The frame or the labels in it are damaged.
    Damaged,
    /// An exemplar is older than the retention or too far ahead of the group's clock. Of exemplars this is the only reason but for
    /// those that concern their series.
    ExemplarTime,
}

impl Refused {
    /// All reasons, in the order of their codes, which begin at 1.
    pub const ALL: [Refused; 8] = [
        Refused::TooOld,
        Refused::TooFarAhead,
        Refused::SeriesLimit,
        Refused::UnknownRef,
        Refused::HashConflict,
        Refused::Moved,
        Refused::Damaged,
        Refused::ExemplarTime,
    ];

    /// As messages and metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::TooOld => "too_old",
            Refused::TooFarAhead => "too_far_ahead",
            Refused::SeriesLimit => "series_limit",
            Refused::UnknownRef => "unknown_ref",
            Refused::HashConflict => "hash_conflict",
            Refused::Moved => "moved",
            Refused::Damaged => "damaged",
            Refused::ExemplarTime => "exemplar_time",
        }
    }

    /// Whether sending the same again, after resolving, can help.
    pub fn is_transient(self) -> bool {
        matches!(self, Refused::UnknownRef | Refused::Moved)
    }
}

/// What became of a frame's samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameReply {
    /// The group's incarnation when it applied the frame: what `refs` belong to.
    pub scope: RefScope,
    /// Floats stored, those that were there already included.
    pub accepted: u64,
    /// Histograms stored, likewise.
    pub histograms: u64,
    /// Exemplars taken, likewise.
    pub exemplars: u64,
    /// Samples refused, by reason.
    refused: [u64; Refused::ALL.len()],
    /// For each registration of the frame the ref that it has now; `None` if it was refused.
    pub refs: Vec<Option<SeriesRef>>,
}

impl FrameReply {
    /// A reply of which nothing is known yet but who gives it.
    pub fn new(scope: RefScope) -> FrameReply {
        FrameReply {
            scope,
            accepted: 0,
            histograms: 0,
            exemplars: 0,
            refused: [0; Refused::ALL.len()],
            refs: Vec::new(),
        }
    }

    /// Counts refused samples.
    pub fn refuse(&mut self, reason: Refused, samples: u64) {
        self.refused[reason as usize] += samples;
    }

    /// How many samples were refused for a reason.
    pub fn refused(&self, reason: Refused) -> u64 {
        self.refused[reason as usize]
    }

    /// All reasons that applied.
    pub fn refusals(&self) -> impl Iterator<Item = (Refused, u64)> + '_ {
        Refused::ALL.into_iter().map(|reason| (reason, self.refused(reason))).filter(|(_, samples)| *samples > 0)
    }

    /// Appends the reply.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let is_first = self.histograms + self.exemplars + self.refused(Refused::ExemplarTime) == 0;
        out.push(if is_first { REPLY_VERSION_FIRST } else { REPLY_VERSION });
        out.extend_from_slice(&self.scope.epoch.0.to_le_bytes());
        put_varint(out, u64::from(self.scope.range_generation));
        put_varint(out, self.accepted);
        if !is_first {
            put_varint(out, self.histograms);
            put_varint(out, self.exemplars);
        }
        put_varint(out, self.refusals().count() as u64);
        for (reason, samples) in self.refusals() {
            out.push(reason as u8 + 1);
            put_varint(out, samples);
        }
        put_varint(out, self.refs.len() as u64);
        for assigned in &self.refs {
            put_varint(out, assigned.map_or(0, |series_ref| u64::from(series_ref.0) + 1));
        }
    }

    /// Reads a reply back.
    pub fn decode(bytes: &[u8]) -> Result<FrameReply, FormatError> {
        let mut cursor = Cursor::new(FORMAT, bytes);
        let version = cursor.version(REPLY_VERSION)?;
        let epoch = RefEpoch(cursor.u64("the ref epoch")?);
        let range_generation = cursor.varint_u32("the range generation")?;
        let mut reply = FrameReply::new(RefScope { epoch, range_generation });
        reply.accepted = cursor.varint("the accepted samples")?;
        if version > REPLY_VERSION_FIRST {
            reply.histograms = cursor.varint("the accepted histograms")?;
            reply.exemplars = cursor.varint("the accepted exemplars")?;
        }
        for _ in 0..cursor.length("refusals")? {
            let code = cursor.u8("a reason")?;
            let reason = code.checked_sub(1).and_then(|at| Refused::ALL.get(usize::from(at)));
            let reason = *reason.ok_or_else(|| cursor.invalid("an unknown reason"))?;
            let samples = cursor.varint("refused samples")?;
            if samples == 0 || reply.refused(reason) != 0 {
                return Err(cursor.invalid("a reason is given twice or for nothing"));
            }
            reply.refuse(reason, samples);
        }
        let refs = cursor.length("assigned refs")?;
        reply.refs.reserve(refs);
        for _ in 0..refs {
            let assigned = match cursor.varint("an assigned ref")? {
                0 => None,
                above => {
                    let number =
                        u32::try_from(above - 1).map_err(|_| cursor.invalid("a series number is too large"))?;
                    Some(SeriesRef(number))
                }
            };
            reply.refs.push(assigned);
        }
        cursor.expect_end()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply() -> impl Strategy<Value = FrameReply> {
        let refused = proptest::array::uniform8(prop_oneof![Just(0), 0..u64::MAX / 2]);
        let refs = proptest::collection::vec(any::<Option<u32>>(), 0..20);
        let beside = prop_oneof![Just((0, 0)), any::<(u32, u32)>()];
        (any::<u64>(), any::<u32>(), any::<u64>(), beside, refused, refs).prop_map(
            |(epoch, range_generation, accepted, (histograms, exemplars), refused, refs)| {
                let scope = RefScope { epoch: RefEpoch(epoch), range_generation };
                let refs = refs.into_iter().map(|series_ref| series_ref.map(SeriesRef)).collect();
                FrameReply {
                    scope,
                    accepted,
                    histograms: histograms.into(),
                    exemplars: exemplars.into(),
                    refused,
                    refs,
                }
            },
        )
    }

    fn encoded(reply: &FrameReply) -> Vec<u8> {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn replies_round_trip(reply in reply()) {
            prop_assert_eq!(FrameReply::decode(&encoded(&reply)).unwrap(), reply);
        }

        #[test]
        fn every_truncation_is_an_error_and_no_flip_panics(reply in reply(), at: prop::sample::Index, bit in 0..8u32) {
            let mut bytes = encoded(&reply);
            prop_assert!((0..bytes.len()).all(|length| FrameReply::decode(&bytes[..length]).is_err()));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = FrameReply::decode(&bytes);
        }
    }

    #[test]
    fn bytes_are_golden() {
        let mut reply = FrameReply::new(RefScope { epoch: RefEpoch(0x0807_0605_0403_0201), range_generation: 9 });
        reply.accepted = 300;
        reply.refuse(Refused::TooOld, 1);
        reply.refuse(Refused::Moved, 2);
        reply.refs = vec![Some(SeriesRef(0)), None, Some(SeriesRef(u32::MAX))];
        let hex: String = encoded(&reply).iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["01010203040506070809ac0202010106020301008080808010"].assert_eq(&hex);
        reply.histograms = 5;
        reply.exemplars = 6;
        reply.refuse(Refused::ExemplarTime, 1);
        let hex: String = encoded(&reply).iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["02010203040506070809ac020506030101060208010301008080808010"].assert_eq(&hex);
    }
}
