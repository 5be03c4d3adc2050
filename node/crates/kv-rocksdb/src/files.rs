//! Directories and small files, made durable step by step: a file's content first, then its name.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bellwether_kv::Error;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::{from_file, from_sync};

/// The unit of `st_blocks`, whatever the file system's own block is.
const STAT_BLOCK_BYTES: u64 = 512;

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = File::open(path).map_err(|error| from_file("open", path, error))?;
    directory.sync_all().map_err(|error| from_sync(path, error))
}

/// Makes durable that `path` was made, renamed or removed.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes a directory and those above it.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent().ok_or_else(|| from_file("make directory", path, error))?;
            make_directory(parent)?;
            make_directory(path)
        }
        Err(error) => Err(from_file("make directory", path, error)),
    }
}

/// Writes `content` to the new file `staging`, then gives it the name `path`, in whose place something may be.
pub(crate) fn write_file(staging: &Path, path: &Path, content: &[u8]) -> Result<(), Error> {
    let written = File::create(staging)
        .and_then(|mut file| file.write_all(content).map(|()| file))
        .map_err(|error| from_file("write", staging, error))
        .and_then(|file| file.sync_all().map_err(|error| from_sync(staging, error)))
        .and_then(|()| fs::rename(staging, path).map_err(|error| from_file("replace", path, error)));
    if written.is_err() {
        // Left for the next start if this fails too.
        let _ = fs::remove_file(staging);
    }
    written?;
    sync_parent(path)
}

/// Renames where nothing is yet.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(Error::Misuse(format!("{}: exists already", to.display()))),
        Err(error) => return Err(from_file("rename to", to, error)),
    }
    sync_parent(from)?;
    sync_parent(to)
}

/// Removes a file, or a directory with all below it; nothing there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(from_file("remove", path, error)),
        _ => Ok(()),
    }
}

/// The names in a directory, ascending; none if there is no such directory.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(from_file("list", path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| from_file("list", path, error))?;
        // A name that is not UTF-8 is none of ours.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Bytes that a directory and its files occupy, as du counts them.
pub(crate) fn occupied_bytes(directory: &Path) -> Result<u64, Error> {
    let mut blocks = fs::metadata(directory).map_err(|error| from_file("stat", directory, error))?.blocks();
    for entry in fs::read_dir(directory).map_err(|error| from_file("list", directory, error))? {
        match entry.and_then(|entry| entry.metadata()) {
            Ok(metadata) => blocks += metadata.blocks(),
            // A background job removed it since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(from_file("stat in", directory, error)),
        }
    }
    Ok(blocks * STAT_BLOCK_BYTES)
}

/// Bytes free on the file system for unprivileged use.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(path).map_err(|error| from_file("statvfs", path, error))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
