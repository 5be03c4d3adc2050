//! A node copies one of its shard groups to a place.
//!
//! 1. Its replica is brought to where the group's leader was after the call began, and flushed.
//! 2. A checkpoint is made, by hard links: from here on nothing in it changes.
//! 3. Each file is hashed. What is at the place already is not sent; the rest is, a few files at a time, within the node's
//!    budget for copies.
//! 4. The checkpoint is removed, whatever happened.

use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{EngineExport, Error};
use bellwether_model::{NodeId, ReplicaId, ShardGroupId};
use futures::StreamExt;
use futures::stream::iter;
use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::error::BackupError;
use super::manifest::{FilePart, GroupPart, ObjectHash};
use super::place::{Place, object_key};
use crate::env::Env;
use crate::meta::Meta;
use crate::meta::settings::SettingKey;
use crate::peers::throttle::Throttle;
use crate::routing::Router;
use crate::shards::ShardGroup;

/// Bytes that are read of a file at a time; smaller files are sent as one.
const PIECE_BYTES: u64 = 8 << 20;
/// Files that are under way at a time, for one group.
const FILES_AT_A_TIME: usize = 4;
/// How long a replica may take to come as far as its leader.
const CATCH_UP_WAIT: Duration = Duration::from_secs(120);
/// How often, and how far apart, it is tried to remove a checkpoint that is still being read.
const REMOVE_ATTEMPTS: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

/// How far a copy has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes that are at the place.
    pub done_bytes: u64,
    /// Bytes that are to be.
    pub total_bytes: u64,
    /// Of `done_bytes` what had to be sent.
    pub sent_bytes: u64,
}

/// Copies groups of this node. Clones share one budget.
#[derive(Clone)]
pub struct GroupCopier {
    router: Arc<Router>,
    meta: Meta,
    env: Env,
    budget: Arc<Throttle>,
}

impl GroupCopier {
    /// A copier of what `router`'s node has.
    pub fn new(router: Arc<Router>, meta: Meta, env: Env) -> GroupCopier {
        GroupCopier { router, meta, env, budget: Arc::new(Throttle::new(u64::MAX)) }
    }

    /// See the module. Ends early, and in order, when the caller goes away.
    pub async fn copy(
        &self,
        url: &str,
        group: ShardGroupId,
        progress: watch::Sender<CopyProgress>,
    ) -> Result<GroupPart, BackupError> {
        let place = Place::open(&*self.env.objects, url)?;
        let (reply, answer) = oneshot::channel();
        let this = self.clone();
        tokio::spawn(async move {
            let mut reply = reply;
            let copied = this.copy_while_wanted(place, group, progress, &mut reply).await;
            // Nobody may wait for it any more.
            drop(reply.send(copied));
        });
        answer.await.unwrap_or(Err(BackupError::Cancelled))
    }

    async fn copy_while_wanted(
        &self,
        place: Place,
        group: ShardGroupId,
        progress: watch::Sender<CopyProgress>,
        wanted: &mut oneshot::Sender<Result<GroupPart, BackupError>>,
    ) -> Result<GroupPart, BackupError> {
        let local = tokio::select! {
            biased;
            () = wanted.closed() => return Err(BackupError::Cancelled),
            flushed = self.flushed(group) => flushed?,
        };
        // Not to be left half-way: only the end of it tells what is to be removed.
        let (mut part, directory) = self.checkpoint(&local).await?;
        let sent = tokio::select! {
            biased;
            () = wanted.closed() => Err(BackupError::Cancelled),
            sent = self.send(&place, &directory, &progress) => sent,
        };
        self.remove(directory).await;
        part.files = sent?;
        Ok(part)
    }

    /// The replica here, with everything acknowledged before the call in its runs.
    async fn flushed(&self, group: ShardGroupId) -> Result<Arc<ShardGroup>, BackupError> {
        let failed = |reason: String| BackupError::Group { group, reason };
        let deadline = Instant::now() + CATCH_UP_WAIT;
        let (local, position) =
            self.router.caught_up_here(group, deadline).await.map_err(|error| failed(error.to_string()))?;
        let flushed = local.raft.flush().await.map_err(|error| failed(error.to_string()))?;
        let index = flushed.log.map_or(0, |log| log.index);
        if index < position.index {
            return Err(failed(format!("it was flushed up to {index}, not to {}", position.index)));
        }
        Ok(local)
    }

    async fn checkpoint(&self, local: &Arc<ShardGroup>) -> Result<(GroupPart, String), BackupError> {
        let group = local.id();
        let failed = |reason: String| BackupError::Group { group, reason };
        let (range, ref_epoch) = (local.range(), local.scope().epoch);
        let of_job = local.clone();
        let made = self.env.executors.background.run(move || of_job.checkpoint()).await?;
        let made = made.map_err(|error| failed(error.to_string()))?;
        let directory = made.directory.to_string_lossy().into_owned();
        if (local.range(), local.scope().epoch) != (range, ref_epoch) {
            self.remove(directory).await;
            return Err(failed("it was split at this moment".to_owned()));
        }
        let stats = local.shard().stats();
        let log = made.applied.log;
        let part = GroupPart {
            group,
            range,
            ref_epoch,
            node: NodeId(self.router.shards().node()),
            replica: ReplicaId(local.replica().0),
            term: log.map_or(0, |log| log.term),
            index: log.map_or(0, |log| log.index),
            series: stats.series,
            samples: stats.run_samples,
            files: Vec::new(),
        };
        Ok((part, directory))
    }

    async fn send(
        &self,
        place: &Place,
        directory: &str,
        progress: &watch::Sender<CopyProgress>,
    ) -> Result<Vec<FilePart>, BackupError> {
        self.budget.set(self.meta.now().settings.get(SettingKey::CopyBytesPerSecond));
        let (disk, path) = (self.env.disk.clone(), directory.to_owned());
        let export = self.env.executors.background.run(move || disk.export(&path)).await?;
        let export: Arc<dyn EngineExport> = export.map_err(storage)?.into();
        let total_bytes = export.files().iter().map(|file| file.bytes).sum();
        progress.send_replace(CopyProgress { total_bytes, ..CopyProgress::default() });
        let files = export.files().to_vec();
        let sending = iter(files).map(|file| {
            let export = export.clone();
            async move {
                let (object, was_sent) = self.send_file(place, export, &file.name, file.bytes).await?;
                progress.send_modify(|progress| {
                    progress.done_bytes += file.bytes;
                    progress.sent_bytes += if was_sent { file.bytes } else { 0 };
                });
                Ok::<_, BackupError>(FilePart { name: file.name, bytes: file.bytes, object })
            }
        });
        // In the order of the list, which is that of the names.
        let mut sending = sending.buffered(FILES_AT_A_TIME);
        let mut parts = Vec::new();
        while let Some(part) = sending.next().await {
            parts.push(part?);
        }
        Ok(parts)
    }

    /// Brings one file to the place, unless it is there; says whether it was not.
    async fn send_file(
        &self,
        place: &Place,
        export: Arc<dyn EngineExport>,
        name: &str,
        bytes: u64,
    ) -> Result<(ObjectHash, bool), BackupError> {
        let file = File { export, name: name.into(), bytes, env: &self.env };
        if bytes <= PIECE_BYTES {
            let (content, hash) = file.piece(0, Sha256::new()).await?;
            let object = ObjectHash(hash.finalize().into());
            let is_new = !place.has(object, bytes).await?;
            if is_new {
                self.budget.pass(content.len()).await;
                place.store().put(&object_key(object), content).await?;
            }
            return Ok((object, is_new));
        }
        let mut hash = Sha256::new();
        for offset in file.offsets() {
            (_, hash) = file.piece(offset, hash).await?;
        }
        let object = ObjectHash(hash.finalize().into());
        if place.has(object, bytes).await? {
            return Ok((object, false));
        }
        let key = object_key(object);
        let mut upload = place.store().begin(&key).await?;
        let sent = async {
            let mut hash = Sha256::new();
            for offset in file.offsets() {
                let (content, after) = file.piece(offset, hash).await?;
                hash = after;
                self.budget.pass(content.len()).await;
                upload.append(content).await?;
            }
            if ObjectHash(hash.finalize().into()) == object {
                return Ok(());
            }
            Err(BackupError::Storage(format!("file {name} changed while it was copied")))
        };
        let sent = sent.await;
        match sent {
            Ok(()) => upload.finish().await?,
            Err(error) => {
                upload.abandon().await;
                return Err(error);
            }
        }
        Ok((object, true))
    }

    /// A job that reads the copy may still be running.
    async fn remove(&self, directory: String) {
        for _ in 0..REMOVE_ATTEMPTS {
            let (disk, path) = (self.env.disk.clone(), directory.clone());
            match self.env.executors.background.run(move || disk.remove(&path)).await {
                Ok(Ok(())) => return,
                Ok(Err(Error::Locked(_))) => sleep(REMOVE_PAUSE).await,
                Ok(Err(error)) => return tracing::warn!(directory, %error, "a copy cannot be removed"),
                Err(error) => return tracing::warn!(directory, %error, "a copy was not removed"),
            }
        }
        tracing::warn!(directory, "a copy is still being read");
    }
}

fn storage(error: Error) -> BackupError {
    BackupError::Storage(error.to_string())
}

/// A file of a checkpoint.
struct File<'a> {
    export: Arc<dyn EngineExport>,
    name: Arc<str>,
    bytes: u64,
    env: &'a Env,
}

impl File<'_> {
    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.bytes).step_by(PIECE_BYTES as usize)
    }

    /// A piece of the file, and the hash with it.
    async fn piece(&self, offset: u64, mut hash: Sha256) -> Result<(bytes::Bytes, Sha256), BackupError> {
        let (export, name) = (self.export.clone(), self.name.clone());
        let length = (self.bytes - offset).min(PIECE_BYTES) as usize;
        let read = move || {
            let content = export.read(&name, offset, length)?;
            hash.update(&content);
            Ok::<_, Error>((content, hash))
        };
        let (content, hash) = self.env.executors.background.run(read).await?.map_err(storage)?;
        if content.len() == length {
            return Ok((content, hash));
        }
        Err(BackupError::Storage(format!(
            "file {} ends at {} of {}",
            self.name,
            offset + content.len() as u64,
            self.bytes
        )))
    }
}
