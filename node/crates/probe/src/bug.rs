//! Bugs that can be planted.

/// A way in which the code can be wrong, to see whether the simulation notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The log's writer answers before its entries are synced.
    AnswerBeforeSync,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 1] = [Bug::AnswerBeforeSync];
}
