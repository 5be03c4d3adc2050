//! Engines on a disk: reopened, copied, moved, removed; and the small files beside them.

use std::path::Path;

use bytes::Bytes;

use super::{
    ALL, Case, LOG, META, RUNS, SPACES, add_run, assert_locked, assert_misuse, contents, keys, open, put, range,
};
use crate::{Durability, Error, KvDisk, WriteBatch};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a reopened engine has everything", a_reopened_engine_has_everything),
    ("an open engine is locked", an_open_engine_is_locked),
    ("a space can be added, none forgotten", a_space_can_be_added_none_forgotten),
    ("a space named twice is refused", a_space_named_twice_is_refused),
    ("a checkpoint equals its engine", a_checkpoint_equals_its_engine),
    ("a checkpoint outlives its engine", a_checkpoint_outlives_its_engine),
    ("a checkpoint needs a new place", a_checkpoint_needs_a_new_place),
    ("engines are listed, moved and removed", engines_are_listed_moved_and_removed),
    ("a directory moves with all below it", a_directory_moves_with_all_below_it),
    ("small files are replaced whole", small_files_are_replaced_whole),
    ("files and engines keep apart", files_and_engines_keep_apart),
    ("paths that leave the disk are refused", paths_that_leave_the_disk_are_refused),
    ("free bytes are known", free_bytes_are_known),
];

fn a_reopened_engine_has_everything(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b"], b"1")?;
    put(&*engine, LOG, &[b"1", b"2", b"3"], b"entry")?;
    add_run(&*engine, &[b"r", b"s"], b"pack")?;
    engine.flush()?;
    put(&*engine, META, &[b"c"], b"not flushed")?;
    engine.drop_range(LOG, range(b"1", b"2"))?;
    let mut batch = WriteBatch::default();
    batch.delete(META, "a");
    engine.write(&batch, Durability::Buffered)?;
    let before = contents(&*engine)?;
    drop(engine);
    for _ in 0..3 {
        assert_eq!(contents(&*open(disk)?)?, before);
    }
    Ok(())
}

fn an_open_engine_is_locked(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = disk.open("shards/1", &SPACES)?;
    assert_locked(disk.open("shards/1", &SPACES));
    assert_locked(disk.remove("shards/1"));
    assert_locked(disk.remove("shards"));
    assert_locked(disk.rename("shards/1", "shards/2"));
    assert_locked(disk.rename("shards", "other"));
    put(&*engine, META, &[b"a"], b"still works")?;
    drop(engine);
    disk.open("shards/1", &SPACES)?;
    disk.remove("shards/1")
}

fn a_space_can_be_added_none_forgotten(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = disk.open("engine", &SPACES[..2])?;
    put(&*engine, META, &[b"a"], b"1")?;
    drop(engine);
    assert_misuse(disk.open("engine", &SPACES[1..]));
    let engine = disk.open("engine", &SPACES)?;
    assert_eq!(engine.get(META, b"a")?, Some(Bytes::from("1")));
    add_run(&*engine, &[b"a"], b"2")?;
    drop(engine);
    assert_misuse(disk.open("engine", &SPACES[..2]));
    assert_eq!(open(disk)?.get(RUNS, b"a")?, Some(Bytes::from("2")));
    Ok(())
}

fn a_space_named_twice_is_refused(disk: &dyn KvDisk) -> Result<(), Error> {
    assert_misuse(disk.open("engine", &[SPACES[0], SPACES[0]]));
    Ok(())
}

fn a_checkpoint_equals_its_engine(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b"], b"1")?;
    put(&*engine, LOG, &[b"1"], b"entry")?;
    add_run(&*engine, &[b"r", b"s"], b"pack")?;
    engine.drop_range(META, range(b"b", b"c"))?;
    let before = contents(&*engine)?;
    engine.checkpoint(Path::new("copies/first"))?;

    // Neither sees what the other does later.
    put(&*engine, META, &[b"later"], b"")?;
    engine.drop_range(RUNS, ALL)?;
    let copy = disk.open("copies/first", &SPACES)?;
    assert_eq!(contents(&*copy)?, before);
    copy.drop_range(META, ALL)?;
    add_run(&*copy, &[b"x"], b"")?;
    assert_eq!(keys(&*engine, META, ALL)?, [b"a".to_vec(), b"later".to_vec()]);
    assert!(keys(&*engine, RUNS, ALL)?.is_empty());
    Ok(())
}

fn a_checkpoint_outlives_its_engine(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a"], b"1")?;
    add_run(&*engine, &[b"r"], b"pack")?;
    engine.flush()?;
    let before = contents(&*engine)?;
    engine.checkpoint(Path::new("copy"))?;
    drop(engine);
    disk.remove("engine")?;
    assert!(contents(&*open(disk)?)?.is_empty());
    disk.remove("engine")?;
    disk.rename("copy", "engine")?;
    assert_eq!(contents(&*open(disk)?)?, before);
    Ok(())
}

fn a_checkpoint_needs_a_new_place(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    engine.checkpoint(Path::new("copy"))?;
    assert_misuse(engine.checkpoint(Path::new("copy")));
    assert_misuse(engine.checkpoint(Path::new("engine")));
    assert_misuse(engine.checkpoint(Path::new("../outside")));
    disk.remove("copy")?;
    engine.checkpoint(Path::new("copy"))
}

fn engines_are_listed_moved_and_removed(disk: &dyn KvDisk) -> Result<(), Error> {
    assert!(disk.list("")?.is_empty());
    assert!(disk.list("shards")?.is_empty());
    for path in ["shards/2", "shards/1", "log"] {
        put(&*disk.open(path, &SPACES)?, META, &[b"path"], path.as_bytes())?;
    }
    assert_eq!(disk.list("")?, ["log", "shards"]);
    assert_eq!(disk.list("shards")?, ["1", "2"]);
    disk.rename("shards/1", "shards/3")?;
    assert_eq!(disk.list("shards")?, ["2", "3"]);
    assert!(!disk.exists("shards/1")?);
    assert!(disk.exists("shards/3")?);
    assert!(disk.exists("shards")?);
    assert_eq!(disk.open("shards/3", &SPACES)?.get(META, b"path")?, Some(Bytes::from("shards/1")));
    disk.remove("shards/2")?;
    disk.remove("shards/2")?;
    assert_eq!(disk.list("shards")?, ["3"]);
    assert_misuse(disk.rename("shards/3", "log"));
    assert!(disk.rename("nothing", "there").is_err());
    disk.remove("shards")?;
    assert_eq!(disk.list("")?, ["log"]);
    Ok(())
}

fn a_directory_moves_with_all_below_it(disk: &dyn KvDisk) -> Result<(), Error> {
    put(&*disk.open("new/1/live", &SPACES)?, META, &[b"a"], b"1")?;
    disk.write_small_file("new/1/name", b"one")?;
    disk.rename("new/1", "shards/1")?;
    assert_eq!(disk.list("shards/1")?, ["live", "name"]);
    assert_eq!(disk.read_small_file("shards/1/name")?, Some(Bytes::from("one")));
    assert_eq!(disk.open("shards/1/live", &SPACES)?.get(META, b"a")?, Some(Bytes::from("1")));
    assert!(!disk.exists("new/1")?);
    Ok(())
}

fn small_files_are_replaced_whole(disk: &dyn KvDisk) -> Result<(), Error> {
    assert_eq!(disk.read_small_file("format")?, None);
    assert!(!disk.exists("format")?);
    disk.write_small_file("format", b"version 1")?;
    assert_eq!(disk.read_small_file("format")?, Some(Bytes::from("version 1")));
    disk.write_small_file("format", b"2")?;
    assert_eq!(disk.read_small_file("format")?, Some(Bytes::from("2")));
    disk.write_small_file("nodes/self/id", b"")?;
    assert_eq!(disk.read_small_file("nodes/self/id")?, Some(Bytes::new()));
    assert_eq!(disk.list("")?, ["format", "nodes"]);
    disk.rename("format", "nodes/format")?;
    assert_eq!(disk.read_small_file("nodes/format")?, Some(Bytes::from("2")));
    disk.remove("nodes/format")?;
    assert_eq!(disk.read_small_file("nodes/format")?, None);
    Ok(())
}

fn files_and_engines_keep_apart(disk: &dyn KvDisk) -> Result<(), Error> {
    disk.write_small_file("file", b"")?;
    drop(open(disk)?);
    assert!(disk.open("file", &SPACES).is_err());
    assert!(disk.open("file/below", &SPACES).is_err());
    assert!(disk.write_small_file("engine", b"").is_err());
    assert!(disk.write_small_file("file/below", b"").is_err());
    assert!(disk.read_small_file("engine").is_err());
    Ok(())
}

fn paths_that_leave_the_disk_are_refused(disk: &dyn KvDisk) -> Result<(), Error> {
    for bad in ["/etc", "../up", "a/../../b", "a//b", "a/"] {
        assert_misuse(disk.open(bad, &SPACES));
        assert_misuse(disk.remove(bad));
        assert_misuse(disk.rename(bad, "a"));
        assert_misuse(disk.list(bad));
        assert_misuse(disk.exists(bad));
        assert_misuse(disk.read_small_file(bad));
        assert_misuse(disk.write_small_file(bad, b""));
    }
    disk.write_small_file("file", b"")?;
    assert_misuse(disk.rename("file", "../file"));
    Ok(())
}

fn free_bytes_are_known(disk: &dyn KvDisk) -> Result<(), Error> {
    assert!(disk.free_bytes()? > 0);
    assert!(open(disk)?.free_bytes()? > 0);
    Ok(())
}
