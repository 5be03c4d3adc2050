//! A node that is not one: it serves the public interface on a free port, answers what it is told to, and remembers what
//! it was asked.

#![allow(clippy::unwrap_used, dead_code, reason = "a test ends where its helper fails; each test file uses a part")]

mod alerting;
pub mod command;
mod operations;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bellwether_client::v1::alerting_server::AlertingServer;
use bellwether_client::v1::cluster_server::{self, ClusterServer};
use bellwether_client::v1::node_server::{self, NodeServer};
use bellwether_client::v1::operations_server::OperationsServer;
use bellwether_client::v1::query_response::Result as Shape;
use bellwether_client::v1::query_server::{self, QueryServer};
use bellwether_client::v1::write_server::{self, WriteServer};
use bellwether_client::v1::*;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, iter};
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// An answer in parts.
type Parts = Pin<Box<dyn Stream<Item = Result<QueryResponse, Status>> + Send>>;

/// What the node answers and what it was asked.
#[derive(Default)]
pub struct Script {
    /// Answers to the next calls, whatever they are; after these all go well.
    pub failures: VecDeque<Status>,
    pub nodes: Vec<NodeInfo>,
    pub shards: Vec<ShardInfo>,
    pub status: ClusterStatusResponse,
    pub events: Vec<Event>,
    pub findings: Vec<Finding>,
    pub moves: Vec<PlannedMove>,
    pub held: Vec<String>,
    pub settings: Vec<Setting>,
    /// Where an operation is, one after the other.
    pub operations: Vec<Operation>,
    pub backups: Vec<BackupInfo>,
    /// Series of the writes, in the order in which they came.
    pub written: Vec<Vec<Series>>,
    pub tokens_made: Vec<TokenInfo>,
    /// Samples of each write that are refused.
    pub refuses: u64,
    /// What calls that change something were told.
    pub asked: Vec<String>,
    /// What there is of alerting.
    pub alerting: alerting::Alerting,
    /// Tenants of queries and writes.
    pub tenants: Vec<Option<String>>,
}

#[derive(Clone)]
pub struct FakeNode {
    pub address: String,
    pub script: Arc<Mutex<Script>>,
}

impl FakeNode {
    pub async fn start(script: Script) -> FakeNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = FakeNode { address, script: Arc::new(Mutex::new(script)) };
        let write = WriteServer::new(node.clone()).accept_compressed(CompressionEncoding::Zstd);
        let query = QueryServer::new(node.clone()).send_compressed(CompressionEncoding::Zstd);
        let cluster = ClusterServer::new(node.clone());
        let operations = OperationsServer::new(node.clone());
        let server =
            Server::builder().add_service(cluster).add_service(operations).add_service(write).add_service(query);
        let server = server.add_service(NodeServer::new(node.clone()));
        let server = server.add_service(AlertingServer::new(node.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        node
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.script.lock().unwrap())
    }

    /// The next planned failure, or what the call gives.
    fn answer<T>(&self, give: impl FnOnce(&mut Script) -> T) -> Result<Response<T>, Status> {
        self.with(|script| match script.failures.pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(give(script))),
        })
    }

    /// The same for an answer in parts.
    fn parts(&self, give: impl FnOnce(&mut Script) -> QueryResponse) -> Result<Response<Parts>, Status> {
        self.answer(|script| Box::pin(iter([Ok(give(script))])) as Parts)
    }

    fn note_tenant<T>(&self, request: &Request<T>) {
        let tenant = request.metadata().get("x-scope-orgid").map(|tenant| tenant.to_str().unwrap().to_owned());
        self.with(|script| script.tenants.push(tenant));
    }
}

/// An active node of the cluster.
pub fn node(id: u64, address: &str) -> NodeInfo {
    NodeInfo {
        id,
        address: address.to_owned(),
        http_address: format!("10.0.0.{id}:9480"),
        state: NodeState::Active.into(),
        up: true,
        zone: format!("zone-{id}"),
        version: "0.1.0".to_owned(),
        joined_ms: 1_795_161_600_000,
        leaders: 3,
        replicas: 8,
        meta_voter: true,
        capacity_bytes: 1 << 40,
        bytes: Some(5 << 30),
        series: Some(120_000),
        free_bytes: Some(700 << 30),
        clock_offset_ms: Some(-2),
        clock_off_ms: None,
    }
}

#[tonic::async_trait]
impl node_server::Node for FakeNode {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn addresses(&self, _: Request<AddressesRequest>) -> Result<Response<AddressesResponse>, Status> {
        self.answer(|script| {
            let addresses = script.nodes.iter().filter(|node| node.state() != NodeState::Removed);
            let addresses = addresses.map(|node| node.address.clone()).collect();
            AddressesResponse { addresses }
        })
    }
}

#[tonic::async_trait]
impl write_server::Write for FakeNode {
    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.note_tenant(&request);
        self.answer(|script| {
            let series = request.into_inner().series;
            let samples: u64 = series.iter().map(|series| series.samples.len() as u64).sum();
            script.written.push(series);
            let refused = script.refuses.min(samples);
            let refused_because = if refused > 0 { "too old".to_owned() } else { String::new() };
            WriteResponse { samples: samples - refused, refused, refused_because, ..WriteResponse::default() }
        })
    }
}

#[tonic::async_trait]
impl query_server::Query for FakeNode {
    type InstantStream = Parts;
    type RangeStream = Parts;

    async fn instant(&self, request: Request<InstantRequest>) -> Result<Response<Parts>, Status> {
        self.note_tenant(&request);
        self.parts(|script| {
            let InstantRequest { query, time_ms, stale_ms, partial_response, explain, .. } = request.into_inner();
            if partial_response || stale_ms.is_some() {
                script.asked.push(format!("query: stale {stale_ms:?}, partial {partial_response}"));
            }
            let label = Label { name: "query".to_owned(), value: query };
            let sample = Sample { timestamp_ms: time_ms.unwrap_or(0), value: 1.5 };
            let series = vec![ResultSeries { labels: vec![label], samples: vec![sample], histograms: Vec::new() }];
            let warnings = vec!["a warning".to_owned()];
            let explanation = explain.then(|| Explanation {
                reads: vec![
                    Read {
                        selector: "{__name__=\"up\"}".to_owned(),
                        first_ms: 1_795_161_300_001,
                        last_ms: 1_795_161_600_000,
                        newest: true,
                        aggregated: false,
                        time_us: 1_400,
                        series: 3,
                        samples: 3,
                        bytes: 2_048,
                    },
                    Read {
                        selector: "{a=~\"b.*\"}".to_owned(),
                        first_ms: 0,
                        last_ms: 1,
                        newest: false,
                        aggregated: true,
                        time_us: 90,
                        series: 0,
                        samples: 997,
                        bytes: 100,
                    },
                ],
                steps: 1,
                series: 3,
                samples: 1_000,
                peak_bytes: 5 << 20,
                queue_us: 10,
                fetch_us: 1_500,
                evaluate_us: 2_000_000,
                plan: [("/", 0, None, false), ("sum by (a)", 1, None, true), ("{a=~\"b.*\"}", 2, Some(1), false)]
                    .map(|(what, depth, read, aggregated)| PlanStep {
                        what: what.to_owned(),
                        depth,
                        read,
                        aggregated,
                        time_us: 12,
                        series: 2,
                        values: 5,
                        bytes: 300,
                    })
                    .into(),
            });
            QueryResponse { result: Some(Shape::Vector(Vector { series })), warnings, infos: Vec::new(), explanation }
        })
    }

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<Parts>, Status> {
        self.note_tenant(&request);
        self.parts(|_| {
            let RangeRequest { start_ms, end_ms, step_ms, .. } = request.into_inner();
            let times = (start_ms..=end_ms).step_by(step_ms as usize);
            let samples = times.map(|timestamp_ms| Sample { timestamp_ms, value: timestamp_ms as f64 }).collect();
            let series = vec![ResultSeries { samples, ..ResultSeries::default() }];
            QueryResponse { result: Some(Shape::Matrix(Matrix { series })), ..QueryResponse::default() }
        })
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for FakeNode {
    async fn status(&self, _: Request<ClusterStatusRequest>) -> Result<Response<ClusterStatusResponse>, Status> {
        self.answer(|script| script.status.clone())
    }

    async fn nodes(&self, _: Request<NodesRequest>) -> Result<Response<NodesResponse>, Status> {
        self.answer(|script| NodesResponse { nodes: script.nodes.clone() })
    }

    async fn shards(&self, _: Request<ShardsRequest>) -> Result<Response<ShardsResponse>, Status> {
        self.answer(|script| ShardsResponse { placement_epoch: 7, shards: script.shards.clone() })
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let after = request.into_inner().after;
        self.answer(|script| {
            let events = script.events.iter().filter(|event| event.number > after).cloned().map(Ok);
            Box::pin(iter(events.collect::<Vec<_>>())) as Self::EventsStream
        })
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Result<Response<DoctorResponse>, Status> {
        self.answer(|script| DoctorResponse { findings: script.findings.clone() })
    }

    async fn set_node_state(
        &self,
        request: Request<SetNodeStateRequest>,
    ) -> Result<Response<SetNodeStateResponse>, Status> {
        self.answer(|script| {
            let request = request.into_inner();
            let state = request.state();
            script.asked.push(format!("node {} {state:?} force={}", request.node, request.force));
            let node = script.nodes.iter_mut().find(|node| node.id == request.node);
            let replicas = node.map_or(0, |node| {
                node.state = state.into();
                // The node is emptied at once, so that nobody waits.
                std::mem::take(&mut node.replicas)
            });
            SetNodeStateResponse { state: state.into(), replicas }
        })
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        self.answer(|script| {
            let TransferLeaderRequest { group, node } = request.into_inner();
            script.asked.push(format!("transfer {group} to {node}"));
            TransferLeaderResponse {}
        })
    }

    async fn move_shard(&self, request: Request<MoveShardRequest>) -> Result<Response<MoveShardResponse>, Status> {
        self.answer(|script| {
            let MoveShardRequest { group, from, to } = request.into_inner();
            script.asked.push(format!("move {group} from {from} to {to}"));
            // The replica is there at once, so that nobody waits.
            let shards = script.shards.iter_mut().filter(|shard| shard.id == group);
            let replicas = shards.flat_map(|shard| &mut shard.replicas).filter(|replica| replica.node == from);
            replicas.for_each(|replica| (replica.id, replica.node) = (99, to));
            MoveShardResponse { replica: 99 }
        })
    }

    async fn recover_group(
        &self,
        request: Request<RecoverGroupRequest>,
    ) -> Result<Response<RecoverGroupResponse>, Status> {
        self.answer(|script| {
            let RecoverGroupRequest { group, node, look_only } = request.into_inner();
            script.asked.push(format!("recover {group} from {node} look_only={look_only}"));
            let replica = if look_only { 0 } else { 21 };
            RecoverGroupResponse {
                node: 2,
                replica,
                applied: 100,
                last: 103,
                time_ms: Some(1_795_161_600_000),
                child: None,
            }
        })
    }

    async fn split_shard(&self, request: Request<SplitShardRequest>) -> Result<Response<SplitShardResponse>, Status> {
        self.answer(|script| {
            let SplitShardRequest { group, at } = request.into_inner();
            script.asked.push(format!("split {group} at {at:x?}"));
            // The child is there at once, so that nobody waits.
            let parent = script.shards.iter().find(|shard| shard.id == group).cloned().unwrap_or_default();
            script.shards.push(ShardInfo { id: 9, ..parent });
            SplitShardResponse { child: 9, at: at.unwrap_or(0x1234) }
        })
    }

    async fn plan(&self, _: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        self.answer(|script| PlanResponse { moves: script.moves.clone(), held: script.held.clone() })
    }

    async fn get_settings(
        &self,
        request: Request<GetSettingsRequest>,
    ) -> Result<Response<GetSettingsResponse>, Status> {
        let names = request.into_inner().names;
        self.answer(|script| {
            let wanted = script.settings.iter().filter(|setting| names.is_empty() || names.contains(&setting.name));
            GetSettingsResponse { settings: wanted.cloned().collect() }
        })
    }

    async fn set_setting(&self, request: Request<SetSettingRequest>) -> Result<Response<SetSettingResponse>, Status> {
        self.answer(|script| {
            let SetSettingRequest { name, value } = request.into_inner();
            script.asked.push(format!("set {name} {value:?}"));
            let value = value.unwrap_or_else(|| "3".to_owned());
            SetSettingResponse { setting: Some(Setting { name, value, ..Setting::default() }) }
        })
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        self.answer(|script| {
            let request = request.into_inner();
            script.asked.push(format!("token {:?} {}ms {}x", request.kind(), request.valid_ms, request.uses));
            CreateTokenResponse { token: "00000000000000ff.secret".to_owned(), expires_ms: 1_795_165_200_000 }
        })
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        self.answer(|script| ListTokensResponse { tokens: script.tokens_made.clone() })
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        self.answer(|script| {
            script.asked.push(format!("revoke {}", request.into_inner().id));
            RevokeTokenResponse {}
        })
    }

    async fn finalize(&self, _: Request<FinalizeRequest>) -> Result<Response<FinalizeResponse>, Status> {
        self.answer(|script| {
            script.asked.push("finalize".to_owned());
            FinalizeResponse { previous_version: 1, active_version: 2 }
        })
    }
}
