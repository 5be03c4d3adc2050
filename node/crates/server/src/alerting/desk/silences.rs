//! Silences.

use bellwether_alert::alert_group::{Command, Outcome, SilenceDraft};
use bellwether_alert::notify::matchers::{Matchers, parse_matchers};
use bellwether_alert::notify::silence::{SilenceState, StoredSilence};
use bellwether_model::{PatternBudget, Tenant, Timestamp};

use super::{Desk, DeskError};

/// A silence with its id.
#[derive(Debug, Clone)]
pub struct NamedSilence {
    /// Its id.
    pub id: String,
    /// What is known of it.
    pub silence: StoredSilence,
    /// What it does now.
    pub state: SilenceState,
}

/// A silence as somebody wants it.
#[derive(Debug, Clone)]
pub struct SilenceWish {
    /// The one that is to be changed.
    pub id: Option<String>,
    /// Which alerts.
    pub matchers: Matchers,
    /// What an alert must meet that fires, so that others are silenced.
    pub during: Option<Matchers>,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

impl Desk {
    /// Takes a silence; its id.
    pub async fn set_silence(&self, tenant: &Tenant, wish: SilenceWish) -> Result<String, DeskError> {
        // As in Alertmanager: one that meets every alert is a slip.
        if wish.matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(DeskError::Invalid("at least one matcher must not match the empty string".to_owned()));
        }
        if wish.begins_at >= wish.ends_at {
            return Err(DeskError::Invalid("start time must be before end time".to_owned()));
        }
        if wish.ends_at <= self.now_ms() {
            return Err(DeskError::Invalid("end time can't be in the past".to_owned()));
        }
        let draft = SilenceDraft {
            replaces: wish.id,
            new_id: self.draw_id(),
            matchers: wish.matchers.to_string(),
            during: wish.during.map(|during| during.to_string()),
            begins_at: wish.begins_at,
            ends_at: wish.ends_at,
            created_by: wish.created_by,
            comment: wish.comment,
        };
        let command = Command::SetSilence { tenant: tenant.clone(), silence: draft };
        match self.propose(tenant, command).await? {
            Outcome::Silence { id } => Ok(id),
            outcome => Err(DeskError::Invalid(format!("a silence came to {outcome:?}"))),
        }
    }

    /// Ends a silence now.
    pub async fn expire_silence(&self, tenant: &Tenant, id: &str) -> Result<(), DeskError> {
        self.propose(tenant, Command::ExpireSilence { tenant: tenant.clone(), id: id.to_owned() }).await.map(drop)
    }

    /// A silence.
    pub fn silence(&self, tenant: &Tenant, id: &str) -> Option<NamedSilence> {
        let now = self.now_ms();
        self.look(tenant, |state| Some(named((id, state?.silences.get(id)?), now)))
    }

    /// All silences in Alertmanager's order: those that hold, the first to end first; those to come, the first to begin first; those
    /// that are over, the last to end first.
    pub fn silences(&self, tenant: &Tenant) -> Vec<NamedSilence> {
        let now = self.now_ms();
        let mut silences: Vec<NamedSilence> = self.look(tenant, |state| {
            let all = state.into_iter().flat_map(|state| state.silences.iter());
            all.map(|(id, silence)| named((id, silence), now)).collect()
        });
        silences.sort_by_key(|named| match named.state {
            SilenceState::Active => (0, named.silence.ends_at),
            SilenceState::Pending => (1, named.silence.begins_at),
            SilenceState::Expired => (2, named.silence.ends_at.saturating_neg()),
        });
        silences
    }
}

/// Matchers of several texts, all of which must hold.
pub fn read_matchers<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Matchers, DeskError> {
    let mut budget = PatternBudget::default();
    let mut all = Vec::new();
    for text in texts {
        let matchers = parse_matchers(text, &mut budget);
        let matchers = matchers.map_err(|error| {
            DeskError::Invalid(format!("bad matcher format: {text:?}: character {}: {error}", error.column(text)))
        })?;
        all.extend(matchers.iter().cloned());
    }
    Ok(Matchers::new(all))
}

fn named((id, silence): (&str, &StoredSilence), now: Timestamp) -> NamedSilence {
    NamedSilence { id: id.to_owned(), silence: silence.clone(), state: silence.state(now) }
}
