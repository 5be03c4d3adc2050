//! A sorted file on its way into an engine: written aside, then renamed into place and named in the engine's manifest.

use std::path::PathBuf;

use bellwether_kv::{Error, RunWriter, Space};
use rocksdb::SstFileWriter;

use crate::engine::RocksEngine;
use crate::error::from_rocksdb;

pub(crate) struct RocksRun<'a> {
    engine: &'a RocksEngine,
    space: Space,
    path: PathBuf,
    /// Made by the first key: a run without keys is no file.
    file: Option<File<'a>>,
}

struct File<'a> {
    writer: SstFileWriter<'a>,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl<'a> RocksRun<'a> {
    pub(crate) fn new(engine: &'a RocksEngine, space: Space, path: PathBuf) -> Self {
        Self { engine, space, path, file: None }
    }
}

impl RunWriter for RocksRun<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let file = match &mut self.file {
            Some(file) => {
                if file.last.as_slice() >= key {
                    let path = self.engine.path().display();
                    return Err(Error::Misuse(format!(
                        "{path}: key {key:02x?} of a run is not above {:02x?}",
                        file.last
                    )));
                }
                file.last.clear();
                file.last.extend_from_slice(key);
                file
            }
            None => {
                let writer = SstFileWriter::create(self.engine.run_options());
                writer.open(&self.path).map_err(from_rocksdb)?;
                self.file.insert(File { writer, first: key.to_vec(), last: key.to_vec() })
            }
        };
        file.writer.put(key, value).map_err(from_rocksdb)
    }

    fn finish(mut self: Box<Self>) -> Result<u64, Error> {
        let Some(mut file) = self.file.take() else { return Ok(0) };
        self.engine.change(|| {
            file.writer.finish().map_err(from_rocksdb)?;
            self.engine.ingest(self.space, &self.path, &file.first, &file.last)
        })?;
        Ok(file.writer.file_size())
    }
}

impl Drop for RocksRun<'_> {
    fn drop(&mut self) {
        // The writer closes its file first. After a finish there is nothing to remove; what cannot be removed now goes
        // at the next start.
        self.file = None;
        let _ = self.engine.files().remove(&self.path);
    }
}
