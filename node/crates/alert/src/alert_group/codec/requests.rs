//! The bytes of a request.

use std::sync::Arc;

use super::{DecodeError, Decoder, Encoder, unknown};
use crate::alert_group::command::{Command, Delivery, ReceivedAlert, Request, SilenceDraft};
use crate::alert_group::evaluated::{Evaluated, RuleDifference};
use crate::alert_group::state::{RuleKind, RuleShape};
use crate::state::alerting::Observation;
use crate::state::threshold::watch::Sightings;

/// The newest version: threshold rules, critical and muted ones. What needs none of it is written as version 1, which nodes before it read.
const VERSION: u8 = 2;

const SET_RING: u8 = 1;
const SET_RULE_GROUP: u8 = 2;
const DELETE_RULE_GROUP: u8 = 3;
const DELETE_NAMESPACE: u8 = 4;
const SET_NOTIFICATIONS: u8 = 5;
const DELETE_NOTIFICATIONS: u8 = 6;
const EVALUATED: u8 = 7;
const RECEIVE: u8 = 8;
const SET_SILENCE: u8 = 9;
const EXPIRE_SILENCE: u8 = 10;
const ADVANCE: u8 = 11;
const TOLD: u8 = 12;
const FAILING: u8 = 20;
const SET_LINK_KEY: u8 = 21;
const ACKNOWLEDGE: u8 = 22;
const SET_OVERRIDE: u8 = 23;
const DELETE_OVERRIDE: u8 = 24;
const SET_SILENCE_DURING: u8 = 25;

/// The bytes of a request.
pub fn encode(request: &Request) -> Vec<u8> {
    let mut to = Encoder::default();
    let version = version(&request.command);
    to.u8(version);
    to.i64(request.proposed_ms);
    to.command(&request.command);
    if let (2, Command::Evaluated(evaluated)) = (version, &request.command) {
        to.list(evaluated.differences.iter(), |to, difference| {
            to.sightings(&difference.sightings);
            to.option(difference.is_muted, Encoder::flag);
        });
    }
    to.0
}

/// The oldest version that can say it.
fn version(command: &Command) -> u8 {
    let is_newer = match command {
        Command::SetRuleGroup { rules, .. } => {
            rules.iter().any(|shape| matches!(shape.kind, RuleKind::Threshold(..)) || shape.critical)
        }
        Command::Evaluated(evaluated) => {
            let mut differences = evaluated.differences.iter();
            differences.any(|difference| !difference.sightings.is_empty() || difference.is_muted.is_some())
        }
        _ => false,
    };
    if is_newer { VERSION } else { 1 }
}

/// Reads a request back.
pub fn decode(bytes: &[u8]) -> Result<Request, DecodeError> {
    let mut from = Decoder(bytes);
    let version = from.version("a command of an alert group", VERSION)?;
    let mut request = Request { proposed_ms: from.i64()?, command: from.command()? };
    if let (2, Command::Evaluated(evaluated)) = (version, &mut request.command) {
        let more: Vec<(Sightings, Option<bool>)> =
            from.list(|from| Ok((from.sightings()?, from.option(Decoder::flag)?)))?;
        if more.len() != evaluated.differences.len() {
            return Err(DecodeError::Damaged("what was seen is not of the rules that are told of"));
        }
        for (difference, more) in evaluated.differences.iter_mut().zip(more) {
            (difference.sightings, difference.is_muted) = more;
        }
    }
    from.end()?;
    // What was written twice is the same bytes.
    if self::version(&request.command) != version {
        return Err(DecodeError::Damaged("it is of a later version than it needs"));
    }
    Ok(request)
}

impl Encoder {
    fn command(&mut self, command: &Command) {
        match command {
            Command::SetRing { nodes } => {
                self.u8(SET_RING);
                self.list(nodes.iter().copied(), Encoder::node);
            }
            Command::SetRuleGroup { tenant, namespace, group, text, rules } => {
                self.u8(SET_RULE_GROUP);
                self.tenant(tenant);
                self.text(namespace);
                self.text(group);
                self.text(text);
                self.list(rules.iter(), Encoder::shape);
            }
            Command::DeleteRuleGroup { tenant, namespace, group } => {
                self.u8(DELETE_RULE_GROUP);
                self.tenant(tenant);
                self.text(namespace);
                self.text(group);
            }
            Command::DeleteNamespace { tenant, namespace } => {
                self.u8(DELETE_NAMESPACE);
                self.tenant(tenant);
                self.text(namespace);
            }
            Command::SetNotifications { tenant, config, templates } => {
                self.u8(SET_NOTIFICATIONS);
                self.tenant(tenant);
                self.text(config);
                self.list(templates.iter(), |to, (name, text)| {
                    to.text(name);
                    to.text(text);
                });
            }
            Command::DeleteNotifications { tenant } => {
                self.u8(DELETE_NOTIFICATIONS);
                self.tenant(tenant);
            }
            Command::Evaluated(evaluated) => {
                self.u8(EVALUATED);
                self.evaluated(evaluated);
            }
            Command::Receive { tenant, alerts } => {
                self.u8(RECEIVE);
                self.tenant(tenant);
                self.list(alerts.iter(), Encoder::received);
            }
            Command::SetSilence { tenant, silence } => {
                self.u8(if silence.during.is_some() { SET_SILENCE_DURING } else { SET_SILENCE });
                self.tenant(tenant);
                self.draft(silence);
                if let Some(during) = &silence.during {
                    self.text(during);
                }
            }
            Command::ExpireSilence { tenant, id } => {
                self.u8(EXPIRE_SILENCE);
                self.tenant(tenant);
                self.text(id);
            }
            Command::Advance { tenant } => {
                self.u8(ADVANCE);
                self.tenant(tenant);
            }
            Command::Told { tenant, intent, result } => {
                self.u8(TOLD);
                self.tenant(tenant);
                self.u64(*intent);
                let error = if let Delivery::Failed(error) = result { Some(error) } else { None };
                self.option(error, |to, error| to.text(error));
            }
            Command::Failing { tenant, intent, error } => {
                self.u8(FAILING);
                self.tenant(tenant);
                self.u64(*intent);
                self.text(error);
            }
            Command::SetLinkKey { tenant, key } => {
                self.u8(SET_LINK_KEY);
                self.tenant(tenant);
                self.0.extend_from_slice(key);
            }
            Command::SetOverride { tenant, id, schedule, shift, by } => {
                self.u8(SET_OVERRIDE);
                self.tenant(tenant);
                self.text(id);
                self.text(schedule);
                self.shift(shift);
                self.text(by);
            }
            Command::DeleteOverride { tenant, id } => {
                self.u8(DELETE_OVERRIDE);
                self.tenant(tenant);
                self.text(id);
            }
            Command::Acknowledge { tenant, alerts, by } => {
                self.u8(ACKNOWLEDGE);
                self.tenant(tenant);
                self.list(alerts.iter(), Encoder::labels);
                self.text(by);
            }
        }
    }

    fn evaluated(&mut self, evaluated: &Evaluated) {
        self.tenant(&evaluated.tenant);
        self.text(&evaluated.namespace);
        self.text(&evaluated.group);
        self.u64(evaluated.epoch);
        self.u64(evaluated.revision);
        self.option(evaluated.before, Encoder::i64);
        self.i64(evaluated.at);
        self.u64(evaluated.missed);
        self.u32(evaluated.duration_us);
        self.list(evaluated.rule_durations_us.iter().copied(), Encoder::u32);
        self.list(evaluated.differences.iter(), |to, difference| {
            to.u32(difference.rule);
            to.option(difference.health.as_ref(), Encoder::health);
            to.flag(difference.forgets);
            to.option(difference.generator_url.as_deref(), Encoder::text);
            to.observation(&difference.observation);
        });
    }

    fn observation(&mut self, observation: &Observation) {
        self.flag(observation.is_cut);
        for seen in [&observation.appeared, &observation.refreshed] {
            self.list(seen.iter(), |to, (labels, seen)| {
                to.labels(labels);
                to.seen(seen);
            });
        }
        self.list(observation.gone.iter(), Encoder::labels);
    }

    fn received(&mut self, alert: &ReceivedAlert) {
        self.labels(&alert.labels);
        self.labels(&alert.annotations);
        self.option(alert.begins_at, Encoder::i64);
        self.option(alert.ends_at, Encoder::i64);
        self.text(&alert.generator_url);
    }

    fn draft(&mut self, silence: &SilenceDraft) {
        self.option(silence.replaces.as_deref(), Encoder::text);
        self.text(&silence.new_id);
        self.text(&silence.matchers);
        self.i64(silence.begins_at);
        self.i64(silence.ends_at);
        self.text(&silence.created_by);
        self.text(&silence.comment);
    }
}

impl Decoder<'_> {
    fn command(&mut self) -> Result<Command, DecodeError> {
        Ok(match self.u8()? {
            SET_RING => Command::SetRing { nodes: self.list(Decoder::node)? },
            SET_RULE_GROUP => Command::SetRuleGroup {
                tenant: self.tenant()?,
                namespace: self.text()?,
                group: self.text()?,
                text: self.str()?.into(),
                rules: self.list::<RuleShape, Arc<[RuleShape]>>(Decoder::shape)?,
            },
            DELETE_RULE_GROUP => {
                Command::DeleteRuleGroup { tenant: self.tenant()?, namespace: self.text()?, group: self.text()? }
            }
            DELETE_NAMESPACE => Command::DeleteNamespace { tenant: self.tenant()?, namespace: self.text()? },
            SET_NOTIFICATIONS => Command::SetNotifications {
                tenant: self.tenant()?,
                config: self.text()?,
                templates: self.list(|from| Ok((from.text()?, from.text()?)))?,
            },
            DELETE_NOTIFICATIONS => Command::DeleteNotifications { tenant: self.tenant()? },
            EVALUATED => Command::Evaluated(Box::new(self.evaluated()?)),
            RECEIVE => Command::Receive { tenant: self.tenant()?, alerts: self.list(Decoder::received)? },
            SET_SILENCE_DURING => {
                let (tenant, mut silence) = (self.tenant()?, self.draft()?);
                silence.during = Some(self.text()?);
                Command::SetSilence { tenant, silence }
            }
            SET_SILENCE => Command::SetSilence { tenant: self.tenant()?, silence: self.draft()? },
            EXPIRE_SILENCE => Command::ExpireSilence { tenant: self.tenant()?, id: self.text()? },
            ADVANCE => Command::Advance { tenant: self.tenant()? },
            TOLD => Command::Told {
                tenant: self.tenant()?,
                intent: self.u64()?,
                result: self.option(Decoder::text)?.map_or(Delivery::Sent, Delivery::Failed),
            },
            FAILING => Command::Failing { tenant: self.tenant()?, intent: self.u64()?, error: self.text()? },
            SET_LINK_KEY => Command::SetLinkKey { tenant: self.tenant()?, key: self.array()? },
            SET_OVERRIDE => Command::SetOverride {
                tenant: self.tenant()?,
                id: self.text()?,
                schedule: self.text()?,
                shift: self.shift()?,
                by: self.text()?,
            },
            DELETE_OVERRIDE => Command::DeleteOverride { tenant: self.tenant()?, id: self.text()? },
            ACKNOWLEDGE => {
                let (tenant, alerts) = (self.tenant()?, self.ascending(Decoder::labels)?);
                Command::Acknowledge { tenant, alerts, by: self.text()? }
            }
            _ => return unknown("an unknown command"),
        })
    }

    fn evaluated(&mut self) -> Result<Evaluated, DecodeError> {
        Ok(Evaluated {
            tenant: self.tenant()?,
            namespace: self.text()?,
            group: self.text()?,
            epoch: self.u64()?,
            revision: self.u64()?,
            before: self.option(Decoder::i64)?,
            at: self.i64()?,
            missed: self.u64()?,
            duration_us: self.u32()?,
            rule_durations_us: self.list(Decoder::u32)?,
            differences: self.list(|from| {
                Ok(RuleDifference {
                    rule: from.u32()?,
                    health: from.option(Decoder::health)?,
                    forgets: from.flag()?,
                    generator_url: from.option(Decoder::str)?.map(Arc::from),
                    observation: from.observation()?,
                    sightings: Sightings::default(),
                    is_muted: None,
                })
            })?,
        })
    }

    fn observation(&mut self) -> Result<Observation, DecodeError> {
        Ok(Observation {
            is_cut: self.flag()?,
            appeared: self.list(|from| Ok((from.labels()?, from.seen()?)))?,
            refreshed: self.list(|from| Ok((from.labels()?, from.seen()?)))?,
            gone: self.list(Decoder::labels)?,
        })
    }

    fn received(&mut self) -> Result<ReceivedAlert, DecodeError> {
        Ok(ReceivedAlert {
            labels: self.labels()?,
            annotations: self.labels()?,
            begins_at: self.option(Decoder::i64)?,
            ends_at: self.option(Decoder::i64)?,
            generator_url: self.text()?,
        })
    }

    fn draft(&mut self) -> Result<SilenceDraft, DecodeError> {
        Ok(SilenceDraft {
            replaces: self.option(Decoder::text)?,
            new_id: self.text()?,
            matchers: self.text()?,
            during: None,
            begins_at: self.i64()?,
            ends_at: self.i64()?,
            created_by: self.text()?,
            comment: self.text()?,
        })
    }
}
