//! Space on the file system under the data directory.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use bellwether_server::env::{BALLAST_FILE, DiskSpace, Volume};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The file system that holds a directory.
pub struct DirectoryVolume {
    directory: PathBuf,
}

impl DirectoryVolume {
    /// The directory must exist.
    pub fn new(directory: PathBuf) -> DirectoryVolume {
        DirectoryVolume { directory }
    }
}

impl Volume for DirectoryVolume {
    fn space(&self) -> io::Result<DiskSpace> {
        let fs = statvfs(&self.directory)?;
        Ok(DiskSpace { free_bytes: fs.f_bavail * fs.f_frsize, total_bytes: fs.f_blocks * fs.f_frsize })
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let path = self.directory.join(BALLAST_FILE);
        if bytes == 0 {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        if file.metadata()?.len() != bytes {
            file.set_len(0)?;
            fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_takes_room_and_gives_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let volume = DirectoryVolume::new(directory.path().to_owned());
        let path = directory.path().join(BALLAST_FILE);
        volume.reserve(1 << 20).unwrap();
        volume.reserve(1 << 20).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        volume.reserve(0).unwrap();
        volume.reserve(0).unwrap();
        assert!(!path.exists());
        assert!(volume.space().unwrap().total_bytes > 0);
    }
}
