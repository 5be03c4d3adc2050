//! One node alone: every way of ending and beginning again, and what its disk and clock may do.
//!
//! Reading order: [`world`] (what the node is given instead of the real world), [`plan`] (what a seed makes happen),
//! [`run`] (making it happen), [`oracle`] (what must be true). Each life of the node is a tokio runtime of its own on one
//! thread with a paused clock and a seeded scheduler: a crash drops it. Requests are calls of the write path and the
//! router; there is no network.

pub mod oracle;
pub mod plan;
pub mod run;
pub mod world;

pub use plan::Plan;
pub use run::{Report, simulate};
