//! What a node does by itself: flush before the log grows too long or data too old, seal quiet Windows, enforce
//! retention, refuse writes while the disk is nearly full, and keep its gauges up to date.
//!
//! One loop does the storage work, one thing at a time, so that flush, seal and merge share one lane; another watches the
//! disk, which must not wait for a flush.

mod clock_watch;
mod disk_watch;
mod flush_choice;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_ingest::ControlCommand;
use bellwether_model::{ShardGroupId, TimeRange, Timestamp, limits};
use bellwether_probe::{buggify, reached};
use bellwether_raft::Leadership;
use bellwether_tsdb::SealWhen;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::config::Config;
use crate::env::Env;
use crate::metrics::StorageMetrics;
use crate::shards::{CommandError, NodeStats, ShardGroup, Shards};
use crate::write::WritePath;
use clock_watch::ClockWatch;
use disk_watch::DiskWatch;
use flush_choice::{GroupLoad, Triggers};

/// How often the triggers are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often quiet Windows are sealed and old ones dropped.
const SEAL_TICK: Duration = Duration::from_secs(60);
/// How often senders' metadata is let through again, in case some was lost.
const METADATA_TICK: Duration = Duration::from_secs(3600);
/// How long a command may take to be applied. Nothing else is maintained meanwhile.
const COMMAND_WAIT: Duration = Duration::from_secs(5);
/// A leader that no quorum has heard for longer is given no command: it would wait until there is one again.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);
/// Pause after a flush that failed: the disk is full, or damaged.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Maintenance {
    shards: Arc<Shards>,
    write: Arc<WritePath>,
    triggers: Triggers,
    retention_ms: i64,
    disk: DiskWatch,
    env: Env,
    metrics: Arc<StorageMetrics>,
}

/// Makes room for a start by giving up the ballast, if the disk is full. Says why writes must be refused, if they must.
pub async fn look_before_start(config: &Config, env: &Env) -> Option<String> {
    let mut watch = DiskWatch::new(&config.storage, env.volume.clone());
    let looked = env.executors.ingest.run(move || {
        watch.make_room();
        watch.look()
    });
    looked.await.ok().and_then(|verdict| verdict.refuse)
}

/// Why a command is not in a group's log, or may not be.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("shard group {0} has not applied it within {COMMAND_WAIT:?}")]
    Late(ShardGroupId),
}

/// What the storage loop remembers of a group.
#[derive(Clone, Copy, Default)]
struct Remembered {
    /// Since when the group has something to flush.
    dirty_since: Option<Instant>,
    /// Series that were active when it was flushed last.
    active_series: u64,
    /// After a flush that failed: when the next may be tried. Other groups go on meanwhile.
    retry_at: Option<Instant>,
}

impl Maintenance {
    /// Everything that a node maintains.
    pub fn new(
        shards: Arc<Shards>,
        write: Arc<WritePath>,
        config: &Config,
        env: &Env,
        metrics: Arc<StorageMetrics>,
    ) -> Maintenance {
        Maintenance {
            shards,
            write,
            triggers: Triggers::new(config),
            retention_ms: config.retention.as_millis() as i64,
            disk: DiskWatch::new(&config.storage, env.volume.clone()),
            env: env.clone(),
            metrics,
        }
    }

    /// Works until `stop` is true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let loops = async { tokio::join!(this.maintain_storage(), this.watch_disk()) };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            _ = loops => {}
        }
    }

    async fn maintain_storage(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut remembered: BTreeMap<ShardGroupId, Remembered> = BTreeMap::new();
        let mut clock = ClockWatch::new(self.env.clock.now_ms());
        let (mut sealed_at, mut metadata_at) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.write.head_room().exceeded() => {}
            }
            let groups = self.shards.serving();
            remembered.retain(|id, _| groups.iter().any(|group| group.id() == *id));
            self.flush_what_is_due(&groups, &mut remembered).await;
            clock.look(self.env.clock.now_ms());
            self.give_up_damaged(&groups).await;
            if buggify("leaderships handed over") {
                self.shards.hand_over(COMMAND_WAIT).await;
            }
            if sealed_at.elapsed() >= SEAL_TICK || buggify("an early look at Windows") {
                sealed_at = Instant::now();
                for group in &groups {
                    if clock.is_trusted() || buggify("a clock is trusted soon") {
                        self.drop_expired(group).await;
                    }
                    self.seal(group).await;
                }
            }
            if metadata_at.elapsed() >= METADATA_TICK {
                metadata_at = Instant::now();
                self.write.forget_metadata();
            }
            self.observe();
        }
    }

    /// Has others lead the groups whose copies here are damaged: whoever leads is read from, and copied from.
    async fn give_up_damaged(&self, groups: &[Arc<ShardGroup>]) {
        for group in groups.iter().filter(|group| group.is_worse_than_others()) {
            let state = group.raft.state();
            let others = state.voters.into_keys().filter(|replica| *replica != group.replica());
            for successor in others.take_while(|_| group.raft.leadership() == Leadership::Here) {
                if let Err(error) = group.raft.transfer_leadership(successor, COMMAND_WAIT).await {
                    tracing::warn!(group = group.id().0, %error, "a damaged copy leads on");
                }
            }
        }
    }

    /// One group at a time, so that flushes are spread out; one after the other while writes are refused for lack of
    /// memory.
    async fn flush_what_is_due(&self, groups: &[Arc<ShardGroup>], remembered: &mut BTreeMap<ShardGroupId, Remembered>) {
        self.tell_head_room(groups);
        loop {
            let is_urgent = self.write.head_room().is_exceeded();
            let Some(chosen) = self.group_to_flush(groups, remembered) else { return };
            if is_urgent {
                tracing::warn!(
                    group = groups[chosen].id().0,
                    "writes are refused until unflushed samples take less memory"
                );
            }
            if !self.flush(&groups[chosen]).await {
                let of_group = remembered.entry(groups[chosen].id()).or_default();
                of_group.retry_at = Some(Instant::now() + FAILURE_PAUSE);
            }
            self.tell_head_room(groups);
            if !self.write.head_room().is_exceeded() {
                return;
            }
        }
    }

    fn tell_head_room(&self, groups: &[Arc<ShardGroup>]) {
        self.write.head_room().set(groups.iter().map(|group| (group.id(), group.shard().head_bytes())));
    }

    /// The group whose turn it is, if it is any group's.
    fn group_to_flush(
        &self,
        groups: &[Arc<ShardGroup>],
        remembered: &mut BTreeMap<ShardGroupId, Remembered>,
    ) -> Option<usize> {
        let now = Instant::now();
        let loads: Vec<GroupLoad> = groups
            .iter()
            .map(|group| {
                let remembered = remembered.entry(group.id()).or_default();
                if remembered.retry_at.is_some_and(|at| at > now) {
                    return GroupLoad::default();
                }
                let stats = group.shard().stats();
                if stats.unflushed_samples == 0 {
                    remembered.dirty_since = None;
                } else {
                    remembered.dirty_since.get_or_insert(now);
                }
                GroupLoad {
                    log_bytes: group.raft.unflushed_log_bytes(),
                    head_bytes: stats.head_bytes,
                    active_series: stats.active_series.max(remembered.active_series),
                    age: remembered.dirty_since.map_or(Duration::ZERO, |since| now - since),
                }
            })
            .collect();
        let is_early = buggify("an early flush");
        let oldest = || (0..loads.len()).max_by_key(|at| loads[*at].age);
        let chosen = if is_early { oldest()? } else { self.triggers.choose(&loads)? };
        let active_series = groups[chosen].shard().stats().active_series;
        remembered.insert(groups[chosen].id(), Remembered { active_series, ..Remembered::default() });
        Some(chosen)
    }

    /// Whether it succeeded.
    async fn flush(&self, group: &ShardGroup) -> bool {
        let flushed = group.flush(&self.metrics).await;
        if let Err(error) = &flushed {
            tracing::warn!(%error, "a flush failed");
        }
        flushed.is_ok()
    }

    async fn seal(&self, group: &Arc<ShardGroup>) {
        match self.shards.seal(group, SealWhen::Quiet).await {
            Ok(report) if report.sealed_windows > 0 => {
                reached("quiet Windows were sealed");
                tracing::debug!(group = group.id().0, windows = report.sealed_windows, "sealed Windows");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "sealing failed"),
        }
    }

    /// Has Windows whose retention is over dropped, through the log.
    async fn drop_expired(&self, group: &ShardGroup) {
        let is_heard = group.raft.staleness().is_some_and(|staleness| staleness <= QUORUM_SILENCE_MAX);
        if group.raft.leadership() != Leadership::Here || !is_heard {
            return;
        }
        let floor = retention_floor(group.time(&*self.env.clock), self.retention_ms);
        let shard = group.shard();
        if shard.stats().earliest < floor && shard.floor() < floor {
            self.drop_windows(group, floor).await;
        }
        self.expire_series(group, floor).await;
    }

    async fn drop_windows(&self, group: &ShardGroup, floor: Timestamp) {
        let command = ControlCommand::DropWindow { window: TimeRange::new(Timestamp::MIN, floor - 1), tenant: None };
        match self.command(group, command).await {
            Ok(_) => {
                reached("Windows were dropped");
                tracing::info!(group = group.id().0, before_ms = floor, "dropped Windows whose retention is over");
            }
            Err(error) => tracing::warn!(%error, "expired Windows were not dropped"),
        }
    }

    /// Has series forgotten whose last Window is gone, through the log: so many per command that other entries do not wait long.
    async fn expire_series(&self, group: &ShardGroup, idle_since: Timestamp) {
        while group.shard().has_expired_series(idle_since) {
            let command = ControlCommand::ExpireSeries { idle_since };
            match self.command(group, command).await {
                Ok(series) => {
                    reached("series expired");
                    tracing::info!(group = group.id().0, series, "series expired");
                }
                Err(error) => {
                    tracing::warn!(%error, "series were not expired");
                    return;
                }
            }
        }
    }

    /// Replicates a command, if that can be done soon.
    async fn command(&self, group: &ShardGroup, command: ControlCommand) -> Result<u64, NotApplied> {
        let done = timeout(COMMAND_WAIT, group.command(&command, &*self.env.clock)).await;
        Ok(done.map_err(|_| NotApplied::Late(group.id()))??)
    }

    async fn watch_disk(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = self.disk.clone();
        loop {
            ticks.tick().await;
            let looked = self.env.executors.ingest.run(move || {
                let verdict = watch.look();
                (watch, verdict)
            });
            let Ok((watched, verdict)) = looked.await else { return };
            watch = watched;
            let refusing = verdict.refuse.is_some();
            self.metrics.writes_refused.set(i64::from(refusing));
            let reason = verdict.refuse.clone();
            if self.write.set_refusing(verdict.refuse) {
                match reason {
                    Some(reason) => tracing::warn!(reason, "writes are refused"),
                    None => tracing::info!("writes are taken again: there is room on the disk"),
                }
            }
        }
    }

    fn observe(&self) {
        self.write.observe();
        observe(&self.shards.stats(), &self.metrics);
    }
}

/// Sets the gauges of what storage holds.
pub fn observe(stats: &NodeStats, metrics: &StorageMetrics) {
    let figures = [
        ("groups", stats.groups),
        ("groups_quarantined", stats.quarantined),
        ("series", stats.series),
        ("active_series", stats.active_series),
        ("head_bytes", stats.head_bytes),
        ("index_bytes", stats.index_bytes),
        ("pack_cache_bytes", stats.pack_cache_bytes),
        ("unflushed_samples", stats.unflushed_samples),
        ("unflushed_log_bytes", stats.unflushed_log_bytes),
        ("windows", stats.windows),
        ("runs", stats.runs),
        ("run_samples", stats.run_samples),
        ("run_bytes", stats.disk_bytes),
    ];
    for (what, figure) in figures {
        metrics.held.with_label_values(&[what]).set(figure as i64);
    }
}

/// Start of the oldest Window that retention still touches.
fn retention_floor(now: Timestamp, retention_ms: i64) -> Timestamp {
    let oldest = now.saturating_sub(retention_ms);
    oldest - oldest.rem_euclid(limits::WINDOW_MS)
}

#[cfg(test)]
mod tests {
    use bellwether_model::Sample;

    use super::*;
    use crate::routing::testing::TestCluster;
    use crate::testing::NOW_MS;

    const DAY_MS: i64 = 24 * 3_600_000;

    #[tokio::test(start_paused = true)]
    async fn a_group_without_quorum_does_not_hold_up_the_maintenance_of_others() {
        let cluster = TestCluster::of_three().await;
        let old = Sample { timestamp: NOW_MS - 10 * DAY_MS, value: 1.0 };
        cluster.nodes[&1].write(&["a", "b", "c", "d", "e", "f", "g", "h"], old).await.unwrap();
        let config = Config { retention: Duration::from_millis(DAY_MS as u64), ..Config::default() };
        let leader = cluster.leader(0).await;
        let (maintenance, group) = (leader.maintenance(&config), leader.group(0));
        cluster.wires.cut(leader.id);
        let began = Instant::now();
        maintenance.drop_expired(&group).await;
        assert!(began.elapsed() <= 2 * COMMAND_WAIT, "nobody has missed the quorum yet: {:?}", began.elapsed());
        let began = Instant::now();
        maintenance.drop_expired(&group).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nothing is asked of a group that nobody hears");
        cluster.wires.mend(leader.id);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let leader = cluster.leader(0).await;
        leader.maintenance(&config).drop_expired(&leader.group(0)).await;
        assert!(leader.group(0).shard().floor() > old.timestamp);
    }

    #[test]
    fn retention_drops_whole_windows_only() {
        let window = limits::WINDOW_MS;
        assert_eq!(retention_floor(10 * window, 3 * window), 7 * window);
        assert_eq!(retention_floor(10 * window + 1, 3 * window), 7 * window);
        assert_eq!(retention_floor(11 * window - 1, 3 * window), 7 * window);
        assert_eq!(retention_floor(0, window), -window);
    }
}
