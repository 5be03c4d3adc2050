//! The meta group's state machine: the state in memory, one small file on the disk.
//!
//! Where it lies: [`StateStore`], in `meta`; in which bytes: [`states`].
//!
//! A node that was just founded or has just joined has a state that it was told, not one that it applied: the log begins
//! before it. Until the log has come that far the node goes by what it was told, and the log is applied to nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_kv::KvDisk;
use bellwether_model::{NodeId, Timestamp};
use bellwether_raft::{Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, StateMachine};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::apply::apply;
use super::codec::{DecodeError, replies, requests, states};
use super::command::Request;
use super::state::MetaState;
use crate::common_group::CommonMachine;
use crate::common_group::state_store::StateStore;
use crate::env::{BoxFuture, Fatal};

/// The directory of the meta group.
pub const META_PATH: &str = "meta";
const STATE_FILE: &str = "meta/state";

/// Where nodes are reached, by id: their gRPC addresses.
pub type Addresses = BTreeMap<NodeId, String>;

/// Why a node's copy of the cluster's state could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It is not there although the directory is somebody's.
    #[error("file {STATE_FILE} is missing: the data directory is damaged")]
    Missing,
    /// It is damaged, or newer.
    #[error("file {STATE_FILE}: {0}")]
    Unreadable(#[from] DecodeError),
    /// Reading or writing failed.
    #[error("file {STATE_FILE}")]
    Storage(#[from] bellwether_kv::Error),
}

/// See the module.
pub struct MetaStateMachine {
    store: StateStore,
    /// The newest version of commands and of the state that this program understands.
    supported: u32,
    live: Mutex<Live>,
    /// Held from the look at what is to be written until it is: of a flush and an installed copy the newer one stays.
    writing: Mutex<()>,
    /// Whether what is published was told, not applied.
    is_told: AtomicBool,
    published: watch::Sender<Arc<MetaState>>,
    addresses: watch::Sender<Addresses>,
}

#[derive(Clone)]
struct Live {
    /// What the log has made; `None` before the founding is applied.
    state: Option<MetaState>,
    applied: Applied,
}

/// Writes the state that a node begins with, durably: what it was told, with nothing applied.
pub fn write_told(disk: &dyn KvDisk, state: &MetaState) -> Result<(), StateFileError> {
    Ok(disk.write_small_file(STATE_FILE, &states::encode(Some(state), &Applied::default()))?)
}

impl MetaStateMachine {
    /// Reads what the disk holds, up to the version that is supported.
    pub fn open(disk: Arc<dyn KvDisk>, fatal: Fatal, supported: u32) -> Result<MetaStateMachine, StateFileError> {
        let store = StateStore::open(disk, fatal, META_PATH.to_owned())?;
        let (state, applied) = stored(&store, supported)?;
        let (published, _) = watch::channel(Arc::new(state.clone()));
        let (addresses, _) = watch::channel(addresses_of(&state));
        let is_told = applied.log.is_none();
        let live = Live { state: (!is_told).then_some(state), applied };
        Ok(MetaStateMachine {
            store,
            supported,
            live: Mutex::new(live),
            writing: Mutex::default(),
            is_told: AtomicBool::new(is_told),
            published,
            addresses,
        })
    }

    /// Goes back to what the disk holds, for the log to be applied from there again. What is published stays.
    pub fn reload(&self) -> Result<(), StateFileError> {
        let _writing = self.writing.lock();
        let (state, applied) = stored(&self.store, self.supported)?;
        *self.live.lock() = Live { state: applied.log.is_some().then_some(state), applied };
        Ok(())
    }

    /// The state as it is applied here; before that, as it was told.
    pub fn state(&self) -> watch::Receiver<Arc<MetaState>> {
        self.published.subscribe()
    }

    /// Where the nodes of that state are reached.
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.addresses.subscribe()
    }

    /// The newest version of commands and of the state that this program understands.
    pub fn supported(&self) -> u32 {
        self.supported
    }

    /// Whether the log has brought this node a state.
    pub fn is_applied(&self) -> bool {
        self.live.lock().state.is_some()
    }

    fn publish(&self, live: &Live) {
        let Some(state) = &live.state else { return };
        self.published.send_if_modified(|published| {
            let is_behind = state.index < published.index;
            // The same state is news where it was only told before: now it is worth writing down.
            let was_told = !is_behind && self.is_told.swap(false, Ordering::Relaxed);
            let is_news = !is_behind && (was_told || **published != *state);
            if is_news {
                *published = Arc::new(state.clone());
            }
            is_news
        });
        let addresses = addresses_of(&self.published.borrow());
        self.addresses.send_if_modified(|known| {
            let is_news = *known != addresses;
            *known = addresses;
            is_news
        });
    }
}

impl StateMachine for MetaStateMachine {
    fn applied(&self) -> Applied {
        self.live.lock().applied.clone()
    }

    /// There is little to say, and a node that is removed must hear it before nobody speaks to it any more.
    fn commit_notice_delay(&self) -> Duration {
        Duration::ZERO
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let mut live = self.live.lock();
        let mut answers = Vec::with_capacity(entries.len());
        for CommittedEntry { position, payload } in entries {
            match payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => live.applied.membership = Some(membership),
                EntryPayload::Normal(payload) => {
                    // The log's own checksum has passed: this is a newer program's entry, or our bug.
                    let request = requests::decode(&payload, self.supported).map_err(|error| {
                        FatalError(format!("entry {} of the meta group's log: {error}", position.index))
                    })?;
                    let reply = apply(&mut live.state, request, position.index);
                    let active = live.state.as_ref().map_or(0, |state| state.active_version);
                    if active > self.supported {
                        return Err(FatalError(format!(
                            "format version {active} is active, this program knows up to {}: start a newer bellwether",
                            self.supported
                        )));
                    }
                    answers.push(replies::encode(&reply).into());
                }
            }
            live.applied.log = Some(position);
        }
        self.publish(&live);
        Ok(answers)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        let _writing = self.writing.lock();
        let Live { state, applied } = self.live.lock().clone();
        // Nothing to keep yet, and the file holds what this node was told.
        let Some(state) = state else { return Ok(Applied::default()) };
        self.store.write(&states::encode(Some(&state), &applied))?;
        Ok(applied)
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        self.store.checkpoint(|content| states::decode(content, self.supported).map(|(_, applied)| applied))
    }

    fn discard(&self, checkpoint: Checkpoint) {
        self.store.discard(&checkpoint);
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        let content = self.store.received(&checkpoint)?;
        let (state, applied) = states::decode(&content, self.supported)
            .map_err(|error| FatalError(format!("a copy of the meta group: {error}")))?;
        let _writing = self.writing.lock();
        self.store.take(&checkpoint, &content)?;
        let mut live = self.live.lock();
        *live = Live { state, applied };
        self.publish(&live);
        Ok(())
    }
}

impl CommonMachine for MetaStateMachine {
    fn reload(&self) -> Result<(), String> {
        MetaStateMachine::reload(self).map_err(|error| error.to_string())
    }

    fn stamped(&self, request: &[u8], now: Timestamp) -> Result<Bytes, String> {
        let request = requests::decode(request, self.supported).map_err(|error| error.to_string())?;
        let active = self.published.borrow().active_version;
        Ok(requests::encode(&Request { proposed_ms: now, ..request }, active).into())
    }

    fn index(&self) -> u64 {
        self.published.borrow().index
    }

    fn has_applied(&self, index: u64) -> BoxFuture<'_, ()> {
        let mut state = self.state();
        Box::pin(async move {
            // The machine has the other end.
            let _ = state.wait_for(|state| state.index >= index).await;
        })
    }
}

fn stored(store: &StateStore, supported: u32) -> Result<(MetaState, Applied), StateFileError> {
    let bytes = store.read()?.ok_or(StateFileError::Missing)?;
    let (state, applied) = states::decode(&bytes, supported)?;
    Ok((state.ok_or(StateFileError::Missing)?, applied))
}

fn addresses_of(state: &MetaState) -> Addresses {
    state.present_nodes().map(|(id, node)| (id, node.facts.grpc.clone())).collect()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
