//! Reads that see everything acknowledged before them, on the leader and on any other replica.

use bellwether_probe::{Bug, planted};
use openraft::ServerState;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft_rt::WatchReceiver;
use tokio::time::{Instant, timeout_at};

use super::{Inner, RaftGroup, hint};
use crate::errors::ReadError;
use crate::types::{self, LogPosition};

impl RaftGroup {
    /// The position that a read must wait for on any replica, so that it sees everything acknowledged before this call.
    /// Only the leader can tell, and only after a quorum has confirmed that it leads; concurrent calls share one
    /// confirmation.
    pub async fn read_index(&self) -> Result<LogPosition, ReadError> {
        let this = &*self.0;
        if let Some(position) = this.position_of_sole_voter() {
            return Ok(position);
        }
        if planted(Bug::StaleRead)
            && let Some(applied) = *this.log.applied().borrow()
        {
            return Ok(applied);
        }
        let (answer, must_run) = this.reads.join();
        if must_run {
            // Not within this call: it may be cancelled, and others wait for the same answer.
            let this = self.0.clone();
            tokio::spawn(async move {
                while let Some(round) = this.reads.begin() {
                    round.answer(&this.confirm_leadership().await);
                }
            });
        }
        match answer.await {
            Ok(answer) => answer,
            // The runtime is going away.
            Err(_) => Err(this.read_stopped()),
        }
    }

    /// Waits until this replica has applied its log up to `position`, which a leader's [`read_index`](Self::read_index)
    /// returned. A replica that the leader cannot reach gives up at `deadline`.
    pub async fn wait_applied(&self, position: LogPosition, deadline: Instant) -> Result<(), ReadError> {
        timeout_at(deadline, self.applied_upto(position)).await.unwrap_or_else(|_| {
            let applied = self.0.log.applied().borrow().map(|applied| applied.index);
            Err(ReadError::Behind { group: self.0.group, wanted: position.index, applied })
        })
    }

    /// Returns once everything that was acknowledged before the call is applied here, so that a read of the state
    /// machine sees it. Only the leader can tell.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        let position = self.read_index().await?;
        self.applied_upto(position).await
    }

    async fn applied_upto(&self, position: LogPosition) -> Result<(), ReadError> {
        let this = &*self.0;
        let mut applied = this.log.applied();
        let wanted = |applied: &Option<LogPosition>| applied.is_some_and(|applied| applied.index >= position.index);
        tokio::select! {
            biased;
            reached = applied.wait_for(wanted) => reached.map(drop).map_err(|_| this.read_stopped()),
            () = this.running.closed() => Err(this.read_stopped()),
        }
    }
}

impl Inner {
    fn read_stopped(&self) -> ReadError {
        ReadError::Stopped { group: self.group, reason: self.failure() }
    }

    /// Asks a quorum whether this replica leads.
    async fn confirm_leadership(&self) -> Result<LogPosition, ReadError> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((position, _)) => Ok(types::position(position.log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader { hint: hint(&forward) })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum(self.group)),
            Err(RaftError::Fatal(fatal)) => Err(ReadError::Stopped { group: self.group, reason: fatal.to_string() }),
        }
    }

    /// A sole voter needs nobody's word that it still leads, and acknowledges nothing before it is applied: as soon as
    /// an entry of its own term is applied, what is applied here contains everything acknowledged.
    fn position_of_sole_voter(&self) -> Option<LogPosition> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let current = now.state == ServerState::Leader
            && now.running_state.is_ok()
            && now.membership_config.voter_ids().eq([self.replica.0])
            && now.last_applied.as_ref().is_some_and(|applied| {
                applied.leader_id.term == now.current_term && applied.leader_id.node_id == self.replica.0
            });
        // The metrics tell of an entry later than its proposer is told: the log's own word is exact.
        if current { *self.log.applied().borrow() } else { None }
    }
}
