//! Engines that travel as files.

use std::path::Path;

use super::{
    ALL, Case, LOG, META, RUNS, SPACES, add_run, assert_locked, assert_misuse, contents, keys, open, put, range,
};
use crate::{EngineFile, EngineImport, Error, KvDisk};

pub(super) const CASES: &[(&str, Case)] = &[
    ("an imported engine equals the exported one", an_imported_engine_equals_the_exported_one),
    ("an exported engine is locked", an_exported_engine_is_locked),
    ("an import appears whole or not at all", an_import_appears_whole_or_not_at_all),
    ("an import needs a new place", an_import_needs_a_new_place),
    ("an import that lacks files is no engine", an_import_that_lacks_files_is_no_engine),
    ("a file name that leaves the engine is refused", a_file_name_that_leaves_the_engine_is_refused),
];

/// Bytes carried at a time: files end in the middle of a piece.
const PIECE_BYTES: usize = 1000;

fn filled_copy(disk: &dyn KvDisk, to: &str) -> Result<Vec<(usize, Vec<u8>, Vec<u8>)>, Error> {
    let engine = open(disk)?;
    put(&*engine, META, &[b"a", b"b"], b"1")?;
    put(&*engine, LOG, &[b"1", b"2"], &[7; 3000])?;
    add_run(&*engine, &[b"r", b"s"], &[9; 5000])?;
    add_run(&*engine, &[b"t"], b"gone")?;
    engine.drop_range(META, range(b"b", b"c"))?;
    engine.drop_range(RUNS, range(b"t", b"u"))?;
    engine.checkpoint(Path::new(to))?;
    contents(&*engine)
}

/// Carries files from an engine to an import, all but those that `skips` names.
fn carry(disk: &dyn KvDisk, from: &str, to: &mut dyn EngineImport, skips: impl Fn(&str) -> bool) -> Result<(), Error> {
    let export = disk.export(from)?;
    for EngineFile { name, bytes } in export.files().iter().filter(|file| !skips(&file.name)) {
        let mut at = 0;
        loop {
            let piece = export.read(name, at, PIECE_BYTES)?;
            at += piece.len() as u64;
            to.append(name, &piece)?;
            if piece.is_empty() {
                break;
            }
        }
        assert_eq!(at, *bytes, "the length of {name}");
    }
    Ok(())
}

fn an_imported_engine_equals_the_exported_one(disk: &dyn KvDisk) -> Result<(), Error> {
    let before = filled_copy(disk, "copies/1")?;
    let mut import = disk.import("received/1")?;
    carry(disk, "copies/1", &mut *import, |_| false)?;
    import.finish()?;
    disk.remove("copies/1")?;
    let received = disk.open("received/1", &SPACES)?;
    assert_eq!(contents(&*received)?, before);
    put(&*received, META, &[b"later"], b"")?;
    add_run(&*received, &[b"x"], b"")?;
    drop(received);

    // What was received and changed can be handed on.
    let mut import = disk.import("received/2")?;
    carry(disk, "received/1", &mut *import, |_| false)?;
    import.finish()?;
    let received = disk.open("received/2", &SPACES)?;
    assert_eq!(keys(&*received, META, ALL)?, [b"a".to_vec(), b"later".to_vec()]);
    assert_eq!(keys(&*received, RUNS, ALL)?, [b"r".to_vec(), b"s".to_vec(), b"x".to_vec()]);
    Ok(())
}

fn an_exported_engine_is_locked(disk: &dyn KvDisk) -> Result<(), Error> {
    let engine = open(disk)?;
    engine.checkpoint(Path::new("copy"))?;
    assert_locked(disk.export("engine"));
    let export = disk.export("copy")?;
    assert_locked(disk.open("copy", &SPACES));
    assert_locked(disk.remove("copy"));
    assert_locked(disk.rename("copy", "other"));
    assert!(export.read("nothing", 0, 1).is_err());
    assert!(export.files().windows(2).all(|two| two[0].name < two[1].name));
    drop(export);
    disk.remove("copy")?;
    assert!(disk.export("copy").is_err());
    assert!(!disk.exists("copy")?, "a failed export makes nothing");
    Ok(())
}

fn an_import_appears_whole_or_not_at_all(disk: &dyn KvDisk) -> Result<(), Error> {
    filled_copy(disk, "copy")?;
    let mut import = disk.import("received/1")?;
    carry(disk, "copy", &mut *import, |_| false)?;
    assert!(!disk.exists("received/1")?);
    drop(import);
    assert!(!disk.exists("received/1")?);
    assert_eq!(disk.list("")?, ["copy", "engine"]);
    Ok(())
}

fn an_import_needs_a_new_place(disk: &dyn KvDisk) -> Result<(), Error> {
    filled_copy(disk, "copy")?;
    assert_misuse(disk.import("copy"));
    assert_misuse(disk.import("../outside"));
    let mut first = disk.import("received")?;
    carry(disk, "copy", &mut *first, |_| false)?;
    first.finish()?;
    assert_misuse(disk.import("received"));
    Ok(())
}

fn an_import_that_lacks_files_is_no_engine(disk: &dyn KvDisk) -> Result<(), Error> {
    filled_copy(disk, "copy")?;
    assert!(disk.import("empty")?.finish().is_err());
    let names: Vec<String> = disk.export("copy")?.files().iter().map(|file| file.name.clone()).collect();
    for (number, lacking) in names.iter().enumerate() {
        // RocksDB's options are for people, it opens without them.
        if lacking.starts_with("OPTIONS") {
            continue;
        }
        let path = format!("received/{number}");
        let mut import = disk.import(&path)?;
        carry(disk, "copy", &mut *import, |name| name == lacking)?;
        let opened = import.finish().and_then(|()| disk.open(&path, &SPACES)).and_then(|engine| contents(&*engine));
        let is_empty = disk.export("copy")?.files()[number].bytes == 0;
        assert!(opened.is_err() || is_empty, "opens without {lacking}");
    }
    Ok(())
}

fn a_file_name_that_leaves_the_engine_is_refused(disk: &dyn KvDisk) -> Result<(), Error> {
    let mut import = disk.import("received")?;
    for bad in ["", "..", "../file", "a/b", ".hidden"] {
        assert_misuse(import.append(bad, b""));
    }
    Ok(())
}
