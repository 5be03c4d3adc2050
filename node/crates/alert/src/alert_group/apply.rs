//! How a request changes the state: a function of the two. No clock, no randomness, no configuration: whatever else a command
//! depends on is in it.

mod acknowledgements;
mod evaluations;
mod notifications;
mod overrides;
mod rule_groups;
mod set_back;
mod told;

use bellwether_model::{Tenant, Timestamp};

use super::command::{Command, Limited, Outcome, Refusal, Reply, Request};
use super::limits::TENANTS_MAX;
use super::state::{AlertGroupState, LinkKey, Ring, TenantState};
use crate::notify::on_call::Override;
use crate::set_back::SetBack;

/// Applies the request of log entry `index` and says what came of it. A refused one changes nothing but the time.
pub fn apply(state: &mut AlertGroupState, request: Request, index: u64) -> Reply {
    let Request { proposed_ms, command } = request;
    match SetBack::of(state.time, proposed_ms) {
        Some(back) => state.set_back(back),
        None => state.time = state.time.max(proposed_ms),
    }
    if let Command::SetRing { nodes } = command {
        if state.ring.nodes != nodes {
            state.ring = Ring { epoch: index, nodes };
        }
        return Ok(Outcome::Ring { epoch: state.ring.epoch });
    }
    let Some(tenant) = command.tenant().cloned() else { return Ok(Outcome::Done) };
    if !state.tenants.contains_key(&tenant) {
        Refusal::check(Limited::Tenants, state.tenants.len() + 1, TENANTS_MAX)?;
    }
    let known = state.tenants.entry(tenant.clone()).or_default();
    let mut entry =
        Entry { now: state.time, index, epoch: state.ring.epoch, tenant: &tenant, next_intent: &mut state.next_intent };
    let reply = known.change(command, &mut entry);
    if known.is_empty() {
        state.tenants.remove(&tenant);
    }
    reply
}

/// What commands of a tenant must know of what is not the tenant's.
struct Entry<'s> {
    /// The time.
    now: Timestamp,
    /// The number of the log's entry.
    index: u64,
    /// The ring's epoch.
    epoch: u64,
    tenant: &'s Tenant,
    next_intent: &'s mut u64,
}

impl TenantState {
    fn change(&mut self, command: Command, entry: &mut Entry<'_>) -> Reply {
        let now = entry.now;
        match command {
            Command::SetRing { .. } => Ok(Outcome::Done),
            Command::SetRuleGroup { namespace, group, text, rules, .. } => {
                self.set_rule_group(namespace, group, text, &rules, entry)
            }
            Command::DeleteRuleGroup { namespace, group, .. } => self.delete_rule_group(namespace, group, entry),
            Command::DeleteNamespace { namespace, .. } => self.delete_namespace(namespace, entry),
            Command::SetNotifications { config, templates, .. } => self.set_notifications(config, templates, entry),
            Command::DeleteNotifications { .. } => Ok(self.delete_notifications(now)),
            Command::Evaluated(evaluated) => self.evaluated(*evaluated, entry),
            Command::Receive { alerts, .. } => self.receive(alerts, now),
            Command::SetSilence { silence, .. } => self.set_silence(&silence, now),
            Command::ExpireSilence { id, .. } => match self.silences.expire(&id, now) {
                true => Ok(Outcome::Done),
                false => Err(Refusal::NoSilence { id }),
            },
            Command::Advance { .. } => Ok(self.advance(entry)),
            Command::Told { intent, result, .. } => Ok(self.told(intent, result, entry)),
            Command::SetLinkKey { key, .. } => {
                self.link_key.get_or_insert(LinkKey(key));
                Ok(Outcome::Done)
            }
            Command::Acknowledge { alerts, by, .. } => self.acknowledge(alerts, &by, entry),
            Command::SetOverride { id, schedule, shift, by, .. } => {
                let created_by = by.into();
                let one = Override { schedule, shift, created_by, revision: entry.index };
                self.set_override(id, one, entry.now)
            }
            Command::DeleteOverride { id, .. } => {
                self.overrides.0.remove(&id);
                Ok(Outcome::Done)
            }
            Command::Failing { intent, error, .. } => Ok(self.failing(intent, error, now)),
        }
    }
}
