//! A directory of engines and small files that one process owns.
//!
//! Names that begin with a dot are the disk's own: `.lock` is held while the disk is open, and `.staging` holds what is
//! being written or deleted; whatever a crash left there goes at the next start.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_kv::{EngineExport, EngineImport, Error, KvDisk, KvEngine, SpaceConfig, check_path};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::engine::RocksEngine;
use crate::error::{from_file, from_rocksdb};
use crate::file_system::{FileSystem, Lock, OsFileSystem};
use crate::files::Files;
use crate::transfer::{RocksExport, RocksImport};
use crate::tuning::{RocksOptions, Tuning};

const LOCK_NAME: &str = ".lock";
const STAGING_NAME: &str = ".staging";

/// See the module. Clones are handles to the same disk; the directory is free for another process when the last handle
/// and the last engine are gone.
#[derive(Clone)]
pub struct RocksDisk {
    shared: Arc<Shared>,
}

/// What a disk's engines share.
pub(crate) struct Shared {
    root: PathBuf,
    pub(crate) files: Files,
    pub(crate) tuning: Tuning,
    open: Mutex<BTreeSet<PathBuf>>,
    next_staging: AtomicU64,
    _lock: Box<dyn Lock>,
}

impl RocksDisk {
    /// Takes the directory, made if it is missing. [`Error::Locked`] if another process has it.
    pub fn new(root: PathBuf, options: RocksOptions) -> Result<Self, Error> {
        Self::on(Arc::new(OsFileSystem), root, options)
    }

    /// The same on another file system than the operating system's, for tests.
    pub fn on(file_system: Arc<dyn FileSystem>, root: PathBuf, options: RocksOptions) -> Result<Self, Error> {
        let root = std::path::absolute(&root).map_err(|error| from_file("find", &root, error))?;
        let files = Files(file_system);
        files.make_directory(&root)?;
        let lock = lock(&files, &root.join(LOCK_NAME))?;
        let staging = root.join(STAGING_NAME);
        // Emptied and not made anew: a full disk may have no room for a directory.
        files.make_directory(&staging)?;
        files.names(&staging)?.iter().try_for_each(|name| files.remove(&staging.join(name)))?;
        // What the process before did to names may not have been durable when it was killed, and from now on it counts.
        files.sync_tree(&root)?;
        let mut env = files.0.env().map_err(from_rocksdb)?;
        let tuning = Tuning::new(options, env.clone());
        env.set_low_priority_background_threads(tuning.background_threads());
        env.set_high_priority_background_threads(1);
        // Merges can wait, questions cannot. Should they fall behind, writes are slowed down before anything is lost.
        env.lower_thread_pool_cpu_priority();
        let (open, next_staging) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { shared: Arc::new(Shared { root, files, tuning, open, next_staging, _lock: lock }) })
    }

    /// Where the disk is.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    fn check_closed(&self, path: &Path) -> Result<(), Error> {
        match self.shared.open.lock().iter().find(|open| open.starts_with(path)) {
            Some(open) => Err(Error::Locked(open.display().to_string())),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Where `path` is in the file system.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf, Error> {
        check_path(path)?;
        if path.split('/').any(|part| part.starts_with('.')) {
            return Err(Error::Misuse(format!("{path:?}: names that begin with a dot are the disk's own")));
        }
        Ok(self.root.join(path))
    }

    /// A new name on the same file system for what must not be seen yet or no more.
    pub(crate) fn staging_path(&self) -> PathBuf {
        let number = self.next_staging.fetch_add(1, Ordering::Relaxed);
        self.root.join(STAGING_NAME).join(number.to_string())
    }
}

/// An engine's claim on its directory.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    path: PathBuf,
}

impl Claim {
    fn new(shared: &Arc<Shared>, path: &Path) -> Result<Self, Error> {
        if !shared.open.lock().insert(path.to_owned()) {
            return Err(Error::Locked(path.display().to_string()));
        }
        Ok(Self { shared: shared.clone(), path: path.to_owned() })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.open.lock().remove(&self.path);
    }
}

fn lock(files: &Files, path: &Path) -> Result<Box<dyn Lock>, Error> {
    files.0.lock(path).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => Error::Locked(path.display().to_string()),
        _ => from_file("lock", path, error),
    })
}

impl KvDisk for RocksDisk {
    fn open(&self, path: &str, spaces: &[SpaceConfig]) -> Result<Arc<dyn KvEngine>, Error> {
        let path = self.shared.resolve(path)?;
        let claim = Claim::new(&self.shared, &path)?;
        self.shared.files.make_directory(&path)?;
        Ok(Arc::new(RocksEngine::open(claim, spaces)?))
    }

    fn remove(&self, path: &str) -> Result<(), Error> {
        let path = self.shared.resolve(path)?;
        self.check_closed(&path)?;
        // Under its old name it is there whole or not at all, whenever a crash comes.
        let staging = self.shared.staging_path();
        if self.shared.files.take_away(&path, &staging)? {
            self.shared.files.remove(&staging)?;
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (self.shared.resolve(from)?, self.shared.resolve(to)?);
        self.check_closed(&from)?;
        if let Some(parent) = to.parent() {
            self.shared.files.make_directory(parent)?;
        }
        self.shared.files.rename(&from, &to)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let path = if path.is_empty() { self.shared.root.clone() } else { self.shared.resolve(path)? };
        let mut names = self.shared.files.names(&path)?;
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    fn exists(&self, path: &str) -> Result<bool, Error> {
        let path = self.shared.resolve(path)?;
        Ok(self.shared.files.find(&path)?.is_some())
    }

    fn export(&self, path: &str) -> Result<Box<dyn EngineExport>, Error> {
        let path = self.shared.resolve(path)?;
        Ok(Box::new(RocksExport::new(Claim::new(&self.shared, &path)?)?))
    }

    fn import(&self, path: &str) -> Result<Box<dyn EngineImport>, Error> {
        let path = self.shared.resolve(path)?;
        let claim = Claim::new(&self.shared, &path)?;
        Ok(Box::new(RocksImport::new(claim, self.shared.staging_path())?))
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.shared.files.free_bytes(&self.shared.root)
    }

    fn read_small_file(&self, path: &str) -> Result<Option<Bytes>, Error> {
        let path = self.shared.resolve(path)?;
        Ok(self.shared.files.read(&path)?.map(Bytes::from))
    }

    fn write_small_file(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.shared.resolve(path)?;
        if let Some(parent) = path.parent() {
            self.shared.files.make_directory(parent)?;
        }
        self.shared.files.write_file(&self.shared.staging_path(), &path, content)
    }
}
