//! A closed engine as plain files, and back: how a copy travels to another disk of the same kind.
//!
//! What the files hold is the engine's own affair; whoever carries them brings every byte of each, under its name.

use bytes::Bytes;

use crate::Error;

/// Files of one engine, at most: more are refused as damage.
pub const ENGINE_FILES_MAX: usize = 1 << 16;
/// Bytes of a file's name, at most.
const FILE_NAME_BYTES_MAX: usize = 128;

/// One file of a closed engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFile {
    /// Its name: one path part, checked by [`check_file_name`].
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// The files of a closed engine; while this lives the engine cannot be opened, moved or removed.
pub trait EngineExport: Send + Sync {
    /// All files, ascending by name.
    fn files(&self) -> &[EngineFile];

    /// The bytes of the file `name` from `offset` on, at most `length` of them; none at its end.
    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Bytes, Error>;
}

/// An engine that comes in as files. Nothing is at its path before [`finish`](Self::finish); dropped without it, it leaves
/// nothing behind.
pub trait EngineImport: Send {
    /// Adds bytes at the end of the file `name`. Cheapest if a file comes whole before the next.
    fn append(&mut self, name: &str, content: &[u8]) -> Result<(), Error>;

    /// Puts the files in place: durable, and all at once. [`Error::Corrupt`] if they are no engine's.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// Checks a file's name, which another node may have sent.
pub fn check_file_name(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=FILE_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(legal) {
        Ok(())
    } else {
        Err(Error::Misuse(format!("{name:?} is not a name of an engine's file")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_the_directory_is_refused() {
        for bad in ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\0", "ä", &"a".repeat(129)] {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
        for good in ["CURRENT", "MANIFEST-000012", "000007.sst", "runs"] {
            assert!(check_file_name(good).is_ok(), "{good:?}");
        }
    }
}
