//! Series that are watched, what an evaluation saw of them that was not known, and the alerts that they have.
//!
//! A series has an alert for each severity, told apart by the label `severity`: labels are what routes, silences and receivers go by. Of
//! `warning` and `critical` one fires: where `critical` begins to fire `warning` is resolved, and begins at once (its `for` has passed) where
//! `critical` ends and it is still a warning. `no_data` takes the place of both.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{Labels, LabelsBuilder, Timestamp};

use super::reading::Reading;
use super::{Grading, Presence, Severity, Standing, Zone};
use crate::limits::RESOLVED_RETENTION_MS;
use crate::state::alerting::{Alert, AlertEvent, Alerts, Change, Phase, Seen, Timing, is_unmoved};

/// The label that says how bad it is.
pub const SEVERITY: &str = "severity";

/// Series by the labels of their alerts, but for the severity.
pub type Watchlist = BTreeMap<Labels, Watched>;

/// A series that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// How it stands.
    pub standing: Standing,
    /// What was told of it last.
    pub seen: Seen,
    /// When.
    pub refreshed_at: Timestamp,
}

/// What an evaluation saw of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// It is there.
    There {
        /// What its value reaches.
        zone: Zone,
        /// Its value, and what is told with it unless that is of no use.
        seen: Seen,
    },
    /// It is not.
    Gone {
        /// What is told if that is to be told.
        seen: Option<Seen>,
    },
    /// The query has no series at all; this one stands for it.
    Nothing {
        /// What is told.
        seen: Seen,
    },
    /// It stood for that, and the query has series.
    Over,
}

/// What an evaluation saw that was not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sightings {
    /// By labels, ascending.
    pub changed: Vec<(Labels, Sighting)>,
    /// What became of some series that are watched had no room, or was not looked for. The evaluation counts as no check of any series.
    pub is_cut: bool,
}

/// What became of alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advanced {
    /// What happened, by the alerts' labels.
    pub events: Vec<AlertEvent>,
    /// Alerts that fire as before, of which there is something else to say.
    pub refreshed: Vec<Labels>,
}

impl Sightings {
    /// What of a reading is not known. Values and annotations alone are told again after `refresh_ms`.
    pub fn difference(known: &Watchlist, reading: &Reading, now: Timestamp, refresh_ms: i64) -> Sightings {
        let mut changed = Vec::new();
        for (labels, sighting) in reading {
            let is_known = known.get(labels).is_some_and(|watched| watched.knows(sighting, now, refresh_ms));
            if !is_known {
                changed.push((labels.clone(), sighting.clone()));
            }
        }
        for (labels, watched) in known.iter().filter(|(labels, _)| !reading.contains_key(*labels)) {
            let sighting = match watched.standing {
                Standing { is_whole: true, .. } => Sighting::Over,
                Standing { presence: Presence::There(_), .. } => Sighting::Gone { seen: None },
                Standing { presence: Presence::Gone { .. }, .. } => continue,
            };
            changed.push((labels.clone(), sighting));
        }
        changed.sort_by(|(a, _), (b, _)| a.cmp(b));
        Sightings { changed, is_cut: false }
    }

    /// Whether all is as it was known.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && !self.is_cut
    }
}

impl Watched {
    /// Whether a sighting says of it at most another value, or what is told with it.
    pub fn stands_as(&self, sighting: &Sighting) -> bool {
        let Standing { presence, is_whole, .. } = self.standing;
        match (sighting, presence) {
            (Sighting::There { zone, .. }, _) => presence == Presence::There(*zone) && !is_whole,
            // What `no_data` says, which has no value, came when it was gone.
            (Sighting::Gone { seen: Some(_) }, Presence::Gone { since }) => {
                self.seen.value.is_nan() && self.refreshed_at >= since
            }
            (Sighting::Gone { seen: None }, Presence::Gone { .. }) => true,
            (Sighting::Gone { .. }, Presence::There(_)) | (Sighting::Over, _) => false,
            (Sighting::Nothing { .. }, _) => is_whole,
        }
    }

    fn knows(&self, sighting: &Sighting, now: Timestamp, refresh_ms: i64) -> bool {
        let is_told = match sighting {
            Sighting::There { zone, .. } if zone.is_good() && self.standing.grade.is_none() => true,
            Sighting::There { seen, .. } | Sighting::Gone { seen: Some(seen) } => {
                let is_same = self.seen.value.to_bits() == seen.value.to_bits()
                    && (self.seen.annotations == seen.annotations || seen.annotations.is_empty());
                is_same || now.saturating_sub(self.refreshed_at) < refresh_ms
            }
            Sighting::Gone { seen: None } | Sighting::Nothing { .. } | Sighting::Over => true,
        };
        self.stands_as(sighting) && is_told
    }
}

/// Whether nothing at all becomes of the series and their alerts: those who share them may go on sharing.
pub fn is_still(
    (timing, grading): (Timing, &Grading),
    watched: &Watchlist,
    alerts: &Alerts,
    now: Timestamp,
    sightings: &Sightings,
) -> bool {
    let is_alone = watched.len() <= 1;
    let stands = |known: &Watched| known.standing.step(grading, now, is_alone) == Some(known.standing);
    sightings.changed.is_empty()
        && (sightings.is_cut || (is_unmoved(timing, alerts, now) && watched.values().all(stands)))
}

/// Series and alerts after an evaluation.
pub fn advance(
    (timing, grading): (Timing, &Grading),
    watched: &mut Watchlist,
    alerts: &mut Alerts,
    now: Timestamp,
    sightings: &Sightings,
) -> Advanced {
    sightings.changed.iter().for_each(|(labels, sighting)| take(watched, labels, sighting, now));
    if sightings.is_cut {
        return Advanced::default();
    }
    let is_alone = watched.len() <= 1;
    watched.retain(|_, known| match known.standing.step(grading, now, is_alone) {
        Some(standing) => {
            known.standing = standing;
            true
        }
        None => false,
    });
    let mut settling = Settling { timing, now, alerts, advanced: Advanced::default(), settled: BTreeSet::new() };
    watched.iter().for_each(|(labels, known)| settling.settle(labels, known));
    settling.settle_others()
}

fn take(watched: &mut Watchlist, labels: &Labels, sighting: &Sighting, now: Timestamp) {
    let gone = Presence::Gone { since: now };
    let of_seen =
        |presence, seen: &Seen| Watched { standing: Standing::new(presence), seen: seen.clone(), refreshed_at: now };
    match sighting {
        Sighting::There { zone, seen } => {
            let presence = Presence::There(*zone);
            let known = watched.entry(labels.clone()).or_insert_with(|| of_seen(presence, seen));
            (known.standing.presence, known.standing.is_whole) = (presence, false);
            (known.seen, known.refreshed_at) = (seen.clone(), now);
        }
        Sighting::Gone { seen } => {
            let Some(known) = watched.get_mut(labels) else { return };
            if let Presence::There(_) = known.standing.presence {
                known.standing.presence = gone;
            }
            if let Some(seen) = seen {
                (known.seen, known.refreshed_at) = (seen.clone(), now);
            }
        }
        Sighting::Nothing { seen } => {
            let known = watched.entry(labels.clone()).or_insert_with(|| of_seen(gone, seen));
            if let Presence::There(_) = known.standing.presence {
                known.standing.presence = gone;
            }
            known.standing.is_whole = true;
            (known.seen, known.refreshed_at) = (seen.clone(), now);
        }
        Sighting::Over => {
            if watched.get(labels).is_some_and(|known| known.standing.is_whole) {
                watched.remove(labels);
            }
        }
    }
}

/// What an alert is to be.
#[derive(Clone, Copy)]
enum Wish {
    /// There, for it has reason to be since then, and firing after so long.
    Be { since: Timestamp, for_ms: i64 },
    /// Over, once `keep_firing_for` is.
    End,
    /// Over at once: another takes its place.
    Yield,
}

struct Settling<'a> {
    timing: Timing,
    now: Timestamp,
    alerts: &'a mut Alerts,
    advanced: Advanced,
    settled: BTreeSet<Labels>,
}

impl Settling<'_> {
    /// The alerts of a series that is not ok.
    fn settle(&mut self, labels: &Labels, known: &Watched) {
        let Standing { grade: Some(grade), raised_at, presence, .. } = known.standing else { return };
        let for_ms = self.timing.for_ms;
        let of = |severity: Severity| with_severity(labels, severity);
        let critical = match grade {
            Severity::Critical => Wish::Be { since: self.now, for_ms },
            Severity::Warning => Wish::End,
            Severity::NoData => Wish::Yield,
        };
        let is_critical = self.wish(of(Severity::Critical), critical, Some(known));
        let warning = match grade {
            _ if is_critical => Wish::Yield,
            Severity::Warning | Severity::Critical => Wish::Be { since: raised_at.unwrap_or(self.now), for_ms },
            Severity::NoData => Wish::Yield,
        };
        self.wish(of(Severity::Warning), warning, Some(known));
        let no_data = match (grade, presence) {
            (Severity::NoData, Presence::Gone { since }) => Wish::Be { since, for_ms: 0 },
            _ => Wish::Yield,
        };
        self.wish(of(Severity::NoData), no_data, Some(known));
    }

    /// Alerts of series that are ok, or not watched any more; what was resolved long ago is forgotten.
    fn settle_others(mut self) -> Advanced {
        let others =
            self.alerts.iter().filter(|(labels, alert)| alert.phase.is_active() && !self.settled.contains(*labels));
        let others: Vec<Labels> = others.map(|(labels, _)| labels.clone()).collect();
        for labels in others {
            let is_no_data = labels.get(SEVERITY) == Some(Severity::NoData.as_str());
            self.wish(labels, if is_no_data { Wish::Yield } else { Wish::End }, None);
        }
        let now = self.now;
        self.alerts.retain(|_, alert| match alert.phase {
            Phase::Resolved { at } => now.saturating_sub(at) <= RESOLVED_RETENTION_MS,
            Phase::Pending | Phase::Firing { .. } => true,
        });
        // Stable: what happens to one alert stays in its order.
        self.advanced.events.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.advanced
    }

    /// Makes an alert what it is to be; whether it fires then.
    fn wish(&mut self, labels: Labels, wish: Wish, known: Option<&Watched>) -> bool {
        let now = self.now;
        let before = self.alerts.get(&labels).map(|alert| alert.phase).filter(|phase| phase.is_active());
        let mut events = Vec::new();
        let after = match (before, wish) {
            (None, Wish::End | Wish::Yield) => None,
            (None, Wish::Be { since, for_ms }) => {
                events.push(Change::Pending);
                let Some(known) = known else { return false };
                let Seen { value, annotations } = known.seen.clone();
                let alert = Alert { phase: Phase::Pending, active_at: since, value, annotations, refreshed_at: now };
                self.alerts.insert(labels.clone(), alert);
                Some(self.pending(since, for_ms, &mut events))
            }
            (Some(Phase::Pending), Wish::Be { for_ms, .. }) => {
                let since = self.alerts.get(&labels).map_or(now, |alert| alert.active_at);
                Some(self.pending(since, for_ms, &mut events))
            }
            (Some(Phase::Pending), Wish::End | Wish::Yield) => {
                events.push(Change::Dropped);
                self.alerts.remove(&labels);
                None
            }
            (Some(Phase::Firing { since, .. }), Wish::Be { .. }) => Some(Phase::Firing { since, kept_since: None }),
            (Some(Phase::Firing { since, kept_since }), Wish::End) => {
                let first = kept_since.unwrap_or(now);
                if now.saturating_sub(first) < self.timing.keep_firing_for_ms {
                    Some(Phase::Firing { since, kept_since: Some(first) })
                } else {
                    events.push(Change::Resolved);
                    Some(Phase::Resolved { at: now })
                }
            }
            (Some(Phase::Firing { .. }), Wish::Yield) => {
                events.push(Change::Resolved);
                Some(Phase::Resolved { at: now })
            }
            (Some(Phase::Resolved { .. }), _) => None,
        };
        if let Some((phase, alert)) = after.zip(self.alerts.get_mut(&labels)) {
            alert.phase = phase;
            // What was told of a series in this evaluation is told of its alerts.
            if let Some(known) = known.filter(|known| known.refreshed_at == now && phase.is_active()) {
                (alert.value, alert.annotations) = (known.seen.value, known.seen.annotations.clone());
                alert.refreshed_at = now;
                if matches!(before, Some(Phase::Firing { .. })) {
                    self.advanced.refreshed.push(labels.clone());
                }
            }
        }
        let event = |change| AlertEvent { labels: labels.clone(), change };
        self.advanced.events.extend(events.into_iter().map(event));
        self.settled.insert(labels);
        matches!(after, Some(Phase::Firing { .. }))
    }

    fn pending(&self, since: Timestamp, for_ms: i64, events: &mut Vec<Change>) -> Phase {
        if self.now.saturating_sub(since) < for_ms {
            return Phase::Pending;
        }
        events.push(Change::Firing);
        Phase::Firing { since: self.now, kept_since: None }
    }
}

/// The labels of a series' alert.
pub fn with_severity(labels: &Labels, severity: Severity) -> Labels {
    let mut labels = LabelsBuilder::from_labels(labels);
    labels.set(SEVERITY, severity.as_str());
    labels.build().expect("names are set once and are not empty")
}
