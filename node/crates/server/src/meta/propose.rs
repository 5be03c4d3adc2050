//! How a command is proposed, wherever the leader is. A request keeps its id, so however often it arrives, it is applied once.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Meta;
use super::codec::{replies, requests};
use super::command::{MetaCommand, Outcome, Refusal, Request};
pub use crate::common_group::propose::{HereError, PROPOSE_BUDGET, Unanswered};

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// The command is not possible; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody answered, or nobody will.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl Meta {
    /// Has the cluster's state changed. When it returns, this node's [state](Self::state) contains the change.
    pub async fn propose(&self, command: MetaCommand) -> Result<Outcome, MetaError> {
        read(&self.0.group.propose(&self.request(command)).await?)
    }

    /// Like [`propose`](Self::propose), but once, and only while this node leads in `term`: see
    /// [`CommonGroup::propose_in_term`](crate::common_group::CommonGroup::propose_in_term).
    pub async fn propose_in_term(&self, term: u64, command: MetaCommand) -> Result<Outcome, MetaError> {
        read(&self.0.group.propose_in_term(term, &self.request(command)).await?)
    }

    /// Proposes an encoded request to the group, which this node must lead. Returns the encoded reply and the index of a
    /// state that contains it.
    pub async fn propose_here(&self, request: &[u8]) -> Result<(Bytes, u64), HereError> {
        self.0.group.propose_here(request).await
    }

    fn request(&self, command: MetaCommand) -> Bytes {
        let request = Request { id: self.draw_id(), proposed_ms: self.0.clock.now_ms(), command };
        requests::encode(&request, self.now().active_version).into()
    }

    /// A number that no request has had: the seed is this start's, and the count rises.
    fn draw_id(&self) -> u128 {
        let count = self.0.drawn.fetch_add(1, Ordering::Relaxed);
        xxh3_128_with_seed(&count.to_le_bytes(), self.0.seed.0)
    }
}

fn read(reply: &[u8]) -> Result<Outcome, MetaError> {
    match replies::decode(reply) {
        Ok(reply) => Ok(reply?),
        Err(error) => Err(Unanswered::Rejected(format!("the meta group's reply: {error}")).into()),
    }
}
