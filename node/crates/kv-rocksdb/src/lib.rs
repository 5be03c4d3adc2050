//! The engine interface of `bellwether-kv` on RocksDB and the real file system: the only crate that names RocksDB.
//!
//! [`RocksDisk`] is a directory that one process owns; all engines in it share a block cache, a bound on unflushed
//! bytes and the background threads. What each kind of space is tuned for, and why, stands in `tuning.rs`.

#![allow(clippy::type_complexity, reason = "a visitor's type is spelled out: an alias would hide its lifetime")]

mod disk;
mod engine;
mod error;
mod files;
mod run;
mod tuning;

pub use disk::RocksDisk;
pub use tuning::RocksOptions;
