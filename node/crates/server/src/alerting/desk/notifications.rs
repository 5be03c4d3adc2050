//! The notification configuration.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::state::Notifications;
use bellwether_alert::alert_group::{Command, Outcome, StoredNotifications};
use bellwether_alert::yaml::problems::Problem;
use bellwether_model::Tenant;

use super::{Desk, DeskError};

impl Desk {
    /// Takes a configuration: its revision, and what is right and yet not as it should be.
    pub async fn set_notifications(
        &self,
        tenant: &Tenant,
        config: String,
        templates: BTreeMap<String, String>,
    ) -> Result<(u64, Vec<Problem>), DeskError> {
        let read = Notifications::read(&config, &templates).map_err(DeskError::Wrong)?;
        let command = Command::SetNotifications { tenant: tenant.clone(), config, templates };
        match self.propose(tenant, command).await? {
            Outcome::Revision(revision) => Ok((revision, read.config.warnings)),
            _ => Ok((0, read.config.warnings)),
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
