//! Refuses samples that not enough disks have room for. A leader whose own disk is nearly full takes none, and neither does
//! one whose quorum needs a voter on such a node: that voter takes no entries any more, so they would never be
//! acknowledged. Who sends is told at once, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_probe::reached;
use bellwether_raft::{NodeId, RaftGroup};
use parking_lot::RwLock;

use super::remote::Remote;

/// Why a group takes no samples now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDisk {
    /// This node's disk, in the words of whoever watches it.
    #[error("{0}")]
    Here(Arc<str>),
    /// Others' disks.
    #[error(
        "the disks of {} are nearly full, and without them there is no quorum to store it; reads go on, and writes once \
         there is room",
        names(.0)
    )]
    Quorum(BTreeSet<NodeId>),
}

/// Whether this node's disk has room, as whoever watches it says, and whether the others' have.
pub struct DiskRoom {
    own: RwLock<Option<Arc<str>>>,
    remote: Arc<dyn Remote>,
}

impl DiskRoom {
    /// There is room until somebody says otherwise.
    pub fn new(remote: Arc<dyn Remote>) -> DiskRoom {
        DiskRoom { own: RwLock::default(), remote }
    }

    /// Says why this node's disk has no room, or that it has. Returns whether that is a change.
    pub fn set(&self, reason: Option<&str>) -> bool {
        let mut own = self.own.write();
        let changed = own.is_some() != reason.is_some();
        *own = reason.map(Arc::from);
        changed
    }

    /// Why this node's disk has no room, if it has none.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.own.read().clone()
    }

    /// Whether this node's disk has no room.
    pub fn is_full(&self) -> bool {
        self.own.read().is_some()
    }

    /// An error while a group that is led here could not store samples.
    pub fn check(&self, group: &RaftGroup) -> Result<(), NoDisk> {
        if let Some(reason) = self.reason() {
            return Err(NoDisk::Here(reason));
        }
        let full = self.remote.full_nodes();
        if full.is_empty() {
            return Ok(());
        }
        let voters: Vec<NodeId> = group.state().voters.into_values().collect();
        let lacking: BTreeSet<NodeId> = voters.iter().copied().filter(|node| full.contains(node)).collect();
        if (voters.len() - lacking.len()) * 2 > voters.len() {
            return Ok(());
        }
        reached("samples were refused while a quorum's disks were full");
        Err(NoDisk::Quorum(lacking))
    }
}

/// `node 1`, or `nodes 1, 2`.
fn names(nodes: &BTreeSet<NodeId>) -> String {
    let list = nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    format!("{} {list}", if nodes.len() == 1 { "node" } else { "nodes" })
}
