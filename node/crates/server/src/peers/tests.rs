//! Nodes that reach each other, do not, and do again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use bellwether_kv::KvDisk;
use bellwether_proto::peer::v1::peer_server::{Peer as Service, PeerServer};
use bellwether_proto::peer::v1::raft_answer::Result as Outcome;
use bellwether_proto::peer::v1::{ProposeMetaRequest, RaftAnswer, RaftBatch, ReportRequest};
use bellwether_raft::{GroupId, Members, Peer as Replica, RaftGroup, ReplicaId, StateMachine, TransportError};
use bytes::Bytes;
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::testing::*;
use super::*;
use crate::testing::{TestClock, env};

const DEADLINE: Duration = Duration::from_secs(1);

fn replica(node: u64) -> Replica {
    Replica { group: GROUP, replica: ReplicaId(node), node }
}

async fn leader(groups: &[RaftGroup]) -> usize {
    let mut found = None;
    eventually("somebody leads", || {
        found = groups.iter().position(|group| group.state().is_leader);
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_group_replicates_entries_of_every_size_over_the_network() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 3).await;
    let groups = join_all(nodes.iter().map(|node| node.group(&[1, 2, 3]))).await;
    let leader = leader(&groups).await;
    let largest = bellwether_raft::limits::ENTRY_BYTES_MAX;
    for bytes in [1, 1000, 1 << 20, largest, 5] {
        groups[leader].propose(Bytes::from(vec![bytes as u8; bytes])).await.unwrap();
    }
    eventually("all have all", || nodes.iter().all(|node| node.ledger.payloads().len() == 5)).await;
    let sizes: Vec<usize> = nodes[(leader + 1) % 3].ledger.payloads().iter().map(Bytes::len).collect();
    assert_eq!(sizes, [1, 1000, 1 << 20, largest, 5]);
    assert!(nodes[leader].metric("bellwether_peer_raft_bytes_total") > 2.0 * largest as f64);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_noticed_at_once_and_broken_connections_are_made_again() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 3).await;
    let groups = join_all(nodes.iter().map(|node| node.group(&[1, 2, 3]))).await;
    let first = leader(&groups).await;
    groups[first].propose(Bytes::from("before")).await.unwrap();
    for node in &nodes {
        net.set(address(node.id), Wire::Cut);
        net.set(address(node.id), Wire::Whole);
    }
    groups[first].propose(Bytes::from("after a break")).await.unwrap();

    let killed = Instant::now();
    nodes[first].kill().await;
    let rest: Vec<RaftGroup> = (0..3).filter(|at| *at != first).map(|at| groups[at].clone()).collect();
    eventually("they have another leader", || rest.iter().any(|group| group.state().is_leader)).await;
    // Far below the election timeout.
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
    let next = leader(&rest).await;
    rest[next].propose(Bytes::from("after a death")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_ends_what_is_under_way_and_deadlines_end_the_rest() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 2).await;
    nodes[1].group(&[2]).await;
    let transport = nodes[0].peers.transport();
    eventually("connected", || nodes[0].metric("bellwether_peer_up") == 1.0).await;
    net.set(address(2), Wire::Silent);

    let started = Instant::now();
    let short = transport.call(replica(2), Bytes::from("x"), Duration::from_millis(300)).await;
    assert_eq!((short, started.elapsed().as_millis()), (Err(TransportError::Deadline), 300));
    let long = transport.call(replica(2), Bytes::from("x"), Duration::from_secs(60)).await;
    assert!(matches!(long, Err(TransportError::Unreachable(_))), "{long:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let client = nodes[0].peers.client(NodeId(2)).unwrap();
    let answer = client.report(ReportRequest::default(), DEADLINE).await;
    assert!(matches!(answer, Err(PeerError::Deadline { .. })), "{answer:?}");

    net.set(address(2), Wire::Whole);
    eventually("connected again", || nodes[0].metric("bellwether_peer_up") == 1.0).await;
    let answer = transport.call(replica(2), Bytes::from("x"), DEADLINE).await;
    let Err(TransportError::Unreachable(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("damaged"), "the replica answers: {reason}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_there_is_told_apart_from_one_that_nobody_knows() {
    let net = TestNet::default();
    let (known, addresses) = watch::channel(addresses(2));
    let node = TestNode::start(&net, 1, CLUSTER, addresses).await;
    let transport = node.peers.transport();
    let started = Instant::now();
    let answer = transport.call(replica(2), Bytes::from("x"), DEADLINE).await;
    let Err(TransportError::Unreachable(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("10.0.0.2:7000") && reason.contains("refused"), "{reason}");
    assert!(started.elapsed() < Duration::from_millis(100));
    assert_eq!(node.peers.client(NodeId(9)).err(), Some(PeerError::UnknownNode(NodeId(9))));
    let unknown = transport.call(replica(9), Bytes::from("x"), DEADLINE).await;
    assert_eq!(unknown, Err(TransportError::Unreachable("node 9 is not known here".to_owned())));

    // The cluster learns of node 9, and forgets node 2.
    let _nine = TestNode::start(&net, 9, CLUSTER, watch::channel(BTreeMap::new()).1).await;
    known.send_replace([(NodeId(9), address(9).to_string())].into());
    eventually("node 9 is reached", || node.peers.clock_offsets().contains_key(&NodeId(9))).await;
    assert_eq!(node.peers.client(NodeId(2)).err(), Some(PeerError::UnknownNode(NodeId(2))));
    assert_eq!(node.metric("bellwether_peer_up"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn strangers_and_foreign_clusters_are_refused_by_every_call_with_a_reason() {
    let net = TestNet::default();
    let (_known, addresses) = watch::channel(addresses(3));
    let home = TestNode::start(&net, 1, CLUSTER, addresses.clone()).await;
    let foreign = TestNode::start(&net, 2, 0xf0, addresses).await;
    let answer = foreign.peers.client(NodeId(1)).unwrap().report(ReportRequest::default(), DEADLINE).await;
    let Err(PeerError::Refused { reason, .. }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("00c1") && reason.contains("00f0"), "{reason}");
    let answer = foreign.peers.transport().call(replica(1), Bytes::from("x"), DEADLINE).await;
    let Err(TransportError::Unreachable(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("belongs to cluster"), "{reason}");

    let unknown = stranger(&home.env, &address(1).to_string());
    let answer = unknown.report(ReportRequest::default(), DEADLINE).await;
    assert!(answer.unwrap_err().to_string().contains("does not say which cluster"));
    // Join is let in; nobody handles it here.
    let answer = unknown.join(Default::default(), DEADLINE).await;
    assert!(matches!(answer, Err(PeerError::Refused { .. })), "{answer:?}");

    // Another node has come to live where node 3 was.
    let _four = TestNode::start(&net, 4, CLUSTER, watch::channel(BTreeMap::new()).1).await;
    net.set(address(4), Wire::Whole);
    let moved = watch::channel(BTreeMap::from([(NodeId(3), address(4).to_string())]));
    let caller = TestNode::start(&net, 5, CLUSTER, moved.1).await;
    let answer = caller.peers.client(NodeId(3)).unwrap().report(ReportRequest::default(), DEADLINE).await;
    assert!(answer.unwrap_err().to_string().contains("for node 3, this is node 4"));
}

#[tokio::test(start_paused = true)]
async fn a_learner_gets_a_checkpoint_and_nobody_keeps_copies() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 2).await;
    let group = nodes[0].group(&[1]).await;
    group.ready().await.unwrap();
    for at in 0..30u8 {
        group.propose(Bytes::from(vec![at; 200_000])).await.unwrap();
    }
    // The log is cut: whoever joins needs a copy.
    group.flush().await.unwrap();
    let follower = nodes[1].group(&[1]).await;
    let members = Members { voters: [(ReplicaId(1), 1)].into(), learners: [(ReplicaId(2), 2)].into() };
    group.change_members(group.state().membership.unwrap(), members).await.unwrap();
    group.propose(Bytes::from("behind the copy")).await.unwrap();
    eventually("the learner has all", || nodes[1].ledger.payloads().len() == 31).await;
    assert_eq!(nodes[0].ledger.payloads(), nodes[1].ledger.payloads());
    assert!(follower.state().applied.is_some());
    eventually("copies are removed", || {
        nodes[0].disk.list(COPIES).unwrap().is_empty() && nodes[1].disk.list("incoming").unwrap().is_empty()
    })
    .await;
    assert_eq!(nodes[1].metric("bellwether_peer_checkpoints_total"), 1.0);
    assert!(nodes[1].metric("bellwether_peer_checkpoint_bytes_total") > 6e6);
}

#[tokio::test(start_paused = true)]
async fn a_copy_takes_as_long_as_it_moves() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 2).await;
    let group = nodes[0].group(&[1]).await;
    group.ready().await.unwrap();
    for at in 0..30u8 {
        group.propose(Bytes::from(vec![at; 1 << 20])).await.unwrap();
    }
    group.flush().await.unwrap();
    // A chunk in 26 seconds: just not silent.
    nodes[0].peers.set_copy_budget(40_000);
    let began = Instant::now();
    let follower = nodes[1].group(&[1]).await;
    let members = Members { voters: [(ReplicaId(1), 1)].into(), learners: [(ReplicaId(2), 2)].into() };
    group.change_members(group.state().membership.unwrap(), members).await.unwrap();
    assert!(follower.wait_until(|state| state.applied.is_some()).await);
    assert!(began.elapsed() > Duration::from_secs(700), "{:?}", began.elapsed());
    assert_eq!(nodes[1].metric("bellwether_peer_checkpoints_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_breaks_off_leaves_nothing_on_either_side() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 2).await;
    let group = nodes[0].group(&[1]).await;
    group.ready().await.unwrap();
    for at in 0..100u8 {
        group.propose(Bytes::from(vec![at; 1 << 20])).await.unwrap();
    }
    group.flush().await.unwrap();
    let copy = || nodes[0].ledger.checkpoint().unwrap();
    let transport = nodes[0].peers.transport();
    let send = |checkpoint| transport.send_checkpoint(replica(2), Bytes::from("header"), checkpoint);

    let answer = send(copy()).await;
    let Err(TransportError::Unreachable(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("no replica of group 7"), "{reason}");

    let _follower = nodes[1].group(&[1]).await;
    // Slow enough to be broken off in the middle.
    nodes[0].peers.set_copy_budget(1 << 20);
    let breaking = async {
        sleep(DEADLINE).await;
        assert!(!nodes[1].disk.list("incoming").unwrap().is_empty() || nodes[1].metric(RECEIVED) > 0.0);
        net.set(address(2), Wire::Cut);
    };
    let (answer, ()) = tokio::join!(send(copy()), breaking);
    assert!(matches!(answer, Err(TransportError::Unreachable(_))), "{answer:?}");
    net.set(address(2), Wire::Whole);
    assert!(!nodes[0].disk.exists(&format!("{COPIES}/0")).unwrap());

    // Whoever asked gives up, once there is a connection again.
    let mut given_up = tokio::time::timeout(DEADLINE, send(copy())).await;
    for _ in 0..RECONNECTS_MAX {
        if given_up.is_err() {
            break;
        }
        sleep(DEADLINE).await;
        given_up = tokio::time::timeout(DEADLINE, send(copy())).await;
    }
    assert!(given_up.is_err(), "{given_up:?}");
    eventually("both sides are clean", || {
        nodes.iter().all(|node| [COPIES, "incoming"].iter().all(|at| node.disk.list(at).unwrap().is_empty()))
    })
    .await;
}

const RECEIVED: &str = "bellwether_peer_checkpoint_bytes_total";
/// Attempts that may find the connection broken.
const RECONNECTS_MAX: usize = 20;

#[tokio::test(start_paused = true)]
async fn clocks_are_compared_where_nothing_else_is_said() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 3).await;
    nodes[1].clock.advance(3_600_000);
    nodes[2].clock.advance(-7_000);
    eventually("all are compared", || nodes.iter().all(|node| node.peers.clock_offsets().len() == 2)).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(nodes[0].peers.clock_offsets(), [(NodeId(2), 3_600_000), (NodeId(3), -7_000)].into());
    assert_eq!(nodes[2].peers.clock_offsets(), [(NodeId(1), 7_000), (NodeId(2), 3_607_000)].into());
}

/// Answers Raft's messages with themselves after a pause, newest first, and counts batches.
#[derive(Default)]
struct Echo {
    batches: Arc<AtomicUsize>,
    silent: bool,
}

#[tonic::async_trait]
impl Service for Echo {
    async fn raft(&self, requests: Request<Streaming<RaftBatch>>) -> Result<Response<BoxStream<RaftBatch>>, Status> {
        let (batches, silent) = (self.batches.clone(), self.silent);
        let answers = requests.into_inner().then(move |batch| {
            let batches = batches.clone();
            async move {
                batches.fetch_add(1, Ordering::Relaxed);
                sleep(if silent { Duration::from_secs(3600) } else { Duration::from_millis(1) }).await;
                let requests = batch?.requests.into_iter().rev();
                let answers = requests
                    .map(|request| RaftAnswer { id: request.id, result: Some(Outcome::Answer(request.message)) });
                Ok(RaftBatch { answers: answers.collect(), ..RaftBatch::default() })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A node that reaches an [`Echo`] as node 2.
async fn beside_an_echo(echo: Echo) -> (Peers, watch::Sender<bool>) {
    let net = TestNet::default();
    let server = PeerServer::new(echo).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let router = Router::new().route_service("/bellwether.peer.v1.Peer/{*call}", server);
    let (stop, stopped) = watch::channel(false);
    listen(&net, address(2), router, stopped).await;
    let env = env(bellwether_kv::MemDisk::new(), Arc::new(TestClock::default()), Arc::new(net.clone()));
    let (_, known) = watch::channel(addresses(2));
    (Peers::new(&env, NodeId(1), known, CLUSTER, &Registry::new()).unwrap(), stop)
}

#[tokio::test(start_paused = true)]
async fn heartbeats_of_all_groups_leave_as_few_messages_and_answers_find_their_callers() {
    let batches = Arc::new(AtomicUsize::new(0));
    let (peers, _stop) = beside_an_echo(Echo { batches: batches.clone(), silent: false }).await;
    let transport = peers.transport();
    for _ in 0..10 {
        let calls = (0..250u32).map(|group| {
            let to = Replica { group: GroupId(group), ..replica(2) };
            transport.call(to, Bytes::from(group.to_be_bytes().to_vec()), DEADLINE)
        });
        let answers = join_all(calls).await;
        assert!((0..250u32).zip(answers).all(|(group, answer)| answer.unwrap()[..] == group.to_be_bytes()));
        sleep(Duration::from_millis(300)).await;
    }
    let batches = batches.load(Ordering::Relaxed);
    assert!(batches <= 10 * 4, "{batches} batches for 10 rounds of 250 heartbeats");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_node_that_never_answers_is_bounded() {
    let (peers, _stop) = beside_an_echo(Echo { silent: true, ..Echo::default() }).await;
    let transport = peers.transport();
    let large = Bytes::from(vec![0; 16 << 20]);
    let started = Instant::now();
    let calls = join_all((0..20).map(|_| transport.call(replica(2), large.clone(), 5 * DEADLINE)));
    let small = async {
        sleep(DEADLINE).await;
        transport.call(replica(2), Bytes::from("x"), DEADLINE).await
    };
    let (answers, small) = tokio::join!(calls, small);
    assert!(answers.iter().all(|answer| *answer == Err(TransportError::Deadline)));
    assert_eq!((small, started.elapsed()), (Err(TransportError::Deadline), 5 * DEADLINE));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_refused_and_harms_no_other() {
    let net = TestNet::default();
    let (nodes, _known) = cluster(&net, 2).await;
    let client = nodes[0].peers.client(NodeId(2)).unwrap();
    let command = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX]);
    let answer = client.propose_meta(ProposeMetaRequest { command }, DEADLINE).await;
    assert!(matches!(answer, Err(PeerError::Refused { .. })), "{answer:?}");
    let answer = client.report(ReportRequest::default(), DEADLINE).await;
    assert!(matches!(answer, Err(PeerError::Refused { .. })), "no handler yet: {answer:?}");
}
