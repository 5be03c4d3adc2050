//! Writing a backup into this cluster.
//!
//! 1. The cluster is looked at: it must be newer than the backup, or somebody said `merge`.
//! 2. The backup is read as a whole and compared, before anything is written.
//! 3. One shard group after the other is brought to this node and opened. Its metadata and samples are written as any
//!    sender's, Window by Window: they find their groups by hash, and every node gets its copies by the log.
//! 4. Settings are set, and everything is flushed.
//!
//! What is done is kept in a small file after each Window: the same restore, begun again on this node, goes on there.
//! Elsewhere it begins anew, which changes nothing that was written: an equal sample is no change.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bellwether_ingest::ControlCommand;
use bellwether_model::{MetricMetadata, Tenant, TimeRange, Timestamp};
use bellwether_proto::v1::Restore;
use bellwether_tsdb::{SelectedSeries, Shard, WindowReader};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::iter;
use tokio::time::{Instant, sleep};

use super::error::BackupError;
use super::fetch::{RESTORE_PATH, clear, fetch};
use super::manifest::{BackupId, GroupPart, Manifest};
use super::place::Place;
use super::{Backups, verify};
use crate::meta::MetaCommand;
use crate::meta::settings::SettingKey;
use crate::operations::Handle;
use crate::write::own_body::{encode_series, put_exemplars, put_histograms};
use crate::write::{ContentEncoding, RefusalReason, Refusals, RemoteWriteVersion, WriteError};

/// Samples that are read at a time, about.
const SAMPLES_AT_A_TIME: u64 = 500_000;
/// Histograms of one series that are encoded at a time.
const HISTOGRAMS_AT_A_TIME: usize = 64;
/// A request with histograms ends once it has so many bytes.
const BODY_HISTOGRAMS_BYTES: usize = 1 << 20;
/// A request with exemplars, likewise.
const BODY_EXEMPLARS_BYTES: usize = 256 << 10;
/// Samples of a request.
const BODY_SAMPLES_MAX: usize = 8192;
/// Bytes of labels of a request.
const BODY_LABELS_BYTES_MAX: usize = 1 << 20;
/// Requests that are under way at a time.
const BODIES_AT_A_TIME: usize = 8;
/// Bytes of metadata of a command.
const METADATA_BYTES_MAX: usize = 256 << 10;
/// For how long the cluster may take nothing before that is an error.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pauses before a request that was not taken is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often new series over a tenant's rate are sent again.
const SERIES_RESENDS_MAX: u32 = 60;
/// The file that says how far a restore has come.
const PROGRESS_FILE: &str = "restore/progress";

/// See the module.
pub(super) async fn restore(
    backups: &Backups,
    place: &Place,
    request: &Restore,
    handle: &Arc<Handle>,
) -> Result<String, BackupError> {
    let id = match request.id.as_str() {
        "" => None,
        text => Some(BackupId::parse(text).ok_or_else(|| BackupError::Unfit(format!("{text:?} is no backup's id")))?),
    };
    let restored = handle.unless_cancelled(async {
        let manifest = place.find(id.as_ref()).await?;
        handle.name(manifest.id.to_string());
        look_at_cluster(backups, &manifest, request.merge)?;
        match request.skip_verify {
            true => verify::present(place, &manifest).await?,
            false => verify::verify(place, &manifest, &backups.env, handle).await?,
        }
        let sum = Restoring { backups, place, manifest: &manifest, handle }.run().await?;
        if !request.skip_settings {
            set_settings(backups, &manifest).await?;
        }
        handle.tell("writing everything to runs".to_owned());
        backups.router.flush_all().await.map_err(|error| BackupError::NotTaken(error.to_string()))?;
        Ok((manifest, sum))
    });
    let restored: Result<_, BackupError> = restored.await;
    let cleared = clear(&backups.env).await;
    let (manifest, sum) = restored?;
    cleared?;
    forget(backups).await?;
    let refused = if sum.refused.is_empty() { String::new() } else { format!("; not taken: {}", sum.refused) };
    let text = format!("backup {} was restored: {} samples{refused}", manifest.id, sum.samples);
    backups.note(text.clone()).await;
    Ok(text)
}

/// What was written.
#[derive(Default)]
struct Sum {
    samples: u64,
    refused: Refusals,
}

struct Restoring<'a> {
    backups: &'a Backups,
    place: &'a Place,
    manifest: &'a Manifest,
    handle: &'a Arc<Handle>,
}

/// How far an earlier attempt has come: groups that are done, and Windows of the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reached {
    backup: String,
    groups: usize,
    /// The first time that is not done.
    from: Option<Timestamp>,
}

impl Restoring<'_> {
    async fn run(&self) -> Result<Sum, BackupError> {
        let mut sum = Sum::default();
        let groups = &self.manifest.groups;
        let reached = read_reached(self.backups).await?.filter(|reached| reached.backup == self.manifest.id.as_str());
        let mut reached = reached.unwrap_or_default();
        reached.backup = self.manifest.id.to_string();
        let total_bytes = self.manifest.bytes();
        let mut done_bytes: u64 = groups.iter().take(reached.groups).map(GroupPart::bytes).sum();
        for (number, part) in groups.iter().enumerate().skip(reached.groups) {
            self.handle.count(done_bytes, total_bytes);
            self.handle.tell(format!("shard group {} of {}: fetching", number + 1, groups.len()));
            let shard = fetch(self.place, part, &self.backups.env).await?;
            let windows = shard.windows();
            for tenant in shard.tenants() {
                self.metadata(&shard, &tenant).await?;
            }
            for (at, window) in windows.iter().enumerate() {
                if reached.from.is_some_and(|from| window.last < from) {
                    continue;
                }
                let text =
                    format!("shard group {} of {}: Window {} of {}", number + 1, groups.len(), at + 1, windows.len());
                self.handle.tell(text);
                let share = part.bytes() as f64 * (at as f64 / windows.len() as f64);
                self.handle.count(done_bytes + share as u64, total_bytes);
                for tenant in shard.tenants() {
                    self.window(&shard, &tenant, *window, &mut sum).await?;
                }
                reached.from = window.last.checked_add(1);
                write_reached(self.backups, &reached).await?;
            }
            for tenant in shard.tenants() {
                self.exemplars(&shard, &tenant).await?;
            }
            drop(shard);
            done_bytes += part.bytes();
            reached = Reached { groups: number + 1, from: None, ..reached };
            write_reached(self.backups, &reached).await?;
        }
        self.handle.count(total_bytes, total_bytes);
        Ok(sum)
    }

    /// One tenant's samples of one Window.
    async fn window(
        &self,
        shard: &Arc<Shard>,
        tenant: &Tenant,
        window: TimeRange,
        sum: &mut Sum,
    ) -> Result<(), BackupError> {
        let background = &self.backups.env.executors.background;
        let (of_job, owner) = (shard.clone(), tenant.clone());
        let reader = background.run(move || of_job.read_window(&owner, window)).await?;
        let mut reader = reader.map_err(unreadable)?;
        loop {
            let read = move || next_bodies(reader);
            let bodies;
            (reader, bodies) = background.run(read).await?.map_err(unreadable)?;
            if bodies.is_empty() {
                return Ok(());
            }
            let mut writes = iter(bodies).map(|body| self.write(tenant, body)).buffer_unordered(BODIES_AT_A_TIME);
            while let Some(written) = writes.next().await {
                let Sum { samples, refused } = written?;
                sum.samples += samples;
                for (reason, refusal) in refused.by_reason {
                    sum.refused.add(reason, refusal.count, || refusal.example);
                }
            }
        }
    }

    /// One tenant's exemplars, to series that are there again.
    async fn exemplars(&self, shard: &Arc<Shard>, tenant: &Tenant) -> Result<(), BackupError> {
        let (of_job, owner) = (shard.clone(), tenant.clone());
        let read = move || of_job.exemplars(&owner, &[Arc::from([])], TimeRange::ALL, &AtomicBool::new(false));
        let found = self.backups.env.executors.background.run(read).await?.map_err(unreadable)?;
        let mut body = Vec::new();
        for (labels, exemplars) in found {
            put_exemplars(&mut body, &labels, &exemplars);
            if body.len() >= BODY_EXEMPLARS_BYTES {
                self.write(tenant, std::mem::take(&mut body).into()).await?;
            }
        }
        // What is refused is older than what is kept here: no sample is lost with it.
        if !body.is_empty() {
            self.write(tenant, body.into()).await?;
        }
        Ok(())
    }

    /// Writes a request until it is taken.
    async fn write(&self, tenant: &Tenant, body: Bytes) -> Result<Sum, BackupError> {
        let began = Instant::now();
        let (mut pause, mut resends) = (PAUSE_MIN, 0);
        loop {
            let write = &self.backups.write;
            let version = RemoteWriteVersion::V1;
            match write.remote_write(tenant, version, ContentEncoding::Identity, body.clone()).await {
                // New series are let in at a rate: what was over it comes again.
                Ok(outcome)
                    if resends < SERIES_RESENDS_MAX
                        && outcome.refused.by_reason.contains_key(&RefusalReason::SeriesLimit) =>
                {
                    resends += 1;
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(outcome) => {
                    return Ok(Sum { samples: outcome.samples + outcome.histograms, refused: outcome.refused });
                }
                Err(WriteError::Transient { .. }) if began.elapsed() < PATIENCE => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(BackupError::NotTaken(error.to_string())),
            }
        }
    }

    /// What senders said about a tenant's metrics, to the groups that keep it here.
    async fn metadata(&self, shard: &Arc<Shard>, tenant: &Tenant) -> Result<(), BackupError> {
        let router = &self.backups.router;
        let ring = router.shards().ring();
        let mut waiting: std::collections::BTreeMap<_, (usize, Vec<(String, MetricMetadata)>)> = Default::default();
        for (metric, metadata) in shard.metadata(tenant) {
            let Some(group) = ring.metadata_owner(tenant, &metric) else { continue };
            let (bytes, part) = waiting.entry(group).or_default();
            *bytes += metric.len() + metadata.help.len() + metadata.unit.len();
            part.push((metric, metadata));
            if *bytes >= METADATA_BYTES_MAX {
                let part = std::mem::take(part);
                *bytes = 0;
                self.store_metadata(group, tenant, part).await?;
            }
        }
        for (group, (_, part)) in waiting {
            self.store_metadata(group, tenant, part).await?;
        }
        Ok(())
    }

    async fn store_metadata(
        &self,
        group: bellwether_model::ShardGroupId,
        tenant: &Tenant,
        metadata: Vec<(String, MetricMetadata)>,
    ) -> Result<(), BackupError> {
        if metadata.is_empty() {
            return Ok(());
        }
        let command = ControlCommand::StoreMetadata { tenant: tenant.clone(), metadata };
        let began = Instant::now();
        loop {
            match self.backups.router.command(group, &command).await {
                Ok(_) => return Ok(()),
                Err(_) if began.elapsed() < PATIENCE => sleep(PAUSE_MAX).await,
                Err(error) => return Err(BackupError::NotTaken(error.to_string())),
            }
        }
    }
}

/// The next series of a Window as requests; none at its end.
fn next_bodies(mut reader: WindowReader) -> Result<(WindowReader, Vec<Bytes>), bellwether_tsdb::SelectError> {
    let series = reader.next(SAMPLES_AT_A_TIME)?;
    let mut bodies = Vec::new();
    let mut waiting: Vec<(&SelectedSeries, std::ops::Range<usize>)> = Vec::new();
    let (mut samples, mut label_bytes) = (0, 0);
    let body = |waiting: &mut Vec<(&SelectedSeries, std::ops::Range<usize>)>| {
        let rows = waiting.drain(..).map(|(of, rows)| (&of.labels, &of.timestamps[rows.clone()], &of.values[rows]));
        Bytes::from(encode_series(rows))
    };
    for of in &series {
        label_bytes += of.labels.byte_len();
        let mut from = 0;
        while from < of.values.len() {
            let to = of.values.len().min(from + BODY_SAMPLES_MAX - samples);
            waiting.push((of, from..to));
            samples += to - from;
            from = to;
            if samples == BODY_SAMPLES_MAX || label_bytes >= BODY_LABELS_BYTES_MAX {
                bodies.push(body(&mut waiting));
                (samples, label_bytes) = (0, of.labels.byte_len());
            }
        }
    }
    if !waiting.is_empty() {
        bodies.push(body(&mut waiting));
    }
    let mut request = Vec::new();
    for of in &series {
        let Some(own) = &of.histograms else { continue };
        let rows = own.timestamps.chunks(HISTOGRAMS_AT_A_TIME).zip(own.histograms.chunks(HISTOGRAMS_AT_A_TIME));
        for (timestamps, histograms) in rows {
            put_histograms(&mut request, &of.labels, timestamps, histograms);
            if request.len() >= BODY_HISTOGRAMS_BYTES {
                bodies.push(std::mem::take(&mut request).into());
            }
        }
    }
    if !request.is_empty() {
        bodies.push(request.into());
    }
    Ok((reader, bodies))
}

fn unreadable(error: bellwether_tsdb::SelectError) -> BackupError {
    BackupError::Storage(format!("the backup's samples cannot be read: {error}"))
}

/// Refuses a cluster that somebody may not want to restore into.
fn look_at_cluster(backups: &Backups, manifest: &Manifest, merge: bool) -> Result<(), BackupError> {
    let state = backups.meta.now();
    if merge {
        return Ok(());
    }
    if state.cluster == manifest.cluster {
        return Err(BackupError::Unfit(format!(
            "backup {} is of this very cluster: say --merge if its samples are to be written over what there is",
            manifest.id
        )));
    }
    if state.founded_ms < manifest.started_ms {
        return Err(BackupError::Unfit(format!(
            "this cluster is older than backup {}, and may have samples of its own: restore into a new one, or say \
             --merge if the backup's samples are to be written over what there is",
            manifest.id
        )));
    }
    Ok(())
}

/// Chooses what the backup's cluster had chosen, where nobody has chosen otherwise here.
async fn set_settings(backups: &Backups, manifest: &Manifest) -> Result<(), BackupError> {
    for (name, text) in &manifest.settings {
        let Some(key) = SettingKey::named(name) else {
            tracing::warn!(name, "a setting of the backup is not known here");
            continue;
        };
        if backups.meta.now().settings.chosen.contains_key(&key) {
            continue;
        }
        let set = match key.info().parse(text) {
            Ok(value) => backups.meta.propose(MetaCommand::SetSetting { key, value }).await.map(drop),
            Err(reason) => {
                tracing::warn!(name, text, reason, "a setting of the backup cannot be read");
                continue;
            }
        };
        set.map_err(|error| BackupError::NotTaken(format!("setting {name}: {error}")))?;
    }
    Ok(())
}

impl Reached {
    fn print(&self) -> String {
        format!("{} {} {}\n", self.backup, self.groups, self.from.unwrap_or(Timestamp::MIN))
    }

    fn parse(text: &str) -> Option<Reached> {
        let mut words = text.split_whitespace();
        let (backup, groups) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let from: Timestamp = words.next()?.parse().ok()?;
        Some(Reached { backup, groups, from: (from > Timestamp::MIN).then_some(from) })
    }
}

async fn read_reached(backups: &Backups) -> Result<Option<Reached>, BackupError> {
    let disk = backups.env.disk.clone();
    let read = backups.env.executors.background.run(move || disk.read_small_file(PROGRESS_FILE)).await?;
    let read = read.map_err(|error| BackupError::Storage(error.to_string()))?;
    // One that cannot be read means a beginning.
    Ok(read.and_then(|bytes| Reached::parse(std::str::from_utf8(&bytes).ok()?)))
}

async fn write_reached(backups: &Backups, reached: &Reached) -> Result<(), BackupError> {
    let (disk, text) = (backups.env.disk.clone(), reached.print());
    let write = move || disk.write_small_file(PROGRESS_FILE, text.as_bytes());
    backups.env.executors.background.run(write).await?.map_err(|error| BackupError::Storage(error.to_string()))
}

async fn forget(backups: &Backups) -> Result<(), BackupError> {
    let disk = backups.env.disk.clone();
    let removed = backups.env.executors.background.run(move || disk.remove(RESTORE_PATH)).await?;
    removed.map_err(|error| BackupError::Storage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_restore_has_come_is_read_back_and_anything_else_is_a_beginning() {
        for from in [None, Some(0), Some(-5), Some(1_795_161_600_000)] {
            let reached = Reached { backup: "20261120T140000Z-deadbeef".to_owned(), groups: 3, from };
            assert_eq!(Reached::parse(&reached.print()), Some(reached));
        }
        for bad in ["", "x", "x y 1", "x 1", "x 1 y"] {
            assert_eq!(Reached::parse(bad), None, "{bad:?}");
        }
    }
}
