//! Sending a replica's checkpoint to another node.
//!
//! The copy is a closed engine's directory; its files are read through the disk and travel in order, within the node's
//! budget, each with a checksum. The transfer is a task of its own: when whoever asked for it gives up, it ends in order
//! and removes the copy.

use std::sync::Arc;

use bellwether_kv::{EngineExport, Error};
use bellwether_model::NodeId;
use bellwether_probe::buggify;
use bellwether_proto::peer::v1::install_chunk::Part;
use bellwether_proto::peer::v1::{InstallChunk, InstallData, InstallFile, InstallFileEnd, InstallStart};
use bellwether_raft::{Checkpoint, Peer, TransportError};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use xxhash_rust::xxh3::Xxh3;

use super::error::wire_position;
use super::limits::{
    CHECKPOINT_CHUNK_BYTES, CHECKPOINT_CHUNKS_WAITING_MAX, CHECKPOINT_INSTALL_DEADLINE, CHECKPOINT_REMOVE_ATTEMPTS,
    CHECKPOINT_REMOVE_PAUSE, CHECKPOINT_SILENCE_MAX,
};
use super::{Callee, Inner, PeerClient, PeerError};
use crate::env::JobFailed;

/// Why a checkpoint was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the checkpoint's directory {0:?} is not a path of this disk")]
    Path(std::path::PathBuf),
    #[error("reading the checkpoint")]
    Read(#[source] Error),
    #[error(transparent)]
    Job(#[from] JobFailed),
    #[error("nothing moved for {CHECKPOINT_SILENCE_MAX:?}")]
    Silence,
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl From<SendError> for TransportError {
    fn from(error: SendError) -> TransportError {
        match error {
            SendError::Peer(PeerError::Deadline { .. }) => TransportError::Deadline,
            other => TransportError::Unreachable(super::error::chain(&other)),
        }
    }
}

impl Inner {
    /// See [`Transport::send_checkpoint`](bellwether_raft::Transport::send_checkpoint).
    pub(super) async fn send_checkpoint(
        self: Arc<Self>,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> Result<Bytes, TransportError> {
        let (reply, answer) = oneshot::channel();
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let mut reply = reply;
            let directory = checkpoint.directory.clone();
            let started = Instant::now();
            let sent = tokio::select! {
                biased;
                () = reply.closed() => Err(TransportError::Unreachable("nobody waits for it any more".to_owned())),
                sent = self.send(to, header, checkpoint) => sent.map_err(TransportError::from),
            };
            let outcome = if sent.is_ok() { "ok" } else { "failed" };
            self.metrics.checkpoints.with_label_values(&["sent", outcome]).inc();
            match &sent {
                Ok(_) => tracing::info!(
                    group = to.group.0, replica = to.replica.0, peer = to.node, took = ?started.elapsed(),
                    "sent a checkpoint"
                ),
                Err(error) => tracing::warn!(
                    group = to.group.0, replica = to.replica.0, peer = to.node, %error,
                    "a checkpoint was not sent"
                ),
            }
            if let Some(directory) = directory.to_str() {
                self.remove_checkpoint(directory.to_owned()).await;
            }
            // Whoever asked may be gone.
            let _ = reply.send(sent);
        });
        answer.await.unwrap_or_else(|_| Err(TransportError::Unreachable("the node is shutting down".to_owned())))
    }

    async fn send(self: &Arc<Self>, to: Peer, header: Bytes, checkpoint: Checkpoint) -> Result<Bytes, SendError> {
        let node = NodeId(to.node);
        let client = self.client(node).ok_or(PeerError::UnknownNode(node))?;
        let Checkpoint { applied, directory } = checkpoint;
        let path = directory.to_str().map(str::to_owned).ok_or(SendError::Path(directory))?;
        let disk = self.env.disk.clone();
        let export = self.env.executors.background.run(move || disk.export(&path)).await?;
        let export: Arc<dyn EngineExport> = export.map_err(SendError::Read)?.into();
        let listed = export.files().iter().map(|file| InstallFile { name: file.name.clone(), bytes: file.bytes });
        let start = InstallStart {
            group: to.group.0,
            replica: to.replica.0,
            header,
            applied: applied.log.map(wire_position),
            membership: applied.membership,
            files: listed.collect(),
        };
        let (chunks, stream) = mpsc::channel(CHECKPOINT_CHUNKS_WAITING_MAX);
        let receiving = receive(client, stream);
        let mut receiving = std::pin::pin!(receiving);
        tokio::select! {
            biased;
            answer = &mut receiving => return answer,
            fed = self.feed(&chunks, start, export) => fed?,
        }
        drop(chunks);
        timeout(CHECKPOINT_INSTALL_DEADLINE, receiving).await.unwrap_or_else(|_| {
            Err(PeerError::Deadline { callee: Callee::Node(node), after: CHECKPOINT_INSTALL_DEADLINE }.into())
        })
    }

    /// Reads the files and sends them. Returns early where the other side has ended the call: its answer says why.
    async fn feed(
        &self,
        chunks: &mpsc::Sender<InstallChunk>,
        start: InstallStart,
        export: Arc<dyn EngineExport>,
    ) -> Result<(), SendError> {
        let sent_bytes = self.metrics.checkpoint_bytes_sent();
        if !push(chunks, Part::Start(start)).await? {
            return Ok(());
        }
        for file in export.files() {
            let mut hash = Xxh3::new();
            let mut offset = 0;
            loop {
                if buggify("a copy breaks off") {
                    return Err(SendError::Silence);
                }
                let (export, name) = (export.clone(), file.name.clone());
                let chunk_bytes = if buggify("a copy in small pieces") { 1000 } else { CHECKPOINT_CHUNK_BYTES };
                let read = move || export.read(&name, offset, chunk_bytes);
                let data = self.env.executors.background.run(read).await?.map_err(SendError::Read)?;
                if data.is_empty() {
                    break;
                }
                hash.update(&data);
                offset += data.len() as u64;
                self.checkpoint_budget.pass(data.len()).await;
                sent_bytes.inc_by(data.len() as u64);
                if !push(chunks, Part::Data(InstallData { data })).await? {
                    return Ok(());
                }
            }
            let checksum = Bytes::copy_from_slice(&hash.digest128().to_be_bytes());
            if !push(chunks, Part::FileEnd(InstallFileEnd { checksum })).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A job that reads the copy may still be running.
    async fn remove_checkpoint(&self, directory: String) {
        for _ in 0..CHECKPOINT_REMOVE_ATTEMPTS {
            let (disk, path) = (self.env.disk.clone(), directory.clone());
            match self.env.executors.background.run(move || disk.remove(&path)).await {
                Ok(Err(Error::Locked(_))) => sleep(CHECKPOINT_REMOVE_PAUSE).await,
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::warn!(directory, %error, "a checkpoint that was sent cannot be removed");
                    return;
                }
                Err(error) => {
                    tracing::warn!(directory, %error, "a checkpoint that was sent was not removed");
                    return;
                }
            }
        }
        tracing::warn!(directory, "a checkpoint that was sent is still being read");
    }
}

async fn receive(client: PeerClient, chunks: mpsc::Receiver<InstallChunk>) -> Result<Bytes, SendError> {
    Ok(client.install(ReceiverStream::new(chunks)).await?.answer)
}

/// Sends a part; `false` where the call has ended.
async fn push(chunks: &mpsc::Sender<InstallChunk>, part: Part) -> Result<bool, SendError> {
    let pushed = timeout(CHECKPOINT_SILENCE_MAX, chunks.send(InstallChunk { part: Some(part) })).await;
    Ok(pushed.map_err(|_| SendError::Silence)?.is_ok())
}
