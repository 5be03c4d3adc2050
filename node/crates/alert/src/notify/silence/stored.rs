//! All silences of a tenant: set, changed and expired as Alertmanager does, and remembered for a while after they ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{Labels, PatternBudget, Timestamp};

use super::{SILENCES_MAX, Silence, SilenceState};
use crate::notify::matchers::{Matchers, parse_matchers};
use crate::set_back::SetBack;

/// A silence, with what people know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSilence {
    /// Its matchers as they were written.
    pub matchers: Arc<str>,
    /// What holds; the problem if the matchers mean nothing to this program: it silences nothing then.
    pub parsed: Result<Matchers, String>,
    /// What must meet an alert that fires, so that others are silenced, as it was written; with what that means, as of `parsed`.
    pub during: Option<(Arc<str>, Result<Matchers, String>)>,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when, not included.
    pub ends_at: Timestamp,
    /// Who wanted it.
    pub created_by: Arc<str>,
    /// Why.
    pub comment: Arc<str>,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Silences by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Silences(BTreeMap<String, StoredSilence>);

/// Why a silence was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// There is no silence to change.
    #[error("there is no such silence")]
    Unknown,
    /// The new id is another's.
    #[error("the id is taken")]
    Taken,
    /// It would never hold.
    #[error("it is over, or ends before it begins")]
    Over,
    /// There are too many.
    #[error("there are {SILENCES_MAX} silences already")]
    TooMany,
}

impl StoredSilence {
    /// One as it was written, not checked.
    pub fn new(
        matchers: &str,
        (begins_at, ends_at): (Timestamp, Timestamp),
        created_by: &str,
        comment: &str,
    ) -> StoredSilence {
        let parsed = parse_matchers(matchers, &mut PatternBudget::default()).map_err(|error| error.to_string());
        let (matchers, created_by, comment) = (matchers.into(), created_by.into(), comment.into());
        StoredSilence { matchers, parsed, during: None, begins_at, ends_at, created_by, comment, updated_at: begins_at }
    }

    /// The same while an alert fires that meets these matchers.
    pub fn during(mut self, matchers: Option<&str>) -> StoredSilence {
        self.during = matchers.map(|text| {
            let parsed = parse_matchers(text, &mut PatternBudget::default());
            (text.into(), parsed.map_err(|error| error.to_string()))
        });
        self
    }

    /// Whether what it waits for is so. `fires` tells whether an alert fires that meets matchers.
    fn is_met(&self, fires: &dyn Fn(&Matchers) -> bool) -> bool {
        self.during.as_ref().is_none_or(|(_, during)| during.as_ref().is_ok_and(fires))
    }

    /// What it does at a time.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        Silence::state_between(self.begins_at, self.ends_at, now)
    }

    /// Whether it silences an alert at a time, if what it waits for is so. What it waits for it does not silence itself.
    pub fn silences(&self, labels: &Labels, now: Timestamp) -> bool {
        let holds = |matchers: &Matchers| matchers.match_labels(labels);
        let is_awaited = |during: &(Arc<str>, Result<Matchers, String>)| during.1.as_ref().is_ok_and(holds);
        !self.during.as_ref().is_some_and(is_awaited)
            && self.state(now) == SilenceState::Active
            && self.parsed.as_ref().is_ok_and(holds)
    }

    fn is_same_but_for_begin(&self, other: &StoredSilence) -> bool {
        let of = |one: &StoredSilence| {
            (one.matchers.clone(), one.during.clone(), one.ends_at, one.created_by.clone(), one.comment.clone())
        };
        of(self) == of(other)
    }

    /// Whether it can become the other and stay itself: what it silenced already is history.
    fn can_become(&self, other: &StoredSilence, now: Timestamp) -> bool {
        let same_second = self.begins_at.div_euclid(1000) == other.begins_at.div_euclid(1000);
        self.matchers == other.matchers
            && self.during == other.during
            && match self.state(now) {
                SilenceState::Active => same_second && other.ends_at >= now,
                SilenceState::Pending => other.begins_at >= now,
                SilenceState::Expired => false,
            }
    }
}

impl Silences {
    /// All, by their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &StoredSilence)> {
        self.0.iter()
    }

    /// One.
    pub fn get(&self, id: &str) -> Option<&StoredSilence> {
        self.0.get(id)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their time was wrong: what had begun has begun, and what was over is over. When others begin and end people have said.
    pub(crate) fn set_back(&mut self, back: SetBack) {
        for StoredSilence { begins_at, ends_at, updated_at, .. } in self.0.values_mut() {
            back.happened(updated_at);
            let passed = [begins_at, ends_at].into_iter().filter(|at| **at <= back.before());
            passed.for_each(|at| back.happened(at));
        }
    }

    /// Those that hold at a time, found out once for all alerts: `fires`, which tells whether an alert fires that meets matchers, may
    /// look at each of them.
    pub fn holding(&self, fires: &dyn Fn(&Matchers) -> bool, now: Timestamp) -> Vec<(&String, &StoredSilence)> {
        let active = self.0.iter().filter(|(_, silence)| silence.state(now) == SilenceState::Active);
        active.filter(|(_, silence)| silence.is_met(fires)).collect()
    }

    /// Sets a silence, or changes the one that it replaces; its id. What cannot be changed without changing what was silenced ends
    /// now, and the silence gets `new_id`. The same again changes nothing.
    pub fn set(
        &mut self,
        replaces: Option<&str>,
        new_id: &str,
        mut silence: StoredSilence,
        now: Timestamp,
    ) -> Result<String, SetError> {
        if silence.ends_at < now || silence.ends_at <= silence.begins_at {
            return Err(SetError::Over);
        }
        silence.updated_at = now;
        if let Some(known) = self.0.get(new_id) {
            return if known.is_same_but_for_begin(&silence) { Ok(new_id.to_owned()) } else { Err(SetError::Taken) };
        }
        if let Some(id) = replaces {
            let known = self.0.get_mut(id).ok_or(SetError::Unknown)?;
            if known.can_become(&silence, now) {
                *known = silence;
                return Ok(id.to_owned());
            }
        }
        self.make_room(now)?;
        if let Some(id) = replaces {
            self.expire(id, now);
        }
        silence.begins_at = silence.begins_at.max(now);
        self.0.insert(new_id.to_owned(), silence);
        Ok(new_id.to_owned())
    }

    /// Ends a silence; whether there is one.
    pub fn expire(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(silence) = self.0.get_mut(id) else { return false };
        match silence.state(now) {
            SilenceState::Pending => (silence.begins_at, silence.ends_at, silence.updated_at) = (now, now, now),
            SilenceState::Active => (silence.ends_at, silence.updated_at) = (now, now),
            SilenceState::Expired => {}
        }
        true
    }

    /// Forgets those that ended so long ago.
    pub fn forget(&mut self, retention_ms: i64, now: Timestamp) {
        self.0.retain(|_, silence| silence.ends_at.saturating_add(retention_ms) > now);
    }

    /// One that was stored.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut StoredSilence> {
        self.0.get_mut(id)
    }

    /// How many hold while an alert fires, and are not over.
    pub fn conditional(&self, now: Timestamp) -> usize {
        let conditional = self.0.values().filter(|silence| silence.during.is_some());
        conditional.filter(|silence| silence.state(now) != SilenceState::Expired).count()
    }

    /// Adds one that was stored.
    pub fn insert_stored(&mut self, id: String, silence: StoredSilence) {
        self.0.insert(id, silence);
    }

    /// When the next one is forgotten.
    pub fn next_forgotten(&self, retention_ms: i64) -> Option<Timestamp> {
        self.0.values().map(|silence| silence.ends_at.saturating_add(retention_ms)).min()
    }

    /// Those that are over make room for others, the one that ended first first.
    fn make_room(&mut self, now: Timestamp) -> Result<(), SetError> {
        if self.0.len() < SILENCES_MAX {
            return Ok(());
        }
        let over = self.0.iter().filter(|(_, silence)| silence.state(now) == SilenceState::Expired);
        let first = over.min_by_key(|(_, silence)| silence.ends_at).map(|(id, _)| id.clone());
        let first = first.ok_or(SetError::TooMany)?;
        self.0.remove(&first);
        Ok(())
    }
}
