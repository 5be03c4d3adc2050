//! A closed RocksDB as the files that it consists of, and such files put in place as one.

use std::path::PathBuf;

use bellwether_kv::{ENGINE_FILES_MAX, EngineExport, EngineFile, EngineImport, Error, check_file_name};
use bytes::Bytes;

use crate::disk::Claim;
use crate::error::{from_file, from_sync};
use crate::file_system::AppendedFile;
use crate::files::Files;

/// Names the manifest that holds: without it a directory would open as a new and empty engine.
const CURRENT_NAME: &str = "CURRENT";
/// Held while RocksDB is open; empty, and made anew where it is missing.
const LOCK_NAME: &str = "LOCK";

pub(crate) struct RocksExport {
    claim: Claim,
    files: Vec<EngineFile>,
}

impl RocksExport {
    pub(crate) fn new(claim: Claim) -> Result<Self, Error> {
        let (files, directory) = (&claim.shared().files, claim.path());
        let mut found = Vec::new();
        for name in files.names(directory)? {
            let entry = files.find(&directory.join(&name))?.filter(|entry| !entry.is_directory && name != LOCK_NAME);
            found.extend(entry.map(|entry| EngineFile { name, bytes: entry.bytes }));
        }
        if found.iter().all(|file| file.name != CURRENT_NAME) {
            return Err(Error::Io(format!("{}: no engine is there", directory.display())));
        }
        Ok(Self { claim, files: found })
    }
}

impl EngineExport for RocksExport {
    fn files(&self) -> &[EngineFile] {
        &self.files
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Bytes, Error> {
        let path = self.claim.path().join(name);
        let Some(file) = self.files.iter().find(|file| file.name == name) else {
            return Err(Error::Io(format!("{}: no file {name:?}", self.claim.path().display())));
        };
        let length = usize::try_from(file.bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        Ok(self.claim.shared().files.read_exact_at(&path, offset, length)?.into())
    }
}

pub(crate) struct RocksImport {
    claim: Claim,
    /// The directory that the files come into; it gets the engine's name when all are there.
    staging: PathBuf,
    /// Names so far, the last one's file still open.
    names: Vec<String>,
    open: Option<Box<dyn AppendedFile>>,
}

impl RocksImport {
    pub(crate) fn new(claim: Claim, staging: PathBuf) -> Result<Self, Error> {
        let files = &claim.shared().files;
        if files.find(claim.path())?.is_some() {
            return Err(Error::Misuse(format!("{}: exists already", claim.path().display())));
        }
        files.make_directory(&staging)?;
        Ok(Self { claim, staging, names: Vec::new(), open: None })
    }

    fn files(&self) -> &Files {
        &self.claim.shared().files
    }

    /// Makes the content of the open file durable.
    fn close_file(&mut self) -> Result<(), Error> {
        match self.open.take() {
            Some(mut file) => file.sync().map_err(|error| from_sync(&self.staging, error)),
            None => Ok(()),
        }
    }
}

impl EngineImport for RocksImport {
    fn append(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        check_file_name(name)?;
        let path = self.staging.join(name);
        let file = match &mut self.open {
            Some(file) if self.names.last().is_some_and(|last| last == name) => file,
            _ => {
                self.close_file()?;
                if let Some(known) = self.names.iter().position(|known| known == name) {
                    let name = self.names.remove(known);
                    self.names.push(name);
                } else if self.names.len() == ENGINE_FILES_MAX {
                    let place = self.claim.path().display();
                    return Err(Error::Corrupt(format!("{place}: more than {ENGINE_FILES_MAX} files")));
                } else {
                    self.names.push(name.to_owned());
                }
                let file = self.files().append(&path)?;
                self.open.insert(file)
            }
        };
        file.append(content).map_err(|error| from_file("write", &path, error))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.close_file()?;
        let to = self.claim.path();
        if self.names.iter().all(|name| name != CURRENT_NAME) {
            return Err(Error::Corrupt(format!("{}: the files are no RocksDB", to.display())));
        }
        self.files().sync_directory(&self.staging)?;
        if let Some(parent) = to.parent() {
            self.files().make_directory(parent)?;
        }
        self.files().rename(&self.staging, to)
    }
}

impl Drop for RocksImport {
    fn drop(&mut self) {
        self.open = None;
        // After a finish there is nothing to remove; what cannot be removed now goes at the next start.
        let _ = self.files().remove(&self.staging);
    }
}
