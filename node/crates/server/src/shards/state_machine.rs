//! What a shard group replicates: committed entries become samples, series and metadata of a [`Shard`].
//!
//! Applying is a function of the shard and the entry: it reads no clock, no randomness and no configuration. What the
//! proposing leader knew of these is stamped into the entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bellwether_ingest::{
    Command, ControlCommand, Entry, EntryBuffer, EntryLimits, FrameReader, FrameReply, RefScope, Refused, RowColumns,
    SamplesEntry, SplitCommand, exemplars,
};
use bellwether_model::{
    Exemplar, HashRange, Labels, Matcher, PlacementKey, SeriesHash, SeriesRef, Tenant, TimeRange, Timestamp,
};
use bellwether_probe::{Bug, planted, reached};
use bellwether_raft::{Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, StateMachine};
use bellwether_tsdb::{AppliedMark, OpenError, RegisterError, Shard, ShardWriter, StorageError, metadata_key};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64;

use super::applied_mark::MarkError;
use super::replay::Replay;
use super::replica_store::ReplicaStore;
use super::split::{self, Ownership};
use super::watches::Watched;
use super::{replies, shard_mark};
use crate::env::Fatal;

/// Scratches kept; whoever needs one more makes it.
const SCRATCHES_MAX: usize = 8;

/// A shard under a Raft group.
pub struct ShardStateMachine {
    /// The data; another shard once a copy from another replica has taken its place.
    shard: RwLock<Arc<Shard>>,
    store: ReplicaStore,
    generations: Mutex<Generations>,
    // Invariant: never more than what the data have, for whoever reads the data and then this.
    owned: RwLock<Ownership>,
    /// The latest time that an applied entry carries.
    time: AtomicI64,
    fatal: Fatal,
    /// What was found damaged in the data since they were opened.
    damage: Mutex<Option<Arc<str>>>,
    /// What the disk had no room for last, of all that is written for the log.
    no_room: Mutex<Option<String>>,
    replay: Replay,
    /// Taken by apply alone; a mutex because the trait shares the machine.
    applying: Mutex<Applying>,
}

/// Which of the replica's directories is which.
struct Generations {
    live: u64,
    /// No longer live, and still read by somebody when it was last tried to remove them.
    old: Vec<u64>,
}

struct Applying {
    applied: Applied,
    watched: Watched,
}

/// Buffers that entries are decoded into.
#[derive(Default)]
struct Scratch {
    entry: EntryBuffer,
    rows: RowColumns,
    refs: Vec<u32>,
}

/// Scratches that nobody uses at the moment: there are more groups on a node than ever apply something at a time.
#[derive(Default)]
pub struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    fn take(&self) -> Scratch {
        self.0.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        let mut idle = self.0.lock();
        if idle.len() < SCRATCHES_MAX {
            idle.push(scratch);
        }
    }
}

impl ShardStateMachine {
    /// A machine over a shard, opened from `store` as its generation `live`. `founded` is what the group owned when it was
    /// founded.
    pub fn new(
        (live, shard): (u64, Shard),
        store: ReplicaStore,
        founded: HashRange,
        fatal: Fatal,
    ) -> Result<ShardStateMachine, MarkError> {
        let (applied, owned) = shard_mark::decode(&shard.flushed().0)?;
        let owned = owned.unwrap_or(Ownership::founded(founded));
        check_version(&owned, store.supported)?;
        let owned = RwLock::new(owned);
        shard.opened_as_of(last_command(&applied));
        let applying = Mutex::new(Applying { applied, watched: Watched::default() });
        let time = AtomicI64::new(shard.group_time());
        let generations = Mutex::new(Generations { live, old: Vec::new() });
        let shard = RwLock::new(Arc::new(shard));
        let replay = Replay::over();
        let (damage, no_room) = (Mutex::default(), Mutex::default());
        Ok(ShardStateMachine { shard, store, generations, owned, time, fatal, damage, no_room, replay, applying })
    }

    /// The same, about to apply its log again.
    pub(super) fn replaying(self, replay: Replay) -> ShardStateMachine {
        ShardStateMachine { replay, ..self }
    }

    /// Its log is applied.
    pub(super) fn end_replay(&self) {
        self.replay.end();
    }

    /// The data as they are now.
    pub fn shard(&self) -> Arc<Shard> {
        self.shard.read().clone()
    }

    /// The latest time that an applied entry carries.
    pub fn time(&self) -> Timestamp {
        self.time.load(Ordering::Relaxed)
    }

    /// What the group owns, as far as its log is applied here.
    pub fn owned(&self) -> Ownership {
        *self.owned.read()
    }

    /// The incarnation that its refs belong to.
    pub fn scope(&self) -> RefScope {
        RefScope { epoch: self.shard.read().ref_epoch(), range_generation: self.owned().generation }
    }

    /// Takes note of an error of the storage, if it says that something stored is damaged.
    pub fn note(&self, error: &StorageError) {
        let mut damage = self.damage.lock();
        if error.is_corrupt() && damage.is_none() {
            tracing::error!(group = self.store.group.0, %error, "stored data is damaged");
            reached("damage was found in a copy that served");
            *damage = Some(error.to_string().into());
        }
    }

    /// What was found damaged.
    pub fn damage(&self) -> Option<Arc<str>> {
        self.damage.lock().clone()
    }

    /// What the disk had no room for last: a replica that stopped for that can go on once there is room.
    pub fn no_room(&self) -> Option<String> {
        self.no_room.lock().clone()
    }

    /// A copy of what is in runs, as it is: damaged, too.
    pub fn copy(&self) -> Result<Checkpoint, FatalError> {
        let target = self.store.fresh_copy();
        let copy = self.shard().checkpoint(&*self.store.disk, &target).map_err(|error| self.failed(&error))?;
        let (applied, _) = shard_mark::decode(&copy.applied.0).map_err(|error| FatalError(error.to_string()))?;
        Ok(Checkpoint { applied, directory: target.into() })
    }

    fn failed(&self, error: &StorageError) -> FatalError {
        self.note(error);
        if error.is_disk_full() {
            *self.no_room.lock() = Some(error.to_string());
        }
        end_if_sync_failed(error, &self.fatal);
        FatalError(error.to_string())
    }

    fn apply_one(
        &self,
        shard: &Shard,
        applying: &mut Applying,
        scratch: &mut Scratch,
        entry: CommittedEntry,
    ) -> Result<Option<Bytes>, FatalError> {
        applying.applied.log = Some(entry.position);
        let index = entry.position.index;
        let mut owned = self.owned();
        let (mut writer, reply, time, hash) = match entry.payload {
            EntryPayload::Blank => (shard.writer(), None, i64::MIN, index),
            EntryPayload::Membership(membership) => {
                applying.applied.membership = Some(membership);
                (shard.writer(), None, i64::MIN, index)
            }
            EntryPayload::Normal(payload) => {
                let Scratch { entry: buffer, rows, refs } = scratch;
                // The log's own checksum has passed: this is a newer program's entry, or our bug.
                let newest = u8::try_from(self.store.supported).unwrap_or(u8::MAX);
                let entry = Entry::read(&payload, buffer, newest)
                    .map_err(|error| FatalError(format!("log entry {index} cannot be applied: {error}")))?;
                let (writer, reply) = match entry.command {
                    Command::Samples(samples) => {
                        let (scope, limits) = (self.scope(), samples.limits);
                        let is_large = planted(Bug::ApplyByOwnMemory) && shard.stats().unflushed_samples > 100;
                        let limits =
                            if is_large { EntryLimits { newest: samples.limits.oldest, ..limits } } else { limits };
                        let mut writer = shard.writer();
                        let watched = &mut applying.watched;
                        watched.follow(&self.store.watches, &writer);
                        let range = owned.range;
                        let mut frames = Frames { range, scope, writer: &mut writer, watched, limits, rows, refs };
                        let reply = frames.apply(&samples);
                        (writer, reply)
                    }
                    Command::Control(ControlCommand::Split(split)) => {
                        let membership = applying.applied.membership.as_ref();
                        self.split(shard, &mut owned, &split, membership, index)?
                    }
                    Command::Control(ControlCommand::SetActiveVersion { version }) => {
                        owned.version = owned.version.max(version);
                        check_version(&owned, self.store.supported)
                            .map_err(|error| FatalError(format!("log entry {index}: {error}")))?;
                        *self.owned.write() = owned;
                        (shard.writer(), replies::encode_control(u64::from(owned.version)))
                    }
                    Command::Control(command) => {
                        let mut writer = shard.writer();
                        if let ControlCommand::ExpireSeries { .. } = &command {
                            applying.watched.look_again();
                        }
                        let reply = control(&mut writer, owned.range, command, index);
                        (writer, reply)
                    }
                };
                (writer, Some(reply), entry.proposed_at, xxh3_64(&payload))
            }
        };
        self.time.fetch_max(time, Ordering::Relaxed);
        writer.changed_by(index);
        writer.mark_applied(AppliedMark(shard_mark::encode(&applying.applied, &owned)), time, hash);
        Ok(reply)
    }

    /// Cuts the group in two, if that can be. `owned` becomes what it owns after that.
    fn split<'a>(
        &self,
        shard: &'a Shard,
        owned: &mut Ownership,
        split: &SplitCommand,
        membership: Option<&Bytes>,
        index: u64,
    ) -> Result<(ShardWriter<'a>, Bytes), FatalError> {
        let applied = split::apply(*owned, split, membership, index, (shard, &self.store));
        let (outcome, changed) = applied.map_err(|error| match error {
            OpenError::Storage(error) => self.failed(&error),
            error @ OpenError::NewerFormat { .. } => FatalError(error.to_string()),
        })?;
        let given_away = changed.is_some_and(|changed| changed.range != owned.range);
        if let Some(changed) = changed {
            *owned = changed;
            // Before the series are forgotten: who does not find them sees by the range why.
            *self.owned.write() = changed;
        }
        let mut writer = shard.writer();
        if given_away {
            let series = writer.disown(owned.range);
            let (group, child, range) = (self.store.group.0, split.child.0, owned.range);
            tracing::info!(group, child, %range, series, "a shard group was split");
            reached("a group gave a part of itself away");
        }
        Ok((writer, replies::encode_control(outcome as u64)))
    }
}

fn control(writer: &mut ShardWriter<'_>, owned: HashRange, command: ControlCommand, index: u64) -> Bytes {
    let mut changed = 0;
    match command {
        ControlCommand::Delete { tenant, matchers, range } => {
            let matchers: Result<Vec<Matcher>, _> =
                matchers.iter().map(|matcher| Matcher::new(matcher.op, &matcher.name, &matcher.value)).collect();
            // The proposer compiled them too; whatever refuses them here refuses them on every replica.
            if let Ok(matchers) = matchers {
                changed = writer.delete(&tenant, &matchers, range, index);
            }
        }
        ControlCommand::DropWindow { window, tenant: None } => writer.raise_floor(window.last.saturating_add(1)),
        ControlCommand::DropWindow { window, tenant: Some(tenant) } => {
            changed = writer.delete(&tenant, &[], window, index);
        }
        ControlCommand::StoreMetadata { tenant, metadata } => {
            for (metric, metadata) in metadata {
                // Somebody who does not know of a split yet.
                if owned.contains(metadata_key(&tenant, &metric)) {
                    writer.set_metadata(&tenant, &metric, metadata);
                    changed += 1;
                }
            }
        }
        ControlCommand::ExpireSeries { idle_since } => changed = writer.expire_series(idle_since),
        // These take more than the writer: see `ShardStateMachine::apply_one`.
        ControlCommand::SetActiveVersion { .. } | ControlCommand::Split(_) => {}
    }
    replies::encode_control(changed)
}

/// The place in the log of the last command that was applied.
fn last_command(applied: &Applied) -> u64 {
    applied.log.map_or(0, |position| position.index)
}

/// What a group's log has made active must be known here.
fn check_version(owned: &Ownership, supported: u32) -> Result<(), MarkError> {
    let active = owned.version;
    if active <= supported { Ok(()) } else { Err(MarkError::Unsupported { active, supported }) }
}

/// After a failed fsync nobody knows what the disk holds: the process ends, and the next one reads what is there.
pub fn end_if_sync_failed(error: &StorageError, fatal: &Fatal) {
    if error.is_sync_failed() {
        fatal(&error.to_string());
    }
}

/// The frames of one entry on their way into the shard.
struct Frames<'a, 'w> {
    range: HashRange,
    scope: RefScope,
    writer: &'a mut ShardWriter<'w>,
    watched: &'a mut Watched,
    limits: EntryLimits,
    rows: &'a mut RowColumns,
    refs: &'a mut Vec<u32>,
}

impl Frames<'_, '_> {
    fn apply(&mut self, samples: &SamplesEntry<'_>) -> Bytes {
        let mut replies = replies::Encoder::default();
        for frame in samples.frames() {
            let mut reply = FrameReply::new(self.scope);
            // Part of a damaged frame may be applied: on every replica the same part.
            if frame.and_then(|frame| self.frame(frame, &mut reply)).is_err() {
                reply.refuse(Refused::Damaged, 1);
            }
            replies.push(&reply);
        }
        replies.finish()
    }

    fn frame(&mut self, bytes: &[u8], reply: &mut FrameReply) -> Result<(), bellwether_ingest::FormatError> {
        let frame = FrameReader::new(bytes)?;
        if frame.entry_version() > self.limits.version {
            // What a program makes of it that does not know what is in it.
            reply.refuse(Refused::Damaged, 1);
            return Ok(());
        }
        if frame.scope() == self.scope {
            frame.read_rows(self.rows)?;
            self.refs.clear();
            self.refs.extend(self.rows.refs.iter().map(|series| series.0));
            self.append(reply);
            let rows = frame.histograms().map_while(Result::ok);
            self.append_histograms(rows.map(|row| (row.series.0, row.timestamp, row.chunk)), reply);
            let rows = frame.exemplars().map_while(Result::ok);
            self.append_exemplars(rows.map(|row| (row.series.0, exemplars::decode(row.timestamp, row.chunk))), reply);
        } else {
            match frame.scope().epoch == self.scope.epoch {
                true => reached("a batch with refs from before a split"),
                false => reached("a batch with refs of an old epoch"),
            }
            let beside = frame.histograms().count() + frame.exemplars().count();
            reply.refuse(Refused::UnknownRef, (frame.row_count() + beside) as u64);
        }
        let Some(tenant) = frame.tenant()? else { return Ok(()) };
        frame.read_registered_rows(self.rows)?;
        let mut histograms = frame.registered_histograms().map_while(Result::ok).peekable();
        let mut row = 0;
        self.refs.clear();
        // Rows of refused series are taken out in place.
        let mut kept = 0;
        for (number, registration) in frame.registrations().enumerate() {
            let registration = registration?;
            let registered = self.register(&tenant, registration.hash, registration.labels);
            reply.refs.push(registered.ok());
            let first = row;
            while self.rows.refs.get(row).is_some_and(|of| of.0 as usize == number) {
                if let Ok(series) = registered {
                    self.refs.push(series.0);
                    self.rows.values[kept] = self.rows.values[row];
                    if self.rows.one_timestamp.is_none() {
                        self.rows.timestamps[kept] = self.rows.timestamps[row];
                    }
                    kept += 1;
                }
                row += 1;
            }
            let mut of_histograms = 0;
            while histograms.next_if(|of| of.series.0 as usize == number).is_some() {
                of_histograms += 1;
            }
            if let Err(reason) = registered {
                reply.refuse(reason, (row - first + of_histograms) as u64);
            }
        }
        self.rows.values.truncate(kept);
        self.rows.timestamps.truncate(kept);
        self.append(reply);
        // After the floats, as those of known series.
        let refs = std::mem::take(&mut reply.refs);
        let rows = frame.registered_histograms().map_while(Result::ok);
        let rows =
            rows.filter_map(|row| Some((refs.get(row.series.0 as usize).copied()??.0, row.timestamp, row.chunk)));
        self.append_histograms(rows, reply);
        // Those of series that were refused are lost with their samples.
        let rows = frame.registered_exemplars().map_while(Result::ok);
        let rows = rows.filter_map(|row| {
            let series = refs.get(row.series.0 as usize).copied()??;
            Some((series.0, exemplars::decode(row.timestamp, row.chunk)))
        });
        self.append_exemplars(rows, reply);
        reply.refs = refs;
        Ok(())
    }

    /// Appends the rows at hand.
    fn append(&mut self, reply: &mut FrameReply) {
        if self.refs.is_empty() {
            return;
        }
        let bounds = TimeRange::new(self.limits.oldest, self.limits.newest);
        let one_timestamp = self.rows.one_timestamp.as_slice();
        let timestamps = if one_timestamp.is_empty() { &self.rows.timestamps[..] } else { one_timestamp };
        self.watched.note(self.refs, timestamps);
        let appended = self.writer.append(self.refs, timestamps, &self.rows.values, bounds);
        reply.accepted += appended.accepted + appended.unchanged;
        reply.refuse(Refused::TooOld, appended.too_old);
        reply.refuse(Refused::TooFarAhead, appended.too_far_ahead);
        reply.refuse(Refused::UnknownRef, appended.unknown_ref);
    }

    fn append_histograms<'h>(
        &mut self,
        rows: impl Iterator<Item = (u32, Timestamp, &'h [u8])>,
        reply: &mut FrameReply,
    ) {
        let bounds = TimeRange::new(self.limits.oldest, self.limits.newest);
        let watched = &mut *self.watched;
        let rows = rows.inspect(|(series, timestamp, _)| watched.note(&[*series], &[*timestamp]));
        let appended = self.writer.append_histograms(rows, bounds);
        reply.histograms += appended.accepted + appended.unchanged;
        reply.refuse(Refused::TooOld, appended.too_old);
        reply.refuse(Refused::TooFarAhead, appended.too_far_ahead);
        reply.refuse(Refused::UnknownRef, appended.unknown_ref);
        reply.refuse(Refused::Damaged, appended.damaged);
    }

    fn append_exemplars(&mut self, rows: impl Iterator<Item = (u32, Option<Exemplar>)>, reply: &mut FrameReply) {
        let bounds = TimeRange::new(self.limits.oldest, self.limits.newest);
        let appended = self.writer.append_exemplars(rows, bounds);
        reply.exemplars += appended.accepted;
        reply.refuse(Refused::ExemplarTime, appended.too_old + appended.too_far_ahead);
        reply.refuse(Refused::UnknownRef, appended.unknown_ref);
        reply.refuse(Refused::Damaged, appended.damaged);
    }

    fn register(&mut self, tenant: &Tenant, hash: SeriesHash, labels: &[u8]) -> Result<SeriesRef, Refused> {
        let labels = Labels::from_canonical(labels).map_err(|_| Refused::Damaged)?;
        let metric = labels.metric_name().ok_or(Refused::Damaged)?;
        if SeriesHash::of(tenant, &labels) != hash {
            return Err(Refused::Damaged);
        }
        if !self.range.contains(PlacementKey::of(tenant, metric, hash)) && !planted(Bug::ForgetRange) {
            reached("a series was registered where it no longer is");
            return Err(Refused::Moved);
        }
        let is_full = self.writer.tenant_series_count(tenant) >= u64::from(self.limits.tenant_series_max);
        if is_full && !self.writer.is_registered(hash) {
            return Err(Refused::SeriesLimit);
        }
        let series = self.writer.register(hash, tenant, &labels).map_err(|error| match error {
            RegisterError::HashConflict { .. } => Refused::HashConflict,
            RegisterError::RefsExhausted { .. } | RegisterError::IndexFull { .. } => Refused::SeriesLimit,
        })?;
        self.watched.registered(series, tenant, &labels);
        Ok(series)
    }
}

impl StateMachine for ShardStateMachine {
    fn applied(&self) -> Applied {
        self.applying.lock().applied.clone()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let mut applying = self.applying.lock();
        let shard = self.shard();
        let mut replies = Vec::with_capacity(entries.len());
        let mut scratch = self.store.scratches.take();
        for entry in entries {
            replies.extend(self.apply_one(&shard, &mut applying, &mut scratch, entry)?);
            // Not before: whoever hears of a sample reads it.
            applying.watched.tell(&self.store.watches, self.store.group);
            if let Err(error) = self.replay.relieve(&shard) {
                let error = self.failed(&error);
                tracing::warn!(%error, "a flush failed while the log is applied again");
            }
        }
        self.store.scratches.give_back(scratch);
        Ok(replies)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        self.generations.lock().old.retain(|old| !self.store.remove(*old));
        self.shard().flush().map_err(|error| self.failed(&error))?;
        // A copy may have taken its place meanwhile.
        let mark = self.shard().flushed();
        let (applied, _) = shard_mark::decode(&mark.0).map_err(|error| FatalError(error.to_string()))?;
        Ok(applied)
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        // Damage that nobody has read yet must not spread to another node, and from there to all.
        self.shard().verify().map_err(|error| self.failed(&error))?;
        self.copy()
    }

    fn discard(&self, checkpoint: Checkpoint) {
        let path = checkpoint.directory.to_string_lossy();
        if let Err(error) = self.store.disk.remove(&path) {
            tracing::warn!(directory = %path, %error, "a copy that nobody takes cannot be removed");
        }
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        let received = checkpoint.directory.to_string_lossy();
        let refused = |error: OpenError| {
            if let OpenError::Storage(error) = &error {
                end_if_sync_failed(error, &self.fatal);
            }
            unusable(&error)
        };
        let (mark, _) = bellwether_tsdb::inspect(&*self.store.disk, &received).map_err(refused)?;
        let (applied, owned) = shard_mark::decode(&mark.0).map_err(|error| unusable(&error))?;
        if let Some(owned) = &owned {
            check_version(owned, self.store.supported).map_err(|error| unusable(&error))?;
        }
        if applied.log != checkpoint.applied.log {
            let (found, expected) = (applied.log, checkpoint.applied.log);
            return Err(unusable(&format!("it is as of {found:?}, not of {expected:?}")));
        }
        let mut applying = self.applying.lock();
        let mut generations = self.generations.lock();
        let next = generations.live + 1;
        let target = self.store.generation(next);
        let installed = bellwether_tsdb::install(&*self.store.disk, &received, &mark, &target).map_err(refused);
        let opened = installed
            .and_then(|_| self.store.open_generation(next).map_err(|trouble| unusable(&trouble.into_reason())));
        let shard = opened.inspect_err(|_| {
            // Left there it would be taken for the live one at the next start.
            self.store.remove(next);
        })?;
        shard.opened_as_of(last_command(&applied));
        self.time.fetch_max(shard.group_time(), Ordering::Relaxed);
        if let Some(owned) = owned {
            if owned != self.owned() {
                reached("a copy came from behind a split");
            }
            *self.owned.write() = owned;
        }
        if !planted(Bug::InstallInNameOnly) {
            *self.shard.write() = Arc::new(shard);
        }
        *self.damage.lock() = None;
        applying.applied = applied;
        // Its series have refs of their own.
        applying.watched = Watched::default();
        reached("a copy took the place of a replica's data");
        let old = std::mem::replace(&mut generations.live, next);
        if !self.store.remove(old) {
            generations.old.push(old);
        }
        Ok(())
    }
}

fn unusable(reason: &dyn std::fmt::Display) -> FatalError {
    FatalError(format!("the copy that came from another replica cannot be used: {reason}"))
}

#[cfg(test)]
#[path = "state_machine_tests.rs"]
mod tests;
