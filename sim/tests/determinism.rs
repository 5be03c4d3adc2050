//! Before anything else that the simulation says counts: a seed says everything.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_sim::single::simulate;

#[test]
fn same_seed_same_trace() {
    let first = simulate(1, false).unwrap();
    let second = simulate(1, false).unwrap();
    let parting = first.events.iter().zip(&second.events).find(|(a, b)| a != b);
    assert_eq!(parting, None, "the first event that differs");
    assert_eq!(first, second);
    assert!(first.samples > 0 && first.events.len() > 20, "something happened: {first:?}");
}

#[test]
fn other_seeds_hold_what_is_acknowledged() {
    let reports: Vec<_> = (2..12).map(|seed| simulate(seed, false).unwrap()).collect();
    assert!(reports.iter().any(|report| report.lives > 1), "some node was restarted");
    let mut traces: Vec<u64> = reports.iter().map(|report| report.trace_hash).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), reports.len(), "seeds differ");
}
