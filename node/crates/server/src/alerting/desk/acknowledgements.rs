//! Alerts that somebody takes care of, and the links by which he says so.

use std::collections::BTreeSet;

use bellwether_alert::alert_group::{Command, Outcome, StoredNotifications};
use bellwether_alert::notify::dispatch::is_over;
use bellwether_alert::notify::matchers::Matchers;
use bellwether_model::{Labels, Tenant};

use super::{Desk, DeskError, SilenceWish};
use crate::alerting::links::{Action, Link, SILENCE_MS, Token};

/// What a link would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOffer {
    /// Acknowledge so many alerts of the group of this key, of which so many are not acknowledged yet.
    Acknowledge {
        /// The group's key.
        group: String,
        /// Alerts that fire.
        firing: usize,
        /// Those that nobody has acknowledged.
        open: usize,
    },
    /// Silence what meets these matchers.
    Silence {
        /// As text.
        matchers: String,
    },
}

/// Why a link does nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nobody made it here.
    #[error("this link is not right: it was cut, changed, or made by another cluster")]
    Forged,
    /// Its time is over.
    #[error("this link is over: links can be used for a day")]
    Expired,
    /// It could not be done.
    #[error(transparent)]
    Desk(#[from] DeskError),
}

impl Desk {
    /// What a link would do. Nothing is changed.
    pub fn offer(&self, token: &str) -> Result<LinkOffer, LinkError> {
        let Link { tenant, action, .. } = self.checked(token)?;
        Ok(match action {
            Action::Silence(matchers) => LinkOffer::Silence { matchers },
            Action::Acknowledge(group) => {
                let firing = self.firing_in(&tenant, &group);
                let now = self.now_ms();
                let open = self.look(&tenant, |state| {
                    let is_open = |labels: &&Labels| state.is_some_and(|it| it.acknowledgement(labels, now).is_none());
                    firing.iter().filter(is_open).count()
                });
                LinkOffer::Acknowledge { group, firing: firing.len(), open }
            }
        })
    }

    /// Does what a link says; how many alerts were acknowledged, or the id of the silence.
    pub async fn follow(&self, token: &str, by: &str) -> Result<Result<u64, String>, LinkError> {
        let Link { tenant, action, .. } = self.checked(token)?;
        let by = if by.is_empty() { "a link" } else { by };
        Ok(match action {
            Action::Acknowledge(group) => {
                let alerts = self.firing_in(&tenant, &group);
                Ok(self.acknowledge_alerts(&tenant, alerts, by).await?)
            }
            Action::Silence(matchers) => {
                let begins_at = self.now_ms();
                let wish = SilenceWish {
                    id: None,
                    matchers: Link::matchers(&matchers).ok_or(LinkError::Forged)?,
                    during: None,
                    begins_at,
                    ends_at: begins_at.saturating_add(SILENCE_MS),
                    created_by: by.to_owned(),
                    comment: "silenced by the link in a message".to_owned(),
                };
                Err(self.set_silence(&tenant, wish).await?)
            }
        })
    }

    /// Acknowledges what fires and meets the matchers: how many alerts that were not yet.
    pub async fn acknowledge(&self, tenant: &Tenant, matchers: &Matchers, by: &str) -> Result<u64, DeskError> {
        // As with silences: all alerts at once are a slip.
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(DeskError::Invalid("at least one matcher must not match the empty string".to_owned()));
        }
        let now = self.now_ms();
        let alerts = self.look(tenant, |state| {
            let known = state.into_iter().flat_map(|state| state.dispatch.alerts()).map(|known| &known.alert);
            let wanted = known.filter(|alert| !is_over(alert, now) && matchers.match_labels(&alert.labels));
            wanted.map(|alert| alert.labels.clone()).collect()
        });
        self.acknowledge_alerts(tenant, alerts, by).await
    }

    async fn acknowledge_alerts(&self, tenant: &Tenant, alerts: BTreeSet<Labels>, by: &str) -> Result<u64, DeskError> {
        let mut acknowledged = 0;
        for command in Command::acknowledge(tenant, alerts, by) {
            if let Outcome::Acknowledged { alerts } = self.propose(tenant, command).await? {
                acknowledged += alerts;
            }
        }
        Ok(acknowledged)
    }

    fn firing_in(&self, tenant: &Tenant, group_key: &str) -> BTreeSet<Labels> {
        let now = self.now_ms();
        self.look(tenant, |state| {
            let Some(state) = state else { return BTreeSet::new() };
            state.dispatch.firing_in(StoredNotifications::effective(&state.notifications), group_key, now)
        })
    }

    /// A link that was made here and is not over.
    fn checked(&self, token: &str) -> Result<Link, LinkError> {
        let token = Token::read(token).ok_or(LinkError::Forged)?;
        let key = self.look(&token.link.tenant, |state| state?.link_key).ok_or(LinkError::Forged)?;
        if !token.is_signed_by(key) {
            return Err(LinkError::Forged);
        }
        if token.link.expires_at <= self.now_ms() {
            return Err(LinkError::Expired);
        }
        Ok(token.link)
    }
}
