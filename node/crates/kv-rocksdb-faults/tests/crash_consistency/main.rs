//! RocksDB through hundreds of losses of power, at any step: what was acknowledged as durable is there afterwards, nothing
//! is that was never written, no batch is there in part, and what was copied or moved is whole.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod model;
mod random;
mod simulation;

use simulation::{Mistake, Options, Summary, run};

const SEEDS: u64 = 4;
const EXACT: Options = Options { seed: 0, cycles: 100, background_merges: false, mistake: Mistake::None };

#[test]
fn nothing_that_is_durable_is_lost_and_nothing_else_appears() {
    let mut total = Summary::default();
    for seed in 0..SEEDS {
        total += run(Options { seed, ..EXACT }).unwrap();
    }
    assert!(total.power_losses > 100 && total.kills > 20 && total.cut_calls > 100, "{total:?}");
    assert!(total.failed_calls > 20 && total.lost_batches > 20 && total.kept_batches > 20, "{total:?}");
}

#[test]
fn the_same_seed_finds_the_same() {
    let once = || run(Options { seed: 100, ..EXACT }).unwrap();
    assert_eq!(once(), once());
}

#[test]
fn nothing_is_lost_while_files_are_merged_in_the_background() {
    for seed in 200..202 {
        run(Options { seed, background_merges: true, ..EXACT }).unwrap();
    }
}

#[test]
fn mistakes_are_noticed() {
    for mistake in [Mistake::UnsyncedWrites, Mistake::LyingFiles, Mistake::LyingDirectories, Mistake::TornBatches] {
        let noticed = (0..10).find_map(|seed| run(Options { seed, mistake, ..EXACT }).err());
        println!("{mistake:?}: {}", noticed.unwrap_or_else(|| panic!("{mistake:?} was not noticed")));
    }
}
