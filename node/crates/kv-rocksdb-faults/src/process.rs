//! A process on a machine, as a file system.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bellwether_kv_rocksdb::{AppendedFile, Entry, FileSystem, Lock};
use parking_lot::Mutex;
use rocksdb::Env;
use rustix::io::Errno;

use crate::bridge;
use crate::machine::{State, Step};
use crate::tree::{Mode, NodeId, Stat, Tree};

/// What is free where the disk is not full.
const PLENTY_BYTES: u64 = 1 << 40;
/// What a directory takes.
const DIRECTORY_BYTES: u64 = 4 << 10;

/// One run of a program on a machine. Clones are the same process.
#[derive(Debug, Clone)]
pub struct Process {
    state: Arc<Mutex<State>>,
    number: u64,
}

impl Process {
    pub(crate) fn new(state: Arc<Mutex<State>>, number: u64) -> Self {
        Self { state, number }
    }

    fn look<T>(&self, action: impl FnOnce(&Tree) -> Result<T, Errno>) -> Result<T, Errno> {
        let state = self.state.lock();
        state.check_alive(self.number)?;
        action(&state.tree)
    }

    fn change<T>(&self, action: impl FnOnce(&mut Tree) -> Result<T, Errno>) -> Result<T, Errno> {
        self.state.lock().step(self.number, Step::Change, action)?.ok_or(Errno::IO)
    }

    fn grow<T>(&self, action: impl FnOnce(&mut Tree) -> Result<T, Errno>) -> Result<T, Errno> {
        self.state.lock().step(self.number, Step::Growth, action)?.ok_or(Errno::IO)
    }

    pub(crate) fn open(&self, path: &str, mode: Mode) -> Result<OpenFile, Errno> {
        let exists = self.look(|tree| Ok(tree.stat(path).is_ok()))?;
        // Only what changes something is a step.
        let node = if exists && mode != Mode::Create || mode == Mode::Read {
            let mut state = self.state.lock();
            state.check_alive(self.number)?;
            state.tree.open(path, mode)?
        } else {
            self.grow(|tree| tree.open(path, mode))?
        };
        Ok(OpenFile { process: self.clone(), node })
    }

    pub(crate) fn stat(&self, path: &str) -> Result<(Stat, usize), Errno> {
        self.look(|tree| {
            let stat = tree.stat(path)?;
            Ok((stat, tree.links(stat.node)))
        })
    }

    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        self.look(|tree| tree.names(path))
    }

    pub(crate) fn new_directory(&self, path: &str) -> Result<(), Errno> {
        self.look(|tree| if tree.stat(path).is_ok() { Err(Errno::EXIST) } else { Ok(()) })?;
        self.grow(|tree| tree.make_directory(path))
    }

    pub(crate) fn sync_names(&self, path: &str) -> Result<(), Errno> {
        self.state.lock().step(self.number, Step::SyncDirectory, |tree| tree.sync_directory(path)).map(|_| ())
    }

    pub(crate) fn unlink(&self, path: &str) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.check_alive(self.number)?;
        state.tree.remove_file(path)
    }

    pub(crate) fn remove_empty_directory(&self, path: &str) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.check_alive(self.number)?;
        state.tree.remove_directory(path)
    }

    fn remove_tree(&self, path: &str) -> Result<(), Errno> {
        for name in self.list(path)? {
            let below = format!("{path}/{name}");
            if self.stat(&below)?.0.is_directory {
                self.remove_tree(&below)?;
            } else {
                self.unlink(&below)?;
            }
        }
        self.remove_empty_directory(path)
    }

    pub(crate) fn move_to(&self, from: &str, to: &str) -> Result<(), Errno> {
        self.change(|tree| tree.rename(from, to))
    }

    pub(crate) fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        self.grow(|tree| tree.link(from, to))
    }

    pub(crate) fn take_lock(&self, path: &str) -> Result<(), Errno> {
        drop(self.open(path, Mode::Append)?);
        let mut state = self.state.lock();
        state.check_alive(self.number)?;
        if state.locks.insert(path.to_owned()) { Ok(()) } else { Err(Errno::WOULDBLOCK) }
    }

    pub(crate) fn give_lock(&self, path: &str) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.check_alive(self.number)?;
        state.locks.remove(path);
        Ok(())
    }

    pub(crate) fn free(&self) -> Result<u64, Errno> {
        let state = self.state.lock();
        state.check_alive(self.number)?;
        Ok(if state.is_full() { 0 } else { PLENTY_BYTES })
    }
}

/// An open file of a process.
#[derive(Debug)]
pub(crate) struct OpenFile {
    process: Process,
    node: NodeId,
}

impl OpenFile {
    /// Fills `to` as far as the file goes.
    pub(crate) fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize, Errno> {
        self.process.state.lock().read(self.process.number, |tree| {
            let content = tree.content(self.node)?;
            let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default();
            let read = rest.len().min(to.len());
            to[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    pub(crate) fn write(&self, content: &[u8]) -> Result<(), Errno> {
        let (mut state, node) = (self.process.state.lock(), self.node);
        let written = state.step(self.process.number, Step::Growth, |tree| tree.append(node, content));
        if let Err(Errno::NOSPC) = written {
            state.tree.append(node, &content[..content.len() / 2])?;
        }
        written.map(|_| ())
    }

    pub(crate) fn set_length(&self, length: usize) -> Result<(), Errno> {
        self.process.change(|tree| tree.truncate(self.node, length))
    }

    pub(crate) fn sync_content(&self) -> Result<(), Errno> {
        let (mut state, node) = (self.process.state.lock(), self.node);
        state.step(self.process.number, Step::SyncFile(node), |tree| tree.sync(node)).map(|_| ())
    }

    pub(crate) fn length(&self) -> Result<u64, Errno> {
        self.process.look(|tree| Ok(tree.content(self.node)?.len() as u64))
    }
}

impl AppendedFile for OpenFile {
    fn append(&mut self, content: &[u8]) -> io::Result<()> {
        Ok(self.write(content)?)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(self.sync_content()?)
    }
}

struct Held {
    process: Process,
    path: String,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // The lock of a process that has ended is gone already.
        let _ = self.process.give_lock(&self.path);
    }
}

fn text(path: &Path) -> Result<&str, Errno> {
    path.to_str().ok_or(Errno::INVAL)
}

impl FileSystem for Process {
    fn env(&self) -> Result<Env, rocksdb::Error> {
        Ok(bridge::env(self.clone()))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let path = text(path)?.to_owned();
        self.take_lock(&path)?;
        Ok(Box::new(Held { process: self.clone(), path }))
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let (Stat { is_directory, bytes, .. }, _) = self.stat(text(path)?)?;
        let bytes = bytes as u64;
        Ok(Entry { is_directory, bytes, occupied_bytes: if is_directory { DIRECTORY_BYTES } else { bytes } })
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.list(text(path)?)?.into_iter().map(OsString::from).collect())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        Ok(self.new_directory(text(path)?)?)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        Ok(self.sync_names(text(path)?)?)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendedFile>> {
        Ok(Box::new(self.open(text(path)?, Mode::Append)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(text(path)?, Mode::Read)?;
        let mut content = vec![0; file.length()? as usize];
        file.read_at(0, &mut content)?;
        Ok(content)
    }

    fn read_exact_at(&self, path: &Path, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let read = self.open(text(path)?, Mode::Read)?.read_at(offset, to)?;
        if read == to.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(self.move_to(text(from)?, text(to)?)?)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = text(to)?;
        self.look(|tree| if tree.stat(to).is_ok() { Err(Errno::EXIST) } else { Ok(()) })?;
        Ok(self.move_to(text(from)?, to)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Ok(self.unlink(text(path)?)?)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        Ok(self.remove_tree(text(path)?)?)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free()?)
    }
}
