//! Who is on call, and overrides.

use bellwether_alert::alert_group::{Command, StoredNotifications};
use bellwether_alert::notify::on_call::{Override, Shift};
use bellwether_model::{Tenant, Timestamp};

use super::{Desk, DeskError};

/// A schedule at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnCall {
    /// Its name.
    pub schedule: String,
    /// The receiver of who is on call, if somebody is.
    pub user: Option<String>,
    /// Overrides that are not over, by their ids.
    pub overrides: Vec<(String, Override)>,
}

impl Desk {
    /// Who is on call by each schedule.
    pub fn on_call(&self, tenant: &Tenant, at: Timestamp) -> Vec<OnCall> {
        self.look(tenant, |state| {
            let Some(state) = state else { return Vec::new() };
            let config = StoredNotifications::effective(&state.notifications);
            let schedules = config.on_call.keys().map(|schedule| {
                let all = state.overrides.0.iter();
                let overrides = all.filter(|(_, one)| one.schedule == *schedule && one.shift.ends_at > at);
                OnCall {
                    schedule: schedule.clone(),
                    user: config.who_is_on_call(schedule, &state.overrides, at).map(str::to_owned),
                    overrides: overrides.map(|(id, one)| (id.clone(), one.clone())).collect(),
                }
            });
            schedules.collect()
        })
    }

    /// Has somebody on call instead of another; the override's id.
    pub async fn set_override(
        &self,
        tenant: &Tenant,
        schedule: String,
        shift: Shift,
        by: String,
    ) -> Result<String, DeskError> {
        if shift.begins_at >= shift.ends_at || shift.ends_at <= self.now_ms() {
            return Err(DeskError::Invalid("the override is over, or ends before it begins".to_owned()));
        }
        self.look(tenant, |state| {
            let stored = state.and_then(|state| state.notifications.clone());
            let config = StoredNotifications::effective(&stored);
            if !config.on_call.contains_key(&schedule) {
                return Err(DeskError::NotFound(format!("there is no on-call schedule {schedule:?}")));
            }
            match config.receivers.get(&shift.user) {
                Some(receiver) if receiver.on_call.is_none() => Ok(()),
                _ => Err(DeskError::NotFound(format!("there is no receiver {:?} that can be on call", shift.user))),
            }
        })?;
        let id = self.draw_id();
        let command = Command::SetOverride { tenant: tenant.clone(), id: id.clone(), schedule, shift, by };
        self.propose(tenant, command).await.map(|_| id)
    }

    /// Ends an override.
    pub async fn delete_override(&self, tenant: &Tenant, id: &str) -> Result<(), DeskError> {
        let is_there = self.look(tenant, |state| state.is_some_and(|state| state.overrides.0.contains_key(id)));
        if !is_there {
            return Err(DeskError::NotFound(format!("there is no override {id:?}")));
        }
        let command = Command::DeleteOverride { tenant: tenant.clone(), id: id.to_owned() };
        self.propose(tenant, command).await.map(drop)
    }
}
