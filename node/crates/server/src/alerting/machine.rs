//! The state machine of an alert group: its state in memory, one file on the disk.
//!
//! ```text
//! alerting/<number>/state      the state and how far the log is applied in it, see `state_file`
//! alerting/<number>/copy-<n>/  a copy on its way to another node: an engine with one record, as copies travel as engines
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_alert::alert_group::{self, AlertGroupState, replies, requests, states};
use bellwether_kv::{Durability, KvDisk, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_model::Timestamp;
use bellwether_raft::{Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, LogPosition, StateMachine};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::state_file::{self, StateFileError};
use crate::common_group::CommonMachine;
use crate::env::{BoxFuture, Fatal};

/// The directory of all alert groups.
pub const ALERTING_PATH: &str = "alerting";
const STATE_FILE: &str = "state";
const COPY_PREFIX: &str = "copy-";

const COPY_SPACES: &[SpaceConfig] = &[SpaceConfig { name: "alerting", kind: SpaceKind::Records }];
const COPY: Space = Space(0);
const COPY_KEY: &[u8] = b"state";

/// See the module.
pub struct AlertMachine {
    disk: Arc<dyn KvDisk>,
    fatal: Fatal,
    /// Its own directory.
    path: String,
    live: RwLock<Live>,
    /// Held from the look at what is to be written until it is: of a flush and an installed copy the newer one stays.
    writing: Mutex<()>,
    copies: AtomicU64,
    /// The last entry that is applied.
    index: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Live {
    state: AlertGroupState,
    applied: Applied,
}

impl AlertMachine {
    /// Reads what the disk holds of group `number`; nothing, at first.
    pub fn open(disk: Arc<dyn KvDisk>, fatal: Fatal, number: u32) -> Result<AlertMachine, StateFileError> {
        let path = format!("{ALERTING_PATH}/{number}");
        for name in disk.list(&path)?.iter().filter(|name| name.starts_with(COPY_PREFIX)) {
            disk.remove(&format!("{path}/{name}"))?;
        }
        let live = stored(&*disk, &path)?;
        let (index, _) = watch::channel(index_of(&live.applied));
        let (writing, copies) = (Mutex::default(), AtomicU64::new(0));
        Ok(AlertMachine { disk, fatal, path, live: RwLock::new(live), writing, copies, index })
    }

    /// Looks at the state as it is applied here. Nothing is applied meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&AlertGroupState) -> T) -> T {
        look(&self.live.read().state)
    }

    /// The last entry that is applied here, and its changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    /// How far the log is applied, and a hash of the state.
    pub fn fingerprint(&self) -> (Option<LogPosition>, u64) {
        let Live { state, applied } = self.live.read().clone();
        (applied.log, xxh3_64(&states::encode(&state)))
    }

    fn file(&self) -> String {
        format!("{}/{STATE_FILE}", self.path)
    }

    fn failed(&self, doing: &str, error: &bellwether_kv::Error) -> FatalError {
        if matches!(error, bellwether_kv::Error::SyncFailed(_)) {
            (self.fatal)(&error.to_string());
        }
        FatalError(format!("{doing}: {error}"))
    }

    fn write_copy(&self, path: &str, content: Bytes) -> Result<(), bellwether_kv::Error> {
        let engine = self.disk.open(path, COPY_SPACES)?;
        let mut batch = WriteBatch::default();
        batch.put(COPY, COPY_KEY, content);
        engine.write(&batch, Durability::Synced)?;
        engine.flush()
    }
}

impl StateMachine for AlertMachine {
    fn applied(&self) -> Applied {
        self.live.read().applied.clone()
    }

    /// Evaluators wait until they see here what they proposed.
    fn commit_notice_delay(&self) -> Duration {
        Duration::ZERO
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let mut live = self.live.write();
        let mut answers = Vec::with_capacity(entries.len());
        for CommittedEntry { position, payload } in entries {
            match payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => live.applied.membership = Some(membership),
                EntryPayload::Normal(payload) => {
                    // The log's own checksum has passed: this is a newer program's entry, or our bug.
                    let request = requests::decode(&payload).map_err(|error| {
                        FatalError(format!("entry {} of an alert group's log: {error}", position.index))
                    })?;
                    let reply = alert_group::apply(&mut live.state, request, position.index);
                    answers.push(replies::encode(&reply).into());
                }
            }
            live.applied.log = Some(position);
        }
        let index = index_of(&live.applied);
        drop(live);
        self.index.send_replace(index);
        Ok(answers)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        let _writing = self.writing.lock();
        // What is large in it is shared, so that applying waits for no encoding.
        let Live { state, applied } = self.live.read().clone();
        if applied.log.is_none() {
            return Ok(applied);
        }
        let file = self.file();
        self.disk
            .write_small_file(&file, &state_file::encode(&state, &applied))
            .map_err(|error| self.failed(&file, &error))?;
        Ok(applied)
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        let file = self.file();
        let unreadable = |reason: &dyn std::fmt::Display| FatalError(format!("{file}: {reason}"));
        let content = self.disk.read_small_file(&file).map_err(|error| self.failed(&file, &error))?;
        let content = content.ok_or_else(|| unreadable(&"it is missing"))?;
        let applied = state_file::applied(&content).map_err(|error| unreadable(&error))?;
        let path = format!("{}/{COPY_PREFIX}{}", self.path, self.copies.fetch_add(1, Ordering::Relaxed));
        self.write_copy(&path, content).map_err(|error| self.failed(&path, &error))?;
        Ok(Checkpoint { applied, directory: path.into() })
    }

    fn discard(&self, checkpoint: Checkpoint) {
        let path = checkpoint.directory.to_string_lossy();
        if let Err(error) = self.disk.remove(&path) {
            tracing::warn!(directory = %path, %error, "a copy that nobody takes cannot be removed");
        }
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        let path = checkpoint.directory.to_str().ok_or_else(|| FatalError("a copy at a strange path".to_owned()))?;
        let failed = |error: bellwether_kv::Error| self.failed(path, &error);
        let content =
            self.disk.open(path, COPY_SPACES).and_then(|engine| engine.get(COPY, COPY_KEY)).map_err(failed)?;
        let content = content.ok_or_else(|| FatalError(format!("{path}: it is no copy of an alert group")))?;
        let (state, applied) =
            state_file::decode(&content).map_err(|error| FatalError(format!("a copy of an alert group: {error}")))?;
        let _writing = self.writing.lock();
        // First, for on a full disk its room is all that there is. If this is not the end, the leader sends it again.
        self.disk.remove(path).map_err(failed)?;
        let file = self.file();
        self.disk.write_small_file(&file, &content).map_err(|error| self.failed(&file, &error))?;
        let index = index_of(&applied);
        *self.live.write() = Live { state, applied };
        self.index.send_replace(index);
        Ok(())
    }
}

impl CommonMachine for AlertMachine {
    fn reload(&self) -> Result<(), String> {
        let _writing = self.writing.lock();
        let stored = stored(&*self.disk, &self.path).map_err(|error| error.to_string())?;
        *self.live.write() = stored;
        Ok(())
    }

    fn stamped(&self, request: &[u8], now: Timestamp) -> Result<Bytes, String> {
        let mut request = requests::decode(request).map_err(|error| error.to_string())?;
        request.proposed_ms = now;
        Ok(requests::encode(&request).into())
    }

    fn index(&self) -> u64 {
        *self.index.borrow()
    }

    fn has_applied(&self, index: u64) -> BoxFuture<'_, ()> {
        let mut applied = self.changes();
        Box::pin(async move {
            // The machine has the other end.
            let _ = applied.wait_for(|applied| *applied >= index).await;
        })
    }
}

fn stored(disk: &dyn KvDisk, path: &str) -> Result<Live, StateFileError> {
    let Some(bytes) = disk.read_small_file(&format!("{path}/{STATE_FILE}"))? else { return Ok(Live::default()) };
    let (state, applied) = state_file::decode(&bytes)?;
    Ok(Live { state, applied })
}

fn index_of(applied: &Applied) -> u64 {
    applied.log.map_or(0, |position| position.index)
}
