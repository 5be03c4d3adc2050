//! What other nodes want done: control commands, changes of members, flushes.

use std::time::Duration;

use bellwether_ingest::{Command, ENTRY_VERSION_FIRST, Entry, EntryBuffer};
use bellwether_model::ShardGroupId;
use bellwether_probe::reached;
use bellwether_proto::peer::v1::maintain_request::What;
use bellwether_proto::peer::v1::membership_request::Change;
use bellwether_proto::peer::v1::{
    self, CommandAnswer, CommandRequest, Failure, MaintainAnswer, MaintainRequest, MembershipAnswer, MembershipRequest,
};
use bellwether_raft::{Members, MembershipError, ReplicaId};
use tokio::time::timeout;

use super::rejected;
use crate::peers::error::{membership_failure, position, transfer_failure, wire_position};
use crate::routing::Router;
use crate::routing::remote::MEMBERSHIP_DEADLINE;

/// How long a successor may take to take over.
const TRANSFER_WAIT: Duration = Duration::from_secs(5);
/// How long a quorum may take to take a change of members.
const CHANGE_WAIT: Duration = Duration::from_secs(15);

const _: () = assert!(TRANSFER_WAIT.as_secs() < CHANGE_WAIT.as_secs());
// Who asked from afar gets the answer.
const _: () = assert!(CHANGE_WAIT.as_secs() < MEMBERSHIP_DEADLINE.as_secs());

impl Router {
    /// Replicates a control command in a group that is led here.
    pub async fn serve_command(&self, request: &CommandRequest) -> Result<CommandAnswer, Failure> {
        let local = self.led_here(request.group)?;
        let mut buffer = EntryBuffer::default();
        let entry = Entry::read(&request.command, &mut buffer, ENTRY_VERSION_FIRST);
        let entry = entry.map_err(|error| rejected(error.to_string()))?;
        let Command::Control(command) = entry.command else {
            return Err(rejected("samples are no control command"));
        };
        let done = local.command(&command, &*self.stamping.clock).await;
        let count = done.map_err(|error| self.failure(local.id(), &error.into()))?;
        let owned = local.range();
        Ok(CommandAnswer { count, first_key: owned.first.0, last_key: owned.last.0 })
    }

    /// Changes the members of a group that is led here, or hands its leadership over.
    pub async fn serve_membership(&self, request: MembershipRequest) -> Result<MembershipAnswer, Failure> {
        let local = self.led_here(request.group)?;
        self.admit_mover(local.id(), request.mover_epoch)?;
        let current = match request.change {
            None => return Err(rejected("the request asks for no change")),
            Some(Change::TransferTo(to)) => {
                let transferred = local.raft.transfer_leadership(ReplicaId(to), TRANSFER_WAIT).await;
                transferred.map_err(|error| transfer_failure(&error))?;
                local.raft.state().membership
            }
            Some(Change::Members(members)) => {
                let expected = request.expected.map(position);
                let expected = expected.ok_or_else(|| rejected("the request names no membership to be changed"))?;
                let of = |members: Vec<v1::Member>| {
                    members.into_iter().map(|member| (ReplicaId(member.replica), member.node)).collect()
                };
                let members = Members { voters: of(members.voters), learners: of(members.learners) };
                // A leader that nobody hears waits for ever.
                let done = timeout(CHANGE_WAIT, local.raft.change_members(expected, members)).await;
                let done = done.unwrap_or(Err(MembershipError::Unknown { hint: None }));
                Some(done.map_err(|error| membership_failure(&error))?)
            }
        };
        Ok(MembershipAnswer { current: current.map(wire_position) })
    }

    /// Refuses movers older than the newest that this node has heard of, for each group.
    fn admit_mover(&self, group: ShardGroupId, epoch: u64) -> Result<(), Failure> {
        let mut epochs = self.mover_epochs.lock();
        let newest = epochs.entry(group).or_insert(epoch);
        if epoch < *newest {
            reached("a stale mover was refused");
            return Err(rejected(format!(
                "a mover of epoch {newest} has come after the one of epoch {epoch}: ask the node that leads the meta \
                 group now"
            )));
        }
        *newest = epoch;
        Ok(())
    }

    /// Flushes or seals all replicas of this node.
    pub async fn serve_maintain(&self, request: &MaintainRequest) -> Result<MaintainAnswer, Failure> {
        let done = match request.what() {
            What::Flush => self.shards.flush_all().await,
            What::Seal => self.shards.seal_all().await,
            What::Unspecified => return Err(rejected("the request asks for nothing")),
        };
        let failed = |error: crate::shards::AdminError| {
            Failure::new(error.to_string(), v1::Unavailable { group: error.group.0 })
        };
        done.map(|()| MaintainAnswer {}).map_err(failed)
    }
}
