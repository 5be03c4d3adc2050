//! Deterministic simulation: a whole node on simulated time, disk and network, driven by one seed and judged by an
//! oracle that knows what was acknowledged.
//!
//! Reading order: [`world`] (what the node is given instead of the real world), [`plan`] (what a seed makes happen),
//! [`run`] (making it happen), [`oracle`] (what must be true), [`trace`] (how two runs are compared). Each life of the
//! node is a tokio runtime of its own on one thread with a paused clock and a seeded scheduler: a crash drops it.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation needs `--cfg tokio_unstable`: only then does a seed fix tokio's own choices. It is set in \
     .cargo/config.toml, and an environment variable RUSTFLAGS overrides that file."
);

pub mod body;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod run;
pub mod trace;
pub mod world;

pub use plan::Plan;
pub use run::{Report, simulate};
