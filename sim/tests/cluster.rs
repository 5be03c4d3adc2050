//! Clusters of three nodes, in small: determinism, a few seeds, and the museum. `bellwether-sim run --seeds` does more.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::path::Path;

use bellwether_sim::cluster::Case;
use bellwether_sim::cluster::run::{Manner, replay};
use bellwether_sim::sweep::twice;

#[test]
fn a_cluster_runs_the_same_way_twice() {
    let report = twice(&Case::of(1, 3)).unwrap_or_else(|reason| panic!("{reason}"));
    assert!(report.samples > 0 && report.events > 100, "something happened: {report:?}");
}

#[test]
fn a_few_seeds_hold_what_is_promised() {
    (100..106).for_each(|seed| check(&Case::of(seed, 3)));
    check(&Case::of(100, 5));
}

#[test]
fn what_once_failed_does_not() {
    let museum = Path::new(env!("CARGO_MANIFEST_DIR")).join("museum");
    let mut files: Vec<_> = std::fs::read_dir(museum).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the museum is there");
    for file in files {
        let case = Case::of_json(&std::fs::read_to_string(&file).unwrap());
        check(&case.unwrap_or_else(|wrong| panic!("{}: {wrong}", file.display())));
    }
}

fn check(case: &Case) {
    if let Err(failure) = replay(case.clone(), Manner::default()) {
        let (seed, nodes) = (case.options.seed, case.options.nodes);
        panic!("{}\nseed {seed} of {nodes} nodes: {}\n{}", failure.details, failure.reason, case.to_json());
    }
}
