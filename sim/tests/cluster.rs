//! Clusters of three nodes, in small: determinism, a few seeds, and the museum. `bellwether-sim run --seeds` does more.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_sim::cluster::run::{Manner, simulate};
use bellwether_sim::sweep::twice;

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
    (100..112).for_each(|seed| check(3, seed));
    check(5, 100);
}

#[test]
fn what_once_failed_does_not() {
    museum().into_iter().for_each(|(nodes, seed)| check(nodes, seed));
}

fn check(nodes: usize, seed: u64) {
    if let Err(failure) = simulate(seed, nodes, Manner::default()) {
        panic!("{}\nseed {seed} of {nodes} nodes: {}", failure.details, failure.reason);
    }
}
