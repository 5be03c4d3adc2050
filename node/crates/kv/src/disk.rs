//! The file system as storage sees it: a tree that holds engines by path, and a few small files beside them.
//!
//! Paths are relative to the disk's root, their parts are separated by `/`, and no part is empty, `.` or `..`. One process
//! owns a disk at a time.

use std::sync::Arc;

use bytes::Bytes;

use crate::{EngineExport, EngineImport, Error, KvEngine, SpaceConfig};

/// A tree of engines and small files. What a method did is durable when it returns, and what it did for a process that was
/// killed meanwhile, when the next one takes the disk. All methods block.
pub trait KvDisk: Send + Sync + 'static {
    /// Opens the engine at `path`, or makes an empty one; directories above it are made. What it holds is durable from then
    /// on, even if whoever had it open before was killed. [`Error::Locked`] if it is open already. Spaces are found by name: one that is new is added, one that is stored must be named. The engine
    /// closes when the last handle goes.
    fn open(&self, path: &str, spaces: &[SpaceConfig]) -> Result<Arc<dyn KvEngine>, Error>;

    /// Deletes the engine, the file or the directory with all that is below it; nothing there is no error.
    /// [`Error::Locked`] if an engine in it is open.
    fn remove(&self, path: &str) -> Result<(), Error>;

    /// Moves an engine, a file or a directory; `to` must not exist. [`Error::Locked`] if an engine in it is open.
    fn rename(&self, from: &str, to: &str) -> Result<(), Error>;

    /// The names directly below the directory `path`, ascending; `""` is the root. Nothing there is an empty list.
    fn list(&self, path: &str) -> Result<Vec<String>, Error>;

    /// Whether something is there.
    fn exists(&self, path: &str) -> Result<bool, Error>;

    /// The closed engine at `path` as files, to be carried to another disk of this kind. [`Error::Locked`] if it is open.
    fn export(&self, path: &str) -> Result<Box<dyn EngineExport>, Error>;

    /// Begins an engine at `path`, where nothing is yet, from the files of an exported one.
    fn import(&self, path: &str) -> Result<Box<dyn EngineImport>, Error>;

    /// Bytes free for unprivileged use.
    fn free_bytes(&self) -> Result<u64, Error>;

    /// The whole content of a file, `None` if there is none.
    fn read_small_file(&self, path: &str) -> Result<Option<Bytes>, Error>;

    /// Replaces or makes a file: after a crash at any moment it has the old or the new content, whole.
    fn write_small_file(&self, path: &str, content: &[u8]) -> Result<(), Error>;
}

/// Checks the rules that every path given to a [`KvDisk`] obeys.
pub fn check_path(path: &str) -> Result<(), Error> {
    let legal = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\\']);
    if path.split('/').all(legal) {
        Ok(())
    } else {
        Err(Error::Misuse(format!("{path:?} is not a path below the root")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_the_root_is_refused() {
        for bad in ["", "/", "/a", "a/", "a//b", ".", "a/../b", "..", "a/./b", "a\0b"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "shards/17-3", "log", "..a"] {
            assert!(check_path(good).is_ok(), "{good:?}");
        }
    }
}
