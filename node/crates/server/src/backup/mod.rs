//! Backups of the whole cluster, and what is done with them.
//!
//! A backup is a checkpoint of each shard group, taken after the backup was begun: everything that was acknowledged before is
//! in it, group by group, and not one instant of all. Whichever node is asked coordinates; each group is copied by a node
//! that has a replica of it, straight to the place. A restore reads the groups one after the other and writes their
//! samples as any sender does: it fits whatever shard groups and nodes the new cluster has.
//!
//! Reading order: [`manifest`] (what a backup is), [`place`] (where what is), [`lock`], [`copy`] (a node copies a group),
//! [`create`], [`verify`], then [`fetch`] and [`restore`].

mod copy;
mod create;
pub mod error;
mod fetch;
mod lock;
pub mod manifest;
mod place;
mod restore;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_model::Timestamp;
use bellwether_proto::v1::{BackupInfo, Restore};

pub use copy::{CopyProgress, GroupCopier};
use error::BackupError;
use manifest::{BackupId, Manifest};
use place::Place;

use crate::env::Env;
use crate::meta::{EventKind, Meta, MetaCommand};
use crate::operations::Handle;
use crate::peers::Peers;
use crate::peers::error::chain;
use crate::routing::Router;
use crate::write::WritePath;

/// Works with backups, for this node's cluster. Clones are the same.
#[derive(Clone)]
pub struct Backups {
    meta: Meta,
    peers: Peers,
    router: Arc<Router>,
    write: Arc<WritePath>,
    copier: GroupCopier,
    env: Env,
    /// Backups begun so far: no two have one id.
    drawn: Arc<AtomicU64>,
}

impl Backups {
    /// Backups of the cluster that `meta` is of.
    pub fn new(meta: Meta, peers: Peers, router: Arc<Router>, write: Arc<WritePath>, env: Env) -> Backups {
        let copier = GroupCopier::new(router.clone(), meta.clone(), env.clone());
        Backups { meta, peers, router, write, copier, env, drawn: Arc::default() }
    }

    /// What copies this node's groups.
    pub fn copier(&self) -> &GroupCopier {
        &self.copier
    }

    /// Makes a backup; see [`create`].
    pub async fn create(self, url: String, handle: Arc<Handle>) -> Result<String, BackupError> {
        let place = Place::open(&*self.env.objects, &url)?;
        create::create(&self, &place, &handle).await
    }

    /// Compares every byte of a backup.
    pub async fn verify(self, url: String, id: Option<BackupId>, handle: Arc<Handle>) -> Result<String, BackupError> {
        let place = Place::open(&*self.env.objects, &url)?;
        handle
            .unless_cancelled(async {
                let manifest = place.find(id.as_ref()).await?;
                handle.name(manifest.id.to_string());
                verify::verify(&place, &manifest, &self.env, &handle).await?;
                Ok(format!(
                    "backup {} is whole: {} objects, {} bytes",
                    manifest.id,
                    manifest.objects().len(),
                    manifest.bytes()
                ))
            })
            .await
    }

    /// Deletes a backup, and what no other one needs.
    pub async fn delete(self, url: String, id: BackupId, handle: Arc<Handle>) -> Result<String, BackupError> {
        let place = Place::open(&*self.env.objects, &url)?;
        handle.name(id.to_string());
        handle.tell("waiting for the lock of the place".to_owned());
        let holder = self.holder(&format!("a deletion of backup {id}"));
        let lock = handle.unless_cancelled(lock::Lock::take(&place, &holder)).await?;
        handle.tell("deleting".to_owned());
        let deleted = handle.unless_cancelled(place.delete(&id)).await;
        lock.release().await;
        let (objects, bytes) = deleted?;
        Ok(format!("backup {id} is deleted, and {objects} objects with {bytes} bytes that no other backup needs"))
    }

    /// Writes a backup into this cluster; see [`restore`].
    pub async fn restore(self, request: Restore, handle: Arc<Handle>) -> Result<String, BackupError> {
        let place = Place::open(&*self.env.objects, &request.url)?;
        restore::restore(&self, &place, &request, &handle).await
    }

    /// The backups that are at a place, oldest first.
    pub async fn list(&self, url: &str) -> Result<Vec<BackupInfo>, BackupError> {
        let place = Place::open(&*self.env.objects, url)?;
        let mut seen = std::collections::BTreeSet::new();
        let mut backups = Vec::new();
        for id in place.backups().await? {
            backups.push(match place.manifest(&id).await {
                Ok(manifest) => {
                    let own = manifest.objects().into_iter().filter(|(object, _)| seen.insert(*object));
                    info(&manifest, own.map(|(_, bytes)| bytes).sum())
                }
                Err(error) => BackupInfo { id: id.to_string(), trouble: chain(&error), ..BackupInfo::default() },
            });
        }
        Ok(backups)
    }

    /// Who this is, for whoever finds a lock taken.
    fn holder(&self, what: &str) -> String {
        format!("{what} by node {} of cluster {:032x}", self.meta.node(), self.meta.identity().cluster)
    }

    fn new_id(&self, started_ms: Timestamp) -> BackupId {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let drawn = self.env.seed.split("backup").split(&format!("{started_ms} {number}"));
        BackupId::new(started_ms, drawn.0)
    }

    /// Keeps for operators that something was done. That it is not kept is no reason to fail.
    async fn note(&self, text: String) {
        if let Err(error) = self.meta.propose(MetaCommand::RecordEvent { kind: EventKind::Cluster, text }).await {
            tracing::warn!(%error, "an event was not kept");
        }
    }
}

fn info(manifest: &Manifest, own_bytes: u64) -> BackupInfo {
    BackupInfo {
        id: manifest.id.to_string(),
        trouble: String::new(),
        cluster: format!("{:032x}", manifest.cluster),
        started_ms: manifest.started_ms,
        finished_ms: manifest.finished_ms,
        shard_groups: manifest.groups.len() as u32,
        series: manifest.groups.iter().map(|group| group.series).sum(),
        samples: manifest.groups.iter().map(|group| group.samples).sum(),
        bytes: manifest.bytes(),
        own_bytes,
        program: manifest.program.clone(),
    }
}
