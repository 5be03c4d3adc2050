//! Clusters of three nodes, in small: determinism, and a few seeds. `deploy/test` does more, and replays the museum.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::path::Path;

use bellwether_probe::Bug;
use bellwether_sim::cluster::Case;
use bellwether_sim::cluster::run::{Manner, replay};
use bellwether_sim::museum::exhibits;
use bellwether_sim::sweep::twice;

#[test]
fn a_cluster_runs_the_same_way_twice() {
    let report = twice(&Case::of(1, 3)).unwrap_or_else(|reason| panic!("{reason}"));
    assert!(report.samples > 0 && report.events > 100, "something happened: {report:?}");
}

#[test]
fn a_few_seeds_hold_what_is_promised() {
    (100..103).for_each(|seed| check(&Case::of(seed, 3)));
}

#[test]
fn the_museum_can_be_read() {
    let museum = Path::new(env!("CARGO_MANIFEST_DIR")).join("museum");
    let cases = exhibits(&museum).unwrap();
    assert!(!cases.is_empty(), "the museum is there");
    for (file, case) in cases {
        let bug = case.catches.map(|bug| bug.parse::<Bug>());
        assert!(!case.note.is_empty() && bug.is_none_or(|bug| bug.is_ok()), "{}", file.display());
    }
}

fn check(case: &Case) {
    if let Err(failure) = replay(case.clone(), Manner::default()) {
        let (seed, nodes) = (case.options.seed, case.options.nodes);
        panic!("{}\nseed {seed} of {nodes} nodes: {}\n{}", failure.details, failure.reason, case.to_json());
    }
}
