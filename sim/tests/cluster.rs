//! Clusters of three nodes, in small: determinism, a few seeds, and the museum. `bellwether-sim run --seeds` does more.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_sim::cluster::run::{Manner, simulate};
use bellwether_sim::sweep::{sweep, twice};

/// The museum's entries: nodes and seed.
fn museum() -> Vec<(usize, u64)> {
    let lines = include_str!("../museum.txt").lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    lines.map(|line| entry(line).unwrap_or_else(|| panic!("{line:?} is no entry"))).collect()
}

#[test]
fn a_cluster_runs_the_same_way_twice() {
    let report = twice(1, 3).unwrap_or_else(|reason| panic!("{reason}"));
    assert!(report.samples > 0 && report.events > 100, "something happened: {report:?}");
}

#[test]
fn a_few_seeds_hold_what_is_promised() {
    let sweep = sweep(SEEDS, 3, JOBS, |_, _| {});
    if let Some(failure) = sweep.failures.values().next() {
        panic!("{}\nseed {}: {}", failure.details, failure.seed, failure.reason);
    }
    assert_eq!(sweep.reports.len() as u64, SEEDS.end - SEEDS.start);
}

/// As many as fit into a minute.
const SEEDS: std::ops::Range<u64> = 100..106;
const JOBS: usize = 2;

#[test]
fn what_once_failed_does_not() {
    for (nodes, seed) in museum() {
        if let Err(failure) = simulate(seed, nodes, Manner::default()) {
            panic!("{}\nseed {seed}: {}", failure.details, failure.reason);
        }
    }
}
