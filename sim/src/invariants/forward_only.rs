//! Nothing that a replica promised goes back: its stored vote never falls, whatever process it runs in, and what it knows to be
//! committed and has applied never falls until it is started again.

use std::collections::BTreeMap;

use bellwether_raft::StoredVote;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct ForwardOnly {
    /// By node, group and replica.
    votes: BTreeMap<(u64, u32, u64), StoredVote>,
    /// By machine, process, group and start of its replica.
    reached: BTreeMap<(usize, u64, u32, u64), Reached>,
}

/// The indexes of what is committed and of what is applied.
type Reached = (Option<u64>, Option<u64>);

impl Watcher for ForwardOnly {
    fn name(&self) -> &'static str {
        "replicas only go forward"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for seen in &node.groups {
                let (group, replica) = (seen.group, seen.replica);
                let known = self.votes.get(&(node.node, group, replica));
                if seen.log.vote.as_ref() < known {
                    return Err(format!(
                        "group {group}: node {} has the vote {:?} after {known:?}",
                        node.number, seen.log.vote
                    ));
                }
                if let Some(vote) = seen.log.vote {
                    self.votes.insert((node.node, group, replica), vote);
                }
                let now: Reached = (seen.committed.map(|at| at.index), seen.applied.map(|at| at.index));
                let before = self.reached.insert((node.number, node.boot, group, seen.start), now).unwrap_or_default();
                if now.0 < before.0 || now.1 < before.1 {
                    return Err(format!(
                        "group {group}: node {} has committed and applied {now:?} after {before:?}",
                        node.number
                    ));
                }
            }
        }
        Ok(())
    }
}
