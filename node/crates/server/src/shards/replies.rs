//! The state machine's reply to one entry: to samples, one reply for each frame; to anything else, a count.
//!
//! ```text
//! samples:  (length u32 | FrameReply)*        anything else:  count u64
//! ```

use bellwether_ingest::{FormatError, FrameReply};
use bytes::Bytes;

/// Puts the replies to an entry's frames together.
#[derive(Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Adds the reply to the next frame.
    pub fn push(&mut self, reply: &FrameReply) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        reply.encode(&mut self.bytes);
        let length = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The bytes of the reply to the entry.
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// The replies to an entry's frames, in order; ends early where the bytes do.
pub fn decode_frames(mut bytes: &[u8]) -> impl Iterator<Item = Result<FrameReply, FormatError>> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (reply, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        bytes = rest;
        Some(FrameReply::decode(reply))
    })
}

/// The reply to a control command: how many series or records it concerned.
pub fn encode_control(count: u64) -> Bytes {
    Bytes::copy_from_slice(&count.to_le_bytes())
}

/// Reads the reply to a control command.
pub fn decode_control(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_ingest::{RefScope, Refused};
    use bellwether_model::RefEpoch;

    #[test]
    fn replies_are_read_back_in_order() {
        let mut first = FrameReply::new(RefScope { epoch: RefEpoch(7), range_generation: 1 });
        first.accepted = 3;
        let mut second = first.clone();
        second.refuse(Refused::TooOld, 2);
        let mut encoder = Encoder::default();
        encoder.push(&first);
        encoder.push(&second);
        let bytes = encoder.finish();
        assert_eq!(decode_frames(&bytes).collect::<Result<Vec<_>, _>>(), Ok(vec![first.clone(), second]));
        assert_eq!(decode_frames(&bytes[..bytes.len() - 1]).collect::<Result<Vec<_>, _>>(), Ok(vec![first]));
        assert_eq!(decode_control(&encode_control(9)), Some(9));
        assert_eq!(decode_control(&bytes), None);
    }
}
