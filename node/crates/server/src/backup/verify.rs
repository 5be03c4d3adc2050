//! Whether a backup is whole: its objects are there, and are what they are called.

use futures::StreamExt;
use futures::stream::iter;
use sha2::{Digest, Sha256};

use super::error::BackupError;
use super::manifest::{Manifest, ObjectHash};
use super::place::{Place, object_key};
use crate::env::{Env, ObjectError};
use crate::operations::Handle;

/// Bytes of an object that are read at a time.
pub(super) const PIECE_BYTES: u64 = 4 << 20;
/// Objects whose lengths are asked for at a time.
const LOOKS_AT_A_TIME: usize = 16;
/// Objects that are read at a time.
const OBJECTS_AT_A_TIME: usize = 4;

/// Makes sure that every object is there with the length that it should have.
pub(super) async fn present(place: &Place, manifest: &Manifest) -> Result<(), BackupError> {
    let looks = iter(manifest.objects()).map(|(object, expected)| async move {
        let key = object_key(object);
        match place.store().size(&key).await? {
            None => Err(ObjectError::Missing(key).into()),
            Some(found) if found != expected => Err(BackupError::Length { key, found, expected }),
            Some(_) => Ok(()),
        }
    });
    let mut looks = looks.buffer_unordered(LOOKS_AT_A_TIME);
    while let Some(looked) = looks.next().await {
        looked?;
    }
    Ok(())
}

/// Reads every object.
pub(super) async fn verify(place: &Place, manifest: &Manifest, env: &Env, handle: &Handle) -> Result<(), BackupError> {
    let objects = manifest.objects();
    handle.tell(format!("reading {} objects of backup {}", objects.len(), manifest.id));
    handle.count(0, objects.values().sum());
    present(place, manifest).await?;
    let reads = iter(objects).map(|(object, bytes)| verify_object(place, object, bytes, env, handle));
    let mut reads = reads.buffer_unordered(OBJECTS_AT_A_TIME);
    while let Some(read) = reads.next().await {
        read?;
    }
    Ok(())
}

async fn verify_object(
    place: &Place,
    object: ObjectHash,
    bytes: u64,
    env: &Env,
    handle: &Handle,
) -> Result<(), BackupError> {
    let key = object_key(object);
    let mut hash = Sha256::new();
    for offset in (0..bytes).step_by(PIECE_BYTES as usize) {
        let piece = place.store().read(&key, offset, (bytes - offset).min(PIECE_BYTES)).await?;
        handle.add(piece.len() as u64);
        let hashed = move || {
            hash.update(&piece);
            hash
        };
        hash = env.executors.background.run(hashed).await?;
    }
    if ObjectHash(hash.finalize().into()) == object { Ok(()) } else { Err(BackupError::Content { key }) }
}
