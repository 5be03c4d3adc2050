//! What became of alerts of rules.

use bellwether_alert::alert_group::Transition;
use bellwether_alert::alert_group::limits::HISTORY_MAX;
use bellwether_alert::notify::matchers::Matchers;
use bellwether_alert::state::alerting::Change;
use bellwether_model::{Tenant, Timestamp};

use super::Desk;

/// Transitions of one answer, unless more are wanted.
pub const HISTORY_LIMIT: usize = 1_000;

/// Which transitions are wanted.
#[derive(Debug)]
pub struct HistoryFilter {
    /// What their alerts must meet.
    pub matchers: Matchers,
    /// From when on.
    pub first: Timestamp,
    /// Until when, included.
    pub last: Timestamp,
    /// How many at most.
    pub limit: usize,
}

impl HistoryFilter {
    /// All of alerts that meet matchers, within times and a limit that may be absent.
    pub fn new(matchers: Matchers, first: Option<Timestamp>, last: Option<Timestamp>, limit: Option<usize>) -> Self {
        let (first, last) = (first.unwrap_or(Timestamp::MIN), last.unwrap_or(Timestamp::MAX));
        HistoryFilter { matchers, first, last, limit: limit.unwrap_or(HISTORY_LIMIT).min(HISTORY_MAX) }
    }
}

/// What became of alerts.
#[derive(Debug)]
pub struct History {
    /// The latest first.
    pub transitions: Vec<Transition>,
    /// There are older ones within the times than the limit let through.
    pub is_cut: bool,
}

impl Desk {
    /// What became of alerts of rules, as far as that is remembered.
    pub fn history(&self, tenant: &Tenant, filter: &HistoryFilter) -> History {
        self.look(tenant, |state| {
            let all = state.into_iter().flat_map(|state| state.history.iter().rev());
            let within = all.filter(|transition| (filter.first..=filter.last).contains(&transition.at));
            let mut wanted = within.filter(|transition| filter.matchers.match_labels(&transition.labels));
            let transitions = wanted.by_ref().take(filter.limit).cloned().collect();
            History { transitions, is_cut: wanted.next().is_some() }
        })
    }
}

/// What an alert has become, as people are told.
pub fn name_of(change: Change) -> &'static str {
    match change {
        Change::Pending => "pending",
        Change::Firing => "firing",
        Change::Resolved => "resolved",
        Change::Dropped => "dropped",
    }
}
