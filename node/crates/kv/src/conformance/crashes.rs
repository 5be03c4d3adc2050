//! Processes that are killed, and losses of power in the worst case: all that was not durable is lost.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{ALL, Content, LOG, META, RUNS, add_run, contents, keys, open, put, range};
use crate::{Durability, Error, KvDisk, KvEngine, WriteBatch};

/// A machine whose processes can be killed and whose power can fail.
pub trait Crashing {
    /// Begins a process; the one before it, if any, ends without a farewell, and what it wrote stays.
    fn start(&self) -> Arc<dyn KvDisk>;

    /// Takes all that is not durable. The process ends.
    fn lose_power(&self);
}

pub(super) type Case = fn(&dyn Crashing) -> Result<(), Error>;

pub(super) const CASES: &[(&str, Case)] = &[
    ("a loss of power takes what was written since the last synced write", a_synced_write_makes_earlier_ones_durable),
    ("a kill takes nothing and closes the old handles", a_kill_takes_nothing_and_closes_the_old_handles),
    ("what an opened engine holds is durable", what_an_opened_engine_holds_is_durable),
    (
        "a flush and a dropped range make earlier writes durable",
        a_flush_and_a_dropped_range_make_earlier_writes_durable,
    ),
    ("a run is durable alone", a_run_is_durable_alone),
    ("an unfinished run leaves nothing", an_unfinished_run_leaves_nothing),
    ("what is done to a disk is durable", what_is_done_to_a_disk_is_durable),
    ("a name that a killed process gave is durable", a_name_that_a_killed_process_gave_is_durable),
];

fn put_synced(engine: &dyn KvEngine, key: &str) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    batch.put(META, key, "synced");
    engine.write(&batch, Durability::Synced)
}

/// What the engine holds after a loss of power.
fn after_power_loss(machine: &dyn Crashing) -> Result<Content, Error> {
    machine.lose_power();
    contents(&*open(&*machine.start())?)
}

fn names(content: &[(usize, Vec<u8>, Vec<u8>)]) -> Vec<&str> {
    content.iter().map(|(_, key, _)| std::str::from_utf8(key).expect("keys of these tests")).collect()
}

fn a_synced_write_makes_earlier_ones_durable(machine: &dyn Crashing) -> Result<(), Error> {
    let engine = open(&*machine.start())?;
    put(&*engine, META, &[b"a", b"b"], b"buffered")?;
    put(&*engine, LOG, &[b"l"], b"buffered")?;
    put_synced(&*engine, "b")?;
    let mut batch = WriteBatch::default();
    batch.delete_range(META, "a", "z");
    batch.put(META, "c", "lost");
    engine.write(&batch, Durability::Buffered)?;
    assert_eq!(names(&after_power_loss(machine)?), ["a", "b", "l"]);
    Ok(())
}

fn a_kill_takes_nothing_and_closes_the_old_handles(machine: &dyn Crashing) -> Result<(), Error> {
    let old = open(&*machine.start())?;
    put(&*old, META, &[b"a"], b"buffered")?;
    let disk = machine.start();
    let new = open(&*disk)?;
    assert!(put(&*old, META, &[b"b"], b"").is_err());
    drop(old);
    assert!(matches!(open(&*disk), Err(Error::Locked(_))), "the old handle must not close the new one");
    assert_eq!(keys(&*new, META, ALL)?, [b"a".to_vec()]);
    Ok(())
}

fn what_an_opened_engine_holds_is_durable(machine: &dyn Crashing) -> Result<(), Error> {
    let disk = machine.start();
    let engine = open(&*disk)?;
    put(&*engine, META, &[b"before it was closed"], b"buffered")?;
    drop(engine);
    let engine = open(&*disk)?;
    put(&*engine, META, &[b"before the kill"], b"buffered")?;
    let engine_of_next = open(&*machine.start())?;
    put(&*engine_of_next, META, &[b"lost"], b"buffered")?;
    assert_eq!(names(&after_power_loss(machine)?), ["before it was closed", "before the kill"]);
    drop(engine);
    Ok(())
}

fn a_flush_and_a_dropped_range_make_earlier_writes_durable(machine: &dyn Crashing) -> Result<(), Error> {
    let engine = open(&*machine.start())?;
    put(&*engine, META, &[b"a"], b"")?;
    engine.flush()?;
    assert_eq!(names(&after_power_loss(machine)?), ["a"]);
    // A range with keys, one without, and an empty one.
    let ranges = [range(b"r", b"s"), range(b"x", b"y"), range(b"y", b"x")];
    for (number, (space, range)) in
        [META, RUNS].into_iter().flat_map(|space| ranges.map(|range| (space, range))).enumerate()
    {
        let engine = open(&*machine.start())?;
        let key = format!("d{number}");
        if space == META {
            put(&*engine, META, &[b"r"], b"")?;
        } else {
            engine.drop_range(RUNS, ALL)?;
            add_run(&*engine, &[b"r"], b"")?;
        }
        put(&*engine, META, &[key.as_bytes()], b"")?;
        engine.drop_range(space, range)?;
        let found = after_power_loss(machine)?;
        assert!(names(&found).contains(&key.as_str()), "{space:?}, {range:?}: {found:?}");
    }
    Ok(())
}

fn a_run_is_durable_alone(machine: &dyn Crashing) -> Result<(), Error> {
    let engine = open(&*machine.start())?;
    put(&*engine, META, &[b"a"], b"buffered")?;
    add_run(&*engine, &[b"r", b"s"], b"pack")?;
    let found = after_power_loss(machine)?;
    // The engine may have made more durable than it must.
    assert!(names(&found).ends_with(&["r", "s"]), "{found:?}");
    Ok(())
}

fn an_unfinished_run_leaves_nothing(machine: &dyn Crashing) -> Result<(), Error> {
    let engine = open(&*machine.start())?;
    let mut run = engine.begin_run(RUNS)?;
    run.add(b"r", b"pack")?;
    drop(run);
    put_synced(&*engine, "a")?;
    let mut run = engine.begin_run(RUNS)?;
    run.add(b"s", b"pack")?;
    machine.lose_power();
    let disk = machine.start();
    assert!(run.finish().is_err());
    assert_eq!(names(&contents(&*open(&*disk)?)?), ["a"]);
    Ok(())
}

fn what_is_done_to_a_disk_is_durable(machine: &dyn Crashing) -> Result<(), Error> {
    let disk = machine.start();
    let engine = open(&*disk)?;
    put(&*engine, META, &[b"a"], b"1")?;
    engine.checkpoint(Path::new("copies/one"))?;
    engine.checkpoint(Path::new("copies/two"))?;
    disk.write_small_file("files/one", b"old")?;
    machine.lose_power();
    let disk = machine.start();
    assert_eq!(disk.list("copies")?, ["one", "two"]);
    assert_eq!(names(&contents(&*disk.open("copies/one", &super::SPACES)?)?), ["a"]);
    disk.rename("copies/one", "moved/one")?;
    disk.remove("copies/two")?;
    disk.write_small_file("files/one", b"new")?;
    machine.lose_power();
    let disk = machine.start();
    assert!(disk.list("copies")?.is_empty());
    assert_eq!(names(&contents(&*disk.open("moved/one", &super::SPACES)?)?), ["a"]);
    assert_eq!(disk.read_small_file("files/one")?, Some(Bytes::from("new")));
    Ok(())
}

fn a_name_that_a_killed_process_gave_is_durable(machine: &dyn Crashing) -> Result<(), Error> {
    let disk = machine.start();
    drop(disk.open("shards/one", &super::SPACES)?);
    disk.rename("shards/one", "shards/two")?;
    drop(machine.start());
    let disk = machine.start();
    let engine = disk.open("shards/two", &super::SPACES)?;
    put_synced(&*engine, "a")?;
    machine.lose_power();
    let disk = machine.start();
    assert_eq!(disk.list("shards")?, ["two"]);
    assert_eq!(names(&contents(&*disk.open("shards/two", &super::SPACES)?)?), ["a"]);
    Ok(())
}
