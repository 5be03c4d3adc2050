//! Administration: the cluster as one node sees it, and changes of it.
//!
//! Who may not administer does not come this far. Every reading call asks all nodes for a report first: what it shows is of
//! this moment. Changes are commands of the
//! meta group or of a shard group's leader, and find their way there from any node.
//!
//! Reading order: [`picture`] (what is seen), [`doctor`] (what is wrong with it), [`events`], [`changes`],
//! [`movements`] (changes that take long), [`recover`].

mod changes;
mod doctor;
mod events;
#[cfg(test)]
mod movement_tests;
mod movements;
mod picture;
mod recover;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bellwether_model::NodeId;
use bellwether_proto::peer::v1::{ReportAnswer, ReportRequest};
use bellwether_proto::v1::{
    ClusterStatusRequest, ClusterStatusResponse, CreateTokenRequest, CreateTokenResponse, DoctorRequest,
    DoctorResponse, Event, EventsRequest, FinalizeRequest, FinalizeResponse, GetSettingsRequest, GetSettingsResponse,
    ListTokensRequest, ListTokensResponse, MoveShardRequest, MoveShardResponse, NodesRequest, NodesResponse,
    PlanRequest, PlanResponse, RecoverGroupRequest, RecoverGroupResponse, RevokeTokenRequest, RevokeTokenResponse,
    SetNodeStateRequest, SetNodeStateResponse, SetSettingRequest, SetSettingResponse, ShardsRequest, ShardsResponse,
    SplitShardRequest, SplitShardResponse, TransferLeaderRequest, TransferLeaderResponse, cluster_server,
};
use futures::Stream;
use futures::future::join_all;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use self::picture::Picture;
use crate::alerting::{AlertGroup, Alerting};
use crate::balance::report::Reporter;
use crate::balance::{REPORT_WAIT, policy};
use crate::common_group::CommonGroup;
use crate::env::{SecretKey, Seed, WallClock};
use crate::meta::Meta;
use crate::peers::Peers;
use crate::routing::Router;

/// What administration needs of its node. See the interface's `cluster.proto`.
#[derive(Clone)]
pub struct ClusterService {
    /// The cluster's state, and its changes.
    pub meta: Meta,
    /// The alert groups.
    pub alerting: Alerting,
    /// The way to the other nodes.
    pub peers: Peers,
    /// The way to the shard groups' leaders.
    pub router: Arc<Router>,
    /// What this node reports of itself.
    pub reporter: Reporter,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// Where incarnations of groups come from.
    pub seed: Seed,
    /// Where secrets come from.
    pub key: SecretKey,
    /// Tokens made so far.
    pub tokens: Arc<AtomicU64>,
    /// Whether requests are served; streams end when not.
    pub ready: watch::Receiver<bool>,
}

impl ClusterService {
    /// The cluster as it is now.
    async fn look(&self) -> Picture {
        let state = self.meta.now();
        let nodes: Vec<NodeId> = state.present_nodes().map(|(node, _)| node).collect();
        let reports = join_all(nodes.into_iter().map(|node| async move { Some((node, self.report(node).await?)) }));
        let reports: BTreeMap<NodeId, ReportAnswer> = reports.await.into_iter().flatten().collect();
        let raft = self.meta.group().state();
        let without_leader = self.alerting.groups().iter().filter(|group| group.common().leader().is_none());
        Picture {
            own: self.meta.node(),
            meta_leader: raft.leader.map(|leader| NodeId(leader.node)),
            meta_voters: raft.voters.values().copied().map(NodeId).collect(),
            common_voters: self.common_groups().map(voters_of).collect(),
            alert_groups_without_leader: without_leader.map(AlertGroup::number).collect(),
            clock_offsets: self.peers.clock_offsets(),
            policy: policy(&state),
            state,
            reports,
        }
    }

    /// The groups of which every node is a member: the meta group first.
    fn common_groups(&self) -> impl Iterator<Item = &CommonGroup> {
        iter::once(self.meta.common()).chain(self.alerting.groups().iter().map(AlertGroup::common))
    }

    /// Does what may take long where it holds up no connection.
    async fn computed<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let done = self.router.shards().executor().run(work).await;
        done.map_err(|error| Status::internal(error.to_string()))
    }

    async fn report(&self, node: NodeId) -> Option<ReportAnswer> {
        if node == self.meta.node() {
            return Some(self.reporter.report().await);
        }
        // Who does not answer shows as down.
        self.peers.client(node).ok()?.report(ReportRequest::default(), REPORT_WAIT).await.ok()
    }
}

/// A group's name and the nodes that vote in it, as far as is known here.
fn voters_of(group: &CommonGroup) -> (String, BTreeSet<NodeId>) {
    let state = group.replica().state();
    (group.name().to_owned(), state.voters.values().copied().map(NodeId).collect())
}

#[tonic::async_trait]
impl cluster_server::Cluster for ClusterService {
    async fn status(&self, _: Request<ClusterStatusRequest>) -> Result<Response<ClusterStatusResponse>, Status> {
        Ok(Response::new(self.look().await.status()))
    }

    async fn nodes(&self, _: Request<NodesRequest>) -> Result<Response<NodesResponse>, Status> {
        Ok(Response::new(NodesResponse { nodes: self.look().await.nodes() }))
    }

    async fn shards(&self, _: Request<ShardsRequest>) -> Result<Response<ShardsResponse>, Status> {
        let picture = self.look().await;
        let placement_epoch = picture.state.placement.epoch();
        Ok(Response::new(ShardsResponse { placement_epoch, shards: picture.shards() }))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        Ok(Response::new(Box::pin(events::stream(self.meta.state(), self.ready.clone(), request.into_inner()))))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Result<Response<DoctorResponse>, Status> {
        let picture = self.look().await;
        let findings = self.computed(move || doctor::findings(&picture)).await?;
        Ok(Response::new(DoctorResponse { findings }))
    }

    async fn set_node_state(
        &self,
        request: Request<SetNodeStateRequest>,
    ) -> Result<Response<SetNodeStateResponse>, Status> {
        self.change_node_state(&request.into_inner()).await.map(Response::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        self.hand_over(&request.into_inner()).await.map(Response::new)
    }

    async fn move_shard(&self, request: Request<MoveShardRequest>) -> Result<Response<MoveShardResponse>, Status> {
        self.give_copy(&request.into_inner()).await.map(Response::new)
    }

    async fn split_shard(&self, request: Request<SplitShardRequest>) -> Result<Response<SplitShardResponse>, Status> {
        self.cut(&request.into_inner()).await.map(Response::new)
    }

    async fn plan(&self, _: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let picture = self.look().await;
        self.computed(move || picture.plan()).await.map(Response::new)
    }

    async fn get_settings(
        &self,
        request: Request<GetSettingsRequest>,
    ) -> Result<Response<GetSettingsResponse>, Status> {
        self.settings(&request.into_inner().names).map(Response::new)
    }

    async fn set_setting(&self, request: Request<SetSettingRequest>) -> Result<Response<SetSettingResponse>, Status> {
        self.choose_setting(request.into_inner()).await.map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        self.make_token(&request.into_inner()).await.map(Response::new)
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        Ok(Response::new(self.tokens_made()))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        self.withdraw_token(&request.into_inner()).await.map(Response::new)
    }

    async fn recover_group(
        &self,
        request: Request<RecoverGroupRequest>,
    ) -> Result<Response<RecoverGroupResponse>, Status> {
        self.begin_anew(&request.into_inner()).await.map(Response::new)
    }

    async fn finalize(&self, _: Request<FinalizeRequest>) -> Result<Response<FinalizeResponse>, Status> {
        self.raise_version().await.map(Response::new)
    }
}
