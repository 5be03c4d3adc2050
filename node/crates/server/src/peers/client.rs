//! Calls of another node, each with a deadline and typed errors.

use std::future::Future;
use std::time::Duration;

use bellwether_proto::peer::v1::peer_client::PeerClient as Generated;
use bellwether_proto::peer::v1::{
    CommandAnswer, CommandRequest, InstallAnswer, InstallChunk, JoinAnswer, JoinRequest, MaintainAnswer,
    MaintainRequest, MembershipAnswer, MembershipRequest, ProposeAlertingAnswer, ProposeAlertingRequest,
    ProposeMetaAnswer, ProposeMetaRequest, RaftBatch, ReadIndexAnswer, ReadIndexRequest, ReportAnswer, ReportRequest,
    ResolveAnswer, ResolveRequest, SalvageAnswer, SalvageRequest, ScanPart, ScanRequest, TouchedAnswer, TouchedRequest,
    WriteAnswer, WriteRequest,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::Removal;
use super::error::{Callee, PeerError};
use super::identity::Introduction;
use super::limits::MESSAGE_BYTES_MAX;

pub(super) type Inner = Generated<InterceptedService<Channel, Introduction>>;

/// The way to one node. Clones share its connection.
#[derive(Clone)]
pub struct PeerClient {
    callee: Callee,
    inner: Inner,
    removal: Removal,
}

impl PeerClient {
    pub(super) fn new(callee: Callee, channel: Channel, introduction: Introduction, removal: Removal) -> PeerClient {
        let inner = Generated::with_interceptor(channel, introduction).max_decoding_message_size(MESSAGE_BYTES_MAX);
        PeerClient { callee, inner, removal }
    }

    /// Whom it calls.
    pub fn callee(&self) -> &Callee {
        &self.callee
    }

    pub(super) async fn call<T, F>(&self, deadline: Duration, send: impl FnOnce(Inner) -> F) -> Result<T, PeerError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        match timeout(deadline, send(self.inner.clone())).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => Err(PeerError::Deadline { callee: self.callee.clone(), after: deadline }),
        }
    }

    fn refused(&self, status: &Status) -> PeerError {
        let error = PeerError::of_status(self.callee.clone(), status);
        if matches!(error, PeerError::Removed { .. }) {
            self.removal.learn();
        }
        error
    }

    /// See the interface's `Join`.
    pub async fn join(&self, request: JoinRequest, deadline: Duration) -> Result<JoinAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.join(request).await }).await
    }

    /// See the interface's `ProposeMeta`.
    pub async fn propose_meta(
        &self,
        request: ProposeMetaRequest,
        deadline: Duration,
    ) -> Result<ProposeMetaAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.propose_meta(request).await }).await
    }

    /// See the interface's `ProposeAlerting`.
    pub async fn propose_alerting(
        &self,
        request: ProposeAlertingRequest,
        deadline: Duration,
    ) -> Result<ProposeAlertingAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.propose_alerting(request).await }).await
    }

    /// See the interface's `Touched`.
    pub async fn touched(&self, request: TouchedRequest, deadline: Duration) -> Result<TouchedAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.touched(request).await }).await
    }

    /// See the interface's `Write`.
    pub async fn write(&self, request: WriteRequest, deadline: Duration) -> Result<WriteAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.write(request).await }).await
    }

    /// See the interface's `Resolve`.
    pub async fn resolve(&self, request: ResolveRequest, deadline: Duration) -> Result<ResolveAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.resolve(request).await }).await
    }

    /// See the interface's `ReadIndex`.
    pub async fn read_index(
        &self,
        request: ReadIndexRequest,
        deadline: Duration,
    ) -> Result<ReadIndexAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.read_index(request).await }).await
    }

    /// See the interface's `Scan`. The deadline is that of the whole scan; dropping the stream ends it there, too.
    pub async fn scan(&self, request: ScanRequest, deadline: Duration) -> Result<ScanStream, PeerError> {
        let (callee, ends) = (self.callee.clone(), Instant::now() + deadline);
        let parts = self.call(deadline, |mut peer| async move { peer.scan(request).await }).await?;
        Ok(ScanStream { callee, parts, ends, deadline })
    }

    /// See the interface's `Command`.
    pub async fn command(&self, request: CommandRequest, deadline: Duration) -> Result<CommandAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.command(request).await }).await
    }

    /// See the interface's `Membership`.
    pub async fn membership(
        &self,
        request: MembershipRequest,
        deadline: Duration,
    ) -> Result<MembershipAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.membership(request).await }).await
    }

    /// See the interface's `Report`.
    pub async fn report(&self, request: ReportRequest, deadline: Duration) -> Result<ReportAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.report(request).await }).await
    }

    /// See the interface's `Maintain`.
    pub async fn maintain(&self, request: MaintainRequest, deadline: Duration) -> Result<MaintainAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.maintain(request).await }).await
    }

    /// See the interface's `Salvage`.
    pub async fn salvage(&self, request: SalvageRequest, deadline: Duration) -> Result<SalvageAnswer, PeerError> {
        self.call(deadline, |mut peer| async move { peer.salvage(request).await }).await
    }

    /// See the interface's `Install`. Takes as long as there are chunks: the caller ends it when they do not move.
    pub(super) async fn install(&self, chunks: ReceiverStream<InstallChunk>) -> Result<InstallAnswer, PeerError> {
        let installed = self.inner.clone().install(chunks).await;
        installed.map(Response::into_inner).map_err(|status| self.refused(&status))
    }

    /// See the interface's `Raft`.
    pub(super) async fn raft(
        &self,
        batches: ReceiverStream<RaftBatch>,
        deadline: Duration,
    ) -> Result<Streaming<RaftBatch>, PeerError> {
        self.call(deadline, |mut peer| async move { peer.raft(batches).await }).await
    }
}

/// What a scan returns, part by part.
pub struct ScanStream {
    callee: Callee,
    parts: Streaming<ScanPart>,
    ends: Instant,
    deadline: Duration,
}

impl ScanStream {
    /// The next part; none when the other side has ended the stream, which is a whole answer only if each group's end
    /// was among the parts.
    pub async fn next(&mut self) -> Result<Option<ScanPart>, PeerError> {
        match timeout_at(self.ends, self.parts.message()).await {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(status)) => Err(PeerError::of_status(self.callee.clone(), &status)),
            Err(_) => Err(PeerError::Deadline { callee: self.callee.clone(), after: self.deadline }),
        }
    }
}
