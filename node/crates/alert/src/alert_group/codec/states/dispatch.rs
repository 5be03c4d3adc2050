//! The bytes of alerts that people are told of, and of what they were told.

use std::collections::BTreeSet;

use bellwether_model::Labels;

use super::super::{DecodeError, Decoder, Encoder, unknown};
use super::Table;
use crate::alert_group::state::{Intent, TenantState};
use crate::notify::config::IntegrationAt;
use crate::notify::config::kinds::Kind;
use crate::notify::dispatch::log::Entry;
use crate::notify::dispatch::{Alert, Dispatch, Group, KnownAlert, Log, Message, Way, Why};

/// Adds all labels.
pub(super) fn collect<'s>(tenant: &'s TenantState, all: &mut Vec<&'s Labels>) {
    let messages = tenant.intents.values().map(|intent| &intent.message);
    let told = messages.clone().flat_map(|message| message.firing.iter().chain(&message.resolved));
    let alerts = tenant.dispatch.alerts().map(|known| &known.alert).chain(told);
    all.extend(alerts.flat_map(|alert| [&alert.labels, &alert.annotations]));
    all.extend(tenant.dispatch.groups().flat_map(|((_, labels), group)| group.alerts.iter().chain([labels])));
    all.extend(messages.map(|message| &message.group));
}

impl Encoder {
    pub(super) fn dispatch(&mut self, tenant: &TenantState, table: &Table<'_>) {
        self.list(tenant.dispatch.alerts(), |to, known| {
            to.told(&known.alert, table);
            to.i64(known.updated_at);
            to.flag(known.times_out);
            to.u32(known.rules);
        });
        self.list(tenant.dispatch.groups(), |to, ((route, labels), group)| {
            to.size(*route);
            to.known(labels, table);
            to.list(group.alerts.iter(), |to, labels| to.known(labels, table));
            to.i64(group.next);
            to.option(group.looked_at, Encoder::i64);
            to.list(group.unsent.iter().copied(), Encoder::integration);
        });
        self.list(tenant.dispatch.log.entries(), |to, (way, entry)| {
            to.way(way);
            to.list(entry.firing.iter().copied(), Encoder::u64);
            to.list(entry.resolved.iter().copied(), Encoder::u64);
            to.i64(entry.sent_at);
            to.i64(entry.forget_at);
            to.flag(entry.is_uncertain);
        });
        self.list(tenant.intents.iter(), |to, (number, intent)| {
            to.u64(*number);
            to.i64(intent.made_at);
            to.text(&intent.dedup_key);
            to.message(&intent.message, table);
        });
    }

    pub(super) fn way(&mut self, way: &Way) {
        self.text(&way.group_key);
        self.text(&way.receiver);
        self.integration(way.integration);
    }

    pub(super) fn integration(&mut self, at: IntegrationAt) {
        self.text(at.kind.name());
        self.size(at.number);
    }

    fn told(&mut self, alert: &Alert, table: &Table<'_>) {
        self.known(&alert.labels, table);
        self.known(&alert.annotations, table);
        self.i64(alert.begins_at);
        self.option(alert.ends_at, Encoder::i64);
        self.text(&alert.generator_url);
    }

    fn message(&mut self, message: &Message, table: &Table<'_>) {
        self.text(&message.group_key);
        self.known(&message.group, table);
        self.size(message.route);
        self.text(&message.receiver);
        self.integration(message.integration);
        self.u8(match message.why {
            Why::New => 0,
            Why::Changed => 1,
            Why::Resolved => 2,
            Why::Repeated => 3,
            Why::HeldBack { .. } => 4,
            Why::Acknowledged => 5,
        });
        if let Why::HeldBack { messages, groups } = message.why {
            self.u64(messages);
            self.u64(groups);
        }
        for alerts in [&message.firing, &message.resolved] {
            self.list(alerts.iter(), |to, alert| to.told(alert, table));
        }
    }
}

impl Decoder<'_> {
    /// Reads alerts, groups, what was told, and intents. `is_grouped`: the groups are those of the tenant's configuration.
    pub(super) fn dispatch(
        &mut self,
        tenant: &mut TenantState,
        table: &[Labels],
        next_intent: u64,
        is_grouped: bool,
    ) -> Result<(), DecodeError> {
        let damaged = DecodeError::Damaged;
        let alerts: Vec<KnownAlert> = self.list(|from| {
            let (alert, updated_at) = (from.told(table)?, from.i64()?);
            Ok(KnownAlert { alert, updated_at, times_out: from.flag()?, rules: from.u32()?, groups: 0 })
        })?;
        let groups: Vec<((usize, Labels), Group)> = self.list(|from| {
            let id = (from.size()?, from.known(table)?);
            let alerts: BTreeSet<Labels> = from.list(|from| from.known(table))?;
            let (next, looked_at, unsent) = (from.i64()?, from.option(Decoder::i64)?, from.list(Decoder::integration)?);
            Ok((id, Group { alerts, next, looked_at, unsent }))
        })?;
        let mut log = Log::default();
        let entries: Vec<(Way, Entry)> = self.list(|from| Ok((from.way()?, from.entry()?)))?;
        entries.into_iter().for_each(|(way, entry)| log.insert(way, entry));
        tenant.intents = self.list(|from| {
            let (number, made_at, dedup_key) = (from.u64()?, from.i64()?, from.text()?);
            Ok((number, Intent { message: from.message(table)?, made_at, dedup_key }))
        })?;
        tenant.ways = tenant.intents.iter().map(|(number, intent)| (intent.message.way(), *number)).collect();
        if tenant.ways.len() != tenant.intents.len() {
            return Err(damaged("two intents go the same way"));
        }
        if tenant.intents.last_key_value().is_some_and(|(last, _)| *last >= next_intent) {
            return Err(damaged("an intent has a number that was not given"));
        }
        let routes = tenant.config().routes.count();
        let of_intents = tenant.intents.values().map(|intent| intent.message.route);
        if is_grouped && groups.iter().map(|((route, _), _)| *route).chain(of_intents).any(|route| route >= routes) {
            return Err(damaged("a group belongs to no route"));
        }
        let inhibitions = &tenant.config().inhibitions;
        let dispatch = Dispatch::of_parts(inhibitions, alerts, groups, log);
        tenant.dispatch = dispatch.ok_or(damaged("alerts and groups do not fit together"))?;
        Ok(())
    }

    fn told(&mut self, table: &[Labels]) -> Result<Alert, DecodeError> {
        Ok(Alert {
            labels: self.known(table)?,
            annotations: self.known(table)?,
            begins_at: self.i64()?,
            ends_at: self.option(Decoder::i64)?,
            generator_url: self.str()?.into(),
        })
    }

    pub(super) fn way(&mut self) -> Result<Way, DecodeError> {
        Ok(Way { group_key: self.text()?, receiver: self.text()?, integration: self.integration()? })
    }

    pub(super) fn integration(&mut self) -> Result<IntegrationAt, DecodeError> {
        let kind = Kind::named(self.str()?).ok_or(DecodeError::Damaged("an unknown kind of integration"))?;
        Ok(IntegrationAt { kind, number: self.size()? })
    }

    fn entry(&mut self) -> Result<Entry, DecodeError> {
        Ok(Entry {
            firing: self.list(Decoder::u64)?,
            resolved: self.list(Decoder::u64)?,
            sent_at: self.i64()?,
            forget_at: self.i64()?,
            is_uncertain: self.flag()?,
        })
    }

    fn message(&mut self, table: &[Labels]) -> Result<Message, DecodeError> {
        Ok(Message {
            group_key: self.text()?,
            group: self.known(table)?,
            route: self.size()?,
            receiver: self.text()?,
            integration: self.integration()?,
            why: match self.u8()? {
                0 => Why::New,
                1 => Why::Changed,
                2 => Why::Resolved,
                3 => Why::Repeated,
                5 => Why::Acknowledged,
                4 => Why::HeldBack { messages: self.u64()?, groups: self.u64()? },
                _ => return unknown("a message is sent for an unknown reason"),
            },
            firing: self.list(|from| from.told(table))?,
            resolved: self.list(|from| from.told(table))?,
        })
    }
}
