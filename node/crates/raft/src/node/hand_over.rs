//! Handing every group over that this node leads, before it stops.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::{RaftNode, mix};
use crate::errors::TransferError;
use crate::group::RaftGroup;
use crate::types::GroupId;

/// What became of the groups that a node led.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandOver {
    /// Groups that another replica leads now.
    pub moved: usize,
    /// Groups that have no other voter.
    pub alone: usize,
    /// Groups that could not be handed over, and why.
    pub kept: Vec<(GroupId, TransferError)>,
}

impl RaftNode {
    /// Hands over every group that is led here, each to the voter that has the most of its log, all at once and within
    /// `within`. To be called before a shutdown, so that nobody has to notice that this node is gone.
    pub async fn hand_over_all(&self, within: Duration) -> HandOver {
        let deadline = Instant::now() + within;
        let led = self.groups().into_iter().filter(|group| group.state().is_leader);
        let outcomes = led.map(|group| async move { (group.group(), hand_over(&group, deadline).await) });
        let mut result = HandOver::default();
        for (group, outcome) in join_all(outcomes).await {
            match outcome {
                None => result.alone += 1,
                Some(Ok(())) => result.moved += 1,
                Some(Err(error)) => result.kept.push((group, error)),
            }
        }
        result
    }
}

/// `None`: nobody else votes.
async fn hand_over(group: &RaftGroup, deadline: Instant) -> Option<Result<(), TransferError>> {
    let number = u64::from(group.group().0);
    let successors = group.successors(|replica| mix(number, replica.0));
    let mut outcome = None;
    let count = successors.len() as u32;
    for (tried, successor) in successors.into_iter().enumerate() {
        // Each gets an equal share of what is left, so that one that does not answer leaves time for the next.
        let left = deadline.saturating_duration_since(Instant::now());
        let transferred = group.transfer_leadership(successor, left / (count - tried as u32)).await;
        let has_moved = !matches!(transferred, Err(TransferError::Behind { .. }));
        // Somebody else may have been faster: what matters is that this replica does not lead any more.
        let transferred = match transferred {
            Err(TransferError::NotLeader { hint: Some(_) }) => Ok(()),
            other => other,
        };
        outcome = Some(transferred);
        if has_moved {
            break;
        }
    }
    outcome
}
