//! Starts this node's replica of such a group again when it stopped: its log could not be read, or the state machine failed.
//! Until then the node goes by the state that it has.

use std::sync::Arc;
use std::time::Duration;

use bellwether_raft::{ReplicaId, StartError, StateMachine};
use tokio::time::sleep;

use super::{CommonGroup, WeakGroup};
use crate::replication::on_raft;

/// How often it is looked whether the replica runs.
const TICK: Duration = Duration::from_secs(1);
/// Pause before it is started a second time; doubled for each further time that does not help.
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(300);
/// A replica that ran for so long before it stopped was well.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// Looks after the replica for as long as there is a handle to it.
pub(super) async fn keep_running(group: WeakGroup) {
    let mut wait = WAIT_MIN;
    let mut ran_for = Duration::ZERO;
    loop {
        sleep(TICK).await;
        let Some(group) = group.get() else { return };
        let Some(reason) = group.replica().state().failure else {
            ran_for += TICK;
            continue;
        };
        if std::mem::take(&mut ran_for) > WELL_AFTER {
            wait = WAIT_MIN;
        }
        tracing::error!(group = group.name(), reason, "its replica stopped");
        match group.restart().await {
            Ok(()) => tracing::info!(group = group.name(), "its replica runs again"),
            Err(error) => {
                tracing::warn!(group = group.name(), error, retry = ?wait, "its replica could not be started again");
            }
        }
        drop(group);
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

impl CommonGroup {
    /// Stops the replica and starts it from what is durable. The state that was published stays until it is passed.
    async fn restart(&self) -> Result<(), String> {
        let this = &*self.0;
        let _restarting = this.restarting.lock().await;
        self.replica().shutdown().await;
        let (id, replica) = (this.id, ReplicaId(this.identity.meta_replica));
        if this.world.raft.group(id, replica).is_some() {
            // It might still apply entries.
            return Err(StartError::Running(id, replica).to_string());
        }
        let machine = this.machine.clone();
        this.executors.scan.run(move || machine.reload()).await.map_err(|lost| lost.to_string())??;
        let (raft, transport) = (this.world.raft.clone(), this.world.transport.clone());
        let machine: Arc<dyn StateMachine> = this.machine.clone();
        let started = on_raft(&this.executors, async move { raft.start_group(id, replica, machine, transport).await });
        let started = started.await.map_err(|stopping| stopping.to_string())?;
        *this.replica.write() = started.map_err(|error| error.to_string())?;
        Ok(())
    }
}
