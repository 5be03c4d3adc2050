//! Bits one after the other, from the highest of each byte down, as Prometheus's chunks have them.

/// Leading zeros that five bits can say.
const LEADING_ZEROS_MAX: u32 = 31;

/// Leading and trailing zeros of what was written last.
pub type Window = Option<(u32, u32)>;

/// See the module.
pub struct BitWriter {
    out: Vec<u8>,
    /// Bits that are no whole word yet, from the highest down.
    word: u64,
    // Invariant: below 64; the other bits of the word are zero.
    filled: u32,
    /// Whether the last push was whole bytes from a byte's beginning: Prometheus's writer then has a spare byte ready.
    spare: bool,
}

impl BitWriter {
    /// Begins after whole bytes.
    pub fn after(out: Vec<u8>) -> BitWriter {
        BitWriter { out, word: 0, filled: 0, spare: true }
    }

    /// The bytes, as long as all that was pushed are whole ones.
    pub fn whole_bytes(&mut self) -> &mut Vec<u8> {
        debug_assert_eq!(self.filled, 0, "a part of a byte was pushed");
        &mut self.out
    }

    /// Appends the lowest `count` bits, 1 to 64.
    pub fn push(&mut self, value: u64, count: u32) {
        let value = value & (u64::MAX >> (64 - count));
        let free = 64 - self.filled;
        self.spare = self.filled.is_multiple_of(8) && count.is_multiple_of(8);
        if count < free {
            self.word |= value << (free - count);
            self.filled += count;
            return;
        }
        let rest = count - free;
        self.word |= value >> rest;
        self.out.extend_from_slice(&self.word.to_be_bytes());
        self.word = if rest == 0 { 0 } else { value << (64 - rest) };
        self.filled = rest;
    }

    /// Appends what a value differs by from the one before.
    pub fn push_xor(&mut self, xor: u64, window: &mut Window) {
        if xor == 0 {
            return self.push(0, 1);
        }
        let (leading, trailing) = (xor.leading_zeros().min(LEADING_ZEROS_MAX), xor.trailing_zeros());
        match *window {
            Some((leading_before, trailing_before)) if leading >= leading_before && trailing >= trailing_before => {
                self.push(0b10, 2);
                self.push(xor >> trailing_before, 64 - leading_before - trailing_before);
            }
            _ => {
                *window = Some((leading, trailing));
                let significant = 64 - leading - trailing;
                self.push(0b11, 2);
                self.push(u64::from(leading), 5);
                self.push(u64::from(significant), 6);
                self.push(xor >> trailing, significant);
            }
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        let bytes = self.filled.div_ceil(8) as usize + usize::from(self.spare);
        self.out.extend_from_slice(&self.word.to_be_bytes()[..bytes]);
        self.out
    }
}
