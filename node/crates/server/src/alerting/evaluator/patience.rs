//! How long a rule waits for shard groups. Whoever asks a shard group that has no leader waits for seconds, in case that it gets one.
//! If every rule did, the rules of one dead shard group would take the time of all others: so while one was not there a moment
//! ago, rules wait for little longer than an answer takes that comes at once.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after it was noticed that something is not there rules wait for a short time only. After that some of them find out
/// whether it is there again.
const CAUTION: Duration = Duration::from_secs(10);
/// The short time.
const SHORT: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Default)]
pub struct Patience(Mutex<Option<Instant>>);

impl Patience {
    /// Something was not there.
    pub fn note_missing(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Something was waited for in vain. What takes longer than the short time may be slow and not missing: impatience must not feed
    /// itself.
    pub fn note_waited(&self, waited: Duration, most: Duration) {
        if waited >= most {
            self.note_missing();
        }
    }

    /// How long to wait for what may take `most`.
    pub fn wait(&self, most: Duration) -> Duration {
        let is_missing = self.0.lock().is_some_and(|noted| noted.elapsed() < CAUTION);
        if is_missing { most.min(SHORT) } else { most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_comes_back() {
        let patience = Patience::default();
        let most = Duration::from_secs(60);
        assert_eq!(patience.wait(most), most);
        patience.note_missing();
        assert_eq!(patience.wait(most), SHORT);
        assert_eq!(patience.wait(SHORT / 2), SHORT / 2);
        tokio::time::advance(CAUTION / 2).await;
        patience.note_waited(patience.wait(most), most);
        tokio::time::advance(CAUTION / 2).await;
        assert_eq!(patience.wait(most), most, "a short wait in vain says nothing");
        patience.note_waited(patience.wait(most), most);
        assert_eq!(patience.wait(most), SHORT);
    }
}
