//! The bytes of the state.
//!
//! A header, sections in ascending order, a checksum. A section that this program does not know was written by a newer one, and
//! nothing is read then: to leave it out would be to lose it. Labels stand in a table of their own, since most are in several
//! places, and are shared again when they are read.

mod dispatch;
mod people;
mod tenants;
mod watched;

use bellwether_model::Labels;
use xxhash_rust::xxh3::xxh3_64;

use super::{DecodeError, Decoder, Encoder};
use crate::alert_group::state::{AlertGroupState, Ring};

const MAGIC: &[u8; 4] = b"BWAG";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
const SECTION_VERSION: u8 = 1;

/// Parts of the state, in their order. Those in `SECTIONS` are always there, the others if there is something to say.
const GROUP: u16 = 1;
const LABELS: u16 = 2;
const TENANTS: u16 = 3;
const SECTIONS: [u16; 3] = [GROUP, LABELS, TENANTS];
/// Series that threshold rules watch, and rules that are muted; there only if there are any, so that programs that know of none read all else.
const WATCHED: u16 = 4;
/// Acknowledgements and all else of people, likewise.
const PEOPLE: u16 = 5;

/// The bytes of a state.
pub fn encode(state: &AlertGroupState) -> Vec<u8> {
    let table = Table::of(state);
    let mut to = Encoder(MAGIC.to_vec());
    to.u8(VERSION);
    to.section(GROUP, |to| {
        to.i64(state.time);
        to.u64(state.next_intent);
        to.u64(state.ring.epoch);
        to.list(state.ring.nodes.iter().copied(), Encoder::node);
    });
    to.section(LABELS, |to| to.list(table.0.iter(), |to, labels| to.labels(labels)));
    to.section(TENANTS, |to| {
        to.list(state.tenants.iter(), |to, (tenant, state)| {
            to.tenant(tenant);
            to.tenant_state(state, &table);
        });
    });
    let watched: Vec<watched::OfRule<'_>> = watched::all(state).collect();
    if !watched.is_empty() {
        to.section(WATCHED, |to| to.list(watched.iter(), |to, of_rule| to.watched_of_rule(of_rule, &table)));
    }
    let people: Vec<_> = state.tenants.iter().filter(|(_, tenant)| people::is_there(tenant)).collect();
    if !people.is_empty() {
        to.section(PEOPLE, |to| {
            to.list(people.into_iter(), |to, (tenant, state)| {
                to.tenant(tenant);
                to.people(state, &table);
            });
        });
    }
    let checksum = xxh3_64(&to.0);
    to.u64(checksum);
    to.0
}

/// Reads a state back. Texts are parsed again: one that does not parse is kept with its error.
pub fn decode(bytes: &[u8]) -> Result<AlertGroupState, DecodeError> {
    let damaged = DecodeError::Damaged;
    let body = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(damaged("it is too short"))?;
    let (body, checksum) = bytes.split_at(body);
    if body.get(..MAGIC.len()) != Some(MAGIC) {
        return Err(damaged("it is not a state of an alert group"));
    }
    if xxh3_64(body).to_le_bytes() != checksum {
        return Err(damaged("its checksum does not fit"));
    }
    let mut from = Decoder(&body[MAGIC.len()..]);
    from.version("the state of an alert group", VERSION)?;
    let mut contents: [&[u8]; SECTIONS.len()] = [&[]; SECTIONS.len()];
    for (number, content) in SECTIONS.into_iter().zip(&mut contents) {
        *content = from.section(number)?;
    }
    let mut optional = |number: u16| match from.0.first_chunk() == Some(&number.to_le_bytes()) {
        true => from.section(number).map(Some),
        false => Ok(None),
    };
    let (watched, people) = (optional(WATCHED)?, optional(PEOPLE)?);
    if !from.0.is_empty() {
        let (found, supported) = (from.u16()?.into(), PEOPLE.into());
        return Err(DecodeError::NewerFormat { what: "a section of the state of an alert group", found, supported });
    }
    let [group, labels, tenants] = contents;
    let mut from = Decoder(group);
    let mut state = AlertGroupState { time: from.i64()?, next_intent: from.u64()?, ..AlertGroupState::default() };
    state.ring = Ring { epoch: from.u64()?, nodes: from.list(Decoder::node)? };
    from.end()?;
    let mut from = Decoder(labels);
    let table: Vec<Labels> = from.list(Decoder::labels)?;
    from.end()?;
    let mut from = Decoder(tenants);
    let (time, next_intent) = (state.time, state.next_intent);
    state.tenants = from.list(|from| Ok((from.tenant()?, from.tenant_state(&table, time, next_intent)?)))?;
    from.end()?;
    if let Some(watched) = watched {
        let mut from = Decoder(watched);
        from.watched_section(&mut state, &table)?;
        from.end()?;
    }
    if let Some(people) = people {
        let mut from = Decoder(people);
        let read: Vec<()> = from.list(|from| {
            let tenant = from.tenant()?;
            let known = state.tenants.get_mut(&tenant).ok_or(damaged("a tenant is not there"))?;
            from.people(known, &table)
        })?;
        drop(read);
        from.end()?;
    }
    Ok(state)
}

/// All labels of a state, in the order of their bytes.
struct Table<'s>(Vec<&'s Labels>);

impl<'s> Table<'s> {
    fn of(state: &'s AlertGroupState) -> Table<'s> {
        let mut all = Vec::new();
        for tenant in state.tenants.values() {
            tenants::collect(tenant, &mut all);
            dispatch::collect(tenant, &mut all);
            all.extend(tenant.acknowledged.keys());
        }
        all.sort_unstable_by_key(|labels| labels.canonical_bytes());
        all.dedup();
        Table(all)
    }

    fn number(&self, labels: &Labels) -> usize {
        let found = self.0.binary_search_by_key(&labels.canonical_bytes(), |known| known.canonical_bytes());
        found.expect("the table has all labels of the state")
    }
}

impl Encoder {
    fn section(&mut self, section: u16, write: impl FnOnce(&mut Encoder)) {
        self.0.extend_from_slice(&section.to_le_bytes());
        self.u8(SECTION_VERSION);
        let at = self.0.len();
        self.u64(0);
        write(self);
        let length = (self.0.len() - at - size_of::<u64>()) as u64;
        self.0[at..at + size_of::<u64>()].copy_from_slice(&length.to_le_bytes());
    }

    fn known(&mut self, labels: &Labels, table: &Table<'_>) {
        self.size(table.number(labels));
    }
}

impl<'a> Decoder<'a> {
    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn section(&mut self, expected: u16) -> Result<&'a [u8], DecodeError> {
        if self.u16()? != expected {
            return Err(DecodeError::Damaged("its sections are not in order"));
        }
        self.version("a section of the state of an alert group", SECTION_VERSION)?;
        let length = usize::try_from(self.u64()?).map_err(|_| DecodeError::Damaged("a section has no end"))?;
        self.take(length)
    }

    fn known(&mut self, table: &[Labels]) -> Result<Labels, DecodeError> {
        let number = self.size()?;
        table.get(number).cloned().ok_or(DecodeError::Damaged("labels are not in the table"))
    }
}
