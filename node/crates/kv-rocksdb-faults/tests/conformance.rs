//! RocksDB passes the suite that every engine passes on this file system, too.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::path::PathBuf;
use std::sync::Arc;

use bellwether_kv::{KvDisk, conformance};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_kv_rocksdb_faults::{Loss, Machine};

struct RocksMachine(Machine);

impl conformance::Crashing for RocksMachine {
    fn start(&self) -> Arc<dyn KvDisk> {
        disk(&self.0)
    }

    fn lose_power(&self) {
        self.0.lose_power(Loss::TOTAL);
    }
}

fn disk(machine: &Machine) -> Arc<dyn KvDisk> {
    let process = Arc::new(machine.start());
    Arc::new(RocksDisk::on(process, PathBuf::from("/data"), RocksOptions::default()).unwrap())
}

#[test]
fn rocksdb_passes_the_conformance_suite_on_files_in_memory() {
    conformance::run(|| disk(&Machine::new()));
}

#[test]
fn rocksdb_passes_the_crash_cases() {
    conformance::run_crashes(|| Box::new(RocksMachine(Machine::new())));
}
