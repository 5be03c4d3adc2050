//! Several nodes: real server code, real Raft, real gRPC, over turmoil's network.
//!
//! Reading order: [`options`] (what a seed switches on), [`schedule`] (what goes wrong, and when), [`case`] (both as a
//! file), [`machine`] with
//! [`clock`], [`net`] (what a node is given instead of the real world), [`world`] (all machines and the network between
//! them), [`nemesis`] (makes the schedule happen), [`workload`], [`http`], [`library`], [`clients`], [`history`] and [`values`] (who writes and reads, and what
//! may be read), [`alerts`] and [`receiver`] (rules, and who is told of their alerts), [`operator`] (who administers), [`observe`] (what is looked at from outside), [`probing`] (what the code itself asks
//! and tells), [`run`] (the
//! phases of a run), [`coverage`] (what must have happened in a sweep).
//!
//! A run has four phases: the nodes found and join a cluster, whose groups spread; things go wrong while clients write and
//! read; everything heals, and the cluster must come to rest within a bound; then everything is read once more, on every
//! node. All is on one thread: each host is a tokio runtime with a paused clock and a seeded scheduler.

pub mod alerts;
pub mod case;
pub mod clients;
pub mod clock;
pub mod coverage;
pub mod history;
pub mod http;
pub mod library;
pub mod machine;
pub mod nemesis;
pub mod net;
pub mod observe;
pub mod operator;
pub mod options;
pub mod probing;
pub mod receiver;
pub mod run;
pub mod schedule;
pub mod values;
pub mod workload;
pub mod world;

pub use case::Case;
pub use options::Options;
pub use run::{Failure, Report, simulate};
