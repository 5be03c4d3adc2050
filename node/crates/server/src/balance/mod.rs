//! Makes the cluster what the planner wants: copies where they belong, an even spread of them and of leaderships.
//!
//! One node does it, the one that leads the meta group. Each round asks every node for a [`report`], makes of them what the
//! planner reads ([`survey`]), tells the meta group what the shard groups' memberships really are ([`intent`]), and carries
//! out the planner's next steps ([`steps`]). Nothing is remembered but since when nodes answer: what is half-done shows in
//! the placement and in the memberships, so the next leader goes on after any crash.

pub mod intent;
pub mod report;
mod steps;
pub mod survey;

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_placement::{Plan, Policy, plan};
use bellwether_proto::peer::v1::{ReportAnswer, ReportRequest};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::meta::{Meta, MetaState};
use crate::peers::Peers;
use crate::routing::Router;
use report::Reporter;
use survey::Seen;

/// Pause between two rounds.
const TICK: Duration = Duration::from_secs(1);
/// How long a node may take to report.
pub const REPORT_WAIT: Duration = Duration::from_secs(2);

/// What the rounds need of their node.
pub struct Mover {
    /// The cluster's state.
    pub meta: Meta,
    /// The way to the groups' leaders.
    pub router: Arc<Router>,
    /// The way to the nodes.
    pub peers: Peers,
    /// What this node reports of itself.
    pub reporter: Reporter,
}

impl Mover {
    /// Works while this node leads the meta group, until `stop` is true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let work = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut seen = Seen::default();
            loop {
                ticks.tick().await;
                if self.meta.is_leader() {
                    self.round(&mut seen).await;
                } else {
                    seen = Seen::default();
                }
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = work => {}
        }
    }

    async fn round(&self, seen: &mut Seen) {
        let state = self.meta.now();
        // A single node with its own copies has nothing to move and nobody to ask.
        if state.present_nodes().count() == 1 && state.placement.groups().iter().all(|group| group.replicas.len() == 1)
        {
            return;
        }
        let reports = self.reports(&state).await;
        let survey = seen.survey(&state, reports);
        if !self.settle_intent(&survey).await {
            // The map has changed: the next round plans by the new one.
            return;
        }
        let Plan { moves, held } = plan(&survey.placement, &survey.inventory, &policy(&state));
        for reason in held {
            tracing::debug!(reason, "not moved");
        }
        self.carry_out(&survey, moves).await;
    }

    /// Asks every node that is not removed; those that do not answer are missing.
    async fn reports(&self, state: &MetaState) -> Vec<(NodeId, ReportAnswer)> {
        let nodes: Vec<NodeId> = state.present_nodes().map(|(node, _)| node).collect();
        let reports = join_all(nodes.into_iter().map(|node| async move {
            if node == self.meta.node() {
                return Some((node, self.reporter.report().await));
            }
            let asked = self.peers.client(node).ok()?.report(ReportRequest {}, REPORT_WAIT).await;
            match asked {
                Ok(answer) => Some((node, answer)),
                Err(error) => {
                    tracing::debug!(%node, %error, "a node does not report");
                    None
                }
            }
        }));
        reports.await.into_iter().flatten().collect()
    }
}

/// What the planner is to keep to: what an operator chose. Ranges are not cut until shard groups can be.
pub fn policy(state: &MetaState) -> Policy {
    Policy { split_bytes: u64::MAX, split_samples_per_second: u64::MAX, ..state.settings.policy() }
}
