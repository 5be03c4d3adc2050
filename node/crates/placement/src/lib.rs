//! Plans: who holds which range of the ring, and what to move.
//!
//! A [`Placement`] says which ShardGroup owns which HashRange and where its replicas are; an [`Inventory`] says what is
//! known of the nodes; a [`Policy`] says what is wanted. From the three, [`plan`] computes the next [`Move`]s. The plan
//! keeps no memory: what is half-done shows in the Placement, so whoever plans next, after any crash, goes on from there.
//! [`meta_voters`] and [`EvaluatorRing`] answer the two smaller questions of the same kind: who votes in the meta group,
//! and who evaluates which alert rule.
//!
//! Everything here is a pure function of its arguments: no clock, no I/O, no randomness, nothing that waits, and every
//! choice among equals is settled by the lower id. It alone names hashring.
//!
//! Read `placement`, `changes`, `inventory`, `policy`, `moves`; then `plan` and what lies below it.

mod changes;
mod evaluators;
mod inventory;
mod meta_voters;
mod moves;
mod placement;
mod plan;
mod policy;
mod preview;

pub use changes::ChangeError;
pub use evaluators::{EvaluatorRing, POINTS_PER_NODE};
pub use inventory::{Inventory, Liveness, NodeInfo, NodeState};
pub use meta_voters::meta_voters;
pub use moves::{Move, Step};
pub use placement::{
    GroupLoad, Origin, POINT_RULE, PendingSplit, PlacedGroup, Placement, PlacementError, PlacementParts, Replica,
    ReplicaRole,
};
pub use plan::{Plan, plan};
pub use policy::{Policy, SMALL_COPIES, SMALL_COPY_BYTES};
pub use preview::{PREVIEW_ROUNDS_MAX, preview};
