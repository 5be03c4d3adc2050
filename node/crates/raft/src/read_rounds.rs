//! Lets concurrent reads of a group share one confirmation by a quorum.

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::errors::ReadError;
use crate::types::LogPosition;

type Confirmation = Result<LogPosition, ReadError>;
type Waiting = Vec<oneshot::Sender<Confirmation>>;

/// Reads that wait for the next round. A round answers only those that came before it began: what was acknowledged before
/// a later read may not have been when the round asked.
#[derive(Default)]
pub(crate) struct ReadRounds(Mutex<Rounds>);

#[derive(Default)]
struct Rounds {
    waiting: Waiting,
    running: bool,
}

impl ReadRounds {
    /// Joins the next round. The caller must run the rounds if the second value says so.
    pub fn join(&self) -> (oneshot::Receiver<Confirmation>, bool) {
        let (sender, receiver) = oneshot::channel();
        let mut rounds = self.0.lock();
        rounds.waiting.push(sender);
        let must_run = !std::mem::replace(&mut rounds.running, true);
        (receiver, must_run)
    }

    /// Begins the next round; `None` if nobody waits, and whoever comes next must run.
    pub fn begin(&self) -> Option<Round> {
        let mut rounds = self.0.lock();
        rounds.running = !rounds.waiting.is_empty();
        rounds.running.then(|| Round(std::mem::take(&mut rounds.waiting)))
    }
}

/// The reads that one confirmation answers.
pub(crate) struct Round(Waiting);

impl Round {
    pub fn answer(self, result: &Confirmation) {
        for reader in self.0 {
            // It may have given up.
            drop(reader.send(result.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_that_come_during_a_round_share_the_next_one() {
        let position = LogPosition { term: 1, leader: crate::ReplicaId(1), index: 5 };
        let (rounds, asked) = (Arc::new(ReadRounds::default()), Arc::new(AtomicU64::new(0)));
        let reads = (0..100).map(|number| {
            let (rounds, asked) = (rounds.clone(), asked.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(number / 50)).await;
                let before = asked.load(Ordering::Relaxed);
                let (answer, must_run) = rounds.join();
                if must_run {
                    let (rounds, asked) = (rounds.clone(), asked.clone());
                    tokio::spawn(async move {
                        while let Some(round) = rounds.begin() {
                            asked.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(10)).await;
                            round.answer(&Ok(position));
                        }
                    });
                }
                answer.await.unwrap().unwrap();
                assert!(asked.load(Ordering::Relaxed) > before, "answered by a round that began before the read");
            }
        });
        join_all(reads).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
