//! What of an evaluation is told where there is no room for all of it. Of all rules together, room is given to:
//!
//! 1. what becomes of alerts and series that are known: they are gone or back, or reach another threshold. A rule of which not all of that
//!    is told is cut: time alone would end or fire what was not told of;
//! 2. what appears. The rest appears with the next evaluation, and nothing else waits for it;
//! 3. what else is to be said of alerts that are as they were (values, annotations), those first that were told of longest ago.

use std::collections::BTreeSet;

use bellwether_model::{Labels, Timestamp};

use super::{RuleDifference, bytes, sighting_bytes};
use crate::alert_group::limits::EVALUATED_BYTES_MAX;
use crate::alert_group::state::RuleProgress;
use crate::state::alerting::Phase;
use crate::state::threshold::watch::Sighting;

/// Leaves out what has no room.
pub(super) fn fit(known: &[RuleProgress], differences: &mut [RuleDifference]) {
    // Nearly always there is room for all.
    if differences.iter().map(bytes_of_rule).sum::<usize>() <= EVALUATED_BYTES_MAX {
        return;
    }
    let rules = known.iter().zip(&*differences).enumerate();
    let mut pieces: Vec<Piece> =
        rules.flat_map(|(rule, (known, difference))| of_rule(rule, known, difference)).collect();
    pieces.sort_unstable();
    let mut room = EVALUATED_BYTES_MAX;
    let mut left_out = BTreeSet::new();
    for Piece { need, rule, list, place, bytes } in pieces {
        if bytes <= room {
            room -= bytes;
            continue;
        }
        left_out.insert((rule, list, place));
        if need == Need::Known {
            let RuleDifference { observation, sightings, .. } = &mut differences[rule];
            let is_cut = match list {
                List::Sighted => &mut sightings.is_cut,
                List::Gone | List::Refreshed | List::Appeared => &mut observation.is_cut,
            };
            *is_cut = true;
        }
    }
    for (rule, RuleDifference { observation, sightings, .. }) in differences.iter_mut().enumerate() {
        let is_told = |list, place| !left_out.contains(&(rule, list, place));
        retain(&mut observation.gone, |place| is_told(List::Gone, place));
        retain(&mut observation.refreshed, |place| is_told(List::Refreshed, place));
        retain(&mut observation.appeared, |place| is_told(List::Appeared, place));
        retain(&mut sightings.changed, |place| is_told(List::Sighted, place));
    }
}

/// Something that can be told or left out. The first in order is given room first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    need: Need,
    rule: usize,
    list: List,
    place: usize,
    bytes: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Known,
    New,
    Again { told_at: Timestamp },
}

/// Where it stands in a difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Gone,
    Refreshed,
    Appeared,
    Sighted,
}

/// What all pieces of a rule take.
fn bytes_of_rule(difference: &RuleDifference) -> usize {
    let RuleDifference { observation, sightings, .. } = difference;
    let gone = observation.gone.iter().map(Labels::byte_len);
    let seen = observation.refreshed.iter().chain(&observation.appeared).map(|(labels, seen)| bytes(labels, seen));
    let sighted = sightings.changed.iter().map(|(labels, sighting)| sighting_bytes(labels, sighting));
    gone.chain(seen).chain(sighted).sum()
}

fn of_rule(rule: usize, known: &RuleProgress, difference: &RuleDifference) -> Vec<Piece> {
    let RuleDifference { observation, sightings, .. } = difference;
    let mut pieces = Vec::new();
    let mut add = |list, place, need, bytes| pieces.push(Piece { need, rule, list, place, bytes });
    for (place, labels) in observation.gone.iter().enumerate() {
        add(List::Gone, place, Need::Known, labels.byte_len());
    }
    for (place, (labels, seen)) in observation.refreshed.iter().enumerate() {
        add(List::Refreshed, place, known.need_of_refresh(labels), bytes(labels, seen));
    }
    for (place, (labels, seen)) in observation.appeared.iter().enumerate() {
        add(List::Appeared, place, Need::New, bytes(labels, seen));
    }
    for (place, (labels, sighting)) in sightings.changed.iter().enumerate() {
        add(List::Sighted, place, known.need_of_sighting(labels, sighting), sighting_bytes(labels, sighting));
    }
    pieces
}

impl RuleProgress {
    fn need_of_refresh(&self, labels: &Labels) -> Need {
        match self.alerts.get(labels) {
            Some(alert) if !matches!(alert.phase, Phase::Firing { kept_since: Some(_), .. }) => {
                Need::Again { told_at: alert.refreshed_at }
            }
            // It is back.
            _ => Need::Known,
        }
    }

    fn need_of_sighting(&self, labels: &Labels, sighting: &Sighting) -> Need {
        match self.watched.get(labels) {
            None => Need::New,
            Some(watched) if watched.stands_as(sighting) => Need::Again { told_at: watched.refreshed_at },
            Some(_) => Need::Known,
        }
    }
}

fn retain<T>(list: &mut Vec<T>, is_told: impl Fn(usize) -> bool) {
    let mut places = 0..;
    list.retain(|_| places.next().is_some_and(&is_told));
}
