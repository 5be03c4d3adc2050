//! What clients write and ask, by shape: how many tenants, how samples come, how often series are new, what is deleted.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Tenants at most.
const TENANTS_MAX: u64 = 4;

/// How often there is somebody who sets rules, in per cent.
const ALERTERS_PERCENT: u64 = 50;
/// How often that is one who uses more of alerting than rules and silences, in per cent.
const PAGES_PERCENT: u64 = 60;
/// How often there is somebody beside whose rules and silences change, in per cent.
const CHANGES_PERCENT: u64 = 50;
/// How often a client writes through the client library, in per cent.
const GATHERS_PERCENT: u64 = 40;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Tenants, whose series have the same labels.
    pub tenants: usize,
    /// How often a write has a series that nobody has seen, in per cent.
    pub new_series_percent: u64,
    /// How often a sample is of now, and not of the last minutes, in per cent.
    pub ordered_percent: u64,
    /// How often a sample is some hours late, in per cent.
    pub late_percent: u64,
    /// How often a request has a time of a series twice, with two values of which the second counts, in per cent.
    pub duplicate_percent: u64,
    /// Clients that write and delete.
    pub erasers: usize,
    /// How often a query is a computed one, and not one for samples, in per cent.
    pub computed_percent: u64,
    /// How often a write goes to one of a few times that are written again and again, in per cent.
    pub hot_percent: u64,
    /// Clients that set and delete rules.
    #[serde(default)]
    pub alerters: usize,
    /// Whether their rules are of all sorts, some alerts are acknowledged, and of others somebody else is told in the end.
    #[serde(default)]
    pub pages: bool,
    /// Whether there are rules that are edited, alerts that come and go, and silences that are deleted.
    #[serde(default)]
    pub changes: bool,
    /// Whether the first client that writes does so through the client library, over gRPC.
    #[serde(default)]
    pub gathers: bool,
}

impl Workload {
    /// What a seed draws.
    pub fn of(seed: u64) -> Workload {
        let mut random = Random::of(seed, "workload");
        Workload {
            tenants: 1 + random.below(TENANTS_MAX) as usize,
            new_series_percent: random.below(30),
            ordered_percent: [0, 50, 100][random.below(3) as usize],
            late_percent: random.below(10),
            duplicate_percent: random.below(15),
            erasers: random.below(3) as usize,
            computed_percent: 20 + random.below(60),
            hot_percent: [0, 0, 5, 50][random.below(4) as usize],
            // A stream of its own: what other clients do stays what it was.
            alerters: usize::from(Random::of(seed, "alerting").percent(ALERTERS_PERCENT)),
            pages: Random::of(seed, "pages").percent(PAGES_PERCENT),
            changes: Random::of(seed, "changes").percent(CHANGES_PERCENT),
            gathers: Random::of(seed, "gathers").percent(GATHERS_PERCENT),
        }
    }
}
