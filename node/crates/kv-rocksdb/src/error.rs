//! From RocksDB's statuses, which reach us as text, to the errors of the interface.

use std::path::Path;

use bellwether_kv::Error;
use rocksdb::ErrorKind;
use rustix::io::Errno;

/// Says what a RocksDB error means; the message names the file where RocksDB does.
pub(crate) fn from_rocksdb(error: rocksdb::Error) -> Error {
    let kind = error.kind();
    let message = error.into_string();
    match kind {
        ErrorKind::Corruption => Error::Corrupt(message),
        ErrorKind::InvalidArgument => Error::Misuse(message),
        // Before the check for space: a sync that fails for want of space leaves just as little known.
        ErrorKind::IOError if is_sync(&message) => Error::SyncFailed(message),
        ErrorKind::IOError if message.contains("No space left on device") => Error::DiskFull(message),
        ErrorKind::IOError
            if message.contains("lock hold by current process") || message.contains("While lock file") =>
        {
            Error::Locked(message)
        }
        _ => Error::Io(message),
    }
}

/// RocksDB names the failed call: "While fsync", "While fdatasync", also of a directory or after a rename.
fn is_sync(message: &str) -> bool {
    message.contains("While fsync") || message.contains("While fdatasync")
}

/// An error of the file system at `path`, while `doing` something that is no sync.
pub(crate) fn from_file(doing: &str, path: &Path, error: impl Into<std::io::Error>) -> Error {
    let error: std::io::Error = error.into();
    let message = format!("{doing} {}: {error}", path.display());
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => Error::DiskFull(message),
        _ => Error::Io(message),
    }
}

/// A failed sync of `path`.
pub(crate) fn from_sync(path: &Path, error: impl Into<std::io::Error>) -> Error {
    Error::SyncFailed(format!("{}: {}", path.display(), error.into()))
}

#[cfg(test)]
mod tests {
    use super::is_sync;

    #[test]
    fn a_failed_sync_is_told_from_a_failed_write() {
        assert!(is_sync(
            "IO error: No space left on device: While fdatasync: /data/000008.log: No space left on device"
        ));
        assert!(is_sync("IO error: While fsync: a directory: Input/output error"));
        assert!(!is_sync("IO error: While appending to file: /data/000008.log: Input/output error"));
    }
}
