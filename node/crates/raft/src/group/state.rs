//! What a replica knows of its group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::{Instant, ServerState};
use openraft_rt::WatchReceiver;

use super::RaftGroup;
use crate::types::{self, LeaderHint, LogPosition, NodeId, ReplicaId};

/// What a replica knows of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// Who leads, if known.
    pub leader: Option<LeaderHint>,
    /// Whether this replica leads.
    pub is_leader: bool,
    /// The current term.
    pub term: u64,
    /// Index of the last entry of this replica's log.
    pub last: Option<u64>,
    /// The last entry that this replica knows to be committed.
    pub committed: Option<LogPosition>,
    /// The last entry applied here.
    pub applied: Option<LogPosition>,
    /// The last entry in the state machine's durable state.
    pub flushed: Option<LogPosition>,
    /// The last entry cut from the log.
    pub purged: Option<LogPosition>,
    /// Where the membership stands in the log: what a change must name. `None`: this replica was never added to a group.
    pub membership: Option<LogPosition>,
    /// Whether a quorum holds that membership.
    pub membership_committed: bool,
    /// Whether a change of voters is under way: then both the old and the new voters are in `voters`.
    pub is_joint: bool,
    /// The replicas that vote, and their nodes.
    pub voters: BTreeMap<ReplicaId, NodeId>,
    /// The replicas that vote once a change under way has ended; all voters where none is.
    pub next_voters: BTreeSet<ReplicaId>,
    /// The replicas that only learn, and their nodes.
    pub learners: BTreeMap<ReplicaId, NodeId>,
    /// How far the others have come. Empty where this replica does not lead.
    pub progress: BTreeMap<ReplicaId, ReplicaProgress>,
    /// Why the group stopped, if it did.
    pub failure: Option<String>,
}

/// How far a replica has come, as its leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// Index of the last entry that it is known to hold. `None`: none yet.
    pub matched: Option<u64>,
    /// Entries that it lacks.
    pub entries_behind: u64,
    /// Their bytes; [`u64::MAX`] where some of them are cut, so that it needs a checkpoint of unknown size.
    pub bytes_behind: u64,
    /// Bytes of the log that it holds and has not applied. `None`: it has not said.
    pub bytes_unapplied: Option<u64>,
    /// How long ago the message was sent that it answered last. `None`: it has answered none of this leader's.
    pub silent: Option<Duration>,
}

/// Who leads a group, as one of its replicas sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// That replica.
    Here,
    /// Another one.
    There(LeaderHint),
    /// Nobody that it knows of: an election is under way, or it has not heard from the others yet.
    Unknown,
}

impl RaftGroup {
    /// Who leads: a part of [`state`](Self::state), for those that ask for every request.
    pub fn leadership(&self) -> Leadership {
        let metrics = self.0.raft.metrics();
        let now = metrics.borrow_watched();
        if now.state == ServerState::Leader && now.running_state.is_ok() {
            return Leadership::Here;
        }
        let Some(leader) = now.current_leader.filter(|leader| *leader != self.0.replica.0) else {
            return Leadership::Unknown;
        };
        let member = now.membership_config.membership().get_node(&leader).map(|member| member.node);
        let hint = |node| Leadership::There(LeaderHint { replica: ReplicaId(leader), node });
        member.map_or(Leadership::Unknown, hint)
    }

    /// Whether other replicas get what this one proposes.
    pub fn has_others(&self) -> bool {
        self.0.raft.metrics().borrow_watched().membership_config.nodes().nth(1).is_some()
    }

    /// Whether the group has this replica, as far as it knows. One that was started and has not been brought anything is no member yet: it cannot
    /// say what the group has, nor that it has nothing.
    pub fn is_member(&self) -> bool {
        let this = &*self.0;
        this.raft.metrics().borrow_watched().membership_config.membership().get_node(&this.replica.0).is_some()
    }

    /// What this replica knows of its group.
    pub fn state(&self) -> GroupState {
        let this = &*self.0;
        let metrics = this.raft.metrics();
        let now = metrics.borrow_watched();
        let membership = now.membership_config.membership();
        let node = |replica: u64| membership.get_node(&replica).map_or(0, |member| member.node);
        let members = |replicas: Vec<u64>| {
            replicas.into_iter().map(|replica| (ReplicaId(replica), node(replica))).collect::<BTreeMap<_, _>>()
        };
        let failure = match &now.running_state {
            Ok(()) => this.log.failure(),
            Err(fatal) => Some(fatal.to_string()),
        };
        let next = now.last_log_index.map_or(0, |last| last + 1);
        let progress = now.replication.iter().flatten().filter(|(replica, _)| **replica != this.replica.0);
        let progress = progress.map(|(replica, matched)| {
            let matched = matched.as_ref().map(|matched| matched.index);
            let needed = matched.map_or(0, |matched| matched + 1);
            let answered = now.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(replica).copied().flatten());
            let progress = ReplicaProgress {
                matched,
                entries_behind: next.saturating_sub(needed),
                bytes_behind: this.log.bytes_lacking(needed),
                bytes_unapplied: this.backlogs.bytes(ReplicaId(*replica)),
                silent: answered.map(|at| at.into_inner().elapsed()),
            };
            (ReplicaId(*replica), progress)
        });
        GroupState {
            leader: now.current_leader.map(|leader| LeaderHint { replica: ReplicaId(leader), node: node(leader) }),
            is_leader: now.state == ServerState::Leader && failure.is_none(),
            term: now.current_term,
            last: now.last_log_index,
            committed: now.local_committed.as_ref().map(types::position),
            applied: now.last_applied.as_ref().map(types::position),
            flushed: now.snapshot.as_ref().map(types::position),
            purged: now.purged.as_ref().map(types::position),
            membership: now.membership_config.log_id().as_ref().map(types::position),
            membership_committed: now.membership_config.log_id() == now.committed_membership_config.log_id(),
            is_joint: membership.get_joint_config().len() > 1,
            voters: members(membership.voter_ids().collect()),
            next_voters: membership.get_joint_config().last().into_iter().flatten().copied().map(ReplicaId).collect(),
            learners: members(membership.learner_ids().collect()),
            progress: progress.collect(),
            failure,
        }
    }

    /// Waits until the state is as wanted. `false`: the group stopped before.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&GroupState) -> bool) -> bool {
        let mut metrics = self.0.raft.metrics();
        loop {
            // Seen before it is looked at: a change in between ends the wait below.
            let stopped = metrics.borrow_and_update().running_state.is_err();
            let state = self.state();
            if wanted(&state) {
                return true;
            }
            if stopped || metrics.changed().await.is_err() {
                return false;
            }
        }
    }
}
