//! Plans: who holds which range of the ring, and what to move.
//!
//! A [`Placement`] says which ShardGroup owns which HashRange and where its replicas are; an [`Inventory`] says what is
//! known of the nodes; a [`Policy`] says what is wanted; a [`Move`] is a step from one to the other. [`meta_voters`] and
//! [`EvaluatorRing`] say who votes in the meta group, and who evaluates which alert rule.
//!
//! Everything here is a pure function of its arguments: no clock, no I/O, no randomness, nothing that waits, and every
//! choice among equals is settled by the lower id. It alone names hashring.
//!
//! Read `placement`, `changes`, `inventory`, `policy`, `moves`.

mod changes;
mod evaluators;
mod inventory;
mod meta_voters;
mod moves;
mod placement;
mod policy;

pub use changes::ChangeError;
pub use evaluators::{EvaluatorRing, POINTS_PER_NODE};
pub use inventory::{Inventory, Liveness, NodeInfo, NodeState};
pub use meta_voters::meta_voters;
pub use moves::{Move, Step};
pub use placement::{
    GroupLoad, POINT_RULE, PendingSplit, PlacedGroup, Placement, PlacementError, PlacementParts, Replica, ReplicaRole,
};
pub use policy::Policy;
