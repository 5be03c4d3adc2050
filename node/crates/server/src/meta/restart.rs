//! Starts this node's replica of the meta group again when it stopped: its log could not be read, or the state machine failed.
//! Until then the node goes by the state that it has.

use std::time::Duration;

use bellwether_raft::StartError;
use tokio::time::sleep;

use super::{META_GROUP, Meta, WeakMeta};
use crate::replication::on_raft;

/// How often it is looked whether the replica runs.
const TICK: Duration = Duration::from_secs(1);
/// Pause before it is started a second time; doubled for each further time that does not help.
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(300);
/// A replica that ran for so long before it stopped was well.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// Looks after the replica for as long as there is a handle to it.
pub(super) async fn keep_running(meta: WeakMeta) {
    let mut wait = WAIT_MIN;
    let mut ran_for = Duration::ZERO;
    loop {
        sleep(TICK).await;
        let Some(meta) = meta.get() else { return };
        let Some(reason) = meta.group().state().failure else {
            ran_for += TICK;
            continue;
        };
        if std::mem::take(&mut ran_for) > WELL_AFTER {
            wait = WAIT_MIN;
        }
        tracing::error!(reason, "the meta group's replica stopped");
        match meta.restart().await {
            Ok(()) => tracing::info!("the meta group's replica runs again"),
            Err(error) => tracing::warn!(error, retry = ?wait, "the meta group's replica could not be started again"),
        }
        drop(meta);
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

impl Meta {
    /// Stops the replica and starts it from what is durable. The state that was published stays until it is passed.
    async fn restart(&self) -> Result<(), String> {
        let this = &*self.0;
        let _restarting = this.restarting.lock().await;
        self.group().shutdown().await;
        let replica = bellwether_raft::ReplicaId(this.identity.meta_replica);
        if this.raft.group(META_GROUP, replica).is_some() {
            // It might still apply entries.
            return Err(StartError::Running(META_GROUP, replica).to_string());
        }
        let machine = this.machine.clone();
        let reloaded = this.executors.scan.run(move || machine.reload()).await;
        reloaded.map_err(|lost| lost.to_string())?.map_err(|error| error.to_string())?;
        let (raft, machine, transport) = (this.raft.clone(), this.machine.clone(), this.transport.clone());
        let started =
            on_raft(&this.executors, async move { raft.start_group(META_GROUP, replica, machine, transport).await });
        let started = started.await.map_err(|stopping| stopping.to_string())?;
        *this.group.write() = started.map_err(|error| error.to_string())?;
        Ok(())
    }
}
