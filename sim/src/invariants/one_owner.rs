//! What a key's samples are acknowledged by is one group: no two leaders that can acknowledge own the same key.
//!
//! A leader that nobody has told of its successor, or that has yet to apply what is committed, may still have the range of before
//! a split: what it takes now stands behind the split in its log and is refused there. So those count that have the group's
//! latest vote and an entry of their own office applied, and lack nothing of what is known to be committed. A child is elected by replicas
//! that its parent's made when they applied the split: then its parent's leader either has applied that, too, or is none of those.

use std::collections::BTreeMap;

use bellwether_model::HashRange;
use bellwether_raft::StoredVote;

use super::Watcher;
use crate::cluster::observe::{GroupSeen, NodeSeen};

/// See the module.
#[derive(Default)]
pub struct OneOwner {
    /// By group.
    latest: BTreeMap<u32, Latest>,
}

/// The latest that any replica of a group was ever seen to know.
#[derive(Default)]
struct Latest {
    vote: Option<StoredVote>,
    committed: u64,
}

impl Watcher for OneOwner {
    fn name(&self) -> &'static str {
        "a key has one owner"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        let groups: Vec<&GroupSeen> = nodes.iter().flat_map(|node| &node.groups).collect();
        self.compare(&groups)
    }
}

impl OneOwner {
    fn compare(&mut self, groups: &[&GroupSeen]) -> Result<(), String> {
        for seen in groups {
            let latest = self.latest.entry(seen.group).or_default();
            latest.vote = latest.vote.max(seen.log.vote);
            let known = [seen.committed, seen.applied].into_iter().flatten().map(|at| at.index);
            latest.committed = known.fold(latest.committed, u64::max);
        }
        let mut owners: Vec<(HashRange, u32)> = groups.iter().filter_map(|seen| self.acknowledges(seen)).collect();
        owners.sort_unstable_by_key(|(range, group)| (range.first, *group));
        for pair in owners.windows(2) {
            let [(range, group), (other_range, other)] = pair else { continue };
            if group != other && range.overlaps(*other_range) {
                return Err(format!("group {group} owns {range}, group {other} owns {other_range}"));
            }
        }
        Ok(())
    }

    /// What a replica owns that leads and knows all that there is to know.
    fn acknowledges(&self, seen: &GroupSeen) -> Option<(HashRange, u32)> {
        let (owned, vote, applied) = (seen.owned?, seen.log.vote?, seen.applied?);
        let latest = self.latest.get(&seen.group)?;
        let leads = seen.is_leader && vote.leads && vote.candidate.0 == seen.replica && latest.vote == Some(vote);
        let is_of_own_office = (applied.term, applied.leader) == (vote.term, vote.candidate.0);
        (leads && is_of_own_office && applied.index >= latest.committed).then_some((owned.range, seen.group))
    }
}

#[cfg(test)]
mod tests {
    use bellwether_model::PlacementKey;
    use bellwether_raft::{LogOutline, ReplicaId};
    use bellwether_server::shards::split::Ownership;

    use super::*;
    use crate::cluster::observe::Position;

    /// Replica 1 of a group, leading in a term, where it has applied an entry of its own.
    fn leader(group: u32, term: u64, applied: u64, (first, last): (u64, u64)) -> GroupSeen {
        let vote = StoredVote { term, candidate: ReplicaId(1), leads: true };
        let range = HashRange { first: PlacementKey(first), last: PlacementKey(last) };
        GroupSeen {
            group,
            replica: 1,
            is_leader: true,
            applied: Some(Position { index: applied, term, leader: 1 }),
            log: LogOutline { vote: Some(vote), ..LogOutline::default() },
            owned: Some(Ownership::founded(range)),
            ..GroupSeen::default()
        }
    }

    #[test]
    fn leaders_that_can_acknowledge_share_no_key() {
        let (parent, child) = (leader(1, 3, 20, (0, 49)), leader(2, 1, 22, (50, 99)));
        assert_eq!(OneOwner::default().compare(&[&child, &parent]), Ok(()));
        let greedy = leader(1, 3, 20, (0, 50));
        assert!(OneOwner::default().compare(&[&child, &greedy]).is_err());
    }

    #[test]
    fn who_was_overruled_or_is_behind_may_have_the_range_of_before() {
        let (before, child) = (leader(1, 3, 20, (0, 99)), leader(2, 1, 22, (50, 99)));
        let follower = |term, committed| GroupSeen {
            is_leader: false,
            committed: Some(Position { index: committed, term: 3, leader: 1 }),
            ..leader(1, term, 20, (0, 49))
        };
        assert_eq!(OneOwner::default().compare(&[&before, &child, &follower(4, 20)]), Ok(()), "overruled");
        assert_eq!(OneOwner::default().compare(&[&before, &child, &follower(3, 21)]), Ok(()), "behind");
        assert!(OneOwner::default().compare(&[&before, &child, &follower(3, 20)]).is_err());
        let elected = GroupSeen { applied: Some(Position { index: 20, term: 2, leader: 2 }), ..before };
        assert_eq!(OneOwner::default().compare(&[&elected, &child]), Ok(()), "nothing of its own office is applied");
    }
}
