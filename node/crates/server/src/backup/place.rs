//! A place for backups: what is where, and who may change it.
//!
//! ```text
//! objects/<first two digits>/<sha256>   content of files; the same content once, whichever backups have it
//! manifests/<backup>                    a backup; written last, deleted first
//! locks/<number>                        who works here; see the lock
//! ```
//! Objects are never changed. One that no manifest names is a leftover of something that was interrupted; the next
//! backup uses it, the next deletion removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::error::BackupError;
use super::manifest::{BackupId, MANIFEST_BYTES_MAX, Manifest, ManifestError, ObjectHash};
use crate::env::{ObjectError, ObjectStore, ObjectStores};

const MANIFESTS: &str = "manifests";
const OBJECTS: &str = "objects";

/// See the module. Clones are the same place.
#[derive(Clone)]
pub struct Place {
    url: Arc<str>,
    store: Arc<dyn ObjectStore>,
}

/// The key of an object.
pub fn object_key(object: ObjectHash) -> String {
    let name = object.print();
    format!("{OBJECTS}/{}/{name}", &name[..2])
}

fn manifest_key(id: &BackupId) -> String {
    format!("{MANIFESTS}/{id}")
}

impl Place {
    /// The place at `url`. Nothing is reached yet.
    pub fn open(stores: &dyn ObjectStores, url: &str) -> Result<Place, BackupError> {
        Ok(Place { store: stores.open(url)?, url: url.into() })
    }

    /// How people call it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The objects themselves.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Whether an object is there, whole.
    pub async fn has(&self, object: ObjectHash, bytes: u64) -> Result<bool, BackupError> {
        Ok(self.store.size(&object_key(object)).await? == Some(bytes))
    }

    /// The backups that are there, oldest first.
    pub async fn backups(&self) -> Result<Vec<BackupId>, BackupError> {
        let keys = self.store.list(MANIFESTS).await?;
        let id = |key: &String| BackupId::parse(key.strip_prefix(MANIFESTS)?.strip_prefix('/')?);
        Ok(keys.iter().filter_map(id).collect())
    }

    /// The backup of that id, or the newest.
    pub async fn find(&self, id: Option<&BackupId>) -> Result<Manifest, BackupError> {
        let backups = self.backups().await?;
        let url = || self.url.to_string();
        match id {
            Some(id) if backups.contains(id) => self.manifest(id).await,
            Some(id) => Err(BackupError::UnknownBackup { id: id.clone(), url: url() }),
            None => match backups.last() {
                Some(newest) => self.manifest(newest).await,
                None => Err(BackupError::NoBackup { url: url() }),
            },
        }
    }

    /// Reads a manifest.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest, BackupError> {
        let key = manifest_key(id);
        let content = read_whole(&*self.store, &key, MANIFEST_BYTES_MAX).await?;
        let content = content.ok_or_else(|| ObjectError::Missing(key.clone()))?;
        let manifest = Manifest::parse(&content);
        let wrong = |source| BackupError::Manifest { key: key.clone(), source };
        let manifest = manifest.map_err(wrong)?;
        if manifest.id == *id {
            return Ok(manifest);
        }
        Err(wrong(ManifestError::Damaged(format!("it is of backup {}", manifest.id))))
    }

    /// The newest backup of a cluster whose manifest can be read.
    pub async fn newest_of(&self, cluster: u128) -> Result<Option<Manifest>, BackupError> {
        for id in self.backups().await?.iter().rev() {
            match self.manifest(id).await {
                Ok(manifest) if manifest.cluster == cluster => return Ok(Some(manifest)),
                Ok(_) => {}
                Err(error) => tracing::warn!(backup = %id, %error, "a backup cannot be read"),
            }
        }
        Ok(None)
    }

    /// Makes what is there a backup.
    pub async fn commit(&self, manifest: &Manifest) -> Result<(), BackupError> {
        Ok(self.store.put(&manifest_key(&manifest.id), Bytes::from(manifest.print())).await?)
    }

    /// Deletes a backup and the objects that no other one names; returns how many of them and their bytes. Nothing is
    /// deleted while a manifest cannot be read: who knows what it names.
    pub async fn delete(&self, id: &BackupId) -> Result<(u64, u64), BackupError> {
        let mut kept: BTreeSet<String> = BTreeSet::new();
        let mut named: BTreeMap<String, u64> = BTreeMap::new();
        for other in self.backups().await?.iter().filter(|other| *other != id) {
            kept.extend(self.manifest(other).await?.objects().into_keys().map(object_key));
        }
        // A damaged backup can be deleted, too.
        match self.find(Some(id)).await {
            Ok(manifest) => {
                named.extend(manifest.objects().into_iter().map(|(object, bytes)| (object_key(object), bytes)));
            }
            Err(BackupError::Manifest { .. }) => {}
            Err(error) => return Err(error),
        }
        self.store.delete(&manifest_key(id)).await?;
        let (mut count, mut bytes) = (0, 0);
        for key in self.store.list(OBJECTS).await?.iter().filter(|key| !kept.contains(*key)) {
            self.store.delete(key).await?;
            count += 1;
            bytes += named.get(key).copied().unwrap_or_default();
        }
        Ok((count, bytes))
    }
}

/// A small object as a whole; `None` where there is none.
pub(super) async fn read_whole(
    store: &dyn ObjectStore,
    key: &str,
    bytes_max: u64,
) -> Result<Option<Bytes>, ObjectError> {
    let Some(size) = store.size(key).await? else { return Ok(None) };
    if size > bytes_max {
        let reason = format!("it has {size} bytes, more than {bytes_max}");
        return Err(ObjectError::Failed { key: key.to_owned(), reason });
    }
    match store.read(key, 0, size).await {
        Ok(content) => Ok(Some(content)),
        Err(ObjectError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
