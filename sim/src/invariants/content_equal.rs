//! Replicas that have applied the same give the same samples, however differently they have flushed, merged, copied and split:
//! every sample of every replica is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::TimeRange;
use bellwether_server::Server;
use bellwether_tsdb::{SelectError, SelectLimits, SelectRequest, SelectedSeries, Shard, Wanted};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::cluster::history::tenant;
use crate::cluster::machine::{Machine, Process};

/// Everything that a replica gives: how many samples, and a hash that knows no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Content {
    samples: u64,
    hash: u64,
}

/// Says which replicas differ. On a machine whose disk was damaged on purpose, one that cannot be read may not have been found yet.
pub fn check(machines: &[Arc<Machine>], tenants: usize, rotten: Option<usize>) -> Result<(), String> {
    let mut known: BTreeMap<(u32, Vec<u8>), (Content, usize)> = BTreeMap::new();
    for machine in machines {
        let found = machine.look(|process| match process {
            Process::Serving(server) => contents(server, tenants, rotten == Some(machine.number)),
            _ => Ok(BTreeMap::new()),
        });
        for (at, content) in
            found.map_err(|wrong| format!("every sample can be read: {wrong}, on node {}", machine.number))?
        {
            let group = at.0;
            let (other, node) = *known.entry(at).or_insert((content, machine.number));
            if other != content {
                return Err(format!(
                    "replicas give the same samples: group {group} gives {other:x?} on node {node}, {content:x?} on node {}",
                    machine.number
                ));
            }
        }
    }
    Ok(())
}

/// By group and what is applied.
fn contents(server: &Server, tenants: usize, is_rotten: bool) -> Result<BTreeMap<(u32, Vec<u8>), Content>, String> {
    let mut contents = BTreeMap::new();
    for local in server.shards().serving() {
        let shard = local.shard();
        match content(&shard, tenants) {
            Ok(content) => {
                contents.insert((local.id().0, shard.applied().0.to_vec()), content);
            }
            Err(SelectError::Storage(error)) if is_rotten && error.is_corrupt() => {}
            Err(error) => return Err(format!("group {}: {error}", local.id())),
        }
    }
    Ok(contents)
}

fn content(shard: &Shard, tenants: usize) -> Result<Content, SelectError> {
    let mut content = Content::default();
    for index in 0..tenants {
        let tenant = tenant(index);
        let limits = SelectLimits { series: usize::MAX, samples: usize::MAX };
        let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits };
        let mut add = |series: SelectedSeries| -> Result<(), SelectError> {
            let of_series = xxh3_64_with_seed(series.labels.to_string().as_bytes(), index as u64);
            for (timestamp, value) in series.timestamps.iter().zip(&series.values) {
                let sample = [of_series.to_le_bytes(), timestamp.to_le_bytes(), value.to_bits().to_le_bytes()].concat();
                content.samples += 1;
                content.hash = content.hash.wrapping_add(xxh3_64(&sample));
            }
            Ok(())
        };
        shard.select_each(&request, Wanted::All, &AtomicBool::new(false), &mut add)?;
    }
    Ok(content)
}
