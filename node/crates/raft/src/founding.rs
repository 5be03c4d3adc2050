//! The membership of a group that begins with a part of another group's state: the same nodes with the same votes, other
//! replicas.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec;
use crate::types::{self, LogPosition, Member, Membership, ReplicaId, StoredMembership};

/// Why a membership cannot be handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandOnError {
    /// It is not what a state machine was given.
    #[error("the membership cannot be read: {0}")]
    Damaged(String),
    /// It is on its way from one set of voters to another.
    #[error("the members are being changed")]
    Joint,
    /// The replicas to be replaced are not those that it has.
    #[error("the members are others")]
    OtherMembers,
}

/// The bytes of the membership `of` with each replica replaced as `replicas` says, as of the position `at`, which is the
/// first of the new group's log. `replicas` must name the members and nobody else.
pub fn hand_on_membership(
    of: &Bytes,
    replicas: &BTreeMap<ReplicaId, ReplicaId>,
    at: LogPosition,
) -> Result<Bytes, HandOnError> {
    let damaged = |error: String| HandOnError::Damaged(error);
    let stored = codec::decode_stored_membership(of.clone()).map_err(|error| damaged(error.to_string()))?;
    let [voters] = &stored.membership().get_joint_config()[..] else { return Err(HandOnError::Joint) };
    let members: BTreeMap<u64, Member> = stored.membership().nodes().map(|(id, member)| (*id, *member)).collect();
    if !members.keys().copied().eq(replicas.keys().map(|replica| replica.0)) {
        return Err(HandOnError::OtherMembers);
    }
    let anew = |replica: &u64| replicas[&ReplicaId(*replica)].0;
    let voters = vec![voters.iter().map(anew).collect()];
    let members: BTreeMap<u64, Member> = members.iter().map(|(id, member)| (anew(id), *member)).collect();
    if members.len() != replicas.len() {
        return Err(HandOnError::OtherMembers);
    }
    let membership = Membership::new(voters, members).map_err(|error| damaged(error.to_string()))?;
    Ok(codec::encode_stored_membership(&StoredMembership::new(Some(types::log_id(at)), membership)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(index: u64) -> LogPosition {
        LogPosition { term: 0, leader: ReplicaId(0), index }
    }

    fn stored(voters: &[&[u64]], members: &[u64]) -> Bytes {
        let voters = voters.iter().map(|set| set.iter().copied().collect()).collect();
        let members: BTreeMap<u64, Member> = members.iter().map(|id| (*id, Member { node: id * 100 })).collect();
        let membership = Membership::new(voters, members).unwrap();
        codec::encode_stored_membership(&StoredMembership::new(Some(types::log_id(position(3))), membership))
    }

    fn pairs(pairs: &[(u64, u64)]) -> BTreeMap<ReplicaId, ReplicaId> {
        pairs.iter().map(|(old, new)| (ReplicaId(*old), ReplicaId(*new))).collect()
    }

    #[test]
    fn nodes_and_votes_stay_and_replicas_are_others() {
        let handed_on =
            hand_on_membership(&stored(&[&[1, 2]], &[1, 2, 3]), &pairs(&[(1, 11), (2, 9), (3, 13)]), position(7));
        let found = codec::decode_stored_membership(handed_on.unwrap()).unwrap();
        assert_eq!(*found.log_id(), Some(types::log_id(position(7))));
        assert_eq!(found.membership().voter_ids().collect::<Vec<_>>(), [9, 11]);
        let nodes: Vec<(u64, u64)> = found.membership().nodes().map(|(id, member)| (*id, member.node)).collect();
        assert_eq!(nodes, [(9, 200), (11, 100), (13, 300)]);
    }

    #[test]
    fn other_members_and_a_change_under_way_are_refused() {
        let of = stored(&[&[1, 2]], &[1, 2]);
        for replicas in [&[(1, 11)][..], &[(1, 11), (2, 12), (3, 13)], &[(1, 11), (3, 12)], &[(1, 11), (2, 11)]] {
            assert_eq!(hand_on_membership(&of, &pairs(replicas), position(7)), Err(HandOnError::OtherMembers));
        }
        let joint = stored(&[&[1], &[1, 2]], &[1, 2]);
        let both = pairs(&[(1, 11), (2, 12)]);
        assert_eq!(hand_on_membership(&joint, &both, position(7)), Err(HandOnError::Joint));
        assert!(matches!(hand_on_membership(&of.slice(1..), &both, position(7)), Err(HandOnError::Damaged(_))));
    }
}
