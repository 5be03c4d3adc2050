//! Whether a group needs a replica to lead whose node abstains: it alone has entries that a candidate lacks, so that nobody who
//! stands can be elected. It leads then, until another one has them.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long candidates must have been refused. Somebody else may have the entries, and comes back meanwhile.
const NEEDED_AFTER: Duration = Duration::from_secs(30);
/// Without another candidate for so long, somebody leads or nobody can.
const LAPSES_AFTER: Duration = Duration::from_secs(6);

/// The first and the latest time that a candidate was refused because it lacked entries.
#[derive(Default)]
pub(super) struct Needed(Mutex<Option<(Instant, Instant)>>);

impl Needed {
    /// A candidate was refused because it lacks entries.
    pub fn refused(&self) {
        let now = Instant::now();
        let mut refused = self.0.lock();
        let first = refused.filter(|(_, latest)| now - *latest <= LAPSES_AFTER).map_or(now, |(first, _)| first);
        *refused = Some((first, now));
    }

    /// Somebody leads.
    pub fn led(&self) {
        *self.0.lock() = None;
    }

    /// Whether nobody else can be elected, as it looks.
    pub fn is_needed(&self) -> bool {
        let refused = *self.0.lock();
        refused.is_some_and(|(first, latest)| latest - first >= NEEDED_AFTER && latest.elapsed() <= LAPSES_AFTER)
    }
}
