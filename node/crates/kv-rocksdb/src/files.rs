//! Directories and small files, made durable step by step: a file's content first, then its name.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bellwether_kv::Error;

use crate::error::{from_file, from_sync};
use crate::file_system::{AppendedFile, Entry, FileSystem};

/// The files of a disk.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) Arc<dyn FileSystem>);

impl Files {
    /// Makes the names in a directory durable.
    pub(crate) fn sync_directory(&self, path: &Path) -> Result<(), Error> {
        self.0.sync_directory(path).map_err(|error| from_sync(path, error))
    }

    /// Makes the names in a directory and in all below it durable.
    pub(crate) fn sync_tree(&self, path: &Path) -> Result<(), Error> {
        for name in self.names(path)? {
            let below = path.join(name);
            if self.find(&below)?.is_some_and(|entry| entry.is_directory) {
                self.sync_tree(&below)?;
            }
        }
        self.sync_directory(path)
    }

    /// Makes durable that `path` was made, renamed or removed.
    pub(crate) fn sync_parent(&self, path: &Path) -> Result<(), Error> {
        path.parent().map_or(Ok(()), |parent| self.sync_directory(parent))
    }

    /// Makes a directory and those above it.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<(), Error> {
        match self.0.make_directory(path) {
            Ok(()) => self.sync_parent(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.is_directory(path) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = path.parent().ok_or_else(|| from_file("make directory", path, error))?;
                self.make_directory(parent)?;
                self.make_directory(path)
            }
            Err(error) => Err(from_file("make directory", path, error)),
        }
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.0.entry(path).is_ok_and(|entry| entry.is_directory)
    }

    /// Opens a file to add to it; made if it is missing.
    pub(crate) fn append(&self, path: &Path) -> Result<Box<dyn AppendedFile>, Error> {
        self.0.append(path).map_err(|error| from_file("open", path, error))
    }

    /// Makes the content of a file durable, whoever wrote it.
    pub(crate) fn sync_file(&self, path: &Path) -> Result<(), Error> {
        self.append(path)?.sync().map_err(|error| from_sync(path, error))
    }

    /// Writes `content` to the new file `staging`, then gives it the name `path`, in whose place a file may be.
    pub(crate) fn write_file(&self, staging: &Path, path: &Path, content: &[u8]) -> Result<(), Error> {
        let written = self
            .append(staging)
            .and_then(|mut file| match file.append(content) {
                Ok(()) => file.sync().map_err(|error| from_sync(staging, error)),
                Err(error) => Err(from_file("write", staging, error)),
            })
            .and_then(|()| self.0.rename(staging, path).map_err(|error| from_file("replace", path, error)));
        if written.is_err() {
            // Left for the next start if this fails too.
            let _ = self.0.remove_file(staging);
        }
        written?;
        self.sync_parent(path)
    }

    /// The whole content of a file, `None` if there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        match self.0.read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(from_file("read", path, error)),
        }
    }

    /// `length` bytes of a file from `offset` on.
    pub(crate) fn read_exact_at(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut content = vec![0; length];
        self.0.read_exact_at(path, offset, &mut content).map_err(|error| from_file("read", path, error))?;
        Ok(content)
    }

    /// Renames where nothing is yet.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        match self.0.rename_new(from, to) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Misuse(format!("{}: exists already", to.display())));
            }
            Err(error) => return Err(from_file("rename to", to, error)),
        }
        self.sync_parent(from)?;
        self.sync_parent(to)
    }

    /// Moves what is at `path` to `staging`, where nothing is yet, durably; says whether something was there.
    pub(crate) fn take_away(&self, path: &Path, staging: &Path) -> Result<bool, Error> {
        match self.0.rename(path, staging) {
            Ok(()) => self.sync_parent(path).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(from_file("remove", path, error)),
        }
    }

    /// Removes a file, or a directory with all below it; nothing there is no error.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        let removed = self.0.entry(path).and_then(|entry| match entry.is_directory {
            true => self.0.remove_directory(path),
            false => self.0.remove_file(path),
        });
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(from_file("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// What is at `path`, if anything.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Entry>, Error> {
        match self.0.entry(path) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(from_file("stat", path, error)),
        }
    }

    /// The names in a directory, ascending; none if there is no such directory.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<String>, Error> {
        let found = match self.0.names(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(from_file("list", path, error)),
        };
        // A name that is not UTF-8 is none of ours.
        let mut names: Vec<String> = found.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Bytes that a directory and its files occupy, as du counts them.
    pub(crate) fn occupied_bytes(&self, directory: &Path) -> Result<u64, Error> {
        let mut bytes = self.find(directory)?.map_or(0, |entry| entry.occupied_bytes);
        for name in self.names(directory)? {
            // What a background job removed since it was listed takes none.
            bytes += self.find(&directory.join(name))?.map_or(0, |entry| entry.occupied_bytes);
        }
        Ok(bytes)
    }

    /// Bytes free on the file system for unprivileged use.
    pub(crate) fn free_bytes(&self, path: &Path) -> Result<u64, Error> {
        self.0.free_bytes(path).map_err(|error| from_file("statvfs", path, error))
    }
}
