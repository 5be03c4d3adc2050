//! Where something stands in the query's text.

use std::fmt;

/// A stretch of the query: byte offsets, and line and column of its beginning as people count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
    /// Line of the first byte, from 1; 0 when the query has no text at all.
    pub line: u32,
    /// Column of the first byte, from 1, in bytes.
    pub column: u32,
}

impl Span {
    /// From the beginning of `self` to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span { end: last.end, ..self }
    }
}

impl fmt::Display for Span {
    /// `line:column`, as Prometheus writes positions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str("unknown position");
        }
        write!(f, "{}:{}", self.line, self.column)
    }
}
