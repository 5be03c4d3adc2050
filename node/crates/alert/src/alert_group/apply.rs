//! How a request changes the state: a function of the two. No clock, no randomness, no configuration: whatever else a command
//! depends on is in it.

mod rule_groups;

use super::command::{Command, Outcome, Reply, Request};
use super::state::{AlertGroupState, TenantState};

/// Applies the request of log entry `index` and says what came of it. A refused one changes nothing but the time.
pub fn apply(state: &mut AlertGroupState, request: Request, index: u64) -> Reply {
    let Request { proposed_ms, command } = request;
    state.time = state.time.max(proposed_ms);
    match command {
        Command::SetRing { nodes } => {
            if state.ring.nodes != nodes {
                state.ring.nodes = nodes;
                state.ring.epoch = index;
            }
            Ok(Outcome::Ring { epoch: state.ring.epoch })
        }
        _ => Ok(Outcome::Done),
    }
}

impl TenantState {
    /// When something is to be looked at next.
    pub fn next(&self) -> Option<bellwether_model::Timestamp> {
        self.dispatch.next()
    }
}
