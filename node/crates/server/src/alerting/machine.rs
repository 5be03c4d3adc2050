//! The state machine of an alert group: its state in memory, one file on the disk.
//!
//! Where it lies: [`StateStore`], in `alerting/<number>`; in which bytes: [`state_file`].

use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::limits::HISTORY_MAX;
use bellwether_alert::alert_group::{self, AlertGroupState, replies, requests, states};
use bellwether_alert::state::alerting::Change;
use bellwether_kv::KvDisk;
use bellwether_model::{Labels, Tenant, Timestamp};
use bellwether_probe::reached;
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
    number: u32,
    store: StateStore,
    memory: RwLock<Memory>,
    /// Held from the look at what is to be written until it is: of a flush and an installed copy the newer one stays.
    writing: Mutex<()>,
    /// The last entry that is applied.
    index: watch::Sender<u64>,
    /// The last entry by which something became of an alert of a rule.
    turned: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Live {
    state: AlertGroupState,
    applied: Applied,
    /// The last entry that was applied when the state was read.
    read_at: u64,
}

impl Live {
    fn read(state: AlertGroupState, applied: Applied) -> Live {
        let read_at = index_of(&applied);
        Live { state, applied, read_at }
    }
}

struct Memory {
    live: Live,
    /// What was applied before the log is applied again from what the disk holds: it is what is seen until that has come as far.
    // Invariant: further than `live`.
    ahead: Option<Live>,
}

/// What has become of alerts since an entry of the log.
pub struct Turned {
    /// Those that began or ceased to fire; none if that is not known any more.
    pub alerts: Option<Vec<Labels>>,
    /// The last entry that is applied.
    pub until: u64,
}

impl Memory {
    fn of(live: Live, ahead: Option<Live>) -> Memory {
        let ahead = ahead.filter(|ahead| index_of(&ahead.applied) > index_of(&live.applied));
        Memory { live, ahead }
    }

    /// What is seen: it only goes forward.
    fn seen(&self) -> &Live {
        self.ahead.as_ref().unwrap_or(&self.live)
    }
}

impl AlertMachine {
    /// Reads what the disk holds of group `number`; nothing, at first.
    pub fn open(disk: Arc<dyn KvDisk>, fatal: Fatal, number: u32) -> Result<AlertMachine, StateFileError> {
        let store = StateStore::open(disk, fatal, format!("{ALERTING_PATH}/{number}"))?;
        let live = stored(&store)?;
        let (index, turned) = (watch::Sender::new(live.read_at), watch::Sender::new(live.read_at));
        Ok(AlertMachine {
            number,
            store,
            memory: RwLock::new(Memory::of(live, None)),
            writing: Mutex::default(),
            index,
            turned,
        })
    }

    /// Looks at the state as it is applied here. Nothing is applied meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&AlertGroupState) -> T) -> T {
        look(&self.memory.read().seen().state)
    }

    /// The last entry that is applied here, and its changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    /// The last entry by which something became of an alert of a rule, and its changes.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turned.subscribe()
    }

    /// What has become of alerts of a tenant's rules by entries after this one.
    pub fn turned_since(&self, tenant: &Tenant, index: u64) -> Turned {
        let memory = self.memory.read();
        let live = memory.seen();
        let history = live.state.tenants.get(tenant).map(|known| &known.history);
        let new = history.into_iter().flat_map(|history| history.iter().rev().take_while(|one| one.index > index));
        // Of a full history the first may be forgotten.
        let is_cut = history.is_some_and(|all| all.len() >= HISTORY_MAX && all[0].index > index);
        let turns = new.filter(|one| matches!(one.change, Change::Firing | Change::Resolved));
        let alerts = (index >= live.read_at && !is_cut).then(|| turns.map(|one| one.labels.clone()).collect());
        Turned { alerts, until: index_of(&live.applied) }
    }

    /// How far the log is applied, and a hash of the state.
    pub fn fingerprint(&self) -> (Option<LogPosition>, u64) {
        let Live { state, applied, .. } = self.memory.read().seen().clone();
        (applied.log, xxh3_64(&states::encode(&state)))
    }
}

impl StateMachine for AlertMachine {
    fn applied(&self) -> Applied {
        self.memory.read().live.applied.clone()
    }

    /// Evaluators wait until they see here what they proposed.
    fn commit_notice_delay(&self) -> Duration {
        Duration::ZERO
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let mut memory = self.memory.write();
        let Memory { live, ahead } = &mut *memory;
        let mut answers = Vec::with_capacity(entries.len());
        let mut turned = None;
        for CommittedEntry { position, payload } in entries {
            match payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => live.applied.membership = Some(membership),
                EntryPayload::Normal(payload) => {
                    // The log's own checksum has passed: this is a newer program's entry, or our bug.
                    let request = requests::decode(&payload).map_err(|error| {
                        FatalError(format!("entry {} of an alert group's log: {error}", position.index))
                    })?;
                    let (before, tenant) = (live.state.time, request.command.tenant().cloned());
                    let reply = alert_group::apply(&mut live.state, request, position.index);
                    if live.state.time < before {
                        reached("the time of an alert group is set back");
                        let by_ms = before - live.state.time;
                        tracing::warn!(
                            group = self.number,
                            by_ms,
                            "an alert group's time is set back: clocks were ahead and are set right"
                        );
                    }
                    let history = tenant.and_then(|tenant| live.state.tenants.get(&tenant)).map(|known| &known.history);
                    let last = history.and_then(|history| history.back());
                    turned = last.filter(|last| last.index == position.index).map(|last| last.index).or(turned);
                    answers.push(replies::encode(&reply).into());
                }
            }
            live.applied.log = Some(position);
        }
        if ahead.as_ref().is_some_and(|ahead| index_of(&ahead.applied) <= index_of(&live.applied)) {
            *ahead = None;
        }
        let index = index_of(&memory.seen().applied);
        drop(memory);
        self.index.send_replace(index);
        if let Some(index) = turned {
            self.turned.send_replace(index);
        }
        Ok(answers)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        let _writing = self.writing.lock();
        // What is large in it is shared, so that applying waits for no encoding.
        let Live { state, applied, .. } = self.memory.read().live.clone();
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
        let mut memory = self.memory.write();
        *memory = Memory::of(Live::read(state, applied), memory.ahead.take());
        let index = index_of(&memory.seen().applied);
        drop(memory);
        self.index.send_replace(index);
        self.turned.send_replace(index);
        Ok(())
    }
}

impl CommonMachine for AlertMachine {
    fn reload(&self) -> Result<(), String> {
        let _writing = self.writing.lock();
        let stored = stored(&self.store).map_err(|error| error.to_string())?;
        let mut memory = self.memory.write();
        let seen = memory.seen().clone();
        *memory = Memory::of(stored, Some(seen));
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
    Ok(Live::read(state, applied))
}

fn index_of(applied: &Applied) -> u64 {
    applied.log.map_or(0, |position| position.index)
}

#[cfg(test)]
mod tests {
    use bellwether_alert::alert_group::{Command, Request};
    use bellwether_kv::MemDisk;
    use bellwether_model::NodeId;
    use bellwether_raft::ReplicaId;

    use super::*;

    fn ring_of(index: u64) -> CommittedEntry {
        let command = Command::SetRing { nodes: [NodeId(index)].into() };
        let payload = requests::encode(&Request { proposed_ms: 0, command }).into();
        let position = LogPosition { term: 1, leader: ReplicaId(1), index };
        CommittedEntry { position, payload: EntryPayload::Normal(payload) }
    }

    #[test]
    fn what_is_seen_does_not_go_back_when_the_log_is_applied_again() {
        let machine = AlertMachine::open(Arc::new(MemDisk::new()), Arc::new(|reason| panic!("{reason}")), 0).unwrap();
        let epoch = |machine: &AlertMachine| machine.read(|state| state.ring.epoch);
        let seen = |machine: &AlertMachine| machine.fingerprint().0.unwrap().index;
        machine.apply(vec![ring_of(1)]).unwrap();
        machine.flush().unwrap();
        machine.apply(vec![ring_of(2), ring_of(3)]).unwrap();
        machine.reload().unwrap();
        for next in [2, 3, 4] {
            assert_eq!(machine.applied().log.unwrap().index, next - 1);
            assert_eq!((epoch(&machine), seen(&machine), machine.index()), (3, 3, 3), "before {next}");
            machine.apply(vec![ring_of(next)]).unwrap();
        }
        assert_eq!((epoch(&machine), seen(&machine), machine.index()), (4, 4, 4));
    }
}
