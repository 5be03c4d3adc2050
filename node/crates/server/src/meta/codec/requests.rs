//! The bytes of a request.

use std::collections::BTreeSet;

use bellwether_model::{PlacementKey, RefEpoch, ReplicaId, ShardGroupId};
use bellwether_placement::NodeState;

use super::super::command::{Founding, MetaCommand, Request, TokenProof};
use super::super::settings::SettingKey;
use super::super::state::{EventKind, NodeFacts, TokenKind};
use super::{DecodeError, Decoder, Encoder, unknown, version_byte};

const FOUND: u8 = 1;
const REGISTER_NODE: u8 = 2;
const UPDATE_NODE: u8 = 3;
const SET_NODE_STATE: u8 = 4;
const ALLOCATE_REPLICA: u8 = 5;
const SET_REPLICAS: u8 = 6;
const BEGIN_SPLIT: u8 = 7;
const FINISH_SPLIT: u8 = 8;
const CANCEL_SPLIT: u8 = 9;
const CREATE_TOKEN: u8 = 10;
const USE_TOKEN: u8 = 11;
const REVOKE_TOKEN: u8 = 12;
const SET_SETTING: u8 = 13;
const UNSET_SETTING: u8 = 14;
const RECORD_EVENT: u8 = 15;
const RAISE_ACTIVE_VERSION: u8 = 16;
const RECOVER_GROUP: u8 = 17;

/// The bytes of a request, in the version that is active.
pub fn encode(request: &Request, active: u32) -> Vec<u8> {
    let mut to = Encoder::default();
    to.u8(version_byte(active));
    to.u128(request.id);
    to.i64(request.proposed_ms);
    to.command(&request.command);
    to.0
}

/// Reads a request back, of any version up to that which this program supports.
pub fn decode(bytes: &[u8], supported: u32) -> Result<Request, DecodeError> {
    let mut from = Decoder(bytes);
    from.version("a command of the meta group", version_byte(supported))?;
    let request = Request { id: from.u128()?, proposed_ms: from.i64()?, command: from.command()? };
    from.end()?;
    Ok(request)
}

impl Encoder {
    fn command(&mut self, command: &MetaCommand) {
        match command {
            MetaCommand::Found(founding) => {
                let Founding { cluster, facts, nonce, rules, placement } = &**founding;
                self.u8(FOUND);
                self.u128(*cluster);
                self.facts(facts);
                self.u128(*nonce);
                self.u64(*rules);
                self.placement(placement);
            }
            MetaCommand::RegisterNode { nonce, facts, rules, token } => {
                self.u8(REGISTER_NODE);
                self.u128(*nonce);
                self.facts(facts);
                self.u64(*rules);
                self.option(token.as_ref(), Encoder::proof);
            }
            MetaCommand::UpdateNode { node, facts, rules } => {
                self.u8(UPDATE_NODE);
                self.node(*node);
                self.facts(facts);
                self.u64(*rules);
            }
            MetaCommand::SetNodeState { node, state, force } => {
                self.u8(SET_NODE_STATE);
                self.node(*node);
                self.node_state(*state);
                self.flag(*force);
            }
            MetaCommand::AllocateReplica { group, node, replaces, expected_epoch } => {
                self.u8(ALLOCATE_REPLICA);
                self.u32(group.0);
                self.node(*node);
                self.option(*replaces, Encoder::node);
                self.u64(*expected_epoch);
            }
            MetaCommand::SetReplicas { group, voters, learners, expected_epoch } => {
                self.u8(SET_REPLICAS);
                self.u32(group.0);
                self.list(voters.iter().copied(), Encoder::replica);
                self.list(learners.iter().copied(), Encoder::replica);
                self.u64(*expected_epoch);
            }
            MetaCommand::BeginSplit { group, at, ref_epoch, expected_epoch } => {
                self.u8(BEGIN_SPLIT);
                self.u32(group.0);
                self.u64(at.0);
                self.u64(ref_epoch.0);
                self.u64(*expected_epoch);
            }
            MetaCommand::FinishSplit { group, child } => {
                self.u8(FINISH_SPLIT);
                self.u32(group.0);
                self.u32(child.0);
            }
            MetaCommand::CancelSplit { group, child } => {
                self.u8(CANCEL_SPLIT);
                self.u32(group.0);
                self.u32(child.0);
            }
            MetaCommand::CreateToken { id, kind, secret_hash, expires_ms, uses } => {
                self.u8(CREATE_TOKEN);
                self.u64(*id);
                self.token_kind(*kind);
                self.0.extend_from_slice(secret_hash);
                self.i64(*expires_ms);
                self.u32(*uses);
            }
            MetaCommand::UseToken { kind, proof } => {
                self.u8(USE_TOKEN);
                self.token_kind(*kind);
                self.proof(proof);
            }
            MetaCommand::RevokeToken { id } => {
                self.u8(REVOKE_TOKEN);
                self.u64(*id);
            }
            MetaCommand::SetSetting { key, value } => {
                self.u8(SET_SETTING);
                self.setting(*key);
                self.u64(*value);
            }
            MetaCommand::UnsetSetting { key } => {
                self.u8(UNSET_SETTING);
                self.setting(*key);
            }
            MetaCommand::RecordEvent { kind, text } => {
                self.u8(RECORD_EVENT);
                self.event_kind(*kind);
                self.text(text);
            }
            MetaCommand::RaiseActiveVersion { version } => {
                self.u8(RAISE_ACTIVE_VERSION);
                self.u32(*version);
            }
            MetaCommand::RecoverGroup { group, node, replica, ref_epoch, text, expected_epoch } => {
                self.u8(RECOVER_GROUP);
                self.u32(group.0);
                self.node(*node);
                self.replica(*replica);
                self.u64(ref_epoch.0);
                self.text(text);
                self.u64(*expected_epoch);
            }
        }
    }

    pub(super) fn facts(&mut self, facts: &NodeFacts) {
        for text in [&facts.grpc, &facts.http, &facts.zone, &facts.version] {
            self.text(text);
        }
        self.u32(facts.lowest_format);
        self.u32(facts.highest_format);
        self.u64(facts.capacity_bytes);
    }

    pub(super) fn node_state(&mut self, state: NodeState) {
        self.u8(match state {
            NodeState::Joining => 0,
            NodeState::Active => 1,
            NodeState::Draining => 2,
            NodeState::Removed => 3,
        });
    }

    pub(super) fn token_kind(&mut self, kind: TokenKind) {
        self.u8(match kind {
            TokenKind::Join => 0,
            TokenKind::Admin => 1,
        });
    }

    pub(super) fn setting(&mut self, key: SettingKey) {
        self.u16(key as u16);
    }

    pub(super) fn event_kind(&mut self, kind: EventKind) {
        self.u8(match kind {
            EventKind::Cluster => 0,
            EventKind::Node => 1,
            EventKind::Placement => 2,
            EventKind::Setting => 3,
            EventKind::Token => 4,
            EventKind::Trouble => 5,
        });
    }

    fn proof(&mut self, proof: &TokenProof) {
        self.u64(proof.id);
        self.0.extend_from_slice(&proof.secret_hash);
    }
}

impl Decoder<'_> {
    fn command(&mut self) -> Result<MetaCommand, DecodeError> {
        Ok(match self.u8()? {
            FOUND => MetaCommand::Found(Box::new(Founding {
                cluster: self.u128()?,
                facts: self.facts()?,
                nonce: self.u128()?,
                rules: self.u64()?,
                placement: self.placement()?,
            })),
            REGISTER_NODE => MetaCommand::RegisterNode {
                nonce: self.u128()?,
                facts: self.facts()?,
                rules: self.u64()?,
                token: self.option(Decoder::proof)?,
            },
            UPDATE_NODE => MetaCommand::UpdateNode { node: self.node()?, facts: self.facts()?, rules: self.u64()? },
            SET_NODE_STATE => {
                MetaCommand::SetNodeState { node: self.node()?, state: self.node_state()?, force: self.flag()? }
            }
            ALLOCATE_REPLICA => MetaCommand::AllocateReplica {
                group: self.group_id()?,
                node: self.node()?,
                replaces: self.option(Decoder::node)?,
                expected_epoch: self.u64()?,
            },
            SET_REPLICAS => MetaCommand::SetReplicas {
                group: self.group_id()?,
                voters: self.replica_set()?,
                learners: self.replica_set()?,
                expected_epoch: self.u64()?,
            },
            BEGIN_SPLIT => MetaCommand::BeginSplit {
                group: self.group_id()?,
                at: PlacementKey(self.u64()?),
                ref_epoch: RefEpoch(self.u64()?),
                expected_epoch: self.u64()?,
            },
            FINISH_SPLIT => MetaCommand::FinishSplit { group: self.group_id()?, child: self.group_id()? },
            CANCEL_SPLIT => MetaCommand::CancelSplit { group: self.group_id()?, child: self.group_id()? },
            CREATE_TOKEN => MetaCommand::CreateToken {
                id: self.u64()?,
                kind: self.token_kind()?,
                secret_hash: self.array()?,
                expires_ms: self.i64()?,
                uses: self.u32()?,
            },
            USE_TOKEN => MetaCommand::UseToken { kind: self.token_kind()?, proof: self.proof()? },
            REVOKE_TOKEN => MetaCommand::RevokeToken { id: self.u64()? },
            SET_SETTING => MetaCommand::SetSetting { key: self.setting()?, value: self.u64()? },
            UNSET_SETTING => MetaCommand::UnsetSetting { key: self.setting()? },
            RECORD_EVENT => MetaCommand::RecordEvent { kind: self.event_kind()?, text: self.text()? },
            RAISE_ACTIVE_VERSION => MetaCommand::RaiseActiveVersion { version: self.u32()? },
            RECOVER_GROUP => MetaCommand::RecoverGroup {
                group: self.group_id()?,
                node: self.node()?,
                replica: self.replica()?,
                ref_epoch: RefEpoch(self.u64()?),
                text: self.text()?,
                expected_epoch: self.u64()?,
            },
            _ => return unknown("a command of an unknown kind"),
        })
    }

    pub(super) fn facts(&mut self) -> Result<NodeFacts, DecodeError> {
        Ok(NodeFacts {
            grpc: self.text()?,
            http: self.text()?,
            zone: self.text()?,
            version: self.text()?,
            lowest_format: self.u32()?,
            highest_format: self.u32()?,
            capacity_bytes: self.u64()?,
        })
    }

    pub(super) fn node_state(&mut self) -> Result<NodeState, DecodeError> {
        Ok(match self.u8()? {
            0 => NodeState::Joining,
            1 => NodeState::Active,
            2 => NodeState::Draining,
            3 => NodeState::Removed,
            _ => return unknown("a node in an unknown state"),
        })
    }

    pub(super) fn token_kind(&mut self) -> Result<TokenKind, DecodeError> {
        Ok(match self.u8()? {
            0 => TokenKind::Join,
            1 => TokenKind::Admin,
            _ => return unknown("a token of an unknown kind"),
        })
    }

    pub(super) fn setting(&mut self) -> Result<SettingKey, DecodeError> {
        SettingKey::numbered(self.u16()?).ok_or(DecodeError::Damaged("an unknown setting"))
    }

    pub(super) fn event_kind(&mut self) -> Result<EventKind, DecodeError> {
        Ok(match self.u8()? {
            0 => EventKind::Cluster,
            1 => EventKind::Node,
            2 => EventKind::Placement,
            3 => EventKind::Setting,
            4 => EventKind::Token,
            5 => EventKind::Trouble,
            _ => return unknown("an event of an unknown kind"),
        })
    }

    pub(super) fn group_id(&mut self) -> Result<ShardGroupId, DecodeError> {
        Ok(ShardGroupId(self.u32()?))
    }

    fn replica_set(&mut self) -> Result<BTreeSet<ReplicaId>, DecodeError> {
        self.list(Decoder::replica)
    }

    fn proof(&mut self) -> Result<TokenProof, DecodeError> {
        Ok(TokenProof { id: self.u64()?, secret_hash: self.array()? })
    }
}
