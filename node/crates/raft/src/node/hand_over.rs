//! Handing every group over that this node leads, before it stops.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::RaftNode;
use crate::errors::TransferError;
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
        let outcomes = led.map(|group| async move { (group.group(), group.hand_over(deadline).await) });
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
