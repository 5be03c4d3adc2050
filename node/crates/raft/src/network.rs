//! How replicas of a group reach each other: the transport that the node gives, and what openraft sees of it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Either};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::RaftNetworkV2;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::adapter::SnapshotData;
use crate::group::{Backlogs, QuorumHeard};
use crate::group_log::GroupLog;
use crate::limits;
use crate::pins::Pins;
use crate::pipeline::Pipeline;
use crate::state_machine::Checkpoint;
use crate::types::{GroupId, Member, NodeId, ReplicaId, Snapshot, Types, Vote};
use crate::wire::{self, Answer, InstallHeader, Message};

/// A replica of a group, and where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its node.
    pub node: NodeId,
}

/// Carries messages between nodes. What is sent may be lost, late or sent twice; it must not be changed.
///
/// A future may be dropped before it is done: nobody waits for the answer any more. Every call ends by its deadline, and
/// before it where the way to the peer breaks.
pub trait Transport: Send + Sync + 'static {
    /// Brings `message` to [`RaftNode::handle`](crate::RaftNode::handle) on the peer's node, and its answer back.
    ///
    /// Many calls are under way at a time, to one replica too. Messages to one node must be handed over there in the
    /// order in which this was called (the call itself queues the message, before its future is polled); answers may
    /// come in any order. Disorder does no harm but costs time: a replica refuses what it cannot append yet. Bytes on
    /// their way to one replica of a group are bounded by [`limits::APPEND_BYTES_ON_THE_WAY`], to all of one node by
    /// [`limits::PEER_APPEND_BYTES_ON_THE_WAY`] and one message each.
    ///
    /// Messages that wait for the same node are best sent together: most of them are small, see [`is_heartbeat`].
    fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// Brings a checkpoint's files and `header` to [`RaftNode::install`](crate::RaftNode::install) on the peer's node,
    /// and its answer back. Removes the checkpoint's directory on this side in any case. Takes as long as it moves, for
    /// nobody knows how large a copy is; gives up where nothing moves any more: the next checkpoint is not made before
    /// this one has ended.
    fn send_checkpoint(
        &self,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// A message did not arrive, or its answer did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The peer cannot be reached now: worth a pause before the next attempt.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("no answer by the deadline")]
    Deadline,
}

/// Whether a message carries no entries: a sign of life, or how far the log is committed. A transport may let those of
/// many groups wait for each other a little, though reads and followers wait with them; it must not drop or reorder
/// them.
pub fn is_heartbeat(message: &[u8]) -> bool {
    wire::is_empty_append(message)
}

/// What is on its way from a node to others, of all groups.
pub(crate) struct Outgoing {
    windows: Mutex<BTreeMap<NodeId, Window>>,
    /// One permit per checkpoint.
    checkpoints: Semaphore,
}

/// Bytes of appends on their way to one node, of all groups: one that catches up must not take the room of the others.
pub(crate) type Window = Arc<AtomicUsize>;

impl Default for Outgoing {
    fn default() -> Self {
        Self { windows: Mutex::default(), checkpoints: Semaphore::new(limits::CHECKPOINTS_AT_ONCE) }
    }
}

impl Outgoing {
    fn window(&self, node: NodeId) -> Window {
        let mut windows = self.windows.lock();
        // Nobody sends to the others any more.
        windows.retain(|_, window| Arc::strong_count(window) > 1);
        windows.entry(node).or_default().clone()
    }
}

/// Makes a group's connections.
pub(crate) struct Network {
    pub log: Arc<GroupLog>,
    pub transport: Arc<dyn Transport>,
    pub heartbeat: Duration,
    pub commit_notice_delay: Duration,
    pub outgoing: Arc<Outgoing>,
    /// What this replica's messages say of how fresh they are.
    pub quorum: Arc<QuorumHeard>,
    /// What the others' answers say.
    pub backlogs: Arc<Backlogs>,
}

impl Network {
    fn connection(&self, target: u64, member: &Member, append_deadline: Duration) -> Connection {
        let id = self.log.id();
        Connection {
            from: id.replica,
            peer: Peer { group: id.group, replica: ReplicaId(target), node: member.node },
            transport: self.transport.clone(),
            append_deadline,
            outgoing: self.outgoing.clone(),
            window: self.outgoing.window(member.node),
            pins: self.log.pins().clone(),
            appended: self.log.appended(),
            commit_notice_delay: self.commit_notice_delay,
            quorum: self.quorum.clone(),
            backlogs: self.backlogs.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, member: &Member) -> Connection {
        self.connection(target, member, limits::APPEND_DEADLINE)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Connection {
        self.connection(target, member, self.heartbeat)
    }
}

/// openraft's way to one peer.
#[derive(Clone)]
pub(crate) struct Connection {
    from: ReplicaId,
    peer: Peer,
    transport: Arc<dyn Transport>,
    append_deadline: Duration,
    outgoing: Arc<Outgoing>,
    window: Window,
    pins: Arc<Pins>,
    appended: watch::Receiver<u64>,
    commit_notice_delay: Duration,
    quorum: Arc<QuorumHeard>,
    backlogs: Arc<Backlogs>,
}

impl Connection {
    /// Waits until the log has entries behind `index`, but no longer than a notice of what is committed may. `None` if such
    /// notices do not wait.
    pub fn more_than(&self, index: u64) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let (mut appended, longest) = (self.appended.clone(), self.commit_notice_delay);
        (longest > Duration::ZERO).then_some(async move {
            // However it ends, openraft is asked for the next request.
            let _ = timeout(longest, appended.wait_for(|last| *last > index)).await;
        })
    }

    pub fn window(&self) -> &Window {
        &self.window
    }

    /// An append as it is sent now.
    pub fn encode(&self, request: AppendEntriesRequest<Types>) -> Bytes {
        Message::Append(request, self.quorum.age()).encode()
    }

    /// Sends at once, also if the future is never polled.
    fn call(
        &self,
        action: RPCTypes,
        message: Bytes,
        deadline: Duration,
    ) -> impl Future<Output = Result<Answer, RPCError<Types>>> + Send + 'static + use<> {
        let (from, target) = (self.from.0, self.peer.replica.0);
        let answer = self.transport.call(self.peer, message, deadline);
        async move {
            let answer = answer.await.map_err(|error| rpc_error(action, from, target, deadline, error))?;
            Answer::decode(answer).map_err(|error| Unreachable::new(&error).into())
        }
    }

    /// Sends an append, at once.
    pub fn append(
        &self,
        message: Bytes,
    ) -> impl Future<Output = Result<AppendEntriesResponse<Types>, RPCError<Types>>> + Send + 'static + use<> {
        let answer = self.call(RPCTypes::AppendEntries, message, self.append_deadline);
        let (backlogs, replica) = (self.backlogs.clone(), self.peer.replica);
        async move {
            match answer.await? {
                Answer::Append(answer, backlog) => {
                    backlogs.note(replica, backlog);
                    Ok(answer)
                }
                other => Err(confused(other)),
            }
        }
    }
}

fn rpc_error(action: RPCTypes, id: u64, target: u64, timeout: Duration, error: TransportError) -> RPCError<Types> {
    match error {
        TransportError::Unreachable(_) => Unreachable::new(&error).into(),
        TransportError::Deadline => Timeout { action, id, target, timeout }.into(),
    }
}

/// The peer's answer does not belong to what it was asked.
pub(crate) fn confused(answer: impl Debug) -> RPCError<Types> {
    Unreachable::from_string(format!("the peer answered {answer:?}")).into()
}

/// Answers to a stream of appends, and what comes before them; the shape is openraft's.
type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;
type Answering<'s> = BoxFuture<'s, Result<Answers<'s>, RPCError<Types>>>;

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.append(self.encode(request)).await
    }

    fn stream_append<'s, S>(&'s mut self, requests: S, _option: RPCOption) -> Answering<'s>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let pipeline: Answers<'s> = Pipeline::new(self.clone(), requests).boxed();
        async move { Ok(pipeline) }.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::Vote, Message::Vote(request).encode(), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            other => Err(confused(other)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::Vote, Message::PreVote(request).encode(), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            other => Err(confused(other)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::TransferLeader, Message::TransferLeader(request).encode(), option.hard_ttl()).await? {
            Answer::TransferLeader(answer) => Ok(answer),
            other => Err(confused(other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = std::pin::pin!(self.send_checkpoint(vote, snapshot));
        match futures::future::select(std::pin::pin!(cancel), sending).await {
            Either::Left((closed, _)) => Err(closed.into()),
            Either::Right((answer, _)) => Ok(answer?),
        }
    }
}

impl Connection {
    /// Every error is answered by a pause and another attempt, which must therefore be cheap while the peer is away.
    async fn send_checkpoint(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
        let Snapshot { meta, snapshot: SnapshotData::Wanted(maker) } = snapshot else {
            return Err(refused("the snapshot was not made for another replica"));
        };
        let prev_log_id = meta.last_log_id;
        let probe = AppendEntriesRequest { vote, prev_log_id, entries: Vec::new(), leader_commit: None };
        match self.append(self.encode(probe)).await? {
            AppendEntriesResponse::Conflict => {}
            AppendEntriesResponse::HigherVote(vote) => return Ok(SnapshotResponse { vote }),
            // It has what the checkpoint would bring: the last one arrived, its answer did not.
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {
                return Ok(SnapshotResponse { vote });
            }
        }
        let Ok(_permit) = self.outgoing.checkpoints.try_acquire() else {
            return Err(refused("as many checkpoints are being sent as may be"));
        };
        let _pinned = meta.last_log_id.map(|last| self.pins.sending(self.peer.replica, last.index + 1));
        let (checkpoint, meta) = maker.make().await.map_err(refused)?;
        let header = InstallHeader { vote, meta }.encode();
        let sent = self.transport.send_checkpoint(self.peer, header, checkpoint).await;
        match Answer::decode(sent.map_err(refused)?).map_err(refused)? {
            Answer::Install(answer) => Ok(answer),
            other => Err(confused(other)),
        }
    }
}

/// Nothing was sent, or it did not arrive: worth a pause before the next attempt.
fn refused(reason: impl Display) -> RPCError<Types> {
    Unreachable::from_string(reason).into()
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::types::{Command, Entry, Leader, LogId, Payload};

    /// Takes everything and answers nothing; counts the messages by node.
    #[derive(Default)]
    struct Silent(Mutex<BTreeMap<NodeId, usize>>);

    impl Transport for Silent {
        fn call(&self, to: Peer, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
            *self.0.lock().entry(to.node).or_default() += 1;
            futures::future::pending().boxed()
        }

        fn send_checkpoint(
            &self,
            _: Peer,
            _: Bytes,
            _: Checkpoint,
        ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
            futures::future::pending().boxed()
        }
    }

    fn append(index: u64, entries: impl IntoIterator<Item = Bytes>) -> AppendEntriesRequest<Types> {
        let leader_id = Leader { term: 1, node_id: 1 };
        let entries = entries.into_iter().zip(index + 1..).map(|(payload, index)| Entry {
            log_id: LogId { leader_id, index },
            payload: Payload::Normal(Command(payload)),
        });
        AppendEntriesRequest {
            vote: Vote { leader_id, committed: true },
            prev_log_id: Some(LogId { leader_id, index }),
            entries: entries.collect(),
            leader_commit: None,
        }
    }

    fn connection(
        group: u32,
        node: NodeId,
        outgoing: &Arc<Outgoing>,
        transport: &Arc<Silent>,
        appended: watch::Receiver<u64>,
    ) -> Connection {
        Connection {
            from: ReplicaId(1),
            peer: Peer { group: GroupId(group), replica: ReplicaId(node), node },
            transport: transport.clone(),
            append_deadline: limits::APPEND_DEADLINE,
            outgoing: outgoing.clone(),
            window: outgoing.window(node),
            pins: Arc::default(),
            appended,
            commit_notice_delay: limits::COMMIT_NOTICE_DELAY,
            quorum: Arc::default(),
            backlogs: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_node_that_catches_up_leaves_the_others_their_room() {
        let (outgoing, silent) = (Arc::<Outgoing>::default(), Arc::<Silent>::default());
        let start = |group: u32, node: NodeId| {
            let connection = connection(group, node, &outgoing, &silent, watch::Sender::new(u64::MAX).subscribe());
            let requests = stream::iter((0..8).map(|index| append(index, [Bytes::from(vec![0; 3 << 20])])));
            let mut pipeline = Pipeline::new(connection, requests);
            assert!(pipeline.next().now_or_never().is_none());
            pipeline
        };
        let sent = || silent.0.lock().clone();
        let behind: Vec<_> = (0..30).map(|group| start(group, 2)).collect();
        assert_eq!(sent(), BTreeMap::from([(2, 33)]), "three groups send ahead, the others one message each");
        let up_to_date = start(0, 3);
        assert_eq!(sent()[&3], 2, "as if nobody else were behind");
        drop((behind, up_to_date));
        assert_eq!(outgoing.window(2).load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn that_entries_are_committed_is_told_with_the_next_ones_or_a_little_later() {
        let (outgoing, silent) = (Arc::<Outgoing>::default(), Arc::<Silent>::default());
        let appended = watch::Sender::new(1);
        let requests = [append(0, [Bytes::new()]), append(1, []), append(1, [Bytes::new()]), append(2, [])];
        let connection = connection(1, 2, &outgoing, &silent, appended.subscribe());
        let mut pipeline = Pipeline::new(connection, stream::iter(requests));
        let mut sent_after = async |wait| {
            let _unanswered = timeout(wait, pipeline.next()).await;
            silent.0.lock()[&2]
        };
        assert_eq!(sent_after(limits::COMMIT_NOTICE_DELAY / 2).await, 1);
        assert_eq!(
            sent_after(limits::COMMIT_NOTICE_DELAY).await,
            3,
            "nothing follows a notice, so nobody waits behind it"
        );
        appended.send_replace(3);
        assert_eq!(sent_after(Duration::from_millis(1)).await, 4, "the log has more");
    }
}
