//! How often openraft may warn of the same thing: hundreds of groups meet the same trouble at the same moment.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Whose lines are counted.
const TARGET: &str = "openraft";
/// Lines of one place in the program that pass within [`PERIOD`].
const LINES_MAX: u32 = 5;
/// See [`LINES_MAX`].
const PERIOD: Duration = Duration::from_secs(60);

/// Lets a few lines of each warning of openraft's pass, and everything else. There are as many entries as places in openraft
/// that warn.
#[derive(Default)]
pub struct Quota(Mutex<BTreeMap<Place, Passed>>);

/// File and line.
type Place = (Option<&'static str>, Option<u32>);

/// Lines since a moment.
struct Passed {
    since: Instant,
    lines: u32,
}

impl Quota {
    fn admits(&self, place: Place, now: Instant) -> bool {
        let mut places = self.0.lock();
        let passed = places.entry(place).or_insert(Passed { since: now, lines: 0 });
        if now.duration_since(passed.since) >= PERIOD {
            *passed = Passed { since: now, lines: 0 };
        }
        passed.lines = passed.lines.saturating_add(1);
        passed.lines <= LINES_MAX
    }
}

impl<S> Filter<S> for Quota {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_counted = *metadata.level() == Level::WARN && metadata.target().starts_with(TARGET);
        !is_counted || self.admits((metadata.file(), metadata.line()), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_warning_passes_a_few_times_a_minute() {
        let (quota, now) = (Quota::default(), Instant::now());
        let passed = |place: Place, now| (0..100).filter(|_| quota.admits(place, now)).count();
        let (one, two) = ((Some("a.rs"), Some(1)), (Some("a.rs"), Some(2)));
        assert_eq!((passed(one, now), passed(two, now), passed(one, now)), (5, 5, 0));
        assert_eq!(passed(one, now + PERIOD), 5);
    }

    /// Counts events.
    struct Count(Arc<Mutex<usize>>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock() += 1;
        }
    }

    #[test]
    fn only_openrafts_warnings_are_counted() {
        let seen = Arc::<Mutex<usize>>::default();
        let lines = tracing_subscriber::registry().with(Count(seen.clone()).with_filter(Quota::default()));
        tracing::subscriber::with_default(lines, || {
            for _ in 0..10 {
                tracing::warn!(target: "openraft::core::raft_core", "a vote was not answered");
                tracing::error!(target: "openraft::core::raft_core", "stopped");
                tracing::warn!(target: "bellwether_server::peers", "our own");
            }
        });
        assert_eq!(*seen.lock(), 5 + 10 + 10);
    }
}
