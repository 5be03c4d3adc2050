//! The notification configuration.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{Command, IntegrationHealth, Outcome, StoredNotifications};
use bellwether_alert::notify::Config;
use bellwether_alert::notify::config::IntegrationAt;
use bellwether_alert::notify::config::kinds::Kind;
use bellwether_alert::yaml::problems::Problem;
use bellwether_model::{Tenant, Timestamp};

use super::{Desk, DeskError};
use crate::alerting::send::refusal::refusals;

/// How a receiver fares.
#[derive(Debug, Clone)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: String,
    /// Groups that its throttle holds back now, and how often one was held back since none was.
    pub held_back: (u64, u64),
    /// How each of its integrations does, in their order.
    pub integrations: Vec<IntegrationStatus>,
}

/// How an integration fares.
#[derive(Debug, Clone)]
pub struct IntegrationStatus {
    /// Its kind.
    pub kind: Kind,
    /// How sending goes.
    pub health: IntegrationHealth,
    /// Messages that wait to be sent, those included that are being sent.
    pub waiting: u64,
    /// When the first of them was made.
    pub waiting_since: Option<Timestamp>,
}

impl IntegrationStatus {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match (self.health.failing_since, self.health.sent_at) {
            (Some(_), _) => "failing",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        }
    }
}

impl Desk {
    /// How the receivers of the configuration fare, by name.
    pub fn receiver_statuses(&self, tenant: &Tenant) -> Vec<ReceiverStatus> {
        self.look(tenant, |state| {
            let Some(state) = state else { return Vec::new() };
            let mut waiting: BTreeMap<(&str, IntegrationAt), (u64, Timestamp)> = BTreeMap::new();
            for intent in state.intents.values() {
                let key = (intent.message.receiver.as_str(), intent.message.integration);
                let (count, since) = waiting.entry(key).or_insert((0, intent.made_at));
                (*count, *since) = (*count + 1, intent.made_at.min(*since));
            }
            let status = |name: &str, at: IntegrationAt| {
                let health = state.integrations.get(&(name.to_owned(), at)).cloned().unwrap_or_default();
                let waits = waiting.get(&(name, at));
                IntegrationStatus {
                    kind: at.kind,
                    health,
                    waiting: waits.map_or(0, |(count, _)| *count),
                    waiting_since: waits.map(|(_, since)| *since),
                }
            };
            let receivers = state.config().receivers.iter();
            let receivers = receivers.map(|(name, receiver)| {
                let held_back = state.throttles.held_back(name);
                let integrations = receiver.integrations.iter().map(|one| status(name, one.at())).collect();
                ReceiverStatus { name: name.clone(), held_back, integrations }
            });
            receivers.collect()
        })
    }

    /// Takes a configuration: its revision, and what is right and yet not as it should be.
    pub async fn set_notifications(
        &self,
        tenant: &Tenant,
        config: String,
        templates: BTreeMap<String, String>,
    ) -> Result<(u64, Vec<Problem>), DeskError> {
        let read = Config::read(&config).map_err(DeskError::Wrong)?;
        let refused = refusals(&read);
        if !refused.is_empty() {
            return Err(DeskError::Wrong(refused));
        }
        let command = Command::set_notifications(tenant.clone(), config, templates).map_err(DeskError::Wrong)?;
        match self.propose(tenant, command).await? {
            Outcome::Revision(revision) => Ok((revision, read.warnings)),
            _ => Ok((0, read.warnings)),
        }
    }

    /// Forgets the configuration.
    pub async fn delete_notifications(&self, tenant: &Tenant) -> Result<(), DeskError> {
        self.propose(tenant, Command::DeleteNotifications { tenant: tenant.clone() }).await.map(drop)
    }

    /// The configuration.
    pub fn notifications(&self, tenant: &Tenant) -> Option<StoredNotifications> {
        self.look(tenant, |state| state?.notifications.clone())
    }
}
