//! What to do next.
//!
//! 1. `copies`: where each group's copies belong, from where they are: what is half-done counts as done, what lies on a
//!    node that is lost, drains or is gone is put elsewhere, what is missing is added.
//! 2. `balance`: what else should move, for the zones' sake first, then for even numbers of replicas, then for even loads.
//! 3. `steps`: one step of each group towards that, as far as the throttles allow.
//! 4. `split` and `leaders`: for groups that have nothing else to do.
//!
//! Each phase lowers a sum that no later one raises (zones, then replicas per node, then load per node), and a group
//! moves for one reason at a time: so plans carried out one after the other come to an end.

mod balance;
mod chain;
mod copies;
mod draft;
mod leaders;
mod split;
mod steps;

use std::collections::BTreeSet;

use bellwether_model::ShardGroupId;

use crate::{Inventory, Move, Placement, Policy};
use draft::Draft;

/// What to do next, and what cannot be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each group, the most urgent first: they can be carried out at the same time and in any order.
    pub moves: Vec<Move>,
    /// What should be done and cannot, and why; for people.
    pub held: Vec<String>,
}

/// The next moves. Nothing is remembered between plans: once the moves are carried out (a learner may still be catching
/// up), the next plan goes on from there. No moves and no learner that catches up means that all is as it should be.
pub fn plan(placement: &Placement, inventory: &Inventory, policy: &Policy) -> Plan {
    let mut draft = Draft::new(placement, inventory, policy);
    copies::settle(&mut draft);
    balance::balance(&mut draft);
    let mut moves = steps::next_steps(&mut draft);
    let mut busy: BTreeSet<ShardGroupId> = moves.iter().map(|step| step.group).collect();
    busy.extend(&inventory.unsettled);
    moves.extend(split::next_split(&draft, &mut busy));
    moves.extend(leaders::transfers(&mut draft, &busy));
    Plan { moves, held: draft.held }
}
