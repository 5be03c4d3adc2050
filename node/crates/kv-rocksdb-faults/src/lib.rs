//! A machine under the real RocksDB whose power can fail, whose disk can fill up, fail and rot: for tests.
//!
//! A [`Machine`] has files in memory. [`Machine::start`] begins a [`Process`] on it, which is a [`FileSystem`] for
//! `RocksDisk::on`, and for RocksDB too: `bridge.cc` forwards every call of RocksDB's file system to Rust. A loss of power
//! takes what was not synced, see `tree.rs`, and strikes between two calls or at the n-th step to the disk; the old
//! process' engines answer errors from then on and may be dropped at leisure.
//!
//! No clock and no randomness but the seed's. RocksDB has its own threads: the same calls have the same effect where it is
//! opened with `RocksOptions::background_merges` off and buffers that do not fill up, so that it works only when it is told
//! to, while its caller waits.
//!
//! [`FileSystem`]: bellwether_kv_rocksdb::FileSystem

mod bridge;
mod machine;
mod process;
mod tree;

pub use machine::{Faults, Machine};
pub use process::Process;
pub use tree::{Kept, Loss};
