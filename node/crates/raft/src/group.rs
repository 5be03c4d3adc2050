//! One replica of a group on this node: proposing, messages. Flushes, reads, changes of membership and
//! hand-overs of leadership are in files of their own.

mod backlogs;
mod election;
mod flush;
mod leadership;
mod membership;
mod needed;
mod quorum;
mod reads;
mod salvage;
mod staleness;
mod state;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bellwether_probe::reached;
use bytes::Bytes;
use futures::FutureExt;
use openraft::ServerState;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader};
use openraft::raft::{AppendEntriesResponse, ClientWriteResult};
use openraft_rt::WatchReceiver;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::adapter::{Adapter, Durable, SnapshotData};
use crate::admission::{self, Budget};
use crate::errors::{AddressError, ProposeError, ReadError, StorageTrouble};
use crate::group_log::GroupLog;
use crate::limits;
use crate::node::{Groups, Shared};
use crate::read_rounds::ReadRounds;
use crate::state_machine::{Checkpoint, StateMachine};
use crate::types::{Command, GroupId, LeaderHint, Member, NodeId, ReplicaId, Reply, Snapshot, Types};
use crate::wire::{Answer, Backlog, InstallHeader, Message};

pub(crate) use self::backlogs::Backlogs;
use self::needed::Needed;
use self::quorum::Quorum;
pub(crate) use self::quorum::QuorumHeard;
use self::staleness::{Heard, LeaderWord};

pub use membership::Members;
pub use salvage::sole_membership;
pub use state::{GroupState, Leadership, ReplicaProgress};

pub(crate) type Raft = openraft::Raft<Types, Adapter>;

/// A replica of a group that runs on this node. Clones are handles to the same replica.
#[derive(Clone)]
pub struct RaftGroup(Arc<Inner>);

struct Inner {
    group: GroupId,
    replica: ReplicaId,
    start: u64,
    raft: Raft,
    log: Arc<GroupLog>,
    machine: Arc<dyn StateMachine>,
    durable: Durable,
    budget: Budget,
    shared: Arc<Shared>,
    /// Where this replica is listed, to be struck off at shutdown.
    groups: Weak<Groups>,
    /// Closed when openraft's last task has ended.
    running: watch::Sender<()>,
    reads: ReadRounds,
    quorum: Quorum,
    backlogs: Arc<Backlogs>,
    heard: Heard,
    needed: Needed,
    /// One flush at a time.
    flushing: tokio::sync::Mutex<()>,
    /// Whether an election is being held because the leader's node was lost.
    electing: AtomicBool,
}

impl RaftGroup {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a replica, each made by its own hand, put together once"
    )]
    pub(crate) fn new(
        raft: Raft,
        log: Arc<GroupLog>,
        machine: Arc<dyn StateMachine>,
        durable: Durable,
        shared: Arc<Shared>,
        groups: Weak<Groups>,
        running: watch::Sender<()>,
        heard_by: Arc<QuorumHeard>,
        backlogs: Arc<Backlogs>,
    ) -> Self {
        let id = log.id();
        let budget = Budget::new("group", shared.options.group_in_flight_bytes);
        Self(Arc::new(Inner {
            group: id.group,
            replica: id.replica,
            start: shared.starts.fetch_add(1, Ordering::Relaxed),
            raft,
            log,
            machine,
            durable,
            budget,
            shared,
            groups,
            running,
            reads: ReadRounds::default(),
            quorum: Quorum::new(heard_by),
            backlogs,
            heard: Heard::default(),
            needed: Needed::default(),
            flushing: tokio::sync::Mutex::new(()),
            electing: AtomicBool::new(false),
        }))
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.0.group
    }

    /// This replica of it.
    pub fn replica(&self) -> ReplicaId {
        self.0.replica
    }

    /// Which of the node's starts of replicas this is, to tell a replica from the same one before it stopped.
    pub fn start(&self) -> u64 {
        self.0.start
    }

    /// Replicates a payload and returns the state machine's reply. Returns after a quorum has it on disk and this
    /// replica has applied it. Cancelling the call does not take the payload back.
    pub async fn propose(&self, payload: Bytes) -> Result<Bytes, ProposeError> {
        let this = &*self.0;
        let shared = &*this.shared;
        let limit = shared.options.entry_bytes_max;
        if payload.len() > limit {
            return Err(ProposeError::TooLarge { bytes: payload.len(), limit });
        }
        let mut trouble = shared.writer.trouble();
        if let Some(trouble) = trouble.borrow_and_update().clone() {
            shared.metrics.refused_storage.inc();
            return Err(ProposeError::StorageUnavailable { trouble, in_flight: false });
        }
        let mut quorum_lost = this.quorum.is_lost();
        let no_quorum = |in_flight| {
            shared.metrics.refused_quorum.inc();
            reached("a leader without a quorum refused a proposal");
            Err(ProposeError::NoQuorum { group: this.group, in_flight })
        };
        if *quorum_lost.borrow_and_update() {
            return no_quorum(false);
        }
        let wait = shared.options.admission_wait;
        let in_flight = &shared.metrics.in_flight_bytes;
        let admitted = admission::admit(&this.budget, &shared.budget, payload.len(), wait, in_flight)
            .await
            .inspect_err(|_| shared.metrics.refused_overload.inc())?;
        shared.metrics.proposals.inc();
        let (reply, answer) = Reply::new(admitted);
        if let Err(fatal) = this.raft.client_write_ff(Command(payload), Some(reply)).await {
            return Err(this.stopped_proposing(fatal));
        }
        tokio::select! {
            biased;
            result = answer => match result {
                Ok(result) => this.proposed(result),
                // Dropped without an answer: the group stopped.
                Err(_) => Err(this.stopped_proposing(this.failure())),
            },
            trouble = lasting_trouble(&mut trouble) => {
                shared.metrics.refused_storage.inc();
                Err(ProposeError::StorageUnavailable { trouble, in_flight: true })
            }
            // The group holds the other end.
            Ok(_) = quorum_lost.wait_for(|is_lost| *is_lost) => no_quorum(true),
        }
    }

    pub(crate) fn log(&self) -> &GroupLog {
        &self.0.log
    }

    /// Bytes of flushed log that are kept for other replicas.
    pub fn kept_log_bytes(&self) -> u64 {
        self.0.log.kept_bytes()
    }

    /// Waits until the group has a leader and this replica has applied all that was committed when it was elected: after
    /// a start, until the log is applied again.
    pub async fn ready(&self) -> Result<(), ReadError> {
        let this = &*self.0;
        let mut metrics = this.raft.metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                if let Err(fatal) = &now.running_state {
                    return Err(ReadError::Stopped { group: this.group, reason: fatal.to_string() });
                }
                let caught_up = now.last_applied.as_ref().is_some_and(|applied| {
                    // An entry of the current term is applied, so everything before that term is.
                    applied.leader_id.term == now.current_term && now.last_applied >= now.local_committed
                });
                if now.current_leader.is_some() && caught_up {
                    return Ok(());
                }
            }
            if metrics.changed().await.is_err() {
                return Err(ReadError::Stopped { group: this.group, reason: this.failure() });
            }
        }
    }

    /// Bytes of log that would be applied again after a restart.
    pub fn unflushed_log_bytes(&self) -> u64 {
        self.0.log.unflushed_bytes()
    }

    /// Whether nobody else votes, so that nobody else is needed for the log to be applied. Asks openraft itself:
    /// [`state`](Self::state) may not show the membership yet just after a start.
    pub async fn votes_alone(&self) -> bool {
        self.sole_voter().await.unwrap_or(false)
    }

    /// Stops this replica, after what it has queued is written. It can be started again.
    pub async fn shutdown(&self) {
        let this = &*self.0;
        // Not for ever: openraft does not look up while it waits for a full disk to take a vote.
        // On a task of its own: whoever waits for openraft's end and gives up leaves it where every later call panics.
        let raft = this.raft.clone();
        let mut ended = tokio::spawn(async move { raft.shutdown().await });
        match timeout(limits::STORAGE_WAIT, &mut ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(group = this.group.0, %error, "a group ended badly"),
            Ok(Err(error)) => tracing::warn!(group = this.group.0, %error, "a group ended badly"),
            Err(_) => tracing::warn!(group = this.group.0, "a group did not end: the disk takes nothing"),
        }
        // Its tasks end one after the other, and hold the log until then.
        drop(timeout(limits::STORAGE_WAIT, this.running.closed()).await);
        // Not for ever: a full disk takes nothing. This replica can be started again once the disk has taken it.
        let this = self.0.clone();
        let mut settled = tokio::spawn(async move {
            this.shared.writer.settle().await;
            if let Some(groups) = this.groups.upgrade() {
                groups.remove(this.log.id());
            }
        });
        drop(timeout(limits::STORAGE_WAIT, &mut settled).await);
    }

    /// Shows the others that this replica leads, if it does, and takes note of whether they have heard it.
    pub(crate) fn beat(&self) {
        self.watch_quorum();
        let raft = &self.0.raft;
        if raft.metrics().borrow_watched().state == ServerState::Leader {
            // One look is enough to queue it. A group whose queue is full has worse troubles than a missed beat.
            tokio::task::unconstrained(raft.trigger().heartbeat()).now_or_never();
        }
    }

    /// Nothing is written for this replica any more.
    pub(crate) fn refuse_writes(&self, reason: &str) {
        self.0.log.fail(reason);
    }

    pub(crate) async fn handle(&self, message: Bytes) -> Result<Bytes, AddressError> {
        let this = &*self.0;
        let answer = match Message::decode(message).map_err(|error| this.damaged(&error))? {
            Message::Append(request, age) => {
                let word = LeaderWord::of(&request, age);
                let answer = this.answered(this.raft.append_entries(request).await)?;
                if let Some(word) = word.filter(|_| !matches!(answer, AppendEntriesResponse::HigherVote(_))) {
                    this.heard.note(word, this.applied_index());
                    this.needed.led();
                }
                Answer::Append(answer, Backlog::of(this.log.bytes_lacking(this.log.next_to_apply())))
            }
            Message::Vote(request) => Answer::Vote(this.answered(this.raft.vote(request).await)?),
            Message::PreVote(request) => {
                let last = request.last_log_id;
                let answer = this.answered(this.raft.pre_vote(request).await)?;
                if !answer.vote_granted && last < answer.last_log_id {
                    this.needed.refused();
                }
                Answer::Vote(answer)
            }
            Message::TransferLeader(request) => Answer::TransferLeader(
                this.answered(this.raft.handle_transfer_leader(self.handed_over(request)).await)?,
            ),
        };
        Ok(answer.encode())
    }

    pub(crate) async fn install(&self, header: Bytes, checkpoint: Checkpoint) -> Result<Bytes, AddressError> {
        let this = &*self.0;
        let InstallHeader { vote, meta } = InstallHeader::decode(header).map_err(|error| this.damaged(&error))?;
        let committed = this.raft.metrics().borrow_watched().local_committed;
        if let (Some(committed), Some(last)) = (committed, meta.last_log_id)
            && last > committed
            && last.index <= committed.index
        {
            return Err(this.damaged(&format_args!("it ends at {last}, this replica has committed {committed}")));
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(checkpoint) };
        let answer = this.answered(this.raft.install_full_snapshot(vote, snapshot).await)?;
        Ok(Answer::Install(answer).encode())
    }

    /// Makes this replica the leader at once if nobody else votes.
    pub(crate) async fn elect_sole_voter(&self) -> Result<(), Fatal<Types>> {
        if self.sole_voter().await? {
            self.0.raft.trigger().elect(false).await?;
        }
        Ok(())
    }

    async fn sole_voter(&self) -> Result<bool, Fatal<Types>> {
        let this = &*self.0;
        let own = this.replica.0;
        this.raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([own])).await
    }

    pub(crate) async fn found(&self, members: BTreeMap<ReplicaId, NodeId>) -> Result<(), String> {
        let members: BTreeMap<u64, Member> =
            members.into_iter().map(|(replica, node)| (replica.0, Member { node })).collect();
        self.0.raft.initialize(members).await.map_err(|error| error.to_string())
    }
}

/// Waits until the log store has had trouble for as long as a caller should wait.
async fn lasting_trouble(trouble: &mut watch::Receiver<Option<StorageTrouble>>) -> StorageTrouble {
    loop {
        // Cloned at once: the guard must not be held while this waits.
        let found = trouble.wait_for(Option::is_some).await.map(|found| found.clone());
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            // The writer is gone: whoever waits for an answer learns it otherwise.
            Err(_) => return std::future::pending().await,
        };
        if timeout(limits::STORAGE_WAIT, trouble.wait_for(Option::is_none)).await.is_err() {
            return found;
        }
    }
}

fn hint(forward: &ForwardToLeader<Types>) -> Option<LeaderHint> {
    let (replica, member) = (forward.leader_id?, forward.leader_node?);
    Some(LeaderHint { replica: ReplicaId(replica), node: member.node })
}

impl Inner {
    /// Why the group stopped.
    fn failure(&self) -> String {
        match (&self.raft.metrics().borrow_watched().running_state, self.log.failure()) {
            (_, Some(reason)) => reason,
            (Err(fatal), None) => fatal.to_string(),
            (Ok(()), None) => "it was shut down".to_owned(),
        }
    }

    fn stopped_proposing(&self, reason: impl Display) -> ProposeError {
        ProposeError::Stopped { group: self.group, reason: reason.to_string() }
    }

    fn proposed(&self, result: ClientWriteResult<Types>) -> Result<Bytes, ProposeError> {
        match result {
            Ok(response) => Ok(response.data),
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(ProposeError::NotLeader { hint: hint(&forward) }),
            Err(ClientWriteError::LogEntryDiscarded(forward)) => {
                reached("a proposal was overwritten by another leader");
                Err(ProposeError::Unknown { hint: hint(&forward) })
            }
            // Only changes of membership meet these.
            Err(error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_))) => {
                Err(self.stopped_proposing(error))
            }
        }
    }

    fn answered<T>(&self, result: Result<T, impl Display>) -> Result<T, AddressError> {
        result.map_err(|fatal| AddressError::Stopped { group: self.group, reason: fatal.to_string() })
    }

    fn damaged(&self, error: &impl Display) -> AddressError {
        AddressError::Damaged { group: self.group, reason: error.to_string() }
    }
}
