//! The bytes of the state, as they lie in a node's file and in the copy for another node.
//!
//! A header, sections in ascending order, a checksum. Each section has a version of its own. A section that is absent is
//! empty; one that this program does not know was written by a newer one, and nothing is read then: to leave it out would
//! be to lose it.

use bellwether_raft::Applied;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::super::settings::Settings;
use super::super::state::{Event, MetaState, NodeRecord, Token};
use super::{DecodeError, Decoder, Encoder, version_byte};
use crate::shards::applied_mark;

const MAGIC: &[u8; 4] = b"BWMT";
/// Of what was founded by nobody yet.
const VERSION_FIRST: u32 = 1;
const CHECKSUM_BYTES: usize = 8;
const SECTION_VERSION: u8 = 1;

/// Parts of the state, in their order. Later parts (tenants, rules, notification configuration) get the next numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
enum Section {
    /// How far the log is applied. Always there.
    Applied = 1,
    /// The cluster and the counters. Absent, and all that follow: nothing has been founded.
    Cluster = 2,
    Nodes = 3,
    Placement = 4,
    Settings = 5,
    Tokens = 6,
    Events = 7,
    Requests = 8,
    /// How groups came to be, beside the placement.
    Origins = 9,
}

const SECTIONS: [Section; 9] = [
    Section::Applied,
    Section::Cluster,
    Section::Nodes,
    Section::Placement,
    Section::Settings,
    Section::Tokens,
    Section::Events,
    Section::Requests,
    Section::Origins,
];

/// The bytes of a state and of how far the log is applied in it, in the version that is active.
pub fn encode(state: Option<&MetaState>, applied: &Applied) -> Vec<u8> {
    let mut to = Encoder(MAGIC.to_vec());
    to.u8(version_byte(state.map_or(VERSION_FIRST, |state| state.active_version)));
    to.section(Section::Applied, |to| to.0.extend_from_slice(&applied_mark::encode(applied)));
    if let Some(state) = state {
        to.state(state);
    }
    let checksum = xxh3_64(&to.0);
    to.u64(checksum);
    to.0
}

/// Reads a state back, of any version up to that which this program supports.
pub fn decode(bytes: &[u8], supported: u32) -> Result<(Option<MetaState>, Applied), DecodeError> {
    let damaged = DecodeError::Damaged;
    let body = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(damaged("it is too short"))?;
    let (body, checksum) = bytes.split_at(body);
    if body.get(..MAGIC.len()) != Some(MAGIC) {
        return Err(damaged("it is not a state of the meta group"));
    }
    if xxh3_64(body).to_le_bytes() != checksum {
        return Err(damaged("its checksum does not fit"));
    }
    let mut from = Decoder(&body[MAGIC.len()..]);
    let version = from.version("the state of the meta group", version_byte(supported))?;
    let mut contents: [Option<&[u8]>; SECTIONS.len()] = [None; SECTIONS.len()];
    let mut last = 0;
    while !from.0.is_empty() {
        let number = from.u16()?;
        if number <= last {
            return Err(damaged("its sections are not in order"));
        }
        last = number;
        let Some(at) = SECTIONS.iter().position(|section| *section as u16 == number) else {
            let (what, supported) = ("a section of the state of the meta group", SECTIONS.len() as u32);
            return Err(DecodeError::NewerFormat { what, found: number.into(), supported });
        };
        from.version("a section of the state of the meta group", SECTION_VERSION)?;
        let length = from.u32()? as usize;
        contents[at] = Some(from.bytes(length)?);
    }
    let [applied, cluster, nodes, placement, settings, tokens, events, requests, origins] = contents;
    let applied = applied.ok_or(damaged("it does not say how far the log is applied"))?;
    let applied = applied_mark::decode(&Bytes::copy_from_slice(applied)).map_err(|error| match error {
        applied_mark::MarkError::NewerFormat { found } => {
            DecodeError::NewerFormat { what: "the applied mark", found: found.into(), supported: 1 }
        }
        applied_mark::MarkError::Damaged | applied_mark::MarkError::Unsupported { .. } => damaged("its applied mark"),
    })?;
    let Some(cluster) = cluster else { return Ok((None, applied)) };
    let placement = placement.ok_or(damaged("it has no placement"))?;
    let mut from = Decoder(cluster);
    let mut state = MetaState {
        cluster: from.u128()?,
        founded_ms: from.i64()?,
        rules: from.u64()?,
        active_version: from.u32()?,
        next_node: from.node()?,
        next_meta_replica: from.replica()?,
        next_event: from.u64()?,
        index: from.u64()?,
        nodes: section(nodes, |from| from.list(|from| Ok((from.node()?, from.record()?))))?,
        placement: whole(placement, |from| from.placement())?,
        settings: Settings { chosen: section(settings, |from| from.list(|from| Ok((from.setting()?, from.u64()?))))? },
        tokens: section(tokens, |from| from.list(|from| Ok((from.u64()?, from.token()?))))?,
        events: section(events, |from| from.list(Decoder::event))?,
        requests: section(requests, |from| from.list(|from| Ok((from.u128()?, from.outcome()?))))?,
    };
    from.end()?;
    if version_byte(state.active_version) != version {
        return Err(damaged("its version is not the one that is active in it"));
    }
    for (group, origin) in section(origins, |from| from.origins())? {
        state.placement.set_origin(group, origin);
    }
    Ok((Some(state), applied))
}

/// Reads a section that may be absent, to its end.
fn section<T: Default>(
    content: Option<&[u8]>,
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    content.map_or_else(|| Ok(T::default()), |content| whole(content, read))
}

fn whole<T>(content: &[u8], read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    let mut from = Decoder(content);
    let read = read(&mut from)?;
    from.end()?;
    Ok(read)
}

impl Encoder {
    fn section(&mut self, section: Section, write: impl FnOnce(&mut Encoder)) {
        let mut content = Encoder::default();
        write(&mut content);
        self.u16(section as u16);
        self.u8(SECTION_VERSION);
        self.u32(u32::try_from(content.0.len()).expect("sections of the meta state are bounded"));
        self.0.extend_from_slice(&content.0);
    }

    fn state(&mut self, state: &MetaState) {
        self.section(Section::Cluster, |to| {
            to.u128(state.cluster);
            to.i64(state.founded_ms);
            to.u64(state.rules);
            to.u32(state.active_version);
            to.node(state.next_node);
            to.replica(state.next_meta_replica);
            to.u64(state.next_event);
            to.u64(state.index);
        });
        self.section(Section::Nodes, |to| {
            to.list(state.nodes.iter(), |to, (id, record)| {
                to.node(*id);
                to.record(record);
            });
        });
        self.section(Section::Placement, |to| to.placement(&state.placement));
        self.section(Section::Settings, |to| {
            to.list(state.settings.chosen.iter(), |to, (key, value)| {
                to.setting(*key);
                to.u64(*value);
            });
        });
        self.section(Section::Tokens, |to| {
            to.list(state.tokens.iter(), |to, (id, token)| {
                to.u64(*id);
                to.token(token);
            });
        });
        self.section(Section::Events, |to| to.list(state.events.iter(), Encoder::event));
        self.section(Section::Requests, |to| {
            to.list(state.requests.iter(), |to, (id, outcome)| {
                to.u128(*id);
                to.outcome(outcome);
            });
        });
        if state.placement.groups().iter().any(|group| !group.is_as_founded()) {
            self.section(Section::Origins, |to| to.origins(&state.placement));
        }
    }

    fn record(&mut self, record: &NodeRecord) {
        self.facts(&record.facts);
        self.node_state(record.state);
        self.i64(record.joined_ms);
        self.replica(record.meta_replica);
        self.u128(record.nonce);
    }

    fn token(&mut self, token: &Token) {
        self.token_kind(token.kind);
        self.0.extend_from_slice(&token.secret_hash);
        self.i64(token.created_ms);
        self.i64(token.expires_ms);
        self.u32(token.uses);
        self.u32(token.used);
        self.option(token.used_ms, Encoder::i64);
        self.option(token.revoked_ms, Encoder::i64);
    }

    fn event(&mut self, event: &Event) {
        self.u64(event.number);
        self.i64(event.at_ms);
        self.event_kind(event.kind);
        self.text(&event.text);
    }
}

impl Decoder<'_> {
    fn record(&mut self) -> Result<NodeRecord, DecodeError> {
        Ok(NodeRecord {
            facts: self.facts()?,
            state: self.node_state()?,
            joined_ms: self.i64()?,
            meta_replica: self.replica()?,
            nonce: self.u128()?,
        })
    }

    fn token(&mut self) -> Result<Token, DecodeError> {
        Ok(Token {
            kind: self.token_kind()?,
            secret_hash: self.array()?,
            created_ms: self.i64()?,
            expires_ms: self.i64()?,
            uses: self.u32()?,
            used: self.u32()?,
            used_ms: self.option(Decoder::i64)?,
            revoked_ms: self.option(Decoder::i64)?,
        })
    }

    fn event(&mut self) -> Result<Event, DecodeError> {
        Ok(Event { number: self.u64()?, at_ms: self.i64()?, kind: self.event_kind()?, text: self.text()? })
    }
}
