//! The bytes of a reply.

use super::{DecodeError, Decoder, Encoder, unknown};
use crate::alert_group::command::{Limited, Outcome, Refusal, Reply};

const VERSION: u8 = 1;

const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;

/// The bytes of a reply.
pub fn encode(reply: &Reply) -> Vec<u8> {
    let mut to = Encoder::default();
    to.u8(VERSION);
    match reply {
        Ok(outcome) => {
            to.u8(ACCEPTED);
            to.outcome(outcome);
        }
        Err(refusal) => {
            to.u8(REFUSED);
            to.refusal(refusal);
        }
    }
    to.0
}

/// Reads a reply back.
pub fn decode(bytes: &[u8]) -> Result<Reply, DecodeError> {
    let mut from = Decoder(bytes);
    from.version("a reply of an alert group", VERSION)?;
    let reply = match from.u8()? {
        ACCEPTED => Ok(from.outcome()?),
        REFUSED => Err(from.refusal()?),
        _ => return unknown("a reply that is neither yes nor no"),
    };
    from.end()?;
    Ok(reply)
}

impl Encoder {
    fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.u8(0),
            Outcome::Ring { epoch } => {
                self.u8(1);
                self.u64(*epoch);
            }
            Outcome::Revision(revision) => {
                self.u8(2);
                self.u64(*revision);
            }
            Outcome::Silence { id } => {
                self.u8(3);
                self.text(id);
            }
            Outcome::Received { refused } => {
                self.u8(4);
                self.u64(*refused);
            }
            Outcome::Acknowledged { alerts } => {
                self.u8(20);
                self.u64(*alerts);
            }
            Outcome::Advanced { intents } => {
                self.u8(5);
                self.list(intents.iter().copied(), Encoder::u64);
            }
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::NoRuleGroup { namespace, group } => {
                self.u8(1);
                self.text(namespace);
                self.text(group);
            }
            Refusal::NoNamespace { namespace } => {
                self.u8(2);
                self.text(namespace);
            }
            Refusal::OldRing { current, got } => {
                self.u8(3);
                self.u64(*current);
                self.u64(*got);
            }
            Refusal::OldRevision { current, got } => {
                self.u8(4);
                self.u64(*current);
                self.u64(*got);
            }
            Refusal::AlreadyEvaluated { last, before, at } => {
                self.u8(5);
                self.option(*last, Encoder::i64);
                self.option(*before, Encoder::i64);
                self.i64(*at);
            }
            Refusal::OtherRules { rules } => {
                self.u8(6);
                self.u64(*rules);
            }
            Refusal::Limit { what, got, limit } => {
                self.u8(7);
                self.u8(*what as u8);
                self.u64(*got);
                self.u64(*limit);
            }
            Refusal::NoSilence { id } => {
                self.u8(8);
                self.text(id);
            }
            Refusal::SilenceExists { id } => {
                self.u8(9);
                self.text(id);
            }
            Refusal::SilenceOver { ends_at } => {
                self.u8(10);
                self.i64(*ends_at);
            }
        }
    }
}

impl Decoder<'_> {
    fn outcome(&mut self) -> Result<Outcome, DecodeError> {
        Ok(match self.u8()? {
            0 => Outcome::Done,
            1 => Outcome::Ring { epoch: self.u64()? },
            2 => Outcome::Revision(self.u64()?),
            3 => Outcome::Silence { id: self.text()? },
            4 => Outcome::Received { refused: self.u64()? },
            5 => Outcome::Advanced { intents: self.list(Decoder::u64)? },
            20 => Outcome::Acknowledged { alerts: self.u64()? },
            _ => return unknown("an unknown outcome"),
        })
    }

    fn refusal(&mut self) -> Result<Refusal, DecodeError> {
        Ok(match self.u8()? {
            1 => Refusal::NoRuleGroup { namespace: self.text()?, group: self.text()? },
            2 => Refusal::NoNamespace { namespace: self.text()? },
            3 => Refusal::OldRing { current: self.u64()?, got: self.u64()? },
            4 => Refusal::OldRevision { current: self.u64()?, got: self.u64()? },
            5 => Refusal::AlreadyEvaluated {
                last: self.option(Decoder::i64)?,
                before: self.option(Decoder::i64)?,
                at: self.i64()?,
            },
            6 => Refusal::OtherRules { rules: self.u64()? },
            7 => Refusal::Limit { what: self.limited()?, got: self.u64()?, limit: self.u64()? },
            8 => Refusal::NoSilence { id: self.text()? },
            9 => Refusal::SilenceExists { id: self.text()? },
            10 => Refusal::SilenceOver { ends_at: self.i64()? },
            _ => return unknown("an unknown refusal"),
        })
    }

    fn limited(&mut self) -> Result<Limited, DecodeError> {
        let number = self.u8()?;
        let limited = Limited::ALL.into_iter().find(|limited| *limited as u8 == number);
        limited.ok_or(DecodeError::Damaged("an unknown limit"))
    }
}
