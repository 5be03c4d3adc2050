//! Which nodes evaluate rules: the leader of an alert group commits the ring of those that are there to the group itself. Its
//! epoch is the place of that entry in the log, so that what was evaluated by an older ring can be told and refused.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_alert::alert_group::Command;
use bellwether_model::NodeId;
use bellwether_placement::NodeState;
use bellwether_raft::{GroupState, ReplicaId};
use tokio::time::{Instant, MissedTickBehavior};

use super::WeakAlertGroup;
use crate::meta::MetaState;

/// How often the leader looks.
const TICK: Duration = Duration::from_secs(1);
/// Silence after which a node evaluates nothing any more.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Keeps the ring for as long as there is a handle to the group.
pub(super) async fn keep_ring(group: WeakAlertGroup) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leads_since: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let Some(group) = group.get() else { return };
        if !group.leads() {
            leads_since = None;
            continue;
        }
        let since = *leads_since.get_or_insert_with(Instant::now);
        let heard_all = since.elapsed() >= SILENCE_MAX;
        let ring = group.read(|state| state.ring.nodes.clone());
        let wanted = evaluators(&group.common().cluster(), &group.common().replica().state(), &ring, heard_all);
        if wanted == ring {
            continue;
        }
        tracing::info!(group = group.common().name(), nodes = ?wanted, "other nodes evaluate its rules now");
        if let Err(error) = group.propose(Command::SetRing { nodes: wanted }).await {
            tracing::debug!(group = group.common().name(), %error, "the ring is set later");
        }
    }
}

/// The nodes that are active and heard. A new leader has not heard everybody yet: until then who is on the ring stays.
fn evaluators(cluster: &MetaState, group: &GroupState, ring: &BTreeSet<NodeId>, heard_all: bool) -> BTreeSet<NodeId> {
    let is_heard = |node: NodeId, replica: ReplicaId| {
        let silent = group.progress.get(&replica).and_then(|progress| progress.silent);
        let leads = group.leader.is_some_and(|leader| leader.node == node.0);
        leads || silent.is_some_and(|silent| silent < SILENCE_MAX) || (!heard_all && ring.contains(&node))
    };
    let active = cluster.present_nodes().filter(|(_, record)| record.state == NodeState::Active);
    active.filter(|(node, record)| is_heard(*node, ReplicaId(record.meta_replica.0))).map(|(node, _)| node).collect()
}
