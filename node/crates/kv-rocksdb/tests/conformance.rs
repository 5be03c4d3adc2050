//! RocksDB passes the suite that every engine passes.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::sync::Arc;

use bellwether_kv::{Error, conformance};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};

#[test]
fn rocksdb_passes_the_conformance_suite() {
    let mut directories = Vec::new();
    conformance::run(|| {
        let directory = tempfile::tempdir().unwrap();
        let disk = RocksDisk::new(directory.path().join("data"), RocksOptions::default()).unwrap();
        directories.push(directory);
        Arc::new(disk)
    });
}

#[test]
fn a_directory_belongs_to_one_disk_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let open = || RocksDisk::new(directory.path().to_owned(), RocksOptions::default());
    let disk = open().unwrap();
    let Err(Error::Locked(place)) = open() else { panic!("two disks in one directory") };
    assert!(place.starts_with(directory.path().to_str().unwrap()), "{place}");
    drop(disk);
    open().unwrap();
}
