//! One shard group of a backup becomes a shard on this node's disk, to be read.

use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{EngineFile, Error};
use bellwether_tsdb::{AppliedMark, CheckpointReceiver, PackCache, Shard, ShardMetrics, ShardOptions, inspect};
use futures::StreamExt;
use futures::stream::iter;
use prometheus::Registry;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::error::BackupError;
use super::manifest::{FilePart, GroupPart, ObjectHash};
use super::place::{Place, object_key};
use super::verify::PIECE_BYTES;
use crate::env::Env;

/// The directory of what is being restored.
pub const RESTORE_PATH: &str = "restore";
/// Pieces that are asked for before they are needed.
const PIECES_AHEAD: usize = 4;
/// Decoded packs that are kept.
const CACHE_BYTES: usize = 32 << 20;
/// How often, and how far apart, it is tried to remove what is still being read.
const CLEAR_ATTEMPTS: u32 = 50;
const CLEAR_PAUSE: Duration = Duration::from_millis(100);

fn place_of(part: &GroupPart) -> String {
    format!("{RESTORE_PATH}/group-{}", part.group)
}

/// Removes whatever an earlier restore left.
pub(super) async fn clear(env: &Env) -> Result<(), BackupError> {
    for _ in 0..CLEAR_ATTEMPTS {
        let disk = env.disk.clone();
        let cleared = env.executors.background.run(move || {
            let names = disk.list(RESTORE_PATH)?;
            let groups = names.iter().filter(|name| name.starts_with("group-"));
            groups.map(|name| format!("{RESTORE_PATH}/{name}")).try_for_each(|path| disk.remove(&path))
        });
        match cleared.await? {
            // A job that reads it may still be running.
            Err(Error::Locked(_)) => sleep(CLEAR_PAUSE).await,
            cleared => return cleared.map_err(|error| BackupError::Storage(error.to_string())),
        }
    }
    Err(BackupError::Storage("what an earlier restore left on this node is still being read".to_owned()))
}

/// Brings a group here and opens it. Every object is compared before anything of it is used.
pub(super) async fn fetch(place: &Place, part: &GroupPart, env: &Env) -> Result<Arc<Shard>, BackupError> {
    clear(env).await?;
    let target = place_of(part);
    let files = part.files.iter().map(|file| EngineFile { name: file.name.clone(), bytes: file.bytes }).collect();
    let (disk, path) = (env.disk.clone(), target.clone());
    let receiver = env.executors.background.run(move || CheckpointReceiver::new(&*disk, &path, files)).await?;
    let mut receiver = receiver.map_err(storage)?;
    for file in &part.files {
        receiver = fetch_file(place, file, receiver, env).await?;
    }
    let (disk, ref_epoch, group) = (env.disk.clone(), part.ref_epoch, part.group);
    let open = move || {
        receiver.finish().map_err(storage)?;
        let damaged = |reason: String| BackupError::Storage(format!("shard group {group} of the backup: {reason}"));
        let (mark, found): (AppliedMark, _) = inspect(&*disk, &target).map_err(|error| damaged(error.to_string()))?;
        if found != ref_epoch || mark.0.is_empty() {
            return Err(damaged("its files are those of something else".to_owned()));
        }
        let engine = disk.open(&target, bellwether_tsdb::SPACES).map_err(|error| damaged(error.to_string()))?;
        // Of nobody's concern: it is gone again in a moment.
        let metrics = Arc::new(ShardMetrics::new(&Registry::new()));
        let options = ShardOptions { new_ref_epoch: ref_epoch };
        let shard = Shard::open(engine, options, PackCache::new(CACHE_BYTES), metrics);
        Ok::<_, BackupError>(Arc::new(shard.map_err(|error| damaged(error.to_string()))?))
    };
    env.executors.background.run(open).await?
}

async fn fetch_file(
    place: &Place,
    file: &FilePart,
    mut receiver: CheckpointReceiver,
    env: &Env,
) -> Result<CheckpointReceiver, BackupError> {
    let (key, name): (String, Arc<str>) = (object_key(file.object), file.name.as_str().into());
    let offsets: Vec<u64> = (0..file.bytes).step_by(PIECE_BYTES as usize).collect();
    let (store, key_of_read) = (place.store(), &key);
    let pieces = iter(offsets)
        .map(|offset| async move { store.read(key_of_read, offset, (file.bytes - offset).min(PIECE_BYTES)).await });
    let mut pieces = pieces.buffered(PIECES_AHEAD);
    let mut hash = Sha256::new();
    while let Some(piece) = pieces.next().await {
        let (piece, name) = (piece?, name.clone());
        let take = move || {
            hash.update(&piece);
            receiver.append(&name, &piece).map(|()| (receiver, hash))
        };
        (receiver, hash) = env.executors.background.run(take).await?.map_err(storage)?;
    }
    drop(pieces);
    if ObjectHash(hash.finalize().into()) == file.object { Ok(receiver) } else { Err(BackupError::Content { key }) }
}

fn storage(error: impl std::error::Error) -> BackupError {
    BackupError::Storage(error.to_string())
}
