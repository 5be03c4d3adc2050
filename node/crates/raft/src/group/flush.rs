//! Flushing, and how much of the log stays after it.

use bellwether_probe::{Bug, buggify, planted, reached};
use openraft::errors::Fatal;
use openraft_rt::WatchReceiver;
use tokio::time::timeout;

use super::{Inner, RaftGroup};
use crate::blocking::{self, BlockingClass};
use crate::errors::FlushError;
use crate::limits;
use crate::state_machine::{Applied, FatalError};
use crate::types::{ReplicaId, Types};

impl RaftGroup {
    /// Makes what is applied durable in the state machine, then cuts the log up to there and gives its space back. Says
    /// how far the durable state has come.
    ///
    /// The log stays longer where a replica needs it, within the budgets of group and node, and where replication is
    /// using it; the next flush cuts it. A replica that does not lead keeps a little in any case, for the others when it
    /// is elected. [`RaftNode::reclaim`](crate::RaftNode::reclaim) afterwards makes the engine shrink at once.
    pub async fn flush(&self) -> Result<Applied, FlushError> {
        let this = &*self.0;
        let _one = this.flushing.lock().await;
        let machine = this.machine.clone();
        let flush = move || if planted(Bug::PurgeEarly) { Ok(machine.applied()) } else { machine.flush() };
        let flushed = blocking::call(&this.shared.executor, BlockingClass::Flush, flush).await;
        let applied = flushed
            .map_err(FatalError::from)
            .flatten()
            .map_err(|source| FlushError::StateMachine { group: this.group, source })?;
        let Some(position) = applied.log else { return Ok(applied) };
        this.durable.raise(&applied).map_err(|error| FlushError::StateMachine {
            group: this.group,
            source: FatalError(format!("it returned a damaged membership: {error}")),
        })?;
        this.log.on_flushed(position.index);
        this.cut(position.index).await?;
        Ok(applied)
    }
}

impl Inner {
    /// Cuts the log up to `flushed`, or less where a replica is behind.
    async fn cut(&self, flushed: u64) -> Result<(), FlushError> {
        let stopped = |fatal: Fatal<Types>| FlushError::Stopped { group: self.group, reason: fatal.to_string() };
        let mut metrics = self.raft.metrics();
        if metrics.borrow_watched().snapshot.as_ref().is_none_or(|snapshot| snapshot.index < flushed) {
            self.raft.trigger().snapshot().await.map_err(stopped)?;
            let known = timeout(limits::PURGE_WAIT, async {
                while metrics.borrow_watched().snapshot.as_ref().is_none_or(|snapshot| snapshot.index < flushed) {
                    if metrics.changed().await.is_err() {
                        return;
                    }
                }
            });
            if known.await.is_err() {
                return Ok(());
            }
        }
        let Some(upto) = self.cut_limit(flushed) else { return Ok(()) };
        let mut purged = self.log.purged();
        self.raft.trigger().purge_log(upto).await.map_err(stopped)?;
        let cut = timeout(limits::PURGE_WAIT, purged.wait_for(|purged| purged.is_some_and(|purged| purged >= upto)));
        match cut.await {
            Ok(Ok(_)) => {}
            // Replication holds the log, or the disk is full: the next flush catches up.
            Ok(Err(_)) | Err(_) => return Ok(()),
        }
        let log = self.log.clone();
        let dropped =
            blocking::call(&self.shared.executor, BlockingClass::Flush, move || log.drop_below(upto + 1)).await;
        let space = |reason: String| FlushError::Space { group: self.group, reason };
        dropped.map_err(|lost| space(lost.to_string()))?.map_err(|error| space(error.to_string()))
    }

    /// The last index to cut; `None` if there is nothing to cut.
    fn cut_limit(&self, flushed: u64) -> Option<u64> {
        let (first, options) = (self.log.first(), &self.shared.options);
        let of_node = options.node_lagging_log_bytes.saturating_sub(self.log.bytes_kept_by_others());
        let budget = if buggify("no log is kept") { 0 } else { options.lagging_log_bytes.min(of_node) };
        let needed_by_others = self.needed_by_others(first);
        let needed = needed_by_others.unwrap_or_else(|| {
            // The next leader may be this one: others that lack a little must not need a checkpoint then.
            self.log.start_of_kept(limits::FOLLOWER_TAIL_BYTES, flushed)
        });
        let end = (flushed + 1).min(needed.max(self.log.start_of_kept(budget, flushed)));
        if needed_by_others.is_some_and(|needed| needed < end) {
            reached("log cut while a follower lagged");
        }
        (end > first).then(|| end - 1)
    }

    /// Index from which on others need the log, as the leader knows; `None` where this is another replica.
    fn needed_by_others(&self, first: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let alone = now.membership_config.nodes().all(|(replica, _)| *replica == self.replica.0);
        let replication = now.replication.as_ref();
        if replication.is_none() && !alone {
            return None;
        }
        let needed = replication.into_iter().flatten().map(|(replica, matched)| {
            let next = matched.as_ref().map(|matched| matched.index + 1);
            if let Some(next) = next.filter(|next| *next >= first) {
                return next;
            }
            // One that lacks what is cut already gets a checkpoint, and then what follows that. One that has not
            // answered this leader yet may need all that there is: it crashed, perhaps, as the leader before.
            let unpinned = if next.is_some() { u64::MAX } else { first };
            let pinned = self.log.pins().needed_by(ReplicaId(*replica));
            if pinned.is_some() {
                reached("a flush while a checkpoint was on its way");
            }
            pinned.unwrap_or(unpinned)
        });
        Some(needed.min().unwrap_or(u64::MAX))
    }
}
