//! What idle engines cost: opens so many with the spaces of a shard replica, gives each one synced record, and prints
//! memory, threads, file handles, open times and disk blocks.
//!
//! `empty_instances [ENGINES] [one]`: `one` opens a single engine with all their spaces instead.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{Durability, Error, KvDisk, KvEngine, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use rustix::time::{ClockId, clock_gettime};

const ENGINES_DEFAULT: usize = 250;
const SPACES: [SpaceConfig; 2] =
    [SpaceConfig { name: "meta", kind: SpaceKind::Records }, SpaceConfig { name: "runs", kind: SpaceKind::Runs }];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let engines = arguments.next().map_or(Ok(ENGINES_DEFAULT), |argument| argument.parse())?;
    let one = arguments.next().is_some_and(|argument| argument == "one");
    let directory = tempfile::tempdir_in(".")?;
    report("before")?;

    let disk = RocksDisk::new(directory.path().to_owned(), RocksOptions::default())?;
    for pass in ["created", "reopened"] {
        let began = now();
        let open = open(&disk, engines, one)?;
        let took = now() - began;
        println!("{pass}: {took:.2?} for all, {:.2?} each", took / open.len() as u32);
        report(pass)?;
        touch(&open, if one { engines } else { 1 })?;
        report("with one synced record each")?;
        drop(open);
    }
    println!("disk, closed: {} KiB", occupied_bytes(directory.path())? >> 10);
    Ok(())
}

fn open(disk: &RocksDisk, engines: usize, one: bool) -> Result<Vec<Arc<dyn KvEngine>>, Error> {
    if !one {
        return (0..engines).map(|number| disk.open(&format!("shards/{number}"), &SPACES)).collect();
    }
    Ok(vec![disk.open("node", &SPACES)?])
}

/// Writes what a shard replica writes first, `records` of it per engine.
fn touch(engines: &[Arc<dyn KvEngine>], records: usize) -> Result<(), Error> {
    for engine in engines {
        for record in 0..records {
            let mut batch = WriteBatch::default();
            batch.put(Space(0), format!("applied/{record}"), vec![0; 100]);
            engine.write(&batch, Durability::Synced)?;
        }
    }
    Ok(())
}

fn report(moment: &str) -> std::io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim();
    let handles = std::fs::read_dir("/proc/self/fd")?.count();
    println!("{moment}: RSS {}, threads {}, file handles {handles}", field("VmRSS:"), field("Threads:"));
    Ok(())
}

fn occupied_bytes(directory: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += occupied_bytes(&entry.path())?;
        }
    }
    Ok(bytes)
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
