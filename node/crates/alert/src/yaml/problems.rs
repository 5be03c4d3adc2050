//! What is wrong with a file, and where.

use std::fmt;

use super::{Node, Place};
use crate::limits::PROBLEMS_MAX;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `line:column: message`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for Problem {}

/// All that is wrong with one file, as far as it is told.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
    /// What stands before each message: of which part of the file it speaks.
    context: String,
}

impl Problems {
    /// Tells one.
    pub fn add(&mut self, place: Place, message: impl fmt::Display) {
        if self.list.len() < PROBLEMS_MAX {
            let message = format!("{}{message}", self.context);
            self.list.push(Problem { place, message });
        } else {
            self.more += 1;
        }
    }

    /// Tells one whose place is that of a byte of a scalar's value. Places are looked for in the whole file, so what is not told
    /// is not looked for.
    pub fn add_within(&mut self, file: &str, node: &Node, offset: usize, message: impl fmt::Display) {
        let place = if self.list.len() < PROBLEMS_MAX { node.place_within(file, offset) } else { node.place };
        self.add(place, message);
    }

    /// What stands before all messages from here on.
    pub fn set_context(&mut self, context: String) {
        self.context = context;
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `value`, or what is wrong with it, in the order of the file.
    pub fn into_result<T>(mut self, value: T) -> Result<T, Vec<Problem>> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.list.sort_by_key(|problem| problem.place);
        if self.more > 0 {
            let place = self.list.last().map_or(Place::START, |problem| problem.place);
            self.list.push(Problem { place, message: format!("{} more problems are not told", self.more) });
        }
        Err(self.list)
    }
}
