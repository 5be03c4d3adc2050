//! What a backup is for: the cluster is no more, and another one is made of its last backup. It must give what the first one gave.

use super::{EXAMINATION_MAX, REST_MAX, Run, SPREAD_MAX};
use crate::cluster::clients::Phase;
use crate::cluster::operator::Task;
use crate::cluster::schedule::Kind;
use crate::invariants::watchers;
use crate::random::Random;
use crate::work::lock;

/// How often a run that makes backups ends with a restore, in per cent.
const RESTORES_PERCENT: u64 = 60;
/// The machine that the other cluster has.
const MACHINE: usize = 1;

impl Run {
    /// Ends the cluster and restores its last backup, where the seed says so. Nothing is under way any more.
    pub(super) fn restore(&mut self) -> Result<(), String> {
        let options = self.world.options.clone();
        let restores = Random::of(options.seed, "restore").percent(RESTORES_PERCENT);
        if !restores || !options.kinds.contains(&Kind::Backup) {
            return Ok(());
        }
        self.operators.forget_backup();
        self.operators.ask(Task::Backup);
        self.until("a backup is made at the end", REST_MAX, |run, _| run.operators.at_rest())?;
        let Some(backup) = self.operators.backup() else {
            return Err("a backup is made at the end: none was".to_owned());
        };
        self.world.found_anew(MACHINE);
        // Of another cluster nothing is known.
        self.watchers = watchers();
        self.evaluators = Default::default();
        self.seen.clear();
        self.leaders.clear();
        lock(&self.shared.passed).clear();
        lock(&self.shared.alerts).forget();
        self.until("another cluster is founded", SPREAD_MAX, |run, nodes| run.is_at_rest(nodes, &[MACHINE]))?;
        // A restore writes anew: what is older than retention is not taken, also where a whole Window is not.
        let oldest = self.world.latest() + REST_MAX.as_millis() as i64 - self.retention_ms;
        lock(&self.shared.history).expire_before(oldest);
        self.operators.ask(Task::Restore(backup));
        self.until("a backup is restored", REST_MAX, |run, _| run.operators.at_rest())?;
        self.phase(Phase::Examine(vec![MACHINE]));
        self.until("what was restored is what there was", EXAMINATION_MAX, |run, _| {
            if lock(&run.shared.passed).contains(&MACHINE) { Ok(()) } else { Err(lock(&run.shared.stuck).clone()) }
        })?;
        self.phase(Phase::Idle);
        Ok(())
    }
}
