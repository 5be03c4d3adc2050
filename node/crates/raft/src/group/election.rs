//! What a group does when it is told that a node is gone or back: nobody has to notice by waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::errors::Fatal;
use openraft::raft::TransferLeaderRequest;
use tokio::time::sleep;

use super::{Inner, Leadership, RaftGroup};
use crate::limits;
use crate::node::mix;
use crate::types::{NodeId, Types};

impl RaftGroup {
    /// Elects, if the lost node led this group and this replica may vote.
    pub(crate) fn leader_lost(&self, node: NodeId) {
        let this = &self.0;
        if !self.is_led_by(node) || this.electing.swap(true, Ordering::Relaxed) {
            return;
        }
        let group = self.clone();
        tokio::spawn(async move {
            for attempt in 0..limits::LOST_LEADER_ATTEMPTS {
                sleep(group.0.jitter(attempt)).await;
                // A group that stopped elects nobody.
                if !group.is_led_by(node) || group.0.elect_without_leader().await.is_err() {
                    break;
                }
            }
            group.0.electing.store(false, Ordering::Relaxed);
        });
    }

    /// Has this replica elected as soon as a quorum would do so, in a group that has had no leader yet and whose other
    /// replicas start at about the same time.
    pub fn elect_first(&self) {
        if self.0.electing.swap(true, Ordering::Relaxed) {
            return;
        }
        let group = self.clone();
        tokio::spawn(async move {
            for _ in 0..limits::FIRST_LEADER_ATTEMPTS {
                // A group that stopped elects nobody.
                if group.leadership() != Leadership::Unknown || group.0.elect_without_leader().await.is_err() {
                    break;
                }
                sleep(limits::FIRST_LEADER_PAUSE).await;
            }
            group.0.electing.store(false, Ordering::Relaxed);
        });
    }

    /// Sends what they lack to the replicas on a node that can be reached again, if this replica leads.
    pub(crate) fn follower_found(&self, node: NodeId) {
        let state = self.state();
        let members = state.voters.iter().chain(&state.learners);
        let found: Vec<u64> = members.filter(|(_, lives_on)| **lives_on == node).map(|(id, _)| id.0).collect();
        if !state.is_leader || found.is_empty() {
            return;
        }
        let group = self.clone();
        tokio::spawn(async move {
            // A group that stopped sends nothing.
            drop(group.0.raft.trigger().reset_backoff(found).await);
        });
    }

    /// Takes part in elections as its node does.
    pub(crate) fn apply_standing(&self) {
        let this = &*self.0;
        let abstains = this.shared.standing.read().abstains;
        let stands = !abstains || self.state().voters.keys().eq([&this.replica]) || this.needed.is_needed();
        this.raft.runtime_config().elect(stands);
    }

    /// What a hand-over to this replica means here: where its node abstains, only that the leader is gone.
    pub(crate) fn handed_over(&self, request: TransferLeaderRequest<Types>) -> TransferLeaderRequest<Types> {
        let this = &*self.0;
        if *request.to_node_id() != this.replica.0 || !this.shared.standing.read().abstains {
            return request;
        }
        let leader = request.from_leader().leader_id.node_id;
        TransferLeaderRequest::new(*request.from_leader(), leader, request.last_log_id().cloned())
    }

    fn is_led_by(&self, node: NodeId) -> bool {
        let is_led = matches!(self.leadership(), Leadership::There(leader) if leader.node == node);
        is_led && self.state().voters.contains_key(&self.0.replica)
    }
}

impl Inner {
    /// A moment of the time in which an attempt is made, different for every replica and attempt.
    pub(super) fn jitter(self: &Arc<Self>, attempt: u64) -> Duration {
        let drawn = mix(mix(self.shared.seed, attempt), mix(u64::from(self.group.0), self.replica.0));
        let micros = limits::LOST_LEADER_JITTER.as_micros() as u64;
        Duration::from_micros(drawn % micros)
    }

    /// Asks the others whether they would elect this replica, and if a quorum would, has them do so. They refuse as
    /// long as they have heard the leader lately, unless they know of the loss too. A node that abstains is only ready to
    /// elect somebody else.
    async fn elect_without_leader(&self) -> Result<(), Fatal<Types>> {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await?;
        if vote.committed {
            // Said to be the leader's own word that it hands over, which ends this replica's loyalty to it, and to
            // somebody else than this replica, which would elect without asking.
            let leader = vote.leader_id.node_id;
            let released = self.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, leader, None)).await;
            released?.ok();
        }
        if self.shared.standing.read().abstains { Ok(()) } else { self.raft.trigger().elect(true).await }
    }
}
