//! The bytes of what requests and states share: alerts of rules, and how rules are.

use super::{DecodeError, Decoder, Encoder, unknown};
use crate::alert_group::state::{Health, RuleKind, RuleShape};
use crate::notify::on_call::Shift;
use crate::state::alerting::{Annotations, Change, Phase, Seen, Timing};

/// Beside the kind of a rule that is critical.
const CRITICAL: u8 = 0x80;

impl Encoder {
    pub(super) fn size(&mut self, size: usize) {
        self.u32(u32::try_from(size).expect("what an alert group counts is bounded"));
    }

    pub(super) fn annotations(&mut self, annotations: &Annotations) {
        self.list(annotations.iter(), |to, (name, text)| {
            to.text(name);
            to.text(text);
        });
    }

    pub(super) fn shift(&mut self, shift: &Shift) {
        self.text(&shift.user);
        self.i64(shift.begins_at);
        self.i64(shift.ends_at);
    }

    pub(super) fn seen(&mut self, seen: &Seen) {
        self.f64(seen.value);
        self.annotations(&seen.annotations);
    }

    pub(super) fn shape(&mut self, shape: &RuleShape) {
        self.u128(shape.identity);
        self.u8(shape.sort() | if shape.critical { CRITICAL } else { 0 });
        if let Some(timing) = shape.timing() {
            self.i64(timing.for_ms);
            self.i64(timing.keep_firing_for_ms);
        }
        if let RuleKind::Threshold(_, grading) = &shape.kind {
            self.grading(grading);
        }
    }

    pub(super) fn health(&mut self, health: &Health) {
        match health {
            Health::Unknown => self.u8(0),
            Health::Ok => self.u8(1),
            Health::Failed(error) => {
                self.u8(2);
                self.text(error);
            }
        }
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        match phase {
            Phase::Pending => self.u8(0),
            Phase::Firing { since, kept_since } => {
                self.u8(1);
                self.i64(since);
                self.option(kept_since, Encoder::i64);
            }
            Phase::Resolved { at } => {
                self.u8(2);
                self.i64(at);
            }
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.u8(match change {
            Change::Pending => 0,
            Change::Firing => 1,
            Change::Resolved => 2,
            Change::Dropped => 3,
        });
    }
}

impl Decoder<'_> {
    pub(super) fn annotations(&mut self) -> Result<Annotations, DecodeError> {
        let pairs: Vec<(String, String)> = self.list(|from| Ok((from.text()?, from.text()?)))?;
        Ok(pairs.into())
    }

    pub(super) fn shift(&mut self) -> Result<Shift, DecodeError> {
        Ok(Shift { user: self.text()?, begins_at: self.i64()?, ends_at: self.i64()? })
    }

    pub(super) fn seen(&mut self) -> Result<Seen, DecodeError> {
        Ok(Seen { value: self.f64()?, annotations: self.annotations()? })
    }

    pub(super) fn shape(&mut self) -> Result<RuleShape, DecodeError> {
        let identity = self.u128()?;
        let sort = self.u8()?;
        let kind = match sort & !CRITICAL {
            0 if sort == 0 => RuleKind::Recording,
            1 => RuleKind::Alerting(self.timing()?),
            2 => RuleKind::Threshold(self.timing()?, self.grading()?),
            _ => return unknown("a rule of an unknown kind"),
        };
        Ok(RuleShape { identity, kind, critical: sort & CRITICAL != 0 })
    }

    fn timing(&mut self) -> Result<Timing, DecodeError> {
        Ok(Timing { for_ms: self.i64()?, keep_firing_for_ms: self.i64()? })
    }

    pub(super) fn health(&mut self) -> Result<Health, DecodeError> {
        match self.u8()? {
            0 => Ok(Health::Unknown),
            1 => Ok(Health::Ok),
            2 => Ok(Health::Failed(self.text()?)),
            _ => unknown("a rule has an unknown health"),
        }
    }

    pub(super) fn phase(&mut self) -> Result<Phase, DecodeError> {
        match self.u8()? {
            0 => Ok(Phase::Pending),
            1 => Ok(Phase::Firing { since: self.i64()?, kept_since: self.option(Decoder::i64)? }),
            2 => Ok(Phase::Resolved { at: self.i64()? }),
            _ => unknown("an alert is in an unknown phase"),
        }
    }

    pub(super) fn change(&mut self) -> Result<Change, DecodeError> {
        match self.u8()? {
            0 => Ok(Change::Pending),
            1 => Ok(Change::Firing),
            2 => Ok(Change::Resolved),
            3 => Ok(Change::Dropped),
            _ => unknown("an unknown thing happened to an alert"),
        }
    }
}
