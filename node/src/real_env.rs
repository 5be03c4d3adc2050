//! The real [`Env`].

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use bellwether_kv::Error;
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_server::env::{Files, Program, SecretKey, Seed};
use bellwether_server::{Config, Env};

use crate::clock::SystemClock;
use crate::host_metrics::HostCollector;
use crate::network::TcpNet;
use crate::objects::StoresByUrl;
use crate::threads::Runtimes;
use crate::volume::DirectoryVolume;

/// Opens the data directory and gathers what a server needs of the world.
pub fn make(config: &Config, runtimes: &Runtimes) -> anyhow::Result<Env> {
    let directory = &config.data_dir;
    let disk = RocksDisk::new(directory.clone(), RocksOptions::default()).map_err(|error| match error {
        Error::Locked(_) => anyhow!("data directory {} is in use by another bellwether process", directory.display()),
        other => anyhow!(other).context(format!("cannot use data directory {}", directory.display())),
    })?;
    Ok(Env {
        disk: Arc::new(disk),
        volume: Arc::new(DirectoryVolume::new(directory.clone())),
        clock: Arc::new(SystemClock),
        seed: Seed(u64::from_le_bytes(entropy()?)),
        key: SecretKey::new(entropy()?),
        program: Program::THIS,
        net: Arc::new(TcpNet),
        files: Arc::new(OperatorFiles),
        objects: Arc::new(StoresByUrl),
        executors: runtimes.executors().context("cannot start threads")?,
        host: Some(Arc::new(HostCollector::new("/"))),
        fatal: Arc::new(|reason| {
            tracing::error!(reason, "the process cannot go on");
            // No destructor may write anything any more.
            std::process::abort();
        }),
    })
}

/// Files by their paths, as the process sees them.
struct OperatorFiles;

impl Files for OperatorFiles {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        fs::read(path)
    }
}

fn entropy<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    Ok(bytes)
}
