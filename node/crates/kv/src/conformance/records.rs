//! Batches, reads, scans, and ranges that are dropped.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{ALL, Case, LOG, META, RUNS, SPACES, assert_misuse, keys, open, put, range};
use crate::{Durability, Error, KvDisk, Space, SpaceConfig, SpaceKind, WriteBatch};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a new engine is empty", a_new_engine_is_empty),
    ("a put is read back, a delete is gone", a_put_is_read_back_a_delete_is_gone),
    ("a later operation of a batch wins", a_later_operation_of_a_batch_wins),
    ("a batch reaches several spaces", a_batch_reaches_several_spaces),
    ("a refused batch changes nothing", a_refused_batch_changes_nothing),
    ("an empty batch is fine", an_empty_batch_is_fine),
    ("empty and large values are kept", empty_and_large_values_are_kept),
    ("keys order by bytes", keys_order_by_bytes),
    ("the empty key is a key", the_empty_key_is_a_key),
    ("scans respect their bounds", scans_respect_their_bounds),
    ("a scan stops when told", a_scan_stops_when_told),
    ("a scan sees one moment", a_scan_sees_one_moment),
    ("delete_range spares its end", delete_range_spares_its_end),
    ("an empty delete_range deletes nothing", an_empty_delete_range_deletes_nothing),
    ("the log drops from the front", the_log_drops_from_the_front),
    ("flush gives the log's space back", flush_gives_the_logs_space_back),
    ("dropped keys can be written again", dropped_keys_can_be_written_again),
    ("drop_range without an end reaches the last key", drop_range_without_an_end_reaches_the_last_key),
    ("many spaces stay apart", many_spaces_stay_apart),
    ("an unknown space is refused", an_unknown_space_is_refused),
];

fn a_new_engine_is_empty(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for space in [META, LOG, RUNS] {
        assert_eq!(engine.get(space, b"a")?, None);
        assert!(keys(&*engine, space, ALL)?.is_empty());
    }
    engine.flush()
}

fn a_put_is_read_back_a_delete_is_gone(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for durability in [Durability::Buffered, Durability::Synced] {
        let mut batch = WriteBatch::default();
        batch.put(META, "a", "1");
        engine.write(&batch, durability)?;
        assert_eq!(engine.get(META, b"a")?, Some(Bytes::from("1")));
        let mut batch = WriteBatch::default();
        batch.delete(META, "a");
        batch.delete(META, "never there");
        engine.write(&batch, durability)?;
        assert_eq!(engine.get(META, b"a")?, None);
    }
    Ok(())
}

fn a_later_operation_of_a_batch_wins(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let mut batch = WriteBatch::default();
    batch.put(META, "a", "1");
    batch.put(META, "a", "2");
    batch.put(META, "b", "1");
    batch.delete(META, "b");
    batch.put(META, "c", "1");
    batch.delete_range(META, "c", "d");
    batch.delete_range(META, "e", "f");
    batch.put(META, "e", "1");
    engine.write(&batch, Durability::Buffered)?;
    assert_eq!(keys(&*engine, META, ALL)?, [b"a", b"e"]);
    assert_eq!(engine.get(META, b"a")?, Some(Bytes::from("2")));
    Ok(())
}

fn a_batch_reaches_several_spaces(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let mut batch = WriteBatch::default();
    batch.put(META, "a", "meta");
    batch.put(LOG, "a", "log");
    engine.write(&batch, Durability::Synced)?;
    assert_eq!(engine.get(META, b"a")?, Some(Bytes::from("meta")));
    assert_eq!(engine.get(LOG, b"a")?, Some(Bytes::from("log")));
    Ok(())
}

fn a_refused_batch_changes_nothing(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let refused: [fn(&mut WriteBatch); 4] = [
        |batch| batch.put(RUNS, "a", "1"),
        |batch| batch.delete(RUNS, "a"),
        |batch| batch.delete_range(RUNS, "a", "b"),
        |batch| batch.put(Space(SPACES.len()), "a", "1"),
    ];
    for add_refused in refused {
        let mut batch = WriteBatch::default();
        batch.put(META, "a", "1");
        add_refused(&mut batch);
        assert_misuse(engine.write(&batch, Durability::Synced));
        assert_eq!(engine.get(META, b"a")?, None);
    }
    Ok(())
}

fn an_empty_batch_is_fine(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    engine.write(&WriteBatch::default(), Durability::Buffered)?;
    engine.write(&WriteBatch::default(), Durability::Synced)
}

fn empty_and_large_values_are_kept(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let large = vec![0xa5; 1 << 20];
    for space in [META, LOG] {
        put(&*engine, space, &[b"empty"], b"")?;
        put(&*engine, space, &[b"large"], &large)?;
    }
    engine.flush()?;
    for space in [META, LOG] {
        assert_eq!(engine.get(space, b"empty")?, Some(Bytes::new()));
        assert_eq!(engine.get(space, b"large")?.as_deref(), Some(large.as_slice()));
    }
    Ok(())
}

fn keys_order_by_bytes(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"b", b"\xff", b"a\0", b"\0", b"a", b"\x7f", b"\x80", b"aa"], b"")?;
    let ordered: [&[u8]; 8] = [b"\0", b"a", b"a\0", b"aa", b"b", b"\x7f", b"\x80", b"\xff"];
    assert_eq!(keys(&*engine, META, ALL)?, ordered);
    Ok(())
}

fn the_empty_key_is_a_key(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"", b"a"], b"1")?;
    assert_eq!(engine.get(META, b"")?, Some(Bytes::from("1")));
    let both: [&[u8]; 2] = [b"", b"a"];
    assert_eq!(keys(&*engine, META, ALL)?, both);
    engine.drop_range(META, range(b"", b"a"))?;
    assert_eq!(keys(&*engine, META, ALL)?, [b"a"]);
    Ok(())
}

fn scans_respect_their_bounds(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b", b"c"], b"")?;
    assert_eq!(keys(&*engine, META, range(b"a", b"c"))?, [b"a", b"b"]);
    assert_eq!(keys(&*engine, META, range(b"aa", b"bb"))?, [b"b"]);
    assert_eq!(keys(&*engine, META, range(b"b", b"zz"))?, [b"b", b"c"]);
    assert!(keys(&*engine, META, range(b"b", b"b"))?.is_empty());
    assert!(keys(&*engine, META, range(b"c", b"a"))?.is_empty());
    assert!(keys(&*engine, META, range(b"d", b"z"))?.is_empty());
    assert!(keys(&*engine, META, range(b"", b"a"))?.is_empty());
    assert!(keys(&*engine, META, range(b"", b""))?.is_empty());
    Ok(())
}

fn a_scan_stops_when_told(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b", b"c"], b"")?;
    let mut seen = Vec::new();
    engine.scan(META, ALL, &mut |key, _| {
        seen.push(key.to_vec());
        if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    engine.scan_back(META, ALL, &mut |key, _| {
        seen.push(key.to_vec());
        ControlFlow::Break(())
    })?;
    assert_eq!(seen, [b"a", b"b", b"c"]);
    Ok(())
}

fn a_scan_sees_one_moment(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"c"], b"old")?;
    let mut seen = Vec::new();
    let mut written = Ok(());
    engine.scan(META, ALL, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        written = put(&*engine, META, &[b"b", b"c", b"d"], b"new");
        ControlFlow::Continue(())
    })?;
    written?;
    assert_eq!(seen, [(b"a".to_vec(), b"old".to_vec()), (b"c".to_vec(), b"old".to_vec())]);
    assert_eq!(keys(&*engine, META, ALL)?.len(), 4);
    Ok(())
}

fn delete_range_spares_its_end(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b", b"c", b"d"], b"")?;
    let mut batch = WriteBatch::default();
    batch.delete_range(META, "b", "d");
    engine.write(&batch, Durability::Buffered)?;
    assert_eq!(keys(&*engine, META, ALL)?, [b"a", b"d"]);
    Ok(())
}

fn an_empty_delete_range_deletes_nothing(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b", b"c"], b"")?;
    let mut batch = WriteBatch::default();
    batch.delete_range(META, "b", "b");
    batch.delete_range(META, "c", "a");
    engine.write(&batch, Durability::Buffered)?;
    for space in [META, LOG, RUNS] {
        engine.drop_range(space, range(b"b", b"b"))?;
        engine.drop_range(space, range(b"c", b"a"))?;
        engine.drop_range(space, range(b"x", b"z"))?;
    }
    assert_eq!(keys(&*engine, META, ALL)?, [b"a", b"b", b"c"]);
    Ok(())
}

fn log_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

fn append(engine: &dyn crate::KvEngine, indexes: std::ops::Range<u64>, value: &[u8]) -> Result<(), Error> {
    for index in indexes {
        put(engine, LOG, &[&log_key(index)], value)?;
    }
    Ok(())
}

fn the_log_drops_from_the_front(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    append(&*engine, 0..100, b"entry")?;
    engine.drop_range(LOG, range(&log_key(0), &log_key(40)))?;
    assert_eq!(keys(&*engine, LOG, ALL)?.len(), 60);
    engine.flush()?;
    assert_eq!(keys(&*engine, LOG, ALL)?.len(), 60);
    assert_eq!(engine.get(LOG, &log_key(39))?, None);
    assert_eq!(engine.get(LOG, &log_key(40))?, Some(Bytes::from("entry")));
    append(&*engine, 100..110, b"entry")?;
    engine.drop_range(LOG, range(&log_key(40), &log_key(105)))?;
    engine.flush()?;
    assert_eq!(keys(&*engine, LOG, ALL)?.len(), 5);
    Ok(())
}

fn flush_gives_the_logs_space_back(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let empty_bytes = engine.disk_bytes()?;
    let entry = vec![7; 64 << 10];
    for round in 0..3 {
        let (first, end) = (round * 400, (round + 1) * 400);
        append(&*engine, first..end, &entry)?;
        if round == 1 {
            engine.flush()?;
        }
        assert!(engine.disk_bytes()? >= 400 * entry.len() as u64);
        engine.drop_range(LOG, range(&log_key(first), &log_key(end - 1)))?;
        engine.flush()?;
        let left_bytes = engine.disk_bytes()?.saturating_sub(empty_bytes);
        assert!(left_bytes < 1 << 20, "{left_bytes} bytes are left for {} entries", round + 1);
    }
    assert_eq!(keys(&*engine, LOG, ALL)?, [log_key(399), log_key(799), log_key(1199)]);
    Ok(())
}

fn dropped_keys_can_be_written_again(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for value in ["1", "2", "3"] {
        put(&*engine, LOG, &[b"a", b"b"], value.as_bytes())?;
        engine.flush()?;
        assert_eq!(engine.get(LOG, b"a")?, Some(Bytes::from(value)));
        engine.drop_range(LOG, range(b"a", b"c"))?;
        assert_eq!(engine.get(LOG, b"a")?, None);
        assert!(keys(&*engine, LOG, ALL)?.is_empty());
    }
    Ok(())
}

fn drop_range_without_an_end_reaches_the_last_key(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    for space in [META, LOG] {
        put(&*engine, space, &[b"a", b"b", b"\xff\xff\xff"], b"")?;
        engine.drop_range(space, crate::KeyRange { first: b"b", end: None })?;
        assert_eq!(keys(&*engine, space, ALL)?, [b"a"]);
        engine.drop_range(space, ALL)?;
        assert!(keys(&*engine, space, ALL)?.is_empty());
    }
    Ok(())
}

fn many_spaces_stay_apart(disk: &dyn KvDisk) -> Result<(), Error> {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "default"];
    let spaces = NAMES.map(|name| SpaceConfig { name, kind: SpaceKind::Records });
    let engine = disk.open("many", &spaces)?;
    for (number, name) in NAMES.iter().enumerate() {
        put(&*engine, Space(number), &[b"key"], name.as_bytes())?;
    }
    engine.drop_range(Space(0), ALL)?;
    drop(engine);
    let mut reversed = spaces;
    reversed.reverse();
    let engine = disk.open("many", &reversed)?;
    for (number, space) in reversed.iter().enumerate() {
        let expected = (space.name != "a").then_some(space.name.as_bytes());
        assert_eq!(engine.get(Space(number), b"key")?.as_deref(), expected, "{}", space.name);
    }
    Ok(())
}

fn an_unknown_space_is_refused(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    let unknown = Space(SPACES.len());
    assert_misuse(engine.get(unknown, b"a"));
    assert_misuse(engine.scan(unknown, ALL, &mut |_, _| ControlFlow::Continue(())));
    assert_misuse(engine.scan_back(unknown, ALL, &mut |_, _| ControlFlow::Continue(())));
    assert_misuse(engine.begin_run(unknown));
    assert_misuse(engine.drop_range(unknown, ALL));
    Ok(())
}
