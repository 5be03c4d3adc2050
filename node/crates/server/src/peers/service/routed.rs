//! What the router carries out for other nodes. What takes several steps goes on to its end although the caller hangs up.

use std::future::Future;
use std::sync::Arc;

use bellwether_proto::peer::v1::{
    CommandAnswer, CommandRequest, Failure, MaintainAnswer, MaintainRequest, MembershipAnswer, MembershipRequest,
    ReadIndexAnswer, ReadIndexRequest, ResolveAnswer, ResolveRequest, SalvageAnswer, SalvageRequest, ScanPart,
    ScanRequest, WriteAnswer, WriteRequest,
};
use futures::StreamExt;
use tonic::Status;
use tonic::codegen::BoxStream;

use super::PeerService;
use crate::routing::Router;

impl PeerService {
    pub(super) fn routed(&self) -> Result<&Arc<Router>, Status> {
        self.router.as_ref().ok_or_else(|| Status::unimplemented("this node carries out no requests of others"))
    }

    pub(super) async fn serve_write(&self, request: WriteRequest) -> Result<WriteAnswer, Status> {
        Ok(self.routed()?.serve_write(request).await)
    }

    pub(super) async fn serve_resolve(&self, request: ResolveRequest) -> Result<ResolveAnswer, Status> {
        let router = self.routed()?.clone();
        let ingest = self.env.executors.ingest.clone();
        let resolved = ingest.run(move || router.serve_resolve(&request)).await;
        resolved.map_err(|error| Status::internal(error.to_string()))?.map_err(Failure::into_status)
    }

    pub(super) async fn serve_read_index(&self, request: ReadIndexRequest) -> Result<ReadIndexAnswer, Status> {
        Ok(self.routed()?.serve_read_index(&request).await)
    }

    pub(super) async fn serve_command(&self, request: CommandRequest) -> Result<CommandAnswer, Status> {
        self.to_the_end(|router| async move { router.serve_command(&request).await }).await
    }

    pub(super) async fn serve_membership(&self, request: MembershipRequest) -> Result<MembershipAnswer, Status> {
        self.to_the_end(|router| async move { router.serve_membership(request).await }).await
    }

    pub(super) async fn serve_maintain(&self, request: MaintainRequest) -> Result<MaintainAnswer, Status> {
        self.to_the_end(|router| async move { router.serve_maintain(&request).await }).await
    }

    pub(super) async fn serve_salvage(&self, request: SalvageRequest) -> Result<SalvageAnswer, Status> {
        self.to_the_end(|router| async move { router.serve_salvage(&request).await }).await
    }

    pub(super) async fn serve_scan(&self, request: ScanRequest) -> Result<BoxStream<ScanPart>, Status> {
        let mut stopped = self.stopped.clone();
        let parts = self.routed()?.serve_scan(request).await.map_err(Failure::into_status)?;
        let stops = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        Ok(Box::pin(parts.map(|part| part.map_err(Failure::into_status)).take_until(stops)))
    }

    /// Carries out something that must not stop half-way.
    async fn to_the_end<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Router>) -> F,
    ) -> Result<T, Status> {
        let work = tokio::spawn(work(self.routed()?.clone()));
        let done = work.await.map_err(|error| Status::internal(error.to_string()))?;
        done.map_err(Failure::into_status)
    }
}
