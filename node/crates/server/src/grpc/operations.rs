//! Operations, for whoever administers: begun in this node, seen and ended from any.

use std::pin::Pin;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_proto::peer::v1::OperateRequest;
use bellwether_proto::v1::begin_request::What;
use bellwether_proto::v1::{
    BeginRequest, CancelRequest, ListBackupsRequest, ListBackupsResponse, ListOperationsRequest,
    ListOperationsResponse, MoveShard, Operation, Rebalance, WatchRequest, operations_server,
};
use futures::future::join_all;
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Response, Status};

use super::cluster::ClusterService;
use crate::backup::error::BackupError;
use crate::backup::manifest::BackupId;
use crate::operations::{TooMany, is_running};
use crate::peers::error::chain;
use crate::peers::service::LongWork;

/// How long another node may take to tell of its operations.
const LIST_WAIT: Duration = Duration::from_secs(3);
/// How long another node may take to end one.
const CANCEL_WAIT: Duration = Duration::from_secs(30);
/// How often another node is asked how far an operation has come.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Whoever watches an operation is told of it so often, changed or not: where nothing comes, nobody is there any more.
const WATCH_BEAT: Duration = Duration::from_secs(5);
/// How often in a row it may not answer.
const SILENCES_MAX: u32 = 10;

/// See the interface's `operations.proto`.
#[derive(Clone)]
pub struct OperationsService {
    /// Who may call, and the other nodes.
    pub cluster: ClusterService,
    /// What is begun here.
    pub work: LongWork,
}

impl OperationsService {
    async fn start(&self, what: What) -> Result<Operation, Status> {
        let LongWork { backups, operations } = self.work.clone();
        let begun = match what {
            What::CreateBackup(request) => {
                let url = place(request.url)?;
                operations.begin(format!("backup create {url}"), |handle| backups.create(url, handle))
            }
            What::VerifyBackup(request) => {
                let (url, id) = (place(request.url)?, chosen(&request.id)?);
                let what = format!("backup verify {url} {}", newest_or(&request.id));
                operations.begin(what, |handle| backups.verify(url, id, handle))
            }
            What::DeleteBackup(request) => {
                let url = place(request.url)?;
                let id =
                    chosen(&request.id)?.ok_or_else(|| Status::invalid_argument("which backup is to be deleted?"))?;
                operations.begin(format!("backup delete {url} {id}"), |handle| backups.delete(url, id, handle))
            }
            What::Restore(mut request) => {
                request.url = place(request.url)?;
                chosen(&request.id)?;
                let what = format!("restore {} {}", request.url, newest_or(&request.id));
                operations.begin(what, |handle| backups.restore(request, handle))
            }
            What::DrainNode(request) => {
                let (cluster, node) = (self.cluster.clone(), self.cluster.begin_drain(request.node).await?);
                operations.begin(format!("node drain {node}"), |handle| cluster.drain(node, handle))
            }
            What::MoveShard(request) => {
                let MoveShard { group, from, to } = request;
                let (cluster, moving) = (self.cluster.clone(), self.cluster.begin_move(&request).await?);
                let what = format!("shard move {group} --from {from} --to {to}");
                operations.begin(what, |handle| cluster.move_replica(moving, handle))
            }
            What::Rebalance(Rebalance {}) => {
                let cluster = self.cluster.clone();
                operations.begin("rebalance".to_owned(), |handle| cluster.rebalance(handle))
            }
        };
        begun.map_err(|error: TooMany| Status::failed_precondition(error.to_string()))
    }

    /// The operations of all nodes, and the nodes that do not answer.
    async fn everywhere(&self) -> ListOperationsResponse {
        let own = self.cluster.meta.node();
        let state = self.cluster.meta.now();
        let others = state.present_nodes().map(|(node, _)| node).filter(|node| *node != own);
        let asked = join_all(others.map(|node| async move { (node, self.of_node(node).await) })).await;
        let mut operations = self.work.operations.list();
        let mut silent_nodes = Vec::new();
        for (node, answer) in asked {
            match answer {
                Ok(of_node) => operations.extend(of_node),
                Err(_) => silent_nodes.push(node.0),
            }
        }
        operations.sort_by(|a, b| (a.began_ms, &a.id).cmp(&(b.began_ms, &b.id)));
        ListOperationsResponse { operations, silent_nodes }
    }

    async fn of_node(&self, node: NodeId) -> Result<Vec<Operation>, Status> {
        let client = self.cluster.peers.client(node).map_err(|error| Status::unavailable(error.to_string()))?;
        let answer = client.operate(OperateRequest::default(), LIST_WAIT).await;
        answer.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Where another node's operation is now.
    async fn look(&self, node: NodeId, id: &str) -> Result<Operation, Status> {
        let found = self.of_node(node).await?.into_iter().find(|operation| operation.id == id);
        found.ok_or_else(|| unknown(id))
    }
}

/// A place, as far as that can be said without looking.
fn place(url: String) -> Result<String, Status> {
    if url.is_empty() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Status::invalid_argument(format!(
            "{url:?} is no place for backups: file:///path or s3://bucket/prefix"
        )));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn chosen(id: &str) -> Result<Option<BackupId>, Status> {
    if id.is_empty() {
        return Ok(None);
    }
    let wrong = || Status::invalid_argument(format!("{id:?} is no backup's id: bwctl backup list says what there is"));
    BackupId::parse(id).map(Some).ok_or_else(wrong)
}

fn newest_or(id: &str) -> &str {
    if id.is_empty() { "newest" } else { id }
}

/// The node that an operation runs in.
fn node_of(id: &str) -> Result<NodeId, Status> {
    let node = id.split_once('-').and_then(|(node, number)| number.parse::<u64>().ok().and(node.parse().ok()));
    node.map(NodeId).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Status {
    Status::not_found(format!("no node remembers operation {id:?}: see bwctl operation list"))
}

#[tonic::async_trait]
impl operations_server::Operations for OperationsService {
    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<Operation>, Status> {
        let what = request.into_inner().what.ok_or_else(|| Status::invalid_argument("nothing is asked for"))?;
        self.start(what).await.map(Response::new)
    }

    async fn list(&self, _: Request<ListOperationsRequest>) -> Result<Response<ListOperationsResponse>, Status> {
        Ok(Response::new(self.everywhere().await))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Operation, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let id = request.into_inner().id;
        let node = node_of(&id)?;
        if node == self.cluster.meta.node() {
            let seen = self.work.operations.watch(&id).ok_or_else(|| unknown(&id))?;
            return Ok(Response::new(Box::pin(watched_here(seen))));
        }
        let first = self.look(node, &id).await?;
        let watched = WatchedThere { service: self.clone(), node, seen: first, is_first: true };
        Ok(Response::new(Box::pin(stream::unfold(Some(watched), WatchedThere::next))))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<Operation>, Status> {
        let id = request.into_inner().id;
        let node = node_of(&id)?;
        let ended = if node == self.cluster.meta.node() {
            self.work.operations.cancel(&id).await
        } else {
            let client = self.cluster.peers.client(node).map_err(|error| Status::unavailable(error.to_string()))?;
            let answer = client.operate(OperateRequest { cancel: id.clone() }, CANCEL_WAIT).await;
            answer.map_err(|error| Status::unavailable(error.to_string()))?.into_iter().next()
        };
        ended.map(Response::new).ok_or_else(|| unknown(&id))
    }

    async fn list_backups(
        &self,
        request: Request<ListBackupsRequest>,
    ) -> Result<Response<ListBackupsResponse>, Status> {
        let url = place(request.into_inner().url)?;
        let backups = self
            .work
            .backups
            .list(&url)
            .await
            .map_err(|error: BackupError| Status::failed_precondition(chain(&error)))?;
        Ok(Response::new(ListBackupsResponse { backups }))
    }
}

/// Now, and whenever something has changed, but not more often than somebody can read.
fn watched_here(seen: watch::Receiver<Operation>) -> impl Stream<Item = Result<Operation, Status>> {
    stream::unfold((seen, true, true), |(mut seen, goes_on, is_first)| async move {
        if !goes_on {
            return None;
        }
        if !is_first {
            if let Ok(changed) = timeout(WATCH_BEAT, seen.changed()).await {
                changed.ok()?;
            }
            if is_running(&seen.borrow()) {
                sleep(WATCH_PAUSE).await;
            }
        }
        let operation = seen.borrow_and_update().clone();
        let goes_on = is_running(&operation);
        Some((Ok(operation), (seen, goes_on, false)))
    })
}

struct WatchedThere {
    service: OperationsService,
    node: NodeId,
    seen: Operation,
    is_first: bool,
}

impl WatchedThere {
    async fn next(watched: Option<WatchedThere>) -> Option<(Result<Operation, Status>, Option<WatchedThere>)> {
        let mut watched = watched?;
        if watched.is_first {
            watched.is_first = false;
            return Some((Ok(watched.seen.clone()), Some(watched)));
        }
        if !is_running(&watched.seen) {
            return None;
        }
        let mut silences = 0;
        let told_at = Instant::now();
        loop {
            sleep(WATCH_PAUSE).await;
            match watched.service.look(watched.node, &watched.seen.id).await {
                Ok(now) if now != watched.seen || told_at.elapsed() >= WATCH_BEAT => {
                    watched.seen = now.clone();
                    return Some((Ok(now), Some(watched)));
                }
                Ok(_) => silences = 0,
                Err(error) if error.code() == tonic::Code::Unavailable && silences < SILENCES_MAX => silences += 1,
                Err(error) => return Some((Err(error), None)),
            }
        }
    }
}
