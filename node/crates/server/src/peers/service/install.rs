//! Receiving a replica's checkpoint: into a place of its own, checked file by file, then handed to Raft. Whatever does not
//! arrive whole is removed, at the latest at the next start.

use std::sync::atomic::Ordering;

use bellwether_kv::{EngineFile, Error, KvDisk};
use bellwether_proto::peer::v1::install_chunk::Part;
use bellwether_proto::peer::v1::{self, Failure, InstallAnswer, InstallChunk, InstallStart};
use bellwether_raft::{AddressError, Applied, Checkpoint, GroupId, ReplicaId};
use bellwether_tsdb::{CheckpointReceiver, StorageError};
use bytes::Bytes;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};
use xxhash_rust::xxh3::Xxh3;

use super::PeerService;
use crate::env::{ExecutorHandle, JobFailed};
use crate::peers::error::{described, position};
use crate::peers::limits::CHECKPOINT_SILENCE_MAX;

/// Where checkpoints arrive, below the data directory.
const INCOMING: &str = "incoming";

/// Removes what an earlier process received and did not install.
pub fn remove_leftovers(disk: &dyn KvDisk) -> Result<(), Error> {
    disk.remove(INCOMING)
}

/// Why a checkpoint was not installed.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("checkpoint for group {group}, replica {replica}: {reason}")]
    Order { group: u32, replica: u64, reason: &'static str },
    #[error("a transfer of a checkpoint begins with what it is")]
    NoStart,
    #[error("file {name} of the checkpoint arrived damaged")]
    Checksum { name: String },
    #[error("nothing came for {CHECKPOINT_SILENCE_MAX:?}")]
    Silence,
    #[error("the stream broke: {0}")]
    Stream(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Job(#[from] JobFailed),
    #[error(transparent)]
    Raft(#[from] AddressError),
}

impl ReceiveError {
    fn into_status(self) -> Status {
        let message = crate::peers::error::chain(&self);
        match self {
            ReceiveError::Order { .. } | ReceiveError::NoStart => Failure::new(message, v1::Rejected {}).into_status(),
            ReceiveError::Raft(AddressError::NotHere(group, _)) => {
                Failure::new(message, v1::UnknownGroup { group: group.0, placement_epoch: 0 }).into_status()
            }
            // Another transfer may do better.
            ReceiveError::Checksum { .. }
            | ReceiveError::Silence
            | ReceiveError::Stream(_)
            | ReceiveError::Storage(_)
            | ReceiveError::Job(_)
            | ReceiveError::Raft(_) => Failure::new(message, v1::Unavailable::default()).into_status(),
        }
    }
}

impl PeerService {
    /// Takes a checkpoint in and installs it.
    pub(super) async fn receive_checkpoint(
        &self,
        chunks: Request<Streaming<InstallChunk>>,
    ) -> Result<InstallAnswer, Status> {
        super::caller(&chunks)?;
        if self.router.as_ref().is_some_and(|router| router.disk_room().is_full()) {
            let failure = Failure::new("the disk is nearly full", v1::Overloaded { retry_after_ms: 1000 });
            return Err(failure.into_status());
        }
        let Ok(place) = self.arrivals.room.clone().try_acquire_owned() else {
            let failure = Failure::new("checkpoints are coming in already", v1::Overloaded { retry_after_ms: 1000 });
            return Err(failure.into_status());
        };
        let (service, mut chunks) = (self.clone(), chunks.into_inner());
        // A task of its own: when the sender goes away it must clean up in order, not just end.
        let received = tokio::spawn(async move {
            let received = service.receive(&mut chunks).await;
            drop(place);
            let outcome = if received.is_ok() { "ok" } else { "failed" };
            service.peers.metrics().checkpoints.with_label_values(&["received", outcome]).inc();
            received
        });
        match received.await {
            Ok(Ok(answer)) => Ok(InstallAnswer { answer }),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a checkpoint was not installed");
                Err(error.into_status())
            }
            Err(_) => Err(Status::internal("receiving the checkpoint failed; the log says why")),
        }
    }

    async fn receive(&self, chunks: &mut Streaming<InstallChunk>) -> Result<Bytes, ReceiveError> {
        let Some(Part::Start(start)) = next(chunks).await? else { return Err(ReceiveError::NoStart) };
        let (group, replica) = (GroupId(start.group), ReplicaId(start.replica));
        // Nothing is transferred for nobody.
        if self.raft.group(group, replica).is_none() {
            return Err(AddressError::NotHere(group, replica).into());
        }
        let path = format!("{INCOMING}/{group}-{replica}-{}", self.arrivals.count.fetch_add(1, Ordering::Relaxed));
        let installed = self.receive_at(chunks, start, &path).await;
        let (disk, leftover) = (self.env.disk.clone(), path.clone());
        match self.env.executors.background.run(move || disk.remove(&leftover)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(path, %error, "what is left of a checkpoint cannot be removed"),
            Err(error) => tracing::warn!(path, %error, "what is left of a checkpoint was not removed"),
        }
        installed
    }

    async fn receive_at(
        &self,
        chunks: &mut Streaming<InstallChunk>,
        start: InstallStart,
        path: &str,
    ) -> Result<Bytes, ReceiveError> {
        let InstallStart { group, replica, header, applied, membership, files } = start;
        let order = |reason| ReceiveError::Order { group, replica, reason };
        let files: Vec<EngineFile> =
            files.into_iter().map(|file| EngineFile { name: file.name, bytes: file.bytes }).collect();
        let mut incoming = Incoming::begin(self, path.to_owned(), files.clone()).await?;
        let received_bytes = self.peers.metrics().checkpoint_bytes_received();
        for file in files {
            let mut hash = Xxh3::new();
            let checksum = loop {
                match next(chunks).await? {
                    Some(Part::Data(part)) => {
                        hash.update(&part.data);
                        received_bytes.inc_by(part.data.len() as u64);
                        incoming = incoming.append(file.name.clone(), part.data).await?;
                    }
                    Some(Part::FileEnd(end)) => break end.checksum,
                    Some(Part::Start(_)) => return Err(order("it begins twice")),
                    None => return Err(order("it ends early")),
                }
            };
            if *checksum != hash.digest128().to_be_bytes() {
                return Err(ReceiveError::Checksum { name: file.name });
            }
        }
        if next(chunks).await?.is_some() {
            return Err(order("it goes on behind its end"));
        }
        incoming.finish().await?;
        let applied = Applied { log: applied.map(position), membership };
        let checkpoint = Checkpoint { applied, directory: path.into() };
        let answer = self.raft.install(GroupId(group), ReplicaId(replica), header, checkpoint).await?;
        tracing::info!(group, replica, "a checkpoint arrived and is installed");
        Ok(answer)
    }
}

async fn next(chunks: &mut Streaming<InstallChunk>) -> Result<Option<Part>, ReceiveError> {
    match timeout(CHECKPOINT_SILENCE_MAX, chunks.message()).await {
        Ok(Ok(Some(chunk))) => chunk.part.map(Some).ok_or_else(|| ReceiveError::Stream("an empty part".to_owned())),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(status)) => Err(ReceiveError::Stream(described(&status))),
        Err(_) => Err(ReceiveError::Silence),
    }
}

/// A copy that arrives; its blocking work runs in the background.
struct Incoming {
    receiver: CheckpointReceiver,
    background: ExecutorHandle,
}

impl Incoming {
    async fn begin(service: &PeerService, path: String, files: Vec<EngineFile>) -> Result<Incoming, ReceiveError> {
        let (disk, background) = (service.env.disk.clone(), service.env.executors.background.clone());
        let begin = move || CheckpointReceiver::new(&*disk, &path, files);
        let receiver = background.run(begin).await??;
        Ok(Incoming { receiver, background })
    }

    async fn append(self, name: String, data: Bytes) -> Result<Incoming, ReceiveError> {
        let Incoming { mut receiver, background } = self;
        let append = move || receiver.append(&name, &data).map(|()| receiver);
        let receiver = background.run(append).await??;
        Ok(Incoming { receiver, background })
    }

    async fn finish(self) -> Result<(), ReceiveError> {
        let Incoming { receiver, background } = self;
        Ok(background.run(move || receiver.finish()).await??)
    }
}
