//! The bytes of what is known of a tenant, but for alerts that people are told of.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};
use bellwether_probe::{Bug, planted};

use super::super::{DecodeError, Decoder, Encoder};
use super::Table;
use crate::alert_group::state::{
    GroupProgress, IntegrationHealth, RuleProgress, StoredGroup, StoredNotifications, TenantState, Totals, Transition,
};
use crate::notify::silence::{Silences, StoredSilence};
use crate::state::alerting::Alert;

/// Adds all labels.
pub(super) fn collect<'s>(tenant: &'s TenantState, all: &mut Vec<&'s Labels>) {
    let groups = tenant.namespaces.values().flat_map(BTreeMap::values);
    let rules = groups.flat_map(|group| &group.progress.rules);
    all.extend(rules.flat_map(|rule| rule.alerts.keys().chain(rule.watched.keys())));
    all.extend(tenant.history.iter().map(|transition| &transition.labels));
}

impl Encoder {
    pub(super) fn tenant_state(&mut self, tenant: &TenantState, table: &Table<'_>) {
        self.list(tenant.namespaces.iter(), |to, (namespace, groups)| {
            to.text(namespace);
            to.list(groups.iter(), |to, (name, group)| {
                to.text(name);
                to.group(group, table);
            });
        });
        self.option(tenant.notifications.as_ref(), |to, notifications| {
            to.text(&notifications.config);
            to.list(notifications.templates.iter(), |to, (name, text)| {
                to.text(name);
                to.text(text);
            });
            to.u64(notifications.revision);
            // Whether alerts are in its groups.
            to.flag(notifications.parsed.is_ok());
        });
        self.dispatch(tenant, table);
        let silences: Vec<_> = tenant.silences.iter().filter(|_| !planted(Bug::LoseSilences)).collect();
        self.list(silences.into_iter(), |to, (id, silence)| {
            to.text(id);
            to.silence(silence);
        });
        self.list(tenant.integrations.iter(), |to, ((receiver, integration), health)| {
            to.text(receiver);
            to.integration(*integration);
            to.option(health.sent_at, Encoder::i64);
            to.u64(health.failures);
            to.option(health.last_error.as_deref(), Encoder::text);
        });
        self.list(tenant.history.iter(), |to, transition| {
            to.i64(transition.at);
            to.known(&transition.labels, table);
            to.change(transition.change);
            to.f64(transition.value);
        });
        self.u64(tenant.untold);
    }

    fn group(&mut self, group: &StoredGroup, table: &Table<'_>) {
        self.text(&group.text);
        self.u64(group.revision);
        let progress = &group.progress;
        self.option(progress.last_evaluation, Encoder::i64);
        self.u32(progress.duration_us);
        self.u64(progress.missed);
        self.list(progress.rules.iter(), |to, rule| {
            to.shape(&rule.shape);
            to.health(&rule.health);
            to.u32(rule.duration_us);
            to.text(&rule.generator_url);
            to.list(rule.alerts.iter(), |to, (labels, alert)| {
                to.known(labels, table);
                to.phase(alert.phase);
                to.i64(alert.active_at);
                to.f64(alert.value);
                to.annotations(&alert.annotations);
                to.i64(alert.refreshed_at);
            });
        });
    }

    fn silence(&mut self, silence: &StoredSilence) {
        self.text(&silence.matchers);
        self.i64(silence.begins_at);
        self.i64(silence.ends_at);
        self.text(&silence.created_by);
        self.text(&silence.comment);
        self.i64(silence.updated_at);
    }
}

impl Decoder<'_> {
    pub(super) fn tenant_state(
        &mut self,
        table: &[Labels],
        time: Timestamp,
        next_intent: u64,
    ) -> Result<TenantState, DecodeError> {
        let mut tenant = TenantState {
            namespaces: self
                .list(|from| Ok((from.text()?, from.list(|from| Ok((from.text()?, from.group(table)?)))?)))?,
            ..TenantState::default()
        };
        let mut was_grouped = true;
        tenant.notifications = self.option(|from| {
            let (config, templates) = (from.text()?, from.list(|from| Ok((from.text()?, from.text()?)))?);
            let notifications = StoredNotifications::new(&config, templates, from.u64()?);
            was_grouped = from.flag()? == notifications.parsed.is_ok();
            Ok(notifications)
        })?;
        self.dispatch(&mut tenant, table, next_intent, was_grouped)?;
        tenant.silences = self.silences()?;
        tenant.integrations = self.list(|from| {
            let key = (from.text()?, from.integration()?);
            let (sent_at, failures) = (from.option(Decoder::i64)?, from.u64()?);
            let last_error = from.option(Decoder::text)?;
            Ok((key, IntegrationHealth { sent_at, failures, last_error, ..IntegrationHealth::default() }))
        })?;
        tenant.history = self.list(|from| {
            let (at, labels) = (from.i64()?, from.known(table)?);
            Ok(Transition { at, labels, change: from.change()?, value: from.f64()?, index: 0 })
        })?;
        tenant.untold = self.u64()?;
        for of in tenant.namespaces.values().flat_map(BTreeMap::values).map(|group| Totals::of(group)) {
            tenant.totals.groups += of.groups;
            tenant.totals.rules += of.rules;
            tenant.totals.text_bytes += of.text_bytes;
            tenant.totals.alerts += of.alerts;
        }
        if !was_grouped {
            // This program reads the configuration otherwise than the one that wrote the state.
            tenant.regroup(&None, time);
        }
        Ok(tenant)
    }

    fn group(&mut self, table: &[Labels]) -> Result<Arc<StoredGroup>, DecodeError> {
        let (text, revision) = (self.str()?.into(), self.u64()?);
        let progress = GroupProgress {
            last_evaluation: self.option(Decoder::i64)?,
            duration_us: self.u32()?,
            missed: self.u64()?,
            rules: self.list(|from| {
                Ok(RuleProgress {
                    shape: from.shape()?,
                    health: from.health()?,
                    duration_us: from.u32()?,
                    generator_url: from.str()?.into(),
                    alerts: Arc::new(from.list(|from| Ok((from.known(table)?, from.alert()?)))?),
                    watched: Arc::default(),
                    is_muted: false,
                })
            })?,
        };
        Ok(Arc::new(StoredGroup::new(text, revision, progress)))
    }

    fn alert(&mut self) -> Result<Alert, DecodeError> {
        Ok(Alert {
            phase: self.phase()?,
            active_at: self.i64()?,
            value: self.f64()?,
            annotations: self.annotations()?,
            refreshed_at: self.i64()?,
        })
    }

    fn silences(&mut self) -> Result<Silences, DecodeError> {
        let all: Vec<(String, StoredSilence)> = self.list(|from| {
            let (id, matchers) = (from.text()?, from.str()?);
            let times = (from.i64()?, from.i64()?);
            let mut silence = StoredSilence::new(matchers, times, from.str()?, from.str()?);
            silence.updated_at = from.i64()?;
            Ok((id, silence))
        })?;
        let mut silences = Silences::default();
        all.into_iter().for_each(|(id, silence)| silences.insert_stored(id, silence));
        Ok(silences)
    }
}
