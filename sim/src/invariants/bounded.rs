//! What nodes hold stays within its named limits and is never less than nothing, and what requests took is given back once
//! there are none.

use bellwether_raft::limits;
use bellwether_server::Server;
use bellwether_server::config::Config;

use crate::cluster::observe::gauge;
use crate::cluster::options::Options;

/// What is held for requests alone.
const FOR_REQUESTS: [&str; 3] =
    ["bellwether_raft_in_flight_bytes", "bellwether_write_in_flight_bytes", "bellwether_query_memory_bytes"];

/// What the heads of a group take that hold hardly anything: one that is being flushed, and the next.
const HEADS_OF_GROUP_BYTES: u64 = 1 << 20;

/// Says what a node holds too much of, or too little.
pub fn check(server: &Server, options: &Options) -> Result<(), String> {
    let gauge = |name: &str| gauge(server, name).ok_or_else(|| format!("nodes hold little: nothing is called {name}"));
    let held = [
        ("bellwether_raft_in_flight_bytes", limits::NODE_IN_FLIGHT_BYTES as f64),
        ("bellwether_raft_tail_bytes", limits::NODE_TAIL_BYTES as f64),
        ("bellwether_raft_kept_bytes", limits::NODE_LAGGING_LOG_BYTES as f64),
        ("bellwether_raft_unflushed_bytes", f64::INFINITY),
        ("bellwether_write_in_flight_bytes", Config::default().ingest.max_inflight_bytes.0 as f64),
        ("bellwether_query_memory_bytes", gauge("bellwether_query_memory_limit_bytes")?),
    ];
    for (name, most) in held {
        let value = gauge(name)?;
        if !(0.0..=most).contains(&value) {
            return Err(format!("nodes hold little: {name} is {value}, not 0 to {most}"));
        }
    }
    // Writes are refused from the half on; what others lead and this node follows it cannot refuse.
    let stats = server.shards().stats();
    let (heads, most) = (stats.head_bytes, options.memory_bytes + stats.groups * HEADS_OF_GROUP_BYTES);
    if options.memory_bytes > 0 && heads > most {
        return Err(format!("nodes hold little: {heads} bytes of samples are not flushed, not {most} at most"));
    }
    Ok(())
}

/// Says what was not given back although nobody asks for anything.
pub fn is_given_back(server: &Server) -> Result<(), String> {
    match FOR_REQUESTS.iter().find(|name| gauge(server, name) != Some(0.0)) {
        Some(name) => Err(format!("{name} is {:?}", gauge(server, name))),
        None => Ok(()),
    }
}
