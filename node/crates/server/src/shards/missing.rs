//! Answers without some groups: only where that was asked for, and they say which.

use std::collections::BTreeMap;

use bellwether_model::ShardGroupId;
use parking_lot::Mutex;

use super::SelectError;

/// The groups that a query gave its answer without.
#[derive(Debug, Default)]
pub struct Missing(Mutex<BTreeMap<ShardGroupId, String>>);

impl Missing {
    /// Leaves the group out that an error is about, if it is of one that cannot be read.
    pub fn leave_out(&self, error: &SelectError) -> Option<ShardGroupId> {
        let (SelectError::Unavailable { group, .. } | SelectError::Corrupt { group, .. }) = error else { return None };
        self.0.lock().entry(*group).or_insert_with(|| error.to_string());
        Some(*group)
    }

    /// What the answer's author should know.
    pub fn warnings(&self) -> Vec<String> {
        self.0.lock().values().map(|reason| format!("the result is partial: {reason}")).collect()
    }
}
