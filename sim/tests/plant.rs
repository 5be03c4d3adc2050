//! The simulation catches bugs: some that are caught fast, planted one by one. `bellwether-sim plant --all` plants them all.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_probe::Bug;
use bellwether_sim::cluster::run::{Manner, simulate};
use bellwether_sim::shrink::claim;

/// Seeds that may be needed.
const SEEDS: std::ops::Range<u64> = 0..5;

/// What a bug is caught by. Which claim it breaks first depends on what the seeds draw.
fn caught(bug: Bug) -> Option<String> {
    let manner = Manner { planted: Some(bug), ..Manner::default() };
    SEEDS.map(|seed| simulate(seed, 3, manner)).find_map(|result| Some(claim(&result.err()?.reason)))
}

#[test]
fn a_log_that_is_not_synced_before_it_answers_is_noticed() {
    assert!(caught(Bug::AnswerBeforeSync).is_some());
}

#[test]
fn a_vote_that_is_not_stored_is_noticed() {
    assert!(caught(Bug::ForgetVote).is_some());
}
