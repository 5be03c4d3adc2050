//! The notification configuration.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{Command, Outcome, StoredNotifications};
use bellwether_alert::notify::Config;
use bellwether_alert::yaml::problems::Problem;
use bellwether_model::Tenant;

use super::{Desk, DeskError};
use crate::alerting::send::refusal::refusals;

impl Desk {
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
