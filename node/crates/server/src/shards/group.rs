//! One shard group that runs on this node: its shard, its Raft replica, its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bellwether_ingest::{ControlCommand, EntryLimits, RefScope};
use bellwether_model::{HashRange, ShardGroupId, Timestamp, limits};
use bellwether_raft::{Checkpoint, FatalError, ProposeError, RaftGroup, ReplicaId, StateMachine as _};
use bellwether_tsdb::{SealReport, SealWhen, Shard, StorageError};
use bytes::Bytes;

use super::AdminError;
use super::replies;
use super::split::Ownership;
use super::state_machine::{ShardStateMachine, end_if_sync_failed};
use crate::env::{ExecutorHandle, Fatal, WallClock};
use crate::metrics::StorageMetrics;

/// See the module.
pub struct ShardGroup {
    id: ShardGroupId,
    machine: Arc<ShardStateMachine>,
    /// Its replica here.
    pub raft: RaftGroup,
    /// The latest time that this replica stamped.
    stamped: AtomicI64,
    fatal: Fatal,
}

/// Why a control command was not, or may not have been, replicated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Raft says no, or does not know.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Our own broken promise.
    #[error("the state machine's reply cannot be read")]
    Reply,
}

/// What an entry of samples is stamped with.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The group's time.
    pub now: Timestamp,
    /// What apply must not ask for.
    pub limits: EntryLimits,
}

impl ShardGroup {
    /// A group whose replica runs.
    pub fn new(id: ShardGroupId, machine: Arc<ShardStateMachine>, raft: RaftGroup, fatal: Fatal) -> ShardGroup {
        let stamped = AtomicI64::new(machine.time());
        ShardGroup { id, machine, raft, stamped, fatal }
    }

    /// The group's id.
    pub fn id(&self) -> ShardGroupId {
        self.id
    }

    /// The id of its replica here.
    pub fn replica(&self) -> ReplicaId {
        self.raft.replica()
    }

    /// This replica, if its group has it.
    pub fn if_member(self: Arc<Self>) -> Option<Arc<Self>> {
        self.raft.is_member().then_some(self)
    }

    /// Its data as they are now. A copy from another replica takes their place at once: what was got before stays as it
    /// was.
    pub fn shard(&self) -> Arc<Shard> {
        self.machine.shard()
    }

    /// Takes note of an error of the storage, if it says that something stored is damaged.
    pub fn note(&self, error: &StorageError) {
        self.machine.note(error);
    }

    /// What was found damaged in its data, if anything was. What is left of them can be read.
    pub fn damage(&self) -> Option<Arc<str>> {
        self.machine.damage()
    }

    /// Whether its data are damaged and another replica has the same.
    pub fn is_worse_than_others(&self) -> bool {
        self.damage().is_some() && self.raft.has_others()
    }

    /// Makes a copy of what is in runs, beside them, unless some of it is damaged. Blocks. Whoever asks for it removes it.
    pub fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        self.machine.checkpoint()
    }

    /// As [`checkpoint`](Self::checkpoint), whatever can be read of it.
    pub fn copy_as_it_is(&self) -> Result<Checkpoint, FatalError> {
        self.machine.copy()
    }

    /// What it owns, as far as its log is applied here.
    pub fn owned(&self) -> Ownership {
        self.machine.owned()
    }

    /// The range that it owns.
    pub fn range(&self) -> HashRange {
        self.owned().range
    }

    /// The incarnation that its refs belong to.
    pub fn scope(&self) -> RefScope {
        self.machine.scope()
    }

    /// The group's time: the clock, but never below a time stamped before. A clock that jumps back stops group time; it
    /// does not turn it.
    pub fn time(&self, clock: &dyn WallClock) -> Timestamp {
        let now = clock.now_ms().max(self.machine.time());
        now.max(self.stamped.fetch_max(now, Ordering::Relaxed))
    }

    /// What an entry proposed now is stamped with.
    pub fn stamp(&self, clock: &dyn WallClock, retention_ms: i64, tenant_series_max: u32) -> Stamp {
        let now = self.time(clock);
        let oldest = now.saturating_sub(retention_ms);
        let newest = now.saturating_add(limits::FUTURE_SAMPLE_MS_MAX);
        Stamp { now, limits: EntryLimits { version: self.owned().entry_version(), oldest, newest, tenant_series_max } }
    }

    /// Replicates an entry and returns the state machine's reply.
    pub async fn propose(&self, entry: Bytes) -> Result<Bytes, ProposeError> {
        self.raft.propose(entry).await
    }

    /// Replicates a control command; returns how many series or records it concerned.
    pub async fn command(&self, command: &ControlCommand, clock: &dyn WallClock) -> Result<u64, CommandError> {
        if let ControlCommand::Split(_) = command
            && let Err(error) = self.raft.flush().await
        {
            // Only so that apply, which nothing overtakes, has less to write: it flushes in any case.
            tracing::warn!(group = self.id.0, %error, "a flush failed before a split");
        }
        let reply = self.propose(command.encode(self.owned().entry_version(), self.time(clock)).into()).await?;
        replies::decode_control(&reply).ok_or(CommandError::Reply)
    }

    /// Writes everything applied to runs and cuts the log.
    pub async fn flush(&self, metrics: &StorageMetrics) -> Result<(), AdminError> {
        let started = tokio::time::Instant::now();
        let flushed = self.raft.flush().await;
        metrics.flush_seconds.observe(started.elapsed().as_secs_f64());
        flushed.map(drop).map_err(|error| {
            metrics.failures.with_label_values(&["flush"]).inc();
            AdminError { group: self.id(), reason: error.to_string() }
        })
    }

    /// Seals Windows that are closed at `now`.
    pub async fn seal(
        &self,
        now: Timestamp,
        when: SealWhen,
        background: &ExecutorHandle,
        metrics: &StorageMetrics,
    ) -> Result<SealReport, AdminError> {
        let failed = |reason: String| {
            metrics.failures.with_label_values(&["seal"]).inc();
            AdminError { group: self.id(), reason }
        };
        let started = tokio::time::Instant::now();
        let shard = self.shard();
        let sealed = background.run(move || shard.seal(now, when)).await.map_err(|error| failed(error.to_string()))?;
        metrics.seal_seconds.observe(started.elapsed().as_secs_f64());
        sealed.map_err(|error| {
            self.note(&error);
            end_if_sync_failed(&error, &self.fatal);
            failed(error.to_string())
        })
    }
}
