//! The bytes of what is known of people who are told, beside what they were told: section 5. A tenant of whom there is nothing to
//! say is not in it.

use std::collections::BTreeMap;

use bellwether_model::Labels;
use bellwether_probe::{Bug, planted};

use super::super::{DecodeError, Decoder, Encoder};
use super::Table;
use crate::alert_group::state::{Acknowledgement, GivenUp, IntegrationHealth, LinkKey, TenantState};
use crate::notify::config::IntegrationAt;
use crate::notify::dispatch::{GroupId, Way};
use crate::notify::escalation::Escalation;
use crate::notify::on_call::{Override, Overrides};
use crate::notify::throttle::{Throttled, Throttles};

/// Whether there is something to say.
pub(super) fn is_there(tenant: &TenantState) -> bool {
    failing(tenant).next().is_some()
        || !tenant.throttles.0.is_empty()
        || !tenant.acknowledged.is_empty()
        || tenant.link_key.is_some()
        || !tenant.dispatch.escalations.is_empty()
        || !tenant.overrides.0.is_empty()
        || during(tenant).next().is_some()
        || !tenant.given_up.is_empty()
}

fn failing(tenant: &TenantState) -> impl Iterator<Item = (&(String, IntegrationAt), &IntegrationHealth)> {
    tenant.integrations.iter().filter(|(_, health)| health.failed_at.is_some() || health.failing_since.is_some())
}

/// Silences that hold while an alert fires.
fn during(tenant: &TenantState) -> impl Iterator<Item = (&String, &str)> {
    tenant.silences.iter().filter_map(|(id, silence)| Some((id, &*silence.during.as_ref()?.0)))
}

impl Encoder {
    pub(super) fn people(&mut self, tenant: &TenantState, table: &Table<'_>) {
        let failing: Vec<_> = failing(tenant).collect();
        self.list(failing.into_iter(), |to, ((receiver, integration), health)| {
            to.text(receiver);
            to.integration(*integration);
            to.option(health.failed_at, Encoder::i64);
            to.option(health.failing_since, Encoder::i64);
        });
        self.list(tenant.throttles.0.iter(), |to, (receiver, known)| {
            to.text(receiver);
            to.list(known.made.iter().copied(), Encoder::i64);
            to.list(known.held.iter(), |to, (route, labels)| {
                to.size(*route);
                to.labels(labels);
            });
            to.u64(known.messages);
            to.option(known.next, Encoder::i64);
            to.flag(known.is_told);
            to.list(known.again.iter(), |to, (integration, at)| {
                to.integration(*integration);
                to.i64(*at);
            });
        });
        let none = BTreeMap::new();
        let acknowledged = if planted(Bug::LoseAcknowledgements) { &none } else { &tenant.acknowledged };
        self.list(acknowledged.iter(), |to, (labels, known)| {
            to.known(labels, table);
            to.i64(known.at);
            to.text(&known.by);
        });
        self.option(tenant.link_key, |to, key| to.0.extend_from_slice(&key.0));
        self.list(tenant.dispatch.escalations.iter(), |to, ((route, labels), known)| {
            to.size(*route);
            to.labels(labels);
            to.u32(known.step);
            to.option(known.next, Encoder::i64);
            to.list(known.receivers.iter(), |to, receiver| to.text(receiver));
            to.list(known.unsent.iter(), |to, (receiver, integration)| {
                to.text(receiver);
                to.integration(*integration);
            });
        });
        self.list(tenant.overrides.0.iter(), |to, (id, one)| {
            to.text(id);
            to.text(&one.schedule);
            to.shift(&one.shift);
            to.text(&one.created_by);
            to.u64(one.revision);
        });
        let during: Vec<_> = during(tenant).collect();
        self.list(during.into_iter(), |to, (id, text)| {
            to.text(id);
            to.text(text);
        });
        self.list(tenant.given_up.iter(), |to, (way, known)| {
            to.way(way);
            to.text(&known.dedup_key);
            to.u64(known.content);
            to.i64(known.at);
        });
    }
}

impl Decoder<'_> {
    pub(super) fn people(&mut self, tenant: &mut TenantState, table: &[Labels]) -> Result<(), DecodeError> {
        let failing: Vec<((String, IntegrationAt), _)> = self.list(|from| {
            let key = (from.text()?, from.integration()?);
            Ok((key, (from.option(Decoder::i64)?, from.option(Decoder::i64)?)))
        })?;
        for (key, times) in failing {
            let health =
                tenant.integrations.get_mut(&key).ok_or(DecodeError::Damaged("an integration is not there"))?;
            (health.failed_at, health.failing_since) = times;
        }
        tenant.throttles = Throttles(self.list(|from| {
            let (receiver, made) = (from.text()?, from.list(Decoder::i64)?);
            let held = from.list(|from| Ok((from.size()?, from.labels()?)))?;
            let (messages, next, is_told) = (from.u64()?, from.option(Decoder::i64)?, from.flag()?);
            let again = from.list(|from| Ok((from.integration()?, from.i64()?)))?;
            Ok((receiver, Throttled { made, held, messages, next, is_told, again }))
        })?);
        tenant.acknowledged = self.list(|from| {
            let (labels, at) = (from.known(table)?, from.i64()?);
            Ok((labels, Acknowledgement { at, by: from.str()?.into() }))
        })?;
        tenant.link_key = self.option(Decoder::array)?.map(LinkKey);
        let escalations: Vec<(GroupId, Escalation)> = self.list(|from| {
            let id = (from.size()?, from.labels()?);
            let (step, next, receivers) = (from.u32()?, from.option(Decoder::i64)?, from.list(Decoder::text)?);
            let unsent = from.list(|from| Ok((from.text()?, from.integration()?)))?;
            Ok((id, Escalation { step, next, receivers, unsent }))
        })?;
        // Where the configuration is read otherwise than by the program that wrote them, groups are others.
        let there = escalations.into_iter().filter(|(id, _)| tenant.dispatch.groups.contains_key(id)).collect();
        tenant.dispatch.escalations = there;
        tenant.overrides = Overrides(self.list(|from| {
            let (id, schedule, shift) = (from.text()?, from.text()?, from.shift()?);
            let created_by = from.str()?.into();
            Ok((id, Override { schedule, shift, created_by, revision: from.u64()? }))
        })?);
        let during: Vec<(String, String)> = self.list(|from| Ok((from.text()?, from.text()?)))?;
        for (id, text) in during {
            let silence = tenant.silences.get_mut(&id).ok_or(DecodeError::Damaged("a silence is not there"))?;
            *silence = silence.clone().during(Some(&text));
        }
        let given_up: Vec<(Way, GivenUp)> = self.list(|from| {
            let (way, dedup_key) = (from.way()?, from.text()?);
            Ok((way, GivenUp { dedup_key, content: from.u64()?, at: from.i64()? }))
        })?;
        // Where alerts were put into groups anew, there are some already.
        tenant.given_up.extend(given_up);
        Ok(())
    }
}
