//! The bytes of what threshold rules have: what was seen of series, and how series stand.

use super::{DecodeError, Decoder, Encoder, unknown};
use crate::state::threshold::watch::{Sighting, Sightings, Watched};
use crate::state::threshold::{Behavior, Checks, Grading, NoData, Presence, Severity, Standing, Zone};

impl Encoder {
    pub(super) fn grading(&mut self, grading: &Grading) {
        let Grading { checks, no_data } = grading;
        self.u8(checks.at_least);
        self.u8(checks.of);
        self.u8(match no_data.behavior {
            Behavior::Ok => 0,
            Behavior::Alert => 1,
            Behavior::Keep => 2,
        });
        self.i64(no_data.after_ms);
        self.i64(no_data.forget_after_ms);
    }

    pub(super) fn sightings(&mut self, sightings: &Sightings) {
        self.flag(sightings.is_cut);
        self.list(sightings.changed.iter(), |to, (labels, sighting)| {
            to.labels(labels);
            match sighting {
                Sighting::There { zone, seen } => {
                    to.u8(0);
                    to.u8(zone.bits());
                    to.seen(seen);
                }
                Sighting::Gone { seen } => {
                    to.u8(1);
                    to.option(seen.as_ref(), Encoder::seen);
                }
                Sighting::Nothing { seen } => {
                    to.u8(2);
                    to.seen(seen);
                }
                Sighting::Over => to.u8(3),
            }
        });
    }

    pub(super) fn watched(&mut self, watched: &Watched) {
        let Standing { presence, is_whole, critical, warning, grade, raised_at } = watched.standing;
        match presence {
            Presence::There(zone) => {
                self.u8(0);
                self.u8(zone.bits());
            }
            Presence::Gone { since } => {
                self.u8(1);
                self.i64(since);
            }
        }
        self.flag(is_whole);
        self.u64(critical);
        self.u64(warning);
        self.u8(match grade {
            None => 0,
            Some(Severity::NoData) => 1,
            Some(Severity::Warning) => 2,
            Some(Severity::Critical) => 3,
        });
        self.option(raised_at, Encoder::i64);
        self.seen(&watched.seen);
        self.i64(watched.refreshed_at);
    }
}

impl Decoder<'_> {
    pub(super) fn grading(&mut self) -> Result<Grading, DecodeError> {
        let checks = Checks { at_least: self.u8()?, of: self.u8()? };
        let behavior = match self.u8()? {
            0 => Behavior::Ok,
            1 => Behavior::Alert,
            2 => Behavior::Keep,
            _ => return unknown("no data means an unknown thing"),
        };
        Ok(Grading { checks, no_data: NoData { behavior, after_ms: self.i64()?, forget_after_ms: self.i64()? } })
    }

    pub(super) fn sightings(&mut self) -> Result<Sightings, DecodeError> {
        let is_cut = self.flag()?;
        let changed = self.list(|from| {
            let labels = from.labels()?;
            let sighting = match from.u8()? {
                0 => Sighting::There { zone: from.zone()?, seen: from.seen()? },
                1 => Sighting::Gone { seen: from.option(Decoder::seen)? },
                2 => Sighting::Nothing { seen: from.seen()? },
                3 => Sighting::Over,
                _ => return unknown("an unknown thing was seen of a series"),
            };
            Ok((labels, sighting))
        })?;
        Ok(Sightings { changed, is_cut })
    }

    pub(super) fn watched(&mut self) -> Result<Watched, DecodeError> {
        let presence = match self.u8()? {
            0 => Presence::There(self.zone()?),
            1 => Presence::Gone { since: self.i64()? },
            _ => return unknown("a series is neither there nor gone"),
        };
        let (is_whole, critical, warning) = (self.flag()?, self.u64()?, self.u64()?);
        let grade = match self.u8()? {
            0 => None,
            1 => Some(Severity::NoData),
            2 => Some(Severity::Warning),
            3 => Some(Severity::Critical),
            _ => return unknown("a series has an unknown grade"),
        };
        let raised_at = self.option(Decoder::i64)?;
        let standing = Standing { presence, is_whole, critical, warning, grade, raised_at };
        Ok(Watched { standing, seen: self.seen()?, refreshed_at: self.i64()? })
    }

    fn zone(&mut self) -> Result<Zone, DecodeError> {
        Zone::from_bits(self.u8()?).ok_or(DecodeError::Damaged("a value reaches an unknown threshold"))
    }
}
