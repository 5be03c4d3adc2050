//! How far a replica must have come to see everything that was acknowledged. Only a group's leader can tell; all groups
//! that one node leads are asked about in one call.

use std::collections::BTreeMap;

use bellwether_model::ShardGroupId;
use bellwether_proto::peer::v1::read_index::Outcome;
use bellwether_proto::peer::v1::{ReadIndex, ReadIndexRequest};
use bellwether_raft::{LogPosition, NodeId, ReplicaId};
use futures::future::{join, join_all};

use super::Router;
use super::error::RouteError;
use super::leaders::Leader;
use super::pace::Pace;
use super::remote::{callee, unreadable};
use crate::peers::{self, PeerError};
use crate::shards::ShardGroup;

/// What a group's leader says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// What a replica must have applied.
    pub position: LogPosition,
    /// The replicas in the group, as a quorum has them; empty while that changes, and where it was not asked for.
    pub members: Vec<ReplicaId>,
}

/// Asks the replica here, which must lead.
pub(super) async fn freshness_here(local: &ShardGroup, with_members: bool) -> Result<Freshness, RouteError> {
    let position = local.raft.read_index().await?;
    let members = if with_members { settled_members(local) } else { Vec::new() };
    Ok(Freshness { position, members })
}

fn settled_members(local: &ShardGroup) -> Vec<ReplicaId> {
    let state = local.raft.state();
    if !state.membership_committed || state.is_joint {
        return Vec::new();
    }
    state.voters.into_keys().chain(state.learners.into_keys()).collect()
}

impl Router {
    /// Asks the leaders of `groups`; the answers are in their order.
    pub(super) async fn freshness(
        &self,
        groups: &[ShardGroupId],
        with_members: bool,
    ) -> Result<Vec<Freshness>, (ShardGroupId, RouteError)> {
        let mut known: BTreeMap<ShardGroupId, Freshness> = BTreeMap::new();
        let mut pace = Pace::begin(&self.jitter);
        let mut attempt = 0;
        loop {
            let mut here = Vec::new();
            let mut there: BTreeMap<NodeId, Vec<ShardGroupId>> = BTreeMap::new();
            let mut answers = Vec::new();
            for group in groups.iter().filter(|group| !known.contains_key(group)) {
                match self.leader_of(*group, attempt) {
                    Leader::Here(local) => here.push(local),
                    Leader::There(node) => there.entry(node).or_default().push(*group),
                    Leader::Nowhere(error) => answers.push((*group, self.shards.node(), Err(error))),
                }
            }
            let here = join_all(here.iter().map(|local| async move {
                (local.id(), self.shards.node(), freshness_here(local, with_members).await)
            }));
            let there = join_all(there.into_iter().map(|(node, of)| self.freshness_there(node, of, with_members)));
            let (here, there) = join(here, there).await;
            answers.extend(here);
            answers.extend(there.into_iter().flatten());
            let mut failed = None;
            for (group, asked, answer) in answers {
                match answer {
                    Ok(freshness) => drop(known.insert(group, freshness)),
                    Err(error) => {
                        self.learn(group, &error, asked);
                        failed = Some((group, asked, error));
                    }
                }
            }
            let Some((group, asked, error)) = failed else { break };
            if !self.try_again(group, &error, asked, &mut pace).await {
                return Err((group, error));
            }
            attempt += 1;
        }
        Ok(groups.iter().filter_map(|group| known.remove(group)).collect())
    }

    /// The replicas that a group has, as a quorum has them; empty while that changes.
    pub(super) async fn members_of(&self, group: ShardGroupId) -> Result<Vec<ReplicaId>, RouteError> {
        let found = self.freshness(&[group], true).await.map_err(|(_, error)| error)?;
        Ok(found.into_iter().flat_map(|freshness| freshness.members).collect())
    }

    async fn freshness_there(
        &self,
        node: NodeId,
        groups: Vec<ShardGroupId>,
        with_members: bool,
    ) -> Vec<(ShardGroupId, NodeId, Result<Freshness, RouteError>)> {
        let request = ReadIndexRequest { groups: groups.iter().map(|group| group.0).collect(), with_members };
        let answers = match self.remote.read_index(node, request).await {
            Ok(answer) if answer.groups.len() == groups.len() => answer.groups,
            Ok(answer) => {
                let reason = format!("{} answers for {} groups", answer.groups.len(), groups.len());
                let error = unreadable(node, reason);
                return groups.into_iter().map(|group| (group, node, Err(error.clone().into()))).collect();
            }
            Err(error) => return groups.into_iter().map(|group| (group, node, Err(error.clone().into()))).collect(),
        };
        groups.into_iter().zip(answers).map(|(group, answer)| (group, node, read(node, answer))).collect()
    }
}

fn read(node: NodeId, answer: ReadIndex) -> Result<Freshness, RouteError> {
    match answer.outcome {
        Some(Outcome::Position(position)) => Ok(Freshness {
            position: peers::error::position(position),
            members: answer.members.into_iter().map(ReplicaId).collect(),
        }),
        Some(Outcome::Failure(failure)) => Err(PeerError::of_failure(callee(node), failure).into()),
        None => {
            let reason = format!("nothing is said of shard group {}", answer.group);
            Err(unreadable(node, reason).into())
        }
    }
}
