//! Makes the cluster what the planner wants: copies where they belong, an even spread of them and of leaderships.
//!
//! One node does it, the one that leads the meta group. Each round asks every node for a [`report`], makes of them what the
//! planner reads ([`survey`]), brings splits further ([`split`]), tells the meta group what the shard groups' memberships
//! really are ([`intent`]), has
//! groups part with copies that are damaged ([`repair`]), and carries out the planner's next steps ([`steps`]). Nothing is
//! remembered but since when nodes answer and what was measured: what is half-done shows in the placement and in the
//! memberships, so the next leader goes on after any crash.

pub mod intent;
mod rate;
mod repair;
pub mod report;
pub mod split;
mod steps;
pub mod survey;

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_placement::{Plan, Policy, plan};
use bellwether_probe::buggify;
use bellwether_proto::peer::v1::{ReportAnswer, ReportRequest};
use futures::future::{BoxFuture, join_all};
use futures::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::env::Seed;
use crate::meta::{Meta, MetaState};
use crate::peers::Peers;
use crate::routing::Router;
use intent::Touched;
use report::Reporter;
use survey::Seen;

/// Pause between two rounds.
const TICK: Duration = Duration::from_secs(1);
/// Groups whose members change at the same time.
const CHANGES_AT_ONCE: usize = 32;
/// How late the simulation has the mover act.
const LATE: Duration = Duration::from_secs(4);
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
    /// Where the incarnations of groups that are split off come from.
    pub seed: Seed,
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
                let group = self.meta.group().state();
                if group.is_leader {
                    // What this node asks in this round is asked for this term.
                    self.round(group.term, &mut seen).await;
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

    async fn round(&self, mover_epoch: u64, seen: &mut Seen) {
        // By a state that contains all that was done before this node led.
        if !matches!(timeout(REPORT_WAIT, self.meta.group().ready()).await, Ok(Ok(()))) {
            return;
        }
        let state = self.meta.now();
        let reports = self.reports(&state).await;
        let mut survey = seen.survey(mover_epoch, &state, reports);
        if self.settle_splits(&state, &survey).await {
            // The map has changed: the next round plans by the new one.
            return;
        }
        let Touched { mut all, failed } = self.settle_intent(&survey).await;
        all.extend(self.part_with_damaged(&survey, &all).await);
        // What has changed, or should have, is planned for in the next round, by what it is then.
        (survey.inventory.unsettled, survey.inventory.stuck) = (all, failed);
        let survey = Arc::new(survey);
        let (surveyed, policy) = (survey.clone(), policy(&state));
        let planning = move || plan(&surveyed.placement, &surveyed.inventory, &policy);
        // With many groups it takes a while.
        let Ok(Plan { moves, held }) = self.router.shards().executor().run(planning).await else { return };
        for reason in held {
            tracing::debug!(reason, "not moved");
        }
        if buggify("a mover acts late") {
            sleep(LATE).await;
        }
        self.carry_out(&survey, moves).await;
    }

    /// Asks every node that is not removed; those that do not answer are missing.
    async fn reports(&self, state: &MetaState) -> Vec<(NodeId, ReportAnswer)> {
        let nodes: Vec<NodeId> = state.present_nodes().map(|(node, _)| node).collect();
        let reports = join_all(nodes.into_iter().map(|node| async move {
            if node == self.meta.node() {
                return Some((node, timeout(REPORT_WAIT, self.reporter.report()).await.ok()?));
            }
            let asked = self.peers.client(node).ok()?.report(ReportRequest::default(), REPORT_WAIT).await;
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

/// What comes of changes of several groups, in the order of the changes. So many at a time.
async fn at_once<T>(changes: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(changes).buffered(CHANGES_AT_ONCE).collect().await
}

/// What the planner is to keep to: what an operator chose.
pub fn policy(state: &MetaState) -> Policy {
    state.settings.policy()
}
