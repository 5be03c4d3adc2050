//! The file system as a disk sees it, beside what RocksDB itself asks of it: the real one, or one of a test whose power
//! can fail.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rocksdb::Env;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

/// The unit of `st_blocks`, whatever the file system's own block is.
const STAT_BLOCK_BYTES: u64 = 512;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// A directory, or else a file.
    pub is_directory: bool,
    /// A file's length.
    pub bytes: u64,
    /// Bytes that it takes, as du counts them.
    pub occupied_bytes: u64,
}

/// Held until dropped.
pub trait Lock: Send + Sync {}

impl Lock for File {}

/// A file that grows.
pub trait AppendedFile: Send {
    /// Adds bytes at the end.
    fn append(&mut self, content: &[u8]) -> io::Result<()>;

    /// Makes all that was added durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// What a file system must do. Nothing is durable before the sync of the file, and of the directory that names it.
pub trait FileSystem: Send + Sync + 'static {
    /// RocksDB's way to the same files.
    fn env(&self) -> Result<Env, rocksdb::Error>;

    /// Makes the file if it is missing, and locks it; `WouldBlock` if somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// What is at a path.
    fn entry(&self, path: &Path) -> io::Result<Entry>;

    /// The names in a directory, in any order.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Makes a directory in an existing one.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Opens a file to add to it; made if it is missing.
    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendedFile>>;

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Fills `to` with what a file has from `offset` on.
    fn read_exact_at(&self, path: &Path, offset: u64, to: &mut [u8]) -> io::Result<()>;

    /// Moves a file or a directory; a file at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Moves where nothing is yet; `AlreadyExists` where something is.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all below it.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Bytes free for unprivileged use.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The operating system's.
pub(crate) struct OsFileSystem;

impl FileSystem for OsFileSystem {
    fn env(&self) -> Result<Env, rocksdb::Error> {
        Env::new()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let metadata = fs::symlink_metadata(path)?;
        let (is_directory, bytes) = (metadata.is_dir(), metadata.len());
        Ok(Entry { is_directory, bytes, occupied_bytes: metadata.blocks() * STAT_BLOCK_BYTES })
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn AppendedFile>> {
        Ok(Box::new(File::options().create(true).append(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_exact_at(&self, path: &Path, offset: u64, to: &mut [u8]) -> io::Result<()> {
        File::open(path)?.read_exact_at(to, offset)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl AppendedFile for File {
    fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.write_all(content)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
