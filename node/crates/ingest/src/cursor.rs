//! Bytes of our own formats: writing them, and reading them back without trusting them.

/// Why stored or received bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end too early.
    #[error("{format} is cut off at offset {offset}: {what} is missing")]
    Truncated {
        /// Which format.
        format: &'static str,
        /// Where.
        offset: usize,
        /// What should have been there.
        what: &'static str,
    },
    /// Bytes that cannot be.
    #[error("{format} is damaged at offset {offset}: {what}")]
    Invalid {
        /// Which format.
        format: &'static str,
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a newer release.
    #[error("{format} has version {version}, this release knows versions up to {newest}")]
    Version {
        /// Which format.
        format: &'static str,
        /// The version that it has.
        version: u8,
        /// The newest version that we know.
        newest: u8,
    },
}

/// Reads from the front, checking.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    format: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(format: &'static str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { format, bytes, at: 0 }
    }

    #[cold]
    pub(crate) fn truncated(&self, what: &'static str) -> FormatError {
        FormatError::Truncated { format: self.format, offset: self.at, what }
    }

    #[cold]
    pub(crate) fn invalid(&self, what: &'static str) -> FormatError {
        FormatError::Invalid { format: self.format, offset: self.at, what }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn expect_end(&self) -> Result<(), FormatError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.invalid("bytes follow the end")) }
    }

    /// Reads the version byte that every format begins with.
    pub(crate) fn version(&mut self, newest: u8) -> Result<u8, FormatError> {
        let version = self.u8("the version")?;
        if version == 0 || version > newest {
            return Err(FormatError::Version { format: self.format, version, newest });
        }
        Ok(version)
    }

    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.truncated(what))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// As [`take`](Self::take), to be read by a cursor of its own whose offsets count from the same beginning.
    pub(crate) fn window(&mut self, length: usize, what: &'static str) -> Result<Cursor<'a>, FormatError> {
        let at = self.at;
        self.take(length, what)?;
        Ok(Cursor { format: self.format, bytes: &self.bytes[..self.at], at })
    }

    /// A varint length and as many bytes.
    pub(crate) fn sized(&mut self, what: &'static str) -> Result<&'a [u8], FormatError> {
        let length = self.length(what)?;
        self.take(length, what)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, FormatError> {
        let start = self.clone();
        std::str::from_utf8(self.sized(what)?).map_err(|_| start.invalid("a text is not UTF-8"))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FormatError> {
        Ok(self.take(N, what)?.try_into().expect("as many bytes as were asked for"))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FormatError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, FormatError> {
        self.array(what).map(i64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, FormatError> {
        self.array(what).map(u128::from_le_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, FormatError> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.varint_of_many_bytes(what),
        }
    }

    /// Fills `slots` from as many varints, which must be all that is left; `None` means that a number is too large.
    #[inline]
    pub(crate) fn varints<T>(
        mut self,
        slots: &mut [T],
        what: &'static str,
        mut convert: impl FnMut(u64) -> Option<T>,
    ) -> Result<(), FormatError> {
        // A position of its own stays in a register.
        let mut at = self.at;
        for slot in slots {
            let value = match self.bytes.get(at) {
                Some(byte) if *byte < 0x80 => {
                    at += 1;
                    u64::from(*byte)
                }
                _ => {
                    self.at = at;
                    let value = self.varint_of_many_bytes(what)?;
                    at = self.at;
                    value
                }
            };
            let Some(converted) = convert(value) else {
                self.at = at;
                return Err(self.invalid("a number is too large"));
            };
            *slot = converted;
        }
        self.at = at;
        self.expect_end()
    }

    fn varint_of_many_bytes(&mut self, what: &'static str) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return if shift == 63 && byte > 1 { Err(self.invalid("a number is too large")) } else { Ok(value) };
            }
        }
        Err(self.invalid("a number is too large"))
    }

    #[inline]
    pub(crate) fn varint_u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        u32::try_from(self.varint(what)?).map_err(|_| self.invalid("a number is too large"))
    }

    /// A number of things that take at least one byte each: more than there are bytes is damage, and never allocated.
    pub(crate) fn length(&mut self, what: &'static str) -> Result<usize, FormatError> {
        let length = self.varint(what)?;
        if length > self.remaining() as u64 {
            return Err(self.truncated(what));
        }
        Ok(length as usize)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small numbers of either sign become small numbers.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
