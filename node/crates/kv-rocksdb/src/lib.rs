//! The engine interface of `bellwether-kv` on RocksDB and the real file system: the only crate that names RocksDB.
//!
//! [`RocksDisk`] is a directory that one process owns; all engines in it share a block cache, a bound on unflushed
//! bytes and the background threads. It reaches its files through a [`FileSystem`], RocksDB through the Env that this has. What each kind of space is tuned for, and why, stands in `tuning.rs`.
//!
//! One engine per shard replica is meant, and cheap enough: 250 idle ones take 62 MiB of memory (0.25 MiB each), 4 threads
//! in all, 5 to 7 file handles and 40 KiB of disk each, and open in 4 ms each, one after the other, on an idle disk;
//! one engine in their place would take 1.5 MiB, 8 handles and 100 KiB. `examples/empty_instances.rs` measures it.

#![allow(clippy::type_complexity, reason = "a visitor's type is spelled out: an alias would hide its lifetime")]

mod disk;
mod engine;
mod error;
mod file_system;
mod files;
mod run;
mod transfer;
mod tuning;

pub use disk::RocksDisk;
pub use file_system::{AppendedFile, Entry, FileSystem, Lock};
pub use tuning::RocksOptions;
