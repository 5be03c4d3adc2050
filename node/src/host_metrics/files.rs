//! The one place that reads the host's files: bounded, below one root (so that tests bring their own), text made valid
//! UTF-8 by replacement. Files below /proc and /sys answer from memory; nothing here touches a disk or a network.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// No file that is read here comes near this; more is cut off.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Entries of one directory that are listed; more are left out.
const DIRECTORY_ENTRIES_MAX: usize = 4096;

/// Reads below a root directory.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// `/` on a real host.
    pub fn below(root: impl Into<PathBuf>) -> Files {
        Files { root: root.into() }
    }

    /// The text of `path`, which is relative to the root.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(self.root.join(path))?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The trimmed content of a file that holds one value; None if it is absent or has nothing to say now
    /// (many files below /sys answer EINVAL while their device is down).
    pub fn value(&self, path: &str) -> Option<String> {
        self.read(path).ok().map(|text| text.trim().to_owned())
    }

    /// The names in a directory, sorted.
    pub fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join(path))?.take(DIRECTORY_ENTRIES_MAX) {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// How many file descriptors this process has open.
    pub fn open_descriptors(&self) -> io::Result<u64> {
        let path = self.root.join("proc/self/fd");
        // Since Linux 6.2 the directory's size is the count, which spares a listing of thousands.
        match std::fs::metadata(&path)?.len() {
            0 => Ok(std::fs::read_dir(path)?.count() as u64),
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_do_not_fail_the_read() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), b"x\xffy\n").unwrap();
        let files = Files::below(root.path());
        assert_eq!(files.read("a").unwrap(), "x\u{fffd}y\n");
        assert_eq!(files.value("a").as_deref(), Some("x\u{fffd}y"));
        assert_eq!(files.value("absent"), None);
        assert_eq!(files.names("").unwrap(), ["a"]);
    }

    #[test]
    fn our_own_descriptors_are_counted() {
        assert!(Files::below("/").open_descriptors().unwrap() >= 3);
    }
}
