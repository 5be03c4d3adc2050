//! Making a backup.
//!
//! 1. The place's lock is taken.
//! 2. Every shard group of the map is copied by a node that has a replica of it, a few groups at a time: the node of the
//!    last backup if it can be, since its files are there already, else any other.
//! 3. What was copied must own every key once. Where a group was split meanwhile, what changed is copied again.
//! 4. This node looks for every object itself; then the manifest is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{NodeId, ShardGroupId};
use bellwether_placement::{PlacedGroup, ReplicaRole};
use bellwether_probe::reached;
use futures::stream::iter;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::copy::CopyProgress;
use super::error::BackupError;
use super::lock::Lock;
use super::manifest::{BackupId, GroupPart, Manifest};
use super::place::{Place, object_key};
use super::{Backups, verify};
use crate::meta::MetaState;
use crate::operations::Handle;

/// Groups that are copied at a time.
const GROUPS_AT_A_TIME: usize = 4;
/// How often the map of shard groups may change while it is copied.
const ROUNDS_MAX: usize = 10;
/// Pause before a map that changed is looked at again.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// How often each node is asked for a group.
const ATTEMPTS_MAX: usize = 3;
/// Pause before the nodes are asked again: by then there may be a leader.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) async fn create(backups: &Backups, place: &Place, handle: &Arc<Handle>) -> Result<String, BackupError> {
    let started_ms = backups.env.clock.now_ms();
    let id = backups.new_id(started_ms);
    handle.name(id.to_string());
    handle.tell("waiting for the lock of the place".to_owned());
    let lock = handle.unless_cancelled(Lock::take(place, &backups.holder(&format!("backup {id}")))).await?;
    let made = handle.unless_cancelled(make(backups, place, handle, &lock, id, started_ms)).await;
    lock.release().await;
    let (manifest, sent_bytes) = made?;
    backups.note(format!("backup {} was made at {}", manifest.id, place.url())).await;
    Ok(format!(
        "backup {} of {} shard groups has {} bytes, of which {sent_bytes} had to be sent",
        manifest.id,
        manifest.groups.len(),
        manifest.bytes()
    ))
}

/// How far each group has come.
type Copies = Arc<Mutex<BTreeMap<ShardGroupId, CopyProgress>>>;

async fn make(
    backups: &Backups,
    place: &Place,
    handle: &Arc<Handle>,
    lock: &Lock,
    id: BackupId,
    started_ms: i64,
) -> Result<(Manifest, u64), BackupError> {
    let last = place.newest_of(backups.meta.identity().cluster).await?;
    let last: BTreeMap<ShardGroupId, NodeId> =
        last.iter().flat_map(|last| &last.groups).map(|part| (part.group, part.node)).collect();
    let copies = Copies::default();
    let mut parts: BTreeMap<ShardGroupId, GroupPart> = BTreeMap::new();
    let mut manifest = None;
    for _ in 0..ROUNDS_MAX {
        let state = backups.meta.now();
        let groups = state.placement.groups();
        parts.retain(|id, part| groups.iter().any(|group| group.id == *id && group.range == part.range));
        copies.lock().retain(|id, _| parts.contains_key(id));
        let missing: Vec<PlacedGroup> = groups.iter().filter(|group| !parts.contains_key(&group.id)).cloned().collect();
        if missing.is_empty() {
            manifest = Some(state.clone());
            break;
        }
        let copying = missing.into_iter().map(|group| {
            let preferred = last.get(&group.id).copied();
            copy_group(backups, place, group, preferred, handle, &copies).boxed()
        });
        let mut copying = iter(copying).buffer_unordered(GROUPS_AT_A_TIME);
        let before = parts.len();
        if before > 0 {
            reached("a group was split while a backup was made");
        }
        while let Some(part) = copying.next().await {
            let part = part?;
            parts.insert(part.group, part);
            handle.tell(format!("{} of {} shard groups", parts.len(), groups.len()));
        }
        if before > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }
    let state = manifest.ok_or(BackupError::Restless)?;
    let manifest = assemble(&state, id, started_ms, backups.env.clock.now_ms(), parts);
    if !manifest.is_whole_ring() {
        return Err(BackupError::Restless);
    }
    handle.tell("looking for what the nodes wrote".to_owned());
    verify::present(place, &manifest).await.map_err(|error| not_shared(error, place, &manifest))?;
    lock.check().await?;
    place.commit(&manifest).await?;
    let sent_bytes = copies.lock().values().map(|copy| copy.sent_bytes).sum();
    Ok((manifest, sent_bytes))
}

/// An object that a node wrote a moment ago and that is not there was written elsewhere.
fn not_shared(error: BackupError, place: &Place, manifest: &Manifest) -> BackupError {
    let BackupError::Object(crate::env::ObjectError::Missing(key)) = error else { return error };
    let writer = manifest.groups.iter().find(|part| part.files.iter().any(|file| object_key(file.object) == key));
    let node = writer.map_or(0, |part| part.node.0);
    BackupError::NotShared { url: place.url().to_owned(), node, key }
}

/// Has one group copied, by the first node that can.
async fn copy_group(
    backups: &Backups,
    place: &Place,
    group: PlacedGroup,
    preferred: Option<NodeId>,
    handle: &Arc<Handle>,
    copies: &Copies,
) -> Result<GroupPart, BackupError> {
    let mut replicas: Vec<_> = group.replicas.iter().collect();
    // Groups that are led by nobody in particular are spread over their nodes.
    let turn = group.id.0 as usize % replicas.len().max(1);
    replicas.rotate_left(turn);
    replicas.sort_by_key(|replica| (Some(replica.node) != preferred, replica.role != ReplicaRole::Voter));
    let mut said: Vec<String> = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
        said.clear();
        for node in replicas.iter().map(|replica| replica.node) {
            let (tell, mut progress) = watch::channel(CopyProgress::default());
            let copied = async {
                if node == backups.meta.node() {
                    backups.copier.copy(place.url(), group.id, tell).await.map_err(|error| error.to_string())
                } else {
                    let client = backups.peers.client(node).map_err(|error| error.to_string())?;
                    client.back_up_group(place.url(), group.id, tell).await.map_err(|error| error.to_string())
                }
            };
            let follow = async {
                while progress.changed().await.is_ok() {
                    let now = *progress.borrow_and_update();
                    let mut copies = copies.lock();
                    copies.insert(group.id, now);
                    let sum = |of: fn(&CopyProgress) -> u64| -> u64 { copies.values().map(of).sum() };
                    handle.count(sum(|copy| copy.done_bytes), sum(|copy| copy.total_bytes));
                }
            };
            match futures::future::join(copied, follow).await.0 {
                Ok(part) => return Ok(part),
                Err(reason) => {
                    tracing::warn!(group = group.id.0, node = node.0, reason, "a shard group was not copied");
                    said.push(format!("node {node}: {reason}"));
                }
            }
        }
    }
    Err(BackupError::Group { group: group.id, reason: said.join("; ") })
}

fn assemble(
    state: &MetaState,
    id: BackupId,
    started_ms: i64,
    finished_ms: i64,
    parts: BTreeMap<ShardGroupId, GroupPart>,
) -> Manifest {
    let mut groups: Vec<GroupPart> = parts.into_values().collect();
    groups.sort_unstable_by_key(|part| part.range.first);
    let settings = state.settings.chosen.iter().map(|(key, value)| {
        let info = key.info();
        (info.name.to_owned(), info.print(*value))
    });
    // One word, one line: that is what the manifest is made of.
    let word = |text: &str| text.replace(|c: char| c.is_whitespace() || c.is_control(), "_");
    let nodes = state.present_nodes().map(|(node, record)| (node, word(&record.facts.grpc), word(&record.facts.zone)));
    Manifest {
        id,
        cluster: state.cluster,
        started_ms,
        finished_ms,
        active_version: state.active_version,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings.collect(),
        nodes: nodes.collect(),
        groups,
    }
}
