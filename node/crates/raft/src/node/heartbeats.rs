//! One beat for all groups of a node: what they send each other at the same moment travels together. Each group beating
//! for itself, as openraft would have it, makes as many small packets as there are groups.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{NodeInner, RaftNode};

/// Beats until the node is gone.
pub(super) async fn beat(node: Weak<NodeInner>, period: Duration) {
    let mut beats = interval_at(Instant::now() + period, period);
    // After a stall one beat says all that the missed ones would have.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let Some(node) = node.upgrade() else { return };
        for group in RaftNode(node).groups() {
            group.beat();
        }
    }
}
