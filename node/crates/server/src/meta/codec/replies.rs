//! The bytes of a reply.

use super::super::command::{MetaReply, Outcome, Refusal};
use super::super::settings::SettingKey;
use super::{DecodeError, Decoder, Encoder, unknown};

const VERSION: u8 = 1;

const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;

/// What a node's name can be wrong in, by number.
const NAMES: [&str; 4] = ["gRPC address", "HTTP address", "version", "zone"];

/// The bytes of a reply.
pub fn encode(reply: &MetaReply) -> Vec<u8> {
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
pub fn decode(bytes: &[u8]) -> Result<MetaReply, DecodeError> {
    let mut from = Decoder(bytes);
    from.version("a reply of the meta group", VERSION)?;
    let reply = match from.u8()? {
        ACCEPTED => Ok(from.outcome()?),
        REFUSED => Err(from.refusal()?),
        _ => return unknown("a reply that is neither yes nor no"),
    };
    from.end()?;
    Ok(reply)
}

impl Encoder {
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.u8(0),
            Outcome::Node { node, meta_replica } => {
                self.u8(1);
                self.node(*node);
                self.replica(*meta_replica);
            }
            Outcome::Replica { replica } => {
                self.u8(2);
                self.replica(*replica);
            }
            Outcome::Split { child, replicas } => {
                self.u8(3);
                self.u32(child.0);
                self.replicas(replicas);
            }
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        let mut numbered = |kind: u8, numbers: &[u64]| {
            self.u8(kind);
            numbers.iter().for_each(|number| self.u64(*number));
        };
        match refusal {
            Refusal::Founded { cluster } => numbered(1, &[(cluster >> 64) as u64, *cluster as u64]),
            Refusal::NotFounded => numbered(2, &[]),
            Refusal::NodeLimit { limit } => numbered(3, &[*limit]),
            Refusal::Rules { expected, got } => numbered(4, &[*expected, *got]),
            Refusal::Version { active, lowest, highest } => {
                numbered(5, &[*active, *lowest, *highest].map(u64::from));
            }
            Refusal::VersionBehind { version, active, node, highest } => {
                numbered(6, &[(*version).into(), (*active).into(), node.0, (*highest).into()]);
            }
            Refusal::UnknownNode(node) => numbered(7, &[node.0]),
            Refusal::NodeRemoved(node) => numbered(8, &[node.0]),
            Refusal::NodeNotActive { node, state } => {
                numbered(9, &[node.0]);
                self.node_state(*state);
            }
            Refusal::BelowReplication { node, left, factor } => numbered(10, &[node.0, *left, *factor]),
            Refusal::LastVoter { node, group } => numbered(11, &[node.0, group.0.into()]),
            Refusal::QuorumLost { node, group } => numbered(12, &[node.0, group.0.into()]),
            Refusal::StillHolds { node, replicas } => numbered(13, &[node.0, *replicas]),
            Refusal::LastNode(node) => numbered(14, &[node.0]),
            Refusal::StaleEpoch { expected, current } => numbered(15, &[*expected, *current]),
            Refusal::OtherSplit { group, child } => numbered(16, &[group.0.into(), child.0.into()]),
            Refusal::UnknownReplica { group, replica } => numbered(17, &[group.0.into(), replica.0]),
            Refusal::Placement(reason) => {
                numbered(18, &[]);
                self.text(reason);
            }
            Refusal::GroupLimit { limit } => numbered(19, &[*limit]),
            Refusal::TokenUnknown(id) => numbered(20, &[*id]),
            Refusal::TokenExpired => numbered(21, &[]),
            Refusal::TokenUsed { uses } => numbered(22, &[(*uses).into()]),
            Refusal::TokenNeeded => numbered(23, &[]),
            Refusal::TooManyTokens => numbered(24, &[]),
            Refusal::TokenExists(id) => numbered(25, &[*id]),
            Refusal::SettingRange { name, min, max, value } => {
                numbered(26, &[*min, *max, *value]);
                self.setting(SettingKey::named(name).expect("a refusal names a setting of the table"));
            }
            Refusal::BadName { what } => {
                numbered(27, &[]);
                let number = NAMES.iter().position(|name| name == what).expect("a refusal names one of these");
                self.u8(number as u8);
            }
            Refusal::TokenWrong(id) => numbered(28, &[*id]),
            Refusal::TokenKind { is, wanted } => {
                numbered(29, &[]);
                self.token_kind(*is);
                self.token_kind(*wanted);
            }
            Refusal::TokenRevoked => numbered(30, &[]),
            Refusal::TokenUses { min, max, uses } => numbered(31, &[*min, *max, *uses].map(u64::from)),
        }
    }
}

impl Decoder<'_> {
    pub(super) fn outcome(&mut self) -> Result<Outcome, DecodeError> {
        Ok(match self.u8()? {
            0 => Outcome::Done,
            1 => Outcome::Node { node: self.node()?, meta_replica: self.replica()? },
            2 => Outcome::Replica { replica: self.replica()? },
            3 => Outcome::Split { child: self.group_id()?, replicas: self.replicas()? },
            _ => return unknown("an outcome of an unknown kind"),
        })
    }

    fn refusal(&mut self) -> Result<Refusal, DecodeError> {
        Ok(match self.u8()? {
            1 => Refusal::Founded { cluster: u128::from(self.u64()?) << 64 | u128::from(self.u64()?) },
            2 => Refusal::NotFounded,
            3 => Refusal::NodeLimit { limit: self.u64()? },
            4 => Refusal::Rules { expected: self.u64()?, got: self.u64()? },
            5 => Refusal::Version { active: self.small()?, lowest: self.small()?, highest: self.small()? },
            6 => Refusal::VersionBehind {
                version: self.small()?,
                active: self.small()?,
                node: self.node()?,
                highest: self.small()?,
            },
            7 => Refusal::UnknownNode(self.node()?),
            8 => Refusal::NodeRemoved(self.node()?),
            9 => Refusal::NodeNotActive { node: self.node()?, state: self.node_state()? },
            10 => Refusal::BelowReplication { node: self.node()?, left: self.u64()?, factor: self.u64()? },
            11 => Refusal::LastVoter { node: self.node()?, group: self.wide_group()? },
            12 => Refusal::QuorumLost { node: self.node()?, group: self.wide_group()? },
            13 => Refusal::StillHolds { node: self.node()?, replicas: self.u64()? },
            14 => Refusal::LastNode(self.node()?),
            15 => Refusal::StaleEpoch { expected: self.u64()?, current: self.u64()? },
            16 => Refusal::OtherSplit { group: self.wide_group()?, child: self.wide_group()? },
            17 => Refusal::UnknownReplica { group: self.wide_group()?, replica: self.replica()? },
            18 => Refusal::Placement(self.text()?),
            19 => Refusal::GroupLimit { limit: self.u64()? },
            20 => Refusal::TokenUnknown(self.u64()?),
            21 => Refusal::TokenExpired,
            22 => Refusal::TokenUsed { uses: self.small()? },
            23 => Refusal::TokenNeeded,
            24 => Refusal::TooManyTokens,
            25 => Refusal::TokenExists(self.u64()?),
            26 => {
                let (min, max, value) = (self.u64()?, self.u64()?, self.u64()?);
                Refusal::SettingRange { name: self.setting()?.info().name, min, max, value }
            }
            27 => {
                let what = NAMES.get(usize::from(self.u8()?)).ok_or(DecodeError::Damaged("an unknown name"))?;
                Refusal::BadName { what }
            }
            28 => Refusal::TokenWrong(self.u64()?),
            29 => Refusal::TokenKind { is: self.token_kind()?, wanted: self.token_kind()? },
            30 => Refusal::TokenRevoked,
            31 => Refusal::TokenUses { min: self.small()?, max: self.small()?, uses: self.small()? },
            _ => return unknown("a refusal of an unknown kind"),
        })
    }

    /// A number that is kept wider than it is.
    fn small(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.u64()?).map_err(|_| DecodeError::Damaged("a number is too large"))
    }

    fn wide_group(&mut self) -> Result<bellwether_model::ShardGroupId, DecodeError> {
        self.small().map(bellwether_model::ShardGroupId)
    }
}
