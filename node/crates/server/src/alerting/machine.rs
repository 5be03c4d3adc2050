//! The state machine of an alert group: its state in memory, one file on the disk.
//!
//! Where it lies: [`StateStore`], in `alerting/<number>`; in which bytes: [`state_file`].

use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{self, AlertGroupState, replies, requests, states};
use bellwether_kv::KvDisk;
use bellwether_model::Timestamp;
use bellwether_raft::{Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, LogPosition, StateMachine};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::state_file::{self, StateFileError};
use crate::common_group::CommonMachine;
use crate::common_group::state_store::StateStore;
use crate::env::{BoxFuture, Fatal};

/// The directory of all alert groups.
pub const ALERTING_PATH: &str = "alerting";

/// See the module.
pub struct AlertMachine {
    store: StateStore,
    live: RwLock<Live>,
    /// Held from the look at what is to be written until it is: of a flush and an installed copy the newer one stays.
    writing: Mutex<()>,
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
        let store = StateStore::open(disk, fatal, format!("{ALERTING_PATH}/{number}"))?;
        let live = stored(&store)?;
        let (index, _) = watch::channel(index_of(&live.applied));
        Ok(AlertMachine { store, live: RwLock::new(live), writing: Mutex::default(), index })
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
        self.store.write(&state_file::encode(&state, &applied))?;
        Ok(applied)
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        self.store.checkpoint(state_file::applied)
    }

    fn discard(&self, checkpoint: Checkpoint) {
        self.store.discard(&checkpoint);
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        let content = self.store.received(&checkpoint)?;
        let (state, applied) =
            state_file::decode(&content).map_err(|error| FatalError(format!("a copy of an alert group: {error}")))?;
        let _writing = self.writing.lock();
        self.store.take(&checkpoint, &content)?;
        let index = index_of(&applied);
        *self.live.write() = Live { state, applied };
        self.index.send_replace(index);
        Ok(())
    }
}

impl CommonMachine for AlertMachine {
    fn reload(&self) -> Result<(), String> {
        let _writing = self.writing.lock();
        let stored = stored(&self.store).map_err(|error| error.to_string())?;
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

fn stored(store: &StateStore) -> Result<Live, StateFileError> {
    let Some(bytes) = store.read()? else { return Ok(Live::default()) };
    let (state, applied) = state_file::decode(&bytes)?;
    Ok(Live { state, applied })
}

fn index_of(applied: &Applied) -> u64 {
    applied.log.map_or(0, |position| position.index)
}
