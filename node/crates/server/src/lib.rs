//! A node: what listens, what stores, what answers, over an [`Env`].
//!
//! Reading order: [`env`] (the door to the world), [`config`], [`shards`] (the groups of this node and reads across
//! them), [`write`] (from a request's body to acknowledged samples), [`maintenance`] (flush, seal, retention, disk
//! space), then what clients see: [`gateway`], [`grpc`], [`query`], [`self_collect`].

pub mod config;
pub mod env;
pub mod gateway;
pub mod grpc;
mod listen;
pub mod maintenance;
pub mod metrics;
pub mod query;
pub mod self_collect;
pub mod shards;
pub mod write;

pub use config::Config;
pub use env::Env;
