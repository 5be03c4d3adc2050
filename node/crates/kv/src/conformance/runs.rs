//! Sorted files: written aside, visible at once and whole, dropped by the file.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{ALL, Case, LOG, META, RUNS, add_run, assert_misuse, keys, open, range};
use crate::{Error, KeyRange, KvDisk};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a run is visible only when finished", a_run_is_visible_only_when_finished),
    ("a run's keys must rise", a_runs_keys_must_rise),
    ("a dropped writer leaves nothing", a_dropped_writer_leaves_nothing),
    ("a run without keys is none", a_run_without_keys_is_none),
    ("only a space of runs takes runs", only_a_space_of_runs_takes_runs),
    ("runs must not interleave", runs_must_not_interleave),
    ("several runs can be written at once", several_runs_can_be_written_at_once),
    ("large and empty values in runs are kept", large_and_empty_values_in_runs_are_kept),
    ("dropping a whole run frees its space", dropping_a_whole_run_frees_its_space),
    ("dropping a part of a run frees that part", dropping_a_part_of_a_run_frees_that_part),
    ("a range that ends at a run's last key spares it", a_range_that_ends_at_a_runs_last_key_spares_it),
    ("a dropped run can be written again", a_dropped_run_can_be_written_again),
    ("dropping all runs without an end", dropping_all_runs_without_an_end),
];

const VALUE_BYTES: usize = 32 << 10;

fn key(run: u8, number: u8) -> [u8; 2] {
    [run, number]
}

/// A run of `count` values of 32 KB that do not compress.
fn large_run(engine: &dyn crate::KvEngine, run: u8, count: u8) -> Result<u64, Error> {
    let mut writer = engine.begin_run(RUNS)?;
    for number in 0..count {
        writer.add(&key(run, number), &value(run, number))?;
    }
    writer.finish()
}

fn value(run: u8, number: u8) -> Vec<u8> {
    let mut state = u32::from(run) << 8 | u32::from(number) | 1 << 16;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..VALUE_BYTES).map(next).collect()
}

fn a_run_is_visible_only_when_finished(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let mut run = engine.begin_run(RUNS)?;
    run.add(b"a", b"1")?;
    run.add(b"b", b"2")?;
    assert!(keys(&*engine, RUNS, ALL)?.is_empty());
    assert!(run.finish()? > 0);
    assert_eq!(keys(&*engine, RUNS, ALL)?, [b"a", b"b"]);
    assert_eq!(engine.get(RUNS, b"b")?, Some(Bytes::from("2")));
    assert_eq!(engine.get(META, b"b")?, None);
    Ok(())
}

fn a_runs_keys_must_rise(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let mut run = engine.begin_run(RUNS)?;
    run.add(b"b", b"1")?;
    assert_misuse(run.add(b"a", b"2"));
    assert_misuse(run.add(b"b", b"2"));
    run.add(b"c", b"3")?;
    run.finish()?;
    assert_eq!(keys(&*engine, RUNS, ALL)?, [b"b", b"c"]);
    assert_eq!(engine.get(RUNS, b"b")?, Some(Bytes::from("1")));
    Ok(())
}

fn a_dropped_writer_leaves_nothing(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let before = engine.disk_bytes()?;
    let mut run = engine.begin_run(RUNS)?;
    for number in 0..100 {
        run.add(&key(1, number), &value(1, number))?;
    }
    drop(run);
    assert!(keys(&*engine, RUNS, ALL)?.is_empty());
    assert_eq!(engine.disk_bytes()?, before);
    Ok(())
}

fn a_run_without_keys_is_none(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let before = engine.disk_bytes()?;
    assert_eq!(engine.begin_run(RUNS)?.finish()?, 0);
    assert_eq!(engine.disk_bytes()?, before);
    Ok(())
}

fn only_a_space_of_runs_takes_runs(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    assert_misuse(engine.begin_run(META));
    assert_misuse(engine.begin_run(LOG));
    Ok(())
}

fn runs_must_not_interleave(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    add_run(&*engine, &[b"c", b"f"], b"")?;
    assert_misuse(add_run(&*engine, &[b"a", b"d"], b""));
    assert_misuse(add_run(&*engine, &[b"d", b"g"], b""));
    assert_misuse(add_run(&*engine, &[b"c"], b""));
    assert_misuse(add_run(&*engine, &[b"a", b"z"], b""));
    add_run(&*engine, &[b"a", b"b"], b"")?;
    add_run(&*engine, &[b"g"], b"")?;
    assert_eq!(keys(&*engine, RUNS, ALL)?, [b"a", b"b", b"c", b"f", b"g"]);
    Ok(())
}

fn several_runs_can_be_written_at_once(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let mut high = engine.begin_run(RUNS)?;
    let mut low = engine.begin_run(RUNS)?;
    high.add(b"h", b"")?;
    low.add(b"l", b"")?;
    high.add(b"i", b"")?;
    low.add(b"m", b"")?;
    low.finish()?;
    high.finish()?;
    assert_eq!(keys(&*engine, RUNS, ALL)?, [b"h", b"i", b"l", b"m"]);
    Ok(())
}

fn large_and_empty_values_in_runs_are_kept(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let large = vec![3; 1 << 20];
    let mut run = engine.begin_run(RUNS)?;
    run.add(b"", b"empty key")?;
    run.add(b"empty", b"")?;
    run.add(b"large", &large)?;
    assert!(run.finish()? >= 1 << 20);
    assert_eq!(engine.get(RUNS, b"")?, Some(Bytes::from("empty key")));
    assert_eq!(engine.get(RUNS, b"empty")?, Some(Bytes::new()));
    assert_eq!(engine.get(RUNS, b"large")?.as_deref(), Some(large.as_slice()));
    let mut read = Vec::new();
    engine.scan_back(RUNS, ALL, &mut |_, value| {
        read.push(value.len());
        ControlFlow::Continue(())
    })?;
    assert_eq!(read, [1 << 20, 0, 9]);
    Ok(())
}

fn dropping_a_whole_run_frees_its_space(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for run in 1..=3 {
        assert!(large_run(&*engine, run, 60)? >= 60 * VALUE_BYTES as u64);
    }
    let before = engine.disk_bytes()?;
    engine.drop_range(RUNS, range(&[2], &[3]))?;
    assert_eq!(keys(&*engine, RUNS, ALL)?.len(), 120);
    let freed = before - engine.disk_bytes()?;
    assert!(freed >= 60 * VALUE_BYTES as u64, "{freed} bytes freed");
    Ok(())
}

fn dropping_a_part_of_a_run_frees_that_part(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for run in 1..=3 {
        large_run(&*engine, run, 60)?;
    }
    let before = engine.disk_bytes()?;
    engine.drop_range(RUNS, range(&key(1, 30), &key(3, 30)))?;
    let freed = before - engine.disk_bytes()?;
    assert!(freed >= 118 * VALUE_BYTES as u64, "{freed} bytes freed");
    assert_eq!(keys(&*engine, RUNS, ALL)?.len(), 60);
    drop(engine);
    let engine = open(disk)?;
    assert_eq!(keys(&*engine, RUNS, ALL)?.len(), 60);
    assert_eq!(engine.get(RUNS, &key(1, 29))?, Some(value(1, 29).into()));
    assert_eq!(engine.get(RUNS, &key(3, 29))?, None);
    assert_eq!(engine.get(RUNS, &key(3, 30))?, Some(value(3, 30).into()));
    Ok(())
}

fn a_range_that_ends_at_a_runs_last_key_spares_it(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let cases: [[&[u8]; 3]; 4] = [
        [b"a1", b"a2", b"a3"],
        [b"b", b"b\x00", b"b\x00\x00"],
        [b"c", b"cc", b"cc\x01"],
        [b"d", b"d\xff", b"d\xff\xff"],
    ];
    for case in cases {
        add_run(&*engine, &case, b"")?;
        engine.drop_range(RUNS, range(case[0], case[2]))?;
        assert_eq!(keys(&*engine, RUNS, KeyRange { first: case[0], end: None })?, [case[2]]);
    }
    Ok(())
}

fn a_dropped_run_can_be_written_again(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for value in ["1", "2", "3"] {
        add_run(&*engine, &[b"a", b"b", b"c"], value.as_bytes())?;
        assert_eq!(engine.get(RUNS, b"b")?, Some(Bytes::from(value)));
        // Once as a part, once as a whole.
        engine.drop_range(RUNS, range(b"a", b"c"))?;
        engine.drop_range(RUNS, range(b"a", b"d"))?;
        assert!(keys(&*engine, RUNS, ALL)?.is_empty());
    }
    Ok(())
}

fn dropping_all_runs_without_an_end(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    add_run(&*engine, &[b"a", b"b"], b"")?;
    add_run(&*engine, &[b"x", b"\xff\xff"], b"")?;
    engine.drop_range(RUNS, KeyRange { first: b"y", end: None })?;
    assert_eq!(keys(&*engine, RUNS, ALL)?, [b"a", b"b", b"x"]);
    engine.drop_range(RUNS, ALL)?;
    assert!(keys(&*engine, RUNS, ALL)?.is_empty());
    Ok(())
}
