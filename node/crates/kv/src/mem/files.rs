//! An engine in memory as files: one per space, and one that lists them.
//!
//! ```text
//! SPACES:        per space: length of name u32 | name | records u64
//! <number>.space per record: damaged u8 | length of key u32 | length of value u32 | key | value
//! ```
//! Integers are little-endian. Only disks in memory read these, in the process that wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::state::{EngineState, Records, SpaceState, record_bytes};
use super::{Entry, MemDisk};
use crate::files::{ENGINE_FILES_MAX, check_file_name};
use crate::{EngineExport, EngineFile, EngineImport, Error};

const SPACES_FILE: &str = "SPACES";

fn space_file(number: usize) -> String {
    format!("{number}.space")
}

/// The files of a closed engine.
pub(super) struct MemExport {
    disk: MemDisk,
    path: String,
    process: u64,
    files: Vec<EngineFile>,
    contents: Vec<Bytes>,
}

impl MemExport {
    pub(super) fn new(disk: &MemDisk, path: &str) -> Result<Self, Error> {
        crate::check_path(path)?;
        let mut state = disk.state.lock();
        state.faults.check_read(path)?;
        let process = state.process;
        let Some(Entry::Engine(engine)) = state.entries.get_mut(path) else {
            return Err(Error::Io(format!("{path}: no engine is there")));
        };
        if engine.open {
            return Err(Error::Locked(path.to_owned()));
        }
        engine.open = true;
        let (mut files, mut contents) = (Vec::new(), Vec::new());
        for (name, content) in encode(engine) {
            files.push(EngineFile { name, bytes: content.len() as u64 });
            contents.push(content.into());
        }
        drop(state);
        Ok(Self { disk: disk.clone(), path: path.to_owned(), process, files, contents })
    }
}

impl EngineExport for MemExport {
    fn files(&self) -> &[EngineFile] {
        &self.files
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Bytes, Error> {
        self.disk.state.lock().faults.check_read(&self.path)?;
        let at = self.files.iter().position(|file| file.name == name);
        let content = &self.contents[at.ok_or_else(|| Error::Io(format!("{}: no file {name:?}", self.path)))?];
        let first = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        Ok(content.slice(first..first.saturating_add(length).min(content.len())))
    }
}

impl Drop for MemExport {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        let is_ours = state.process == self.process;
        if let Some(Entry::Engine(engine)) = state.entries.get_mut(&self.path)
            && is_ours
        {
            engine.open = false;
        }
    }
}

/// Files that become an engine.
pub(super) struct MemImport {
    disk: MemDisk,
    path: String,
    process: u64,
    files: BTreeMap<String, Vec<u8>>,
}

impl MemImport {
    pub(super) fn new(disk: &MemDisk, path: &str) -> Result<Self, Error> {
        let state = disk.state.lock();
        state.check_free(path)?;
        let process = state.process;
        drop(state);
        Ok(Self { disk: disk.clone(), path: path.to_owned(), process, files: BTreeMap::new() })
    }
}

impl EngineImport for MemImport {
    fn append(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        check_file_name(name)?;
        let mut state = self.disk.state.lock();
        state.faults.check_write(&self.path)?;
        let imported: u64 = self.files.values().map(|file| file.len() as u64).sum();
        let used = state.used_bytes() + imported;
        state.faults.check_room(&self.path, used, content.len() as u64)?;
        if !self.files.contains_key(name) && self.files.len() == ENGINE_FILES_MAX {
            return Err(Error::Corrupt(format!("{}: more than {ENGINE_FILES_MAX} files", self.path)));
        }
        self.files.entry(name.to_owned()).or_default().extend_from_slice(content);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        let engine = decode(&self.files)
            .ok_or_else(|| Error::Corrupt(format!("{}: the files are no engine of a disk in memory", self.path)))?;
        let mut state = self.disk.state.lock();
        if state.process != self.process {
            return Err(Error::Io(format!("{}: was begun by a process that has ended", self.path)));
        }
        state.check_free(&self.path)?;
        state.faults.check_write(&self.path)?;
        let used = state.used_bytes();
        state.faults.check_room(&self.path, used, engine.bytes)?;
        state.faults.check_sync(&self.path)?;
        state.entries.insert(self.path.clone(), Entry::Engine(engine));
        Ok(())
    }
}

/// Names and contents, ascending by name.
fn encode(engine: &EngineState) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut list = Vec::new();
    for (number, space) in engine.spaces.iter().enumerate() {
        list.extend_from_slice(&(space.name.len() as u32).to_le_bytes());
        list.extend_from_slice(space.name.as_bytes());
        list.extend_from_slice(&(space.records.len() as u64).to_le_bytes());
        let mut file = Vec::new();
        for (key, value) in space.records.iter() {
            file.push(u8::from(space.damaged.contains(key)));
            file.extend_from_slice(&(key.len() as u32).to_le_bytes());
            file.extend_from_slice(&(value.len() as u32).to_le_bytes());
            file.extend_from_slice(key);
            file.extend_from_slice(value);
        }
        files.insert(space_file(number), file);
    }
    files.insert(SPACES_FILE.to_owned(), list);
    files
}

fn decode(files: &BTreeMap<String, Vec<u8>>) -> Option<EngineState> {
    let mut list = files.get(SPACES_FILE)?.as_slice();
    let mut engine = EngineState::default();
    while !list.is_empty() {
        let length = take_u32(&mut list)?;
        let name = std::str::from_utf8(take(&mut list, length)?).ok()?;
        let count = u64::from_le_bytes(take(&mut list, 8)?.try_into().ok()?);
        let (mut records, mut damaged) = (Records::new(), BTreeSet::new());
        // A file without a byte may not have been carried.
        let mut file = files.get(&space_file(engine.spaces.len())).map_or(&[][..], Vec::as_slice);
        while !file.is_empty() {
            let is_damaged = take(&mut file, 1)?[0] != 0;
            let (key_length, value_length) = (take_u32(&mut file)?, take_u32(&mut file)?);
            let key = take(&mut file, key_length)?.to_vec();
            let value = Bytes::copy_from_slice(take(&mut file, value_length)?);
            engine.bytes += record_bytes(&key, &value);
            if is_damaged {
                damaged.insert(key.clone());
            }
            records.insert(key, value);
        }
        if records.len() as u64 != count {
            return None;
        }
        engine.spaces.push(SpaceState {
            name: Arc::from(name),
            records: Arc::new(records),
            damaged: Arc::new(damaged),
        });
    }
    (files.len() <= engine.spaces.len() + 1).then_some(engine)
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(taken)
}

fn take_u32(input: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(take(input, 4)?.try_into().ok()?) as usize)
}
