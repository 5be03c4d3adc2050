//! What the other replicas hold of the log and have yet to apply, as they say with every answer: one that becomes the leader
//! answers nobody before it has applied all that.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::types::ReplicaId;
use crate::wire::Backlog;

/// By replica; as of its last answer to an append of this one.
#[derive(Default)]
pub(crate) struct Backlogs(Mutex<BTreeMap<ReplicaId, Backlog>>);

impl Backlogs {
    pub fn note(&self, replica: ReplicaId, backlog: Backlog) {
        self.0.lock().insert(replica, backlog);
    }

    /// Bytes; `None` where it has not answered.
    pub fn bytes(&self, replica: ReplicaId) -> Option<u64> {
        self.0.lock().get(&replica).map(|backlog| backlog.bytes())
    }

    /// This replica does not lead.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}
