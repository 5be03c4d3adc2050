//! Changes of who is in a group, each planned against one membership and refused against any other.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_probe::reached;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, Fatal, PreconditionFailed, RaftError};
use openraft::raft::Precondition;

use tokio::time::Instant;

use super::{Inner, RaftGroup, hint};
use crate::errors::MembershipError;
use crate::limits;
use crate::types::{self, LogPosition, Member, NodeId, ReplicaId, StoredMembership, Types};

/// Who is in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The replicas that vote, and their nodes.
    pub voters: BTreeMap<ReplicaId, NodeId>,
    /// The replicas that only learn, and their nodes.
    pub learners: BTreeMap<ReplicaId, NodeId>,
}

/// What openraft is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    changes: ChangeMembers<u64, Member>,
    /// Whether voters that leave go on learning.
    retain: bool,
    /// Replicas to remove afterwards: openraft either keeps all voters that leave or none.
    then_remove: BTreeSet<u64>,
}

impl RaftGroup {
    /// Makes exactly these replicas members. `expected` is where the membership stands that the change was planned
    /// against, see [`GroupState::membership`](crate::GroupState::membership): where another one holds meanwhile,
    /// nothing is changed. Returns when the new membership is committed, and where it stands.
    ///
    /// A change of voters goes through one joint membership. Where it is interrupted by a change of leader, the group
    /// is left in that: a call with the same members, or with the former ones, ends it. Replicas added as learners need
    /// not have started yet; one that is made a voter must have caught up. A leader that is a voter no more hands over
    /// afterwards.
    pub async fn change_members(
        &self,
        expected: LogPosition,
        members: Members,
    ) -> Result<LogPosition, MembershipError> {
        let this = &*self.0;
        let current = this.raft.with_raft_state(|state| state.membership_state.effective().clone()).await;
        let current = current.map_err(|fatal| this.membership_stopped(&fatal))?;
        let found = current.log_id().as_ref().map(types::position);
        if found != Some(expected) {
            reached("a change of members came too late");
            return Err(MembershipError::Stale { group: this.group, expected, found });
        }
        this.check_members(&current, &members)?;
        self.check_promoted(&current, &members)?;
        let Some(Plan { changes, retain, then_remove }) = plan(&current, &members) else { return Ok(expected) };
        let mut position = this.change(expected, changes, retain).await?;
        if !then_remove.is_empty() {
            position = this.change(position, ChangeMembers::RemoveNodes(then_remove), true).await?;
        }
        if !members.voters.contains_key(&this.replica) {
            // It may go on leading without a vote of its own, but counts for no quorum.
            let (group, deadline) = (self.clone(), Instant::now() + limits::TRANSFER_WAIT);
            tokio::spawn(async move { group.hand_over(deadline).await });
        }
        Ok(position)
    }

    /// A replica that becomes a voter counts for the quorum at once: one that is far behind would stop the group.
    fn check_promoted(&self, current: &StoredMembership, members: &Members) -> Result<(), MembershipError> {
        let this = &*self.0;
        let voting: BTreeSet<u64> = current.voter_ids().collect();
        let progress = self.state().progress;
        let promoted =
            members.voters.keys().filter(|replica| !voting.contains(&replica.0) && **replica != this.replica);
        for replica in promoted {
            let progress = progress.get(replica).filter(|progress| progress.matched.is_some());
            if progress.is_none_or(|progress| progress.bytes_behind > limits::PROMOTION_LAG_BYTES_MAX) {
                let bytes_behind = progress.map(|progress| progress.bytes_behind);
                reached("a learner was too far behind to vote");
                return Err(MembershipError::NotCaughtUp { group: this.group, replica: *replica, bytes_behind });
            }
        }
        Ok(())
    }
}

/// The change that leads from one membership to another; `None` where nothing has to change.
fn plan(current: &StoredMembership, members: &Members) -> Option<Plan> {
    let voting: BTreeSet<u64> = current.voter_ids().collect();
    let present: BTreeSet<u64> = current.nodes().map(|(replica, _)| *replica).collect();
    let voters: BTreeSet<u64> = members.voters.keys().map(|replica| replica.0).collect();
    let wanted: BTreeMap<u64, Member> = members
        .voters
        .iter()
        .chain(&members.learners)
        .map(|(replica, node)| (replica.0, Member { node: *node }))
        .collect();
    let added: BTreeMap<u64, Member> =
        wanted.iter().filter(|(replica, _)| !present.contains(replica)).map(|(id, member)| (*id, *member)).collect();
    let leaving: BTreeSet<u64> = present.iter().copied().filter(|replica| !wanted.contains_key(replica)).collect();
    let (voters_leaving, learners_leaving): (BTreeSet<u64>, BTreeSet<u64>) =
        leaving.into_iter().partition(|replica| voting.contains(replica));
    let demoted = voting.iter().any(|replica| wanted.contains_key(replica) && !voters.contains(replica));
    let is_uniform = current.get_joint_config().len() == 1;
    if is_uniform && voting == voters && added.is_empty() && learners_leaving.is_empty() {
        return None;
    }
    let mut changes = Vec::new();
    if !added.is_empty() {
        changes.push(ChangeMembers::AddNodes(added));
    }
    if !learners_leaving.is_empty() {
        changes.push(ChangeMembers::RemoveNodes(learners_leaving));
    }
    changes.push(ChangeMembers::ReplaceAllVoters(voters));
    let then_remove = if demoted { voters_leaving } else { BTreeSet::new() };
    Some(Plan { changes: ChangeMembers::Batch(changes), retain: demoted, then_remove })
}

impl Inner {
    fn check_members(&self, current: &StoredMembership, members: &Members) -> Result<(), MembershipError> {
        let refused = |reason: String| Err(MembershipError::Refused { group: self.group, reason });
        let count = members.voters.len() + members.learners.len();
        if members.voters.is_empty() {
            return refused("the last voter cannot be removed".to_owned());
        }
        if count > limits::MEMBERS_MAX {
            return refused(format!("{count} members are more than {}", limits::MEMBERS_MAX));
        }
        // Those that come and those that go are in one membership while the change is under way.
        let wanted = members.voters.keys().chain(members.learners.keys()).map(|replica| replica.0);
        let together: BTreeSet<u64> = current.nodes().map(|(replica, _)| *replica).chain(wanted).collect();
        if together.len() > limits::MEMBERS_MAX {
            return refused(format!(
                "{} members, those that leave included, are more than {}: remove first, then add",
                together.len(),
                limits::MEMBERS_MAX
            ));
        }
        if let Some(replica) = members.learners.keys().find(|replica| members.voters.contains_key(replica)) {
            return refused(format!("replica {replica} cannot both vote and learn"));
        }
        for (replica, node) in members.voters.iter().chain(&members.learners) {
            if let Some(known) = current.get_node(&replica.0).filter(|known| known.node != *node) {
                return refused(format!("replica {replica} lives on node {}, not on {node}", known.node));
            }
        }
        Ok(())
    }

    async fn change(
        &self,
        expected: LogPosition,
        changes: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<LogPosition, MembershipError> {
        let guard = Precondition::LastMembershipLogId { last_membership_log_id: Some(types::log_id(expected)) };
        let error = match self.raft.change_membership_if(changes, retain, [guard]).await {
            Ok(response) => return Ok(types::position(&response.log_id)),
            Err(RaftError::Fatal(fatal)) => return Err(self.membership_stopped(&fatal)),
            Err(RaftError::APIError(error)) => error,
        };
        Err(match error {
            ClientWriteError::ForwardToLeader(forward) => MembershipError::NotLeader { hint: hint(&forward) },
            ClientWriteError::LogEntryDiscarded(forward) => MembershipError::Unknown { hint: hint(&forward) },
            ClientWriteError::PreconditionFailed(PreconditionFailed::LastMembershipLogIdMismatch {
                actual, ..
            }) => MembershipError::Stale { group: self.group, expected, found: actual.as_ref().map(types::position) },
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                MembershipError::InProgress(self.group)
            }
            error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
                MembershipError::Refused { group: self.group, reason: error.to_string() }
            }
        })
    }

    fn membership_stopped(&self, fatal: &Fatal<Types>) -> MembershipError {
        MembershipError::Stopped { group: self.group, reason: fatal.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Membership;

    /// `sets` of voters, and who only learns; every replica lives on the node of ten times its number.
    fn stored(sets: &[&[u64]], learners: &[u64]) -> StoredMembership {
        let voters: Vec<BTreeSet<u64>> = sets.iter().map(|set| set.iter().copied().collect()).collect();
        let all = voters.iter().flatten().chain(learners);
        let nodes: BTreeMap<u64, Member> = all.map(|replica| (*replica, Member { node: replica * 10 })).collect();
        StoredMembership::new(None, Membership::new(voters, nodes).unwrap())
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let map = |replicas: &[u64]| replicas.iter().map(|replica| (ReplicaId(*replica), replica * 10)).collect();
        Members { voters: map(voters), learners: map(learners) }
    }

    fn check(current: StoredMembership, wanted: Members, expected: expect_test::Expect) {
        let shown = match plan(&current, &wanted) {
            None => "nothing".to_owned(),
            Some(Plan { changes: ChangeMembers::Batch(changes), retain, then_remove }) => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                let kept = if retain { ", kept as learners" } else { "" };
                let then =
                    if then_remove.is_empty() { String::new() } else { format!(", then remove {then_remove:?}") };
                format!("{}{kept}{then}", changes.join(", "))
            }
            Some(other) => format!("{other:?}"),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_change_is_as_small_as_it_can_be() {
        use expect_test::expect;
        check(stored(&[&[1]], &[2]), members(&[1], &[2]), expect![["nothing"]]);
        check(
            stored(&[&[1]], &[]),
            members(&[1], &[2]),
            expect!["AddNodes(2:Member { node: 20 }), ReplaceAllVoters([1])"],
        );
        check(stored(&[&[1]], &[2, 3]), members(&[1, 2, 3], &[]), expect!["ReplaceAllVoters([1,2,3])"]);
        check(stored(&[&[1, 2, 3]], &[4]), members(&[2, 3, 4], &[]), expect!["ReplaceAllVoters([2,3,4])"]);
        check(
            stored(&[&[1, 2, 3]], &[4]),
            members(&[2, 3], &[1, 4]),
            expect!["ReplaceAllVoters([2,3]), kept as learners"],
        );
        check(
            stored(&[&[1, 2, 3]], &[4]),
            members(&[3, 4], &[1]),
            expect!["ReplaceAllVoters([3,4]), kept as learners, then remove {2}"],
        );
        check(stored(&[&[1]], &[2]), members(&[1], &[]), expect!["RemoveNodes([2]), ReplaceAllVoters([1])"]);
    }

    #[test]
    fn a_change_left_half_done_can_be_ended_either_way() {
        use expect_test::expect;
        let half_done = || stored(&[&[1, 2, 3], &[2, 3, 4]], &[]);
        check(half_done(), members(&[2, 3, 4], &[]), expect!["ReplaceAllVoters([2,3,4])"]);
        check(half_done(), members(&[1, 2, 3], &[4]), expect!["ReplaceAllVoters([1,2,3]), kept as learners"]);
    }
}
