//! Protobuf's wire format, read in place. Errors carry the offset in the whole body.
//!
//! Public for the other requests in this format whose senders are strangers.

/// Why a body is not the protobuf message it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {offset}: {what}")]
pub struct WireError {
    /// Where in the decompressed body.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// The tag of a field that holds a varint.
pub const fn varint_field(number: u64) -> u64 {
    number << 3
}

/// The tag of a field that holds eight bytes.
pub const fn fixed64_field(number: u64) -> u64 {
    number << 3 | 1
}

/// The tag of a field that holds a length and as many bytes.
pub const fn bytes_field(number: u64) -> u64 {
    number << 3 | 2
}

/// One message, read from its beginning.
// Invariant: at <= end <= body.len().
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The whole body: a number may be loaded together with bytes that follow the message.
    body: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Message<'a> {
    /// The message that a whole body is.
    #[inline]
    pub fn new(body: &'a [u8]) -> Message<'a> {
        Message { body, at: 0, end: body.len() }
    }

    /// Whether there is no further field.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// The bytes from the next field to the end.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.body[self.at..self.end]
    }

    /// Where in the body the next field begins.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The bytes between two offsets.
    #[inline]
    pub(crate) fn between(&self, start: usize, end: usize) -> &'a [u8] {
        &self.body[start..end]
    }

    /// What lies between two offsets, as a message.
    #[inline]
    pub(crate) fn part(&self, start: usize, end: usize) -> Message<'a> {
        debug_assert!(start <= end && end <= self.body.len());
        Message { body: self.body, at: start, end }
    }

    /// Steps over bytes that are known to be whole fields, and not more than there are.
    #[inline]
    pub(crate) fn advance(&mut self, length: usize) {
        debug_assert!(length <= self.end - self.at);
        self.at += length;
    }

    #[cold]
    pub(crate) fn error(&self, what: &'static str) -> WireError {
        WireError { offset: self.at, what }
    }

    /// The tag of the next field: compare it with those that you know, and [`skip`](Self::skip) every other.
    #[inline]
    pub fn tag(&mut self) -> Result<u64, WireError> {
        self.varint()
    }

    /// A number.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.body.get(self.at) {
            Some(byte) if *byte < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.varint_of_many_bytes(),
        }
    }

    #[inline]
    fn varint_of_many_bytes(&mut self) -> Result<u64, WireError> {
        const CONTINUES: u64 = 0x8080_8080_8080_8080;
        // Up to eight bytes at once: find the last byte, clear what follows it, then join the groups of seven bits pairwise.
        if let Some(word) = self.body.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            let ends = !word & CONTINUES;
            let bits = ends.trailing_zeros() + 1;
            let end = self.at + (bits / 8) as usize;
            if ends != 0 && end <= self.end {
                self.at = end;
                let groups = word & (u64::MAX >> (64 - bits)) & !CONTINUES;
                let groups = (groups & 0x007f_007f_007f_007f) | ((groups & 0x7f00_7f00_7f00_7f00) >> 1);
                let groups = (groups & 0x0000_3fff_0000_3fff) | ((groups & 0x3fff_0000_3fff_0000) >> 2);
                return Ok((groups & 0x0fff_ffff) | ((groups & 0x0fff_ffff_0000_0000) >> 4));
            }
        }
        self.varint_byte_by_byte()
    }

    #[inline(never)]
    fn varint_byte_by_byte(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (count, shift) in (0..70).step_by(7).enumerate() {
            let Some(byte) = self.rest().get(count) else {
                return Err(self.error("a number is cut off"));
            };
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                // The tenth byte has room for one bit.
                if shift == 63 && *byte > 1 {
                    break;
                }
                self.at += count + 1;
                return Ok(value);
            }
        }
        Err(self.error("a number does not fit 64 bits"))
    }

    /// A length-delimited field's contents.
    #[inline]
    pub fn message(&mut self) -> Result<Message<'a>, WireError> {
        let start = *self;
        let length = self.varint()?;
        if length > (self.end - self.at) as u64 {
            return Err(start.error("a length reaches beyond its message"));
        }
        let inner = Message { body: self.body, at: self.at, end: self.at + length as usize };
        self.at = inner.end;
        Ok(inner)
    }

    /// Appends packed numbers, but lets `out` grow to `length_max` only, and says how many there are.
    #[inline]
    pub(crate) fn unpack_u32(
        mut self,
        out: &mut Vec<u32>,
        length_max: usize,
        too_large: &'static str,
    ) -> Result<usize, WireError> {
        let first = out.len();
        // Room for as many as there can be: writing then needs no growing.
        out.resize(first + self.rest().len().min(length_max.saturating_sub(first)), 0);
        let mut count = 0;
        while !self.is_at_end() {
            let number = match self.rest() {
                [low, ..] if *low < 0x80 => {
                    self.at += 1;
                    u32::from(*low)
                }
                [low, high, ..] if *high < 0x80 => {
                    self.at += 2;
                    u32::from(low & 0x7f) | u32::from(*high) << 7
                }
                _ => {
                    let start = self;
                    u32::try_from(self.varint_of_many_bytes()?).map_err(|_| start.error(too_large))?
                }
            };
            if let Some(slot) = out.get_mut(first + count) {
                *slot = number;
            }
            count += 1;
        }
        out.truncate(first + count);
        Ok(count)
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, WireError> {
        match self.rest().first_chunk::<8>() {
            Some(word) => {
                self.at += 8;
                Ok(u64::from_le_bytes(*word))
            }
            None => Err(self.error("a number is cut off")),
        }
    }

    /// Steps over a field whose meaning we do not know, or whose layout is not the one that we know.
    #[inline(never)]
    pub fn skip(&mut self, tag: u64) -> Result<(), WireError> {
        if tag >> 3 == 0 || tag > u64::from(u32::MAX) {
            return Err(self.error("invalid field number"));
        }
        match tag & 7 {
            0 => self.varint().map(drop),
            1 => self.fixed64().map(drop),
            2 => self.message().map(drop),
            5 if self.end - self.at >= 4 => {
                self.at += 4;
                Ok(())
            }
            5 => Err(self.error("a number is cut off")),
            3 | 4 => Err(self.error("groups are not supported")),
            _ => Err(self.error("unknown wire type")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf_writer::put_varint;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip_whatever_follows_them(bits in 0..=64u32, random: u64, tail in 0..12usize) {
            let value = random.checked_shr(64 - bits).unwrap_or(0);
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let length = bytes.len();
            bytes.extend(std::iter::repeat_n(0xff, tail));
            let mut message = Message::new(&bytes);
            prop_assert_eq!(message.varint().unwrap(), value);
            prop_assert_eq!(message.offset(), length);
        }
    }

    proptest! {
        #[test]
        fn packed_numbers_round_trip_up_to_a_limit(
            numbers in proptest::collection::vec(prop_oneof![0..300u32, any::<u32>()], 0..20),
            length_max in 0..25usize,
        ) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put_varint(&mut bytes, u64::from(*number)));
            let mut out = vec![7];
            let count = Message::new(&bytes).unpack_u32(&mut out, length_max.max(1), "too large").unwrap();
            prop_assert_eq!(count, numbers.len());
            let kept: Vec<u32> = std::iter::once(7).chain(numbers).take(length_max.max(1)).collect();
            prop_assert_eq!(out, kept);
        }
    }

    #[test]
    fn packed_numbers_that_are_too_large_or_cut_off_are_errors() {
        let unpack = |bytes: &[u8]| Message::new(bytes).unpack_u32(&mut Vec::new(), 9, "too large").unwrap_err();
        assert_eq!(unpack(&[1, 0x80, 0x80, 0x80, 0x80, 0x10]), WireError { offset: 1, what: "too large" });
        assert_eq!(unpack(&[1, 2, 0x80]), WireError { offset: 2, what: "a number is cut off" });
    }

    #[test]
    fn numbers_that_are_too_long_or_cut_off_are_errors() {
        let varint = |bytes: &[u8]| Message::new(bytes).varint();
        assert_eq!(varint(&[0xff; 12]).unwrap_err().what, "a number does not fit 64 bits");
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).unwrap_err().offset, 0);
        assert_eq!(varint(&[0x80; 3]).unwrap_err().what, "a number is cut off");
        assert_eq!(varint(&[]).unwrap_err().what, "a number is cut off");
        // Longer than need be is legal.
        assert_eq!(varint(&[0x81, 0x80, 0x00]), Ok(1));
    }

    #[test]
    fn offsets_count_from_the_beginning_of_the_body() {
        let mut body = Message::new(&[0x0a, 0x04, 0x0a, 0x02, 0x08, 0xff]);
        body.tag().unwrap();
        let mut outer = body.message().unwrap();
        outer.tag().unwrap();
        let mut inner = outer.message().unwrap();
        inner.tag().unwrap();
        assert_eq!(inner.varint(), Err(WireError { offset: 5, what: "a number is cut off" }));
    }
}
