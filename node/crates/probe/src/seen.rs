//! What the simulation judges beside answers and states.

/// Something that was done, and might be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A node proposes what came of an evaluation of a rule group.
    Evaluated {
        /// Its number.
        node: u64,
        /// Of which rule group.
        rule_group: String,
        /// The epoch of the ring by which that is the node's to do.
        epoch: u64,
        /// For what time.
        at: i64,
    },
    /// An alert group takes what came of an evaluation: on each of its replicas, and again where its log is applied again.
    Taken {
        /// The entry of its log.
        entry: u64,
        /// The epoch of the ring at that entry.
        ring: u64,
        /// Of which rule group.
        rule_group: String,
        /// The epoch of the ring by which it was evaluated.
        epoch: u64,
        /// For what time.
        at: i64,
    },
}
