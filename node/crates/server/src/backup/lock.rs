//! One at a time changes a place.
//!
//! 1. The lock is the object `locks/<number>` with the highest number. Who wants it makes the next one, which only one can.
//! 2. Its holder writes it again every few seconds. One that stays as it is for long enough has no holder any more: then
//!    the next number may be made. Nobody compares clocks.
//! 3. A holder that finds a higher number, or finds its own gone, has lost the lock; it looks once more before it writes what counts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::error::BackupError;
use super::place::{Place, read_whole};
use crate::env::{ObjectError, ObjectStore};

const LOCKS: &str = "locks";
/// How often the holder writes.
const BEAT: Duration = Duration::from_secs(5);
/// After so long without a beat there is no holder.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often it is looked for a beat.
const LOOK: Duration = Duration::from_secs(1);
/// How often the lock may be snatched away before that is an error.
const ATTEMPTS_MAX: u32 = 5;
/// Bytes of a lock.
const LOCK_BYTES_MAX: u64 = 4096;

/// See the module. One that is dropped without [`release`](Self::release) is free after a while.
pub struct Lock {
    place: Place,
    number: u64,
    lost: watch::Receiver<bool>,
    beating: AbortHandle,
}

fn key(number: u64) -> String {
    format!("{LOCKS}/{number:016}")
}

fn content(holder: &str, beat: u64) -> Bytes {
    Bytes::from(format!("{beat:016} {holder}"))
}

/// The highest number there is, and all lower ones.
async fn numbers(store: &dyn ObjectStore) -> Result<Vec<u64>, ObjectError> {
    let keys = store.list(LOCKS).await?;
    Ok(keys.iter().filter_map(|key| key.strip_prefix(LOCKS)?.strip_prefix('/')?.parse().ok()).collect())
}

impl Lock {
    /// Takes the lock for `holder`, a few words for whoever finds it taken.
    pub async fn take(place: &Place, holder: &str) -> Result<Lock, BackupError> {
        let store = place.store();
        for _ in 0..ATTEMPTS_MAX {
            let found = numbers(&**store).await?;
            let highest = found.last().copied().unwrap_or_default();
            if highest > 0 {
                wait_for_silence(place, highest).await?;
            }
            let number = highest + 1;
            if !store.create(&key(number), content(holder, 0)).await? {
                continue;
            }
            if numbers(&**store).await?.last() != Some(&number) {
                // Somebody else counted on from a lock that this one did not see.
                store.delete(&key(number)).await?;
                continue;
            }
            for old in found {
                store.delete(&key(old)).await?;
            }
            let (tell, lost) = watch::channel(false);
            let beating = tokio::spawn(beat(store.clone(), number, holder.to_owned(), tell)).abort_handle();
            return Ok(Lock { place: place.clone(), number, lost, beating });
        }
        Err(BackupError::Locked { url: place.url().to_owned(), holder: "several others at a time".to_owned() })
    }

    /// Makes sure that it is still held.
    pub async fn check(&self) -> Result<(), BackupError> {
        let is_lost = *self.lost.borrow() || numbers(&**self.place.store()).await?.last() != Some(&self.number);
        if is_lost { Err(BackupError::LockLost { url: self.place.url().to_owned() }) } else { Ok(()) }
    }

    /// Gives it back.
    pub async fn release(self) {
        self.beating.abort();
        if let Err(error) = self.place.store().delete(&key(self.number)).await {
            tracing::warn!(url = self.place.url(), %error, "a lock was not given back: it is free in a while");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// Returns once the lock is gone or nobody holds it any more; an error as soon as it is seen that somebody does.
async fn wait_for_silence(place: &Place, number: u64) -> Result<(), BackupError> {
    let (store, key) = (place.store(), key(number));
    let Some(first) = read_whole(&**store, &key, LOCK_BYTES_MAX).await? else { return Ok(()) };
    let began = Instant::now();
    while began.elapsed() < SILENCE_MAX {
        sleep(LOOK).await;
        match read_whole(&**store, &key, LOCK_BYTES_MAX).await? {
            None => return Ok(()),
            Some(now) if now != first => {
                let text = String::from_utf8_lossy(&now);
                let holder = text.split_once(' ').map_or("somebody", |(_, holder)| holder).to_owned();
                return Err(BackupError::Locked { url: place.url().to_owned(), holder });
            }
            Some(_) => {}
        }
    }
    tracing::warn!(url = place.url(), "a lock was left behind and is taken over");
    Ok(())
}

async fn beat(store: Arc<dyn ObjectStore>, number: u64, holder: String, lost: watch::Sender<bool>) {
    for beats in 1.. {
        sleep(BEAT).await;
        match numbers(&*store).await {
            Ok(found) if found.last() == Some(&number) => {
                if let Err(error) = store.put(&key(number), content(&holder, beats)).await {
                    tracing::warn!(%error, "a lock was not kept up");
                }
            }
            Ok(_) => {
                lost.send_replace(true);
                return;
            }
            Err(error) => tracing::warn!(%error, "a lock cannot be seen"),
        }
    }
}
