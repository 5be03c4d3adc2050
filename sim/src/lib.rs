//! Deterministic simulation: whole nodes on simulated time, disks and network, driven by one seed and judged by what was
//! acknowledged to clients.
//!
//! [`cluster`] runs several nodes over turmoil's network, and is what `bellwether-sim run` does; [`single`] runs one node
//! without a network, with more ways to stop and restart it. Both stand on [`random`] (a seed's streams of numbers),
//! [`work`] (how long work beside the tasks takes), [`body`] (what clients send), [`reference`] (what queries must answer) and
//! [`trace`] (how two runs are compared).

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation needs `--cfg tokio_unstable`: only then does a seed fix tokio's own choices. It is set in \
     .cargo/config.toml, and an environment variable RUSTFLAGS overrides that file."
);

pub mod body;
pub mod cluster;
pub mod invariants;
pub mod museum;
pub mod os_clock;
pub mod panics;
pub mod plant;
pub mod random;
pub mod reference;
pub mod shrink;
pub mod single;
pub mod sweep;
pub mod trace;
pub mod work;

use bellwether_model::Timestamp;

/// When simulated time begins: 20 November 2026.
pub const EPOCH_MS: Timestamp = 1_795_132_800_000;
