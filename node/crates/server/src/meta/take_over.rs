//! The meta group without its majority: one node goes on with what it has, alone, and takes the others that are left in again.
//!
//! Asked for at a start (`--recover-meta-group`), while the others that are left run: nothing is done where a majority of the voters answers,
//! where somebody leads, or where another node has come further. All that this node's log holds counts from then on, whether a
//! quorum ever had it or not. The next leader's entries replace what differs on the others.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::NodeId;
use bellwether_proto::peer::v1::{ReportAnswer, ReportRequest};
use bellwether_raft::{LastKnown, LogPosition, RaftNode, ReplicaId, StartError};
use futures::future::join_all;
use tokio::time::sleep;

use super::{META_GROUP, MetaStore, RETRY_PAUSE_MIN};
use crate::alerting::AlertStore;
use crate::balance::REPORT_WAIT;
use crate::peers::Peers;
use crate::peers::error::position;

/// How often each of the others is asked whether it is there.
const ASKED_MAX: usize = 4;

/// Why the node does not go on alone.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The group does not need it.
    #[error(
        "a majority of the voters of the meta group answers ({}): it goes on by itself, start without --recover-meta-group",
        list(nodes)
    )]
    MajorityAnswers {
        /// The voters that answer, this node included.
        nodes: BTreeSet<NodeId>,
    },
    /// Another one has done it.
    #[error("node {node} leads the meta group: nothing is to be recovered, start without --recover-meta-group")]
    Led {
        /// Who.
        node: NodeId,
    },
    /// This is not the node to do it.
    #[error(
        "node {node} has come further (entry {theirs}, this node has entry {ours}): start this one without \
         --recover-meta-group, and that one with it"
    )]
    Further {
        /// Who.
        node: NodeId,
        /// Its last entry.
        theirs: LogPosition,
        /// This node's.
        ours: u64,
    },
    /// The log does not say enough, or takes nothing.
    #[error("the meta group cannot be recovered from this node")]
    Log(#[from] StartError),
}

fn list(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(|node| format!("node {node}")).collect::<Vec<_>>().join(", ")
}

/// Makes this node's replica the only member of the meta group, and of the alert groups; says what operators are to know of it. Nothing where it is the
/// only voter already.
pub async fn take_over(
    store: &MetaStore,
    alert_store: &AlertStore,
    raft: &RaftNode,
    peers: &Peers,
) -> Result<Option<String>, TakeOverError> {
    let (own, replica) = (store.identity.node, ReplicaId(store.identity.meta_replica));
    let applied = bellwether_raft::StateMachine::applied(&*store.machine);
    let known = raft.last_known(META_GROUP, replica, &applied).await?;
    if known.voters.iter().all(|voters| voters.iter().eq([&own])) {
        tracing::warn!("--recover-meta-group does nothing: this node is the only voter of the meta group");
        return Ok(None);
    }
    let state = store.state().borrow().clone();
    let others: BTreeSet<NodeId> = state.present_nodes().map(|(id, _)| id).filter(|id| id.0 != own).collect();
    check(NodeId(own), &known, &ask(peers, &others).await)?;
    let end = raft.go_on_alone(META_GROUP, replica, own, &applied).await?;
    // Their voters are those of the meta group, or were a moment ago.
    for (group, machine) in alert_store.groups() {
        raft.go_on_alone(group, replica, own, &bellwether_raft::StateMachine::applied(&**machine)).await?;
    }
    let text = format!(
        "the meta group lost its majority and goes on with what node {own} has of it, up to entry {}, and so do the alert \
         groups; what only the others had is lost",
        end.index.saturating_sub(1)
    );
    tracing::warn!(text);
    Ok(Some(text))
}

/// What those say that are there. Connections take a moment.
async fn ask(peers: &Peers, nodes: &BTreeSet<NodeId>) -> BTreeMap<NodeId, ReportAnswer> {
    let asked = nodes.iter().map(|node| async move {
        for attempt in 0..ASKED_MAX {
            if attempt > 0 {
                sleep(RETRY_PAUSE_MIN).await;
            }
            let Ok(client) = peers.client(*node) else { continue };
            if let Ok(answer) = client.report(ReportRequest::default(), REPORT_WAIT).await {
                return Some((*node, answer));
            }
        }
        None
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Whether this node may go on alone, by what the others say.
fn check(own: NodeId, known: &LastKnown, answers: &BTreeMap<NodeId, ReportAnswer>) -> Result<(), TakeOverError> {
    if let Some((node, _)) = answers.iter().find(|(_, answer)| answer.leads_meta) {
        return Err(TakeOverError::Led { node: *node });
    }
    let answers_now = |node: &u64| NodeId(*node) == own || answers.contains_key(&NodeId(*node));
    let has_majority =
        |voters: &BTreeSet<u64>| voters.iter().filter(|node| answers_now(node)).count() * 2 > voters.len();
    if known.voters.iter().all(has_majority) {
        let nodes = known.voters.iter().flatten().filter(|node| answers_now(node)).map(|node| NodeId(*node));
        return Err(TakeOverError::MajorityAnswers { nodes: nodes.collect() });
    }
    let ends = answers.iter().filter_map(|(node, answer)| Some((*node, position(answer.meta_end?))));
    // As Raft compares logs.
    let furthest = ends.max_by_key(|(_, end)| (end.term, end.index));
    let ours = known.end.map(|end| (end.term, end.index));
    match furthest {
        Some((node, theirs)) if Some((theirs.term, theirs.index)) > ours => {
            Err(TakeOverError::Further { node, theirs, ours: ours.map_or(0, |(_, index)| index) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bellwether_proto::peer::v1;

    use super::*;

    fn known(voters: &[&[u64]]) -> LastKnown {
        let end = Some(LogPosition { term: 3, leader: ReplicaId(1), index: 10 });
        LastKnown { end, voters: voters.iter().map(|set| set.iter().copied().collect()).collect() }
    }

    fn answer(leads_meta: bool, term: u64, index: u64) -> ReportAnswer {
        let meta_end = Some(v1::LogPosition { term, leader: 1, index });
        ReportAnswer { leads_meta, meta_end, ..ReportAnswer::default() }
    }

    fn refusal(voters: &[&[u64]], answers: &[(u64, ReportAnswer)]) -> Option<String> {
        let answers = answers.iter().map(|(node, answer)| (NodeId(*node), answer.clone())).collect();
        check(NodeId(1), &known(voters), &answers).err().map(|error| error.to_string())
    }

    #[test]
    fn a_node_goes_on_alone_only_where_nobody_else_can() {
        let behind = || answer(false, 3, 9);
        assert_eq!(refusal(&[&[1, 2, 3]], &[]), None);
        assert_eq!(refusal(&[&[1, 2, 3]], &[(4, behind())]), None, "it does not vote");
        let text = refusal(&[&[1, 2, 3]], &[(2, behind())]).unwrap();
        assert!(text.contains("(node 1, node 2): it goes on by itself"), "{text}");
        assert_eq!(refusal(&[&[1, 2, 3], &[1, 4, 5]], &[(2, behind())]), None, "a majority of both is needed");
        let text = refusal(&[&[1, 2, 3]], &[(4, answer(true, 9, 9))]).unwrap();
        assert!(text.starts_with("node 4 leads the meta group"), "{text}");
        for further in [answer(false, 3, 11), answer(false, 4, 2)] {
            let text = refusal(&[&[1, 2, 3]], &[(4, further)]).unwrap();
            assert!(text.starts_with("node 4 has come further"), "{text}");
        }
    }
}
