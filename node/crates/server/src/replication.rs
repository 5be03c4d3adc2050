//! Raft on this node: the log store that all groups share, and the runtime that their tasks live on.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use bellwether_kv::{Space, SpaceConfig, SpaceKind};
use bellwether_raft::{RaftNode, RaftOptions};
use prometheus::Registry;
use tokio::sync::oneshot;

use crate::env::{Env, Executors};

/// Where Raft's log is, below the data directory.
pub const LOG_PATH: &str = "log";
/// The spaces of its engine.
pub const LOG_SPACES: &[SpaceConfig] = &[SpaceConfig { name: "log", kind: SpaceKind::Log }];
/// The one that has the log.
pub const LOG: Space = Space(0);
/// Pause before something is tried again for which the disk was too full.
const DISK_FULL_RETRY: Duration = Duration::from_secs(2);

/// Why Raft does not run on this node.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The log store cannot be opened: no group can run without it.
    #[error("the log store in {LOG_PATH}/ cannot be opened")]
    Log(#[source] bellwether_kv::Error),
    /// The log store's options or metrics.
    #[error(transparent)]
    Raft(#[from] bellwether_raft::OpenError),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// A runtime ended while it was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct Stopping;

/// Opens the node's log store, which on a full disk waits for room. No group runs yet.
pub async fn open(env: &Env, registry: &Registry) -> Result<RaftNode, ReplicationError> {
    let disk = env.disk.clone();
    let log = once_there_is_room(env, move || disk.open(LOG_PATH, LOG_SPACES), is_full).await?;
    let log = log.map_err(ReplicationError::Log)?;
    let options = RaftOptions::new(registry.clone(), env.fatal.clone());
    let (blocking, seed) = (env.executors.blocking.clone(), env.seed.split("raft").0);
    Ok(on_raft(&env.executors, async move { RaftNode::open(log, LOG, options, blocking, seed) }).await??)
}

/// Whether an error of the storage is that the disk is full.
pub fn is_full(error: &bellwether_kv::Error) -> bool {
    matches!(error, bellwether_kv::Error::DiskFull(_))
}

/// Does what a start cannot go on without, again and again while the disk is full.
pub async fn once_there_is_room<T: Send + 'static, E: Display + Send + 'static>(
    env: &Env,
    work: impl Fn() -> Result<T, E> + Clone + Send + 'static,
    is_full: impl Fn(&E) -> bool,
) -> Result<Result<T, E>, Stopping> {
    let mut is_told = false;
    loop {
        match env.executors.scan.run(work.clone()).await.map_err(|_| Stopping)? {
            Err(reason) if is_full(&reason) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%reason, "the disk is full: the start waits for room, and goes on by itself");
                }
                tokio::time::sleep(DISK_FULL_RETRY).await;
            }
            done => return Ok(done),
        }
    }
}

/// Runs `work` on Raft's runtime, which carries what it starts.
pub async fn on_raft<T: Send + 'static>(
    executors: &Executors,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Stopping> {
    let (reply, result) = oneshot::channel();
    executors.raft.spawn(Box::pin(async move {
        // The asker may have given up starting.
        let _ = reply.send(work.await);
    }));
    result.await.map_err(|_| Stopping)
}
