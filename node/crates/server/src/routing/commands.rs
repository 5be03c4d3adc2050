//! Control commands and changes of members on their way to the leader of their group, and what all nodes are to do.

use std::collections::BTreeSet;

use bellwether_ingest::{ControlCommand, ENTRY_VERSION_FIRST};
use bellwether_model::{HashRange, PlacementKey, ShardGroupId};
use bellwether_proto::peer::v1::maintain_request::What;
use bellwether_proto::peer::v1::{CommandAnswer, CommandRequest, MaintainRequest, MembershipAnswer, MembershipRequest};
use bellwether_raft::NodeId;
use futures::future::{try_join, try_join_all};
use tokio::time::timeout;

use super::Router;
use super::error::RouteError;
use super::leaders::Leader;
use super::pace::Pace;
use super::remote::{COMMAND_DEADLINE, callee};
use crate::peers::PeerError;
use crate::shards::AdminError;

impl Router {
    /// Replicates a command that may be repeated, with the group's leader wherever it is; returns how many series or
    /// records it concerned.
    pub async fn command(&self, group: ShardGroupId, command: &ControlCommand) -> Result<u64, NotReplicated> {
        Ok(self.command_owned(group, command).await?.0)
    }

    /// The same; says what the group owned when the command was done, or later.
    pub async fn command_owned(
        &self,
        group: ShardGroupId,
        command: &ControlCommand,
    ) -> Result<(u64, HashRange), NotReplicated> {
        let mut pace = Pace::begin(&self.jitter);
        let mut attempt = 0;
        loop {
            let (asked, error) = match self.leader_of(group, attempt) {
                Leader::Here(local) => {
                    // A leader whom no quorum hears goes on leading, and waits.
                    let done = timeout(COMMAND_DEADLINE, local.command(command, &*self.stamping.clock)).await;
                    match done.map(|done| done.map_err(RouteError::from)).unwrap_or(Err(RouteError::Late(group))) {
                        Ok(count) => return Ok((count, local.range())),
                        Err(error) => (self.shards.node(), error),
                    }
                }
                Leader::There(node) => {
                    // The leader puts its own time in place of this one.
                    let request =
                        CommandRequest { group: group.0, command: command.encode(ENTRY_VERSION_FIRST, 0).into() };
                    match self.remote.command(node, request).await {
                        Ok(CommandAnswer { count, first_key, last_key }) => {
                            let owned = HashRange { first: PlacementKey(first_key), last: PlacementKey(last_key) };
                            return Ok((count, owned));
                        }
                        Err(error) => (node, error.into()),
                    }
                }
                Leader::Nowhere(error) => (self.shards.node(), error),
            };
            if !self.try_again(group, &error, asked, &mut pace).await {
                return Err(NotReplicated { group, error });
            }
            attempt += 1;
        }
    }

    /// Changes the members of a group, or its leader, with the group's leader wherever it is. The membership that the
    /// request expects guards against doing it twice.
    pub async fn membership(
        &self,
        group: ShardGroupId,
        request: MembershipRequest,
    ) -> Result<MembershipAnswer, RouteError> {
        let mut pace = Pace::begin(&self.jitter);
        let mut attempt = 0;
        loop {
            let (asked, error) = match self.leader_of(group, attempt) {
                Leader::Here(_) => {
                    let node = self.shards.node();
                    match self.serve_membership(request.clone()).await {
                        Ok(answer) => return Ok(answer),
                        Err(failure) => (node, PeerError::of_failure(callee(node), failure).into()),
                    }
                }
                Leader::There(node) => match self.remote.membership(node, request.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => (node, error.into()),
                },
                Leader::Nowhere(error) => (self.shards.node(), error),
            };
            let may_repeat = match &error {
                // Most likely it is gone. Had it done what it was asked, the others would refuse it as outdated.
                RouteError::Remote(PeerError::Unreachable { .. }) => true,
                RouteError::Remote(error) => error.nothing_done(),
                _ => true,
            };
            if !may_repeat {
                // Nor is the next request sent to who did not answer.
                self.learn(group, &error, asked);
                return Err(error);
            }
            if !self.try_again(group, &error, asked, &mut pace).await {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Writes everything applied to runs, on all nodes, and gives the log's space back. Answers when done.
    pub async fn flush_all(&self) -> Result<(), MaintainError> {
        self.maintain(What::Flush).await
    }

    /// Flushes, then seals every closed Window, on all nodes. Answers when done.
    pub async fn seal_all(&self) -> Result<(), MaintainError> {
        self.maintain(What::Seal).await
    }

    async fn maintain(&self, what: What) -> Result<(), MaintainError> {
        let ring = self.shards.ring();
        let own = self.shards.node();
        let others: BTreeSet<NodeId> =
            ring.groups().iter().flat_map(|group| group.nodes()).filter(|node| *node != own).collect();
        let there = try_join_all(others.into_iter().map(|node| async move {
            let request = MaintainRequest { what: what.into() };
            self.remote.maintain(node, request).await.map(drop).map_err(MaintainError::There)
        }));
        let here = async {
            match what {
                What::Seal => self.shards.seal_all().await,
                What::Flush | What::Unspecified => self.shards.flush_all().await,
            }
            .map_err(MaintainError::Here)
        };
        try_join(here, there).await.map(drop)
    }
}

/// A command that is in no group's log, as far as is known.
#[derive(Debug, thiserror::Error)]
#[error("shard group {group}: {error}")]
pub struct NotReplicated {
    /// The group.
    pub group: ShardGroupId,
    /// Why not.
    #[source]
    pub error: RouteError,
}

/// Why a flush or seal of the whole cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// On this node.
    #[error(transparent)]
    Here(AdminError),
    /// On another node.
    #[error(transparent)]
    There(PeerError),
}
