//! Tests of the bytes: read back, golden, cut short, flipped.

use std::collections::BTreeSet;

use bellwether_model::{PlacementKey, RefEpoch, ShardGroupId};
use bellwether_placement::{GroupLoad, NodeState, Placement};
use bellwether_raft::{Applied, LogPosition};
use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::env::Seed;
use crate::meta::apply::apply;
use crate::meta::command::{Founding, MetaCommand, MetaReply, Outcome, Refusal, Request, TokenProof};
use crate::meta::founding::initial_placement;
use crate::meta::settings::SETTINGS;
use crate::meta::state::{EventKind, MetaState, NodeFacts, TokenKind};

/// The newest version that states here are in.
const NEWEST: u32 = 9;

/// Values out of a number.
struct Draw(Seed);

impl Draw {
    fn u64(&mut self) -> u64 {
        self.0 = self.0.split("next");
        self.0.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.u64() % bound
    }

    fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    fn text(&mut self) -> String {
        (0..self.below(20)).map(|_| char::from(b'a' + self.below(26) as u8)).chain(['ä']).collect()
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.u64() >> self.below(64))
    }

    fn option<T>(&mut self, value: impl FnOnce(&mut Draw) -> T) -> Option<T> {
        if self.below(2) == 0 { None } else { Some(value(self)) }
    }

    fn facts(&mut self) -> NodeFacts {
        NodeFacts {
            grpc: self.text(),
            http: self.text(),
            zone: self.text(),
            version: self.text(),
            lowest_format: 1,
            highest_format: 1 + self.below(NEWEST.into()) as u32,
            capacity_bytes: self.u64(),
        }
    }

    fn hash(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.u64() as u8)
    }

    fn placement(&mut self) -> Placement {
        let mut placement = initial_placement(1 + self.below(5) as u32, self.0);
        for _ in 0..self.below(12) {
            let groups = placement.groups();
            let group = groups[self.below(groups.len() as u64) as usize].clone();
            let node = NodeId(1 + self.below(4));
            // What is refused changes nothing.
            let _ = match self.below(8) {
                0 | 1 => placement.add_learner(group.id, node, None).map(drop),
                2 => placement.add_learner(group.id, node, Some(NodeId(1))).map(drop),
                3 => placement.change_voters(group.id, &BTreeSet::from([node])),
                4 => placement.remove_replica(group.id, node),
                5 => placement.begin_split(group.id, PlacementKey(self.u64()), RefEpoch(self.u64())),
                6 => placement.finish_split(group.id).map(drop),
                _ => {
                    let middle = self.option(|draw| PlacementKey(draw.u64()));
                    let load = GroupLoad { bytes: self.u64(), series: 1, samples_per_second: 2, middle };
                    placement.observe_load(group.id, load);
                    placement.observe_leader(group.id, None);
                    Ok(())
                }
            };
        }
        placement
    }

    fn replicas(&mut self) -> BTreeSet<ReplicaId> {
        (0..self.below(4)).map(|_| ReplicaId(self.u64())).collect()
    }

    fn proof(&mut self) -> TokenProof {
        TokenProof { id: self.u64(), secret_hash: self.hash() }
    }

    fn command(&mut self) -> MetaCommand {
        let group = ShardGroupId(self.below(6) as u32);
        let child = ShardGroupId(self.below(9) as u32);
        let expected_epoch = self.below(20);
        let key = SETTINGS[self.below(SETTINGS.len() as u64) as usize].key;
        let kind = [TokenKind::Join, TokenKind::Admin][self.below(2) as usize];
        match self.below(17) {
            0 => MetaCommand::Found(Box::new(Founding {
                cluster: self.u128(),
                facts: self.facts(),
                nonce: self.u128(),
                rules: 7,
                // Nothing was split before it was founded.
                placement: initial_placement(1 + self.below(5) as u32, self.0),
            })),
            1 => MetaCommand::RegisterNode {
                nonce: self.u128(),
                facts: self.facts(),
                rules: 7,
                token: self.option(Draw::proof),
            },
            2 => MetaCommand::UpdateNode { node: NodeId(1 + self.below(5)), facts: self.facts(), rules: 7 },
            3 => MetaCommand::SetNodeState {
                node: NodeId(1 + self.below(5)),
                state: [NodeState::Joining, NodeState::Active, NodeState::Draining, NodeState::Removed]
                    [self.below(4) as usize],
                force: self.below(2) == 0,
            },
            4 => MetaCommand::AllocateReplica {
                group,
                node: NodeId(1 + self.below(5)),
                replaces: self.option(Draw::node),
                expected_epoch,
            },
            5 => MetaCommand::SetReplicas { group, voters: self.replicas(), learners: self.replicas(), expected_epoch },
            6 => MetaCommand::BeginSplit {
                group,
                at: PlacementKey(self.u64()),
                ref_epoch: RefEpoch(self.u64()),
                expected_epoch,
            },
            7 => MetaCommand::FinishSplit { group, child },
            8 => MetaCommand::CancelSplit { group, child },
            9 => MetaCommand::CreateToken { id: self.u64(), kind, secret_hash: self.hash(), expires_ms: 9, uses: 3 },
            10 => MetaCommand::UseToken { kind, proof: self.proof() },
            11 => MetaCommand::RevokeToken { id: self.u64() },
            12 => MetaCommand::SetSetting { key, value: key.info().max },
            13 => MetaCommand::UnsetSetting { key },
            14 => MetaCommand::RecordEvent { kind: EventKind::Trouble, text: self.text() },
            15 => MetaCommand::RecoverGroup {
                group,
                node: NodeId(1 + self.below(5)),
                replica: ReplicaId(self.below(9)),
                ref_epoch: RefEpoch(self.u64()),
                text: self.text(),
                expected_epoch,
            },
            _ => MetaCommand::RaiseActiveVersion { version: self.below(3) as u32 },
        }
    }

    fn request(&mut self) -> Request {
        Request { id: self.u128(), proposed_ms: self.u64() as i64, command: self.command() }
    }

    /// A state that some commands have led to, and the replies to them.
    fn state(&mut self) -> (MetaState, Vec<MetaReply>) {
        let mut state = None;
        let mut index = 0;
        while state.is_none() {
            let founding = Founding {
                cluster: self.u128(),
                facts: self.facts(),
                nonce: self.u128(),
                rules: 7,
                placement: self.placement(),
            };
            let command = MetaCommand::Found(Box::new(founding));
            apply(&mut state, Request { id: self.u128(), proposed_ms: 3, command }, 0).unwrap();
        }
        let replies = (0..self.below(60)).map(|_| {
            index += 1;
            apply(&mut state, self.request(), index)
        });
        let replies = replies.collect();
        (state.unwrap(), replies)
    }
}

fn applied(draw: &mut Draw) -> Applied {
    let log = LogPosition { term: draw.u64(), leader: bellwether_raft::ReplicaId(draw.u64()), index: draw.u64() };
    Applied { log: Some(log), membership: draw.option(|draw| Bytes::from(draw.text())) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_read_back(seed: u64) {
        let request = Draw(Seed(seed)).request();
        prop_assert_eq!(requests::decode(&requests::encode(&request, 1), 1), Ok(request));
    }

    #[test]
    fn states_and_replies_are_read_back(seed: u64) {
        let mut draw = Draw(Seed(seed));
        let (state, replies) = draw.state();
        let applied = applied(&mut draw);
        prop_assert_eq!(states::decode(&states::encode(Some(&state), &applied), NEWEST), Ok((Some(state), applied)));
        for reply in replies {
            prop_assert_eq!(super::replies::decode(&super::replies::encode(&reply)), Ok(reply));
        }
    }

    #[test]
    fn commands_whose_bytes_are_damaged_break_nothing(seed: u64, at: prop::sample::Index, bit in 0..8u8) {
        let bytes = requests::encode(&Draw(Seed(seed)).request(), 1);
        let at = at.index(bytes.len());
        assert!(requests::decode(&bytes[..at], 1).is_err());
        assert!(requests::decode(&[&bytes[..], &[0]].concat(), 1).is_err());
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << bit;
        drop(requests::decode(&damaged, 1));
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_state_is_noticed() {
    let (state, _) = Draw(Seed(3)).state();
    let bytes = states::encode(Some(&state), &Applied::default());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(states::decode(&damaged, NEWEST).is_err(), "byte {at}");
        assert!(states::decode(&bytes[..at], NEWEST).is_err());
    }
}

fn every_refusal() -> Vec<Refusal> {
    let (node, group, replica) = (NodeId(1), ShardGroupId(2), ReplicaId(3));
    vec![
        Refusal::Founded { cluster: 1 << 70 | 5 },
        Refusal::NotFounded,
        Refusal::NodeLimit { limit: 3 },
        Refusal::Rules { expected: 1, got: 2 },
        Refusal::Version { active: 1, lowest: 2, highest: 3 },
        Refusal::VersionBehind { version: 4, active: 1, node, highest: 3 },
        Refusal::UnknownNode(node),
        Refusal::NodeRemoved(node),
        Refusal::NodeNotActive { node, state: NodeState::Draining },
        Refusal::BelowReplication { node, left: 2, factor: 3 },
        Refusal::LastVoter { node, group },
        Refusal::QuorumLost { node, group },
        Refusal::StillHolds { node, replicas: 5 },
        Refusal::LastNode(node),
        Refusal::StaleEpoch { expected: 1, current: 2 },
        Refusal::OtherSplit { group, child: ShardGroupId(9) },
        Refusal::UnknownReplica { group, replica },
        Refusal::Placement("why".to_owned()),
        Refusal::GroupLimit { limit: 8 },
        Refusal::TokenUnknown(6),
        Refusal::TokenExpired,
        Refusal::TokenUsed { uses: 2 },
        Refusal::TokenWrong(6),
        Refusal::TokenKind { is: TokenKind::Join, wanted: TokenKind::Admin },
        Refusal::TokenRevoked,
        Refusal::TokenUses { min: 1, max: 2, uses: 3 },
        Refusal::TokenNeeded,
        Refusal::TooManyTokens,
        Refusal::TokenExists(7),
        Refusal::SettingRange { name: "nodes.max", min: 1, max: 64, value: 99 },
        Refusal::BadName { what: "zone" },
    ]
}

#[test]
fn every_refusal_is_read_back() {
    for refusal in every_refusal() {
        let bytes = replies::encode(&Err(refusal.clone()));
        for end in 0..bytes.len() {
            assert!(replies::decode(&bytes[..end]).is_err());
        }
        assert_eq!(replies::decode(&bytes), Ok(Err(refusal)));
    }
}

#[test]
fn what_a_newer_program_wrote_is_refused_with_both_versions() {
    let newer =
        "a command of the meta group has format version 9, this program reads up to 1: start a newer bellwether";
    assert_eq!(requests::decode(&[9, 1, 2], 1).unwrap_err().to_string(), newer);
    let (state, _) = Draw(Seed(3)).state();
    let mut bytes = states::encode(Some(&state), &Applied::default());
    bytes.truncate(bytes.len() - 8);
    // A section of the next version, empty.
    bytes.extend_from_slice(&[10, 0, 1, 0, 0, 0, 0]);
    bytes.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(&bytes).to_le_bytes());
    let newer = "a section of the state of the meta group has format version 10, this program reads up to 9: start a newer bellwether";
    assert_eq!(states::decode(&bytes, NEWEST).unwrap_err().to_string(), newer);
}

#[track_caller]
fn golden(bytes: &[u8], expected: Expect) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    expected.assert_eq(&hex);
}

fn facts() -> NodeFacts {
    NodeFacts {
        grpc: "a:1".to_owned(),
        http: "b:2".to_owned(),
        zone: "z".to_owned(),
        version: "v".to_owned(),
        lowest_format: 1,
        highest_format: 2,
        capacity_bytes: 0x0102,
    }
}

fn request(command: MetaCommand) -> Vec<u8> {
    requests::encode(&Request { id: 0x0a0b, proposed_ms: 0x0c0d, command }, 1)
}

#[test]
fn the_bytes_of_commands_are_golden() {
    let (group, node) = (ShardGroupId(2), NodeId(3));
    let token = Some(TokenProof { id: 4, secret_hash: [5; 32] });
    golden(
        &request(MetaCommand::RegisterNode { nonce: 1, facts: facts(), rules: 6, token }),
        expect![
            "010b0a00000000000000000000000000000d0c000000000000020100000000000000000000000000000003000000613a3103000000623a32010000007a01000000760100000002000000020100000000000006000000000000000104000000000000000505050505050505050505050505050505050505050505050505050505050505"
        ],
    );
    golden(
        &request(MetaCommand::UpdateNode { node, facts: facts(), rules: 6 }),
        expect![
            "010b0a00000000000000000000000000000d0c00000000000003030000000000000003000000613a3103000000623a32010000007a0100000076010000000200000002010000000000000600000000000000"
        ],
    );
    golden(
        &request(MetaCommand::SetNodeState { node, state: NodeState::Draining, force: true }),
        expect!["010b0a00000000000000000000000000000d0c0000000000000403000000000000000201"],
    );
    golden(
        &request(MetaCommand::AllocateReplica { group, node, replaces: Some(NodeId(1)), expected_epoch: 7 }),
        expect![
            "010b0a00000000000000000000000000000d0c000000000000050200000003000000000000000101000000000000000700000000000000"
        ],
    );
    let (voters, learners) = ([ReplicaId(1), ReplicaId(2)].into(), [ReplicaId(3)].into());
    golden(
        &request(MetaCommand::SetReplicas { group, voters, learners, expected_epoch: 7 }),
        expect![
            "010b0a00000000000000000000000000000d0c000000000000060200000002000000010000000000000002000000000000000100000003000000000000000700000000000000"
        ],
    );
    let (at, ref_epoch) = (PlacementKey(8), RefEpoch(9));
    golden(
        &request(MetaCommand::BeginSplit { group, at, ref_epoch, expected_epoch: 7 }),
        expect![
            "010b0a00000000000000000000000000000d0c0000000000000702000000080000000000000009000000000000000700000000000000"
        ],
    );
    golden(
        &request(MetaCommand::FinishSplit { group, child: ShardGroupId(4) }),
        expect!["010b0a00000000000000000000000000000d0c000000000000080200000004000000"],
    );
    golden(
        &request(MetaCommand::CancelSplit { group, child: ShardGroupId(4) }),
        expect!["010b0a00000000000000000000000000000d0c000000000000090200000004000000"],
    );
    let (kind, secret_hash) = (TokenKind::Admin, [5; 32]);
    golden(
        &request(MetaCommand::CreateToken { id: 1, kind, secret_hash, expires_ms: 2, uses: 3 }),
        expect![
            "010b0a00000000000000000000000000000d0c0000000000000a0100000000000000010505050505050505050505050505050505050505050505050505050505050505020000000000000003000000"
        ],
    );
    let proof = TokenProof { id: 4, secret_hash };
    golden(
        &request(MetaCommand::UseToken { kind: TokenKind::Join, proof }),
        expect![
            "010b0a00000000000000000000000000000d0c0000000000000b0004000000000000000505050505050505050505050505050505050505050505050505050505050505"
        ],
    );
    golden(
        &request(MetaCommand::RevokeToken { id: 1 }),
        expect!["010b0a00000000000000000000000000000d0c0000000000000c0100000000000000"],
    );
    let key = crate::meta::settings::SettingKey::FreeDiskPercent;
    golden(
        &request(MetaCommand::SetSetting { key, value: 20 }),
        expect!["010b0a00000000000000000000000000000d0c0000000000000d0f001400000000000000"],
    );
    golden(
        &request(MetaCommand::UnsetSetting { key }),
        expect!["010b0a00000000000000000000000000000d0c0000000000000e0f00"],
    );
    let text = "full".to_owned();
    golden(
        &request(MetaCommand::RecordEvent { kind: EventKind::Trouble, text }),
        expect!["010b0a00000000000000000000000000000d0c0000000000000f050400000066756c6c"],
    );
    golden(
        &request(MetaCommand::RaiseActiveVersion { version: 2 }),
        expect!["010b0a00000000000000000000000000000d0c0000000000001002000000"],
    );
    golden(
        &request(MetaCommand::RecoverGroup {
            group: ShardGroupId(3),
            node: NodeId(2),
            replica: ReplicaId(9),
            ref_epoch: RefEpoch(7),
            text: "lost".to_owned(),
            expected_epoch: 5,
        }),
        expect![
            "010b0a00000000000000000000000000000d0c0000000000001103000000020000000000000009000000000000000700000000000000040000006c6f73740500000000000000"
        ],
    );
}

/// A cluster with a split under way, a choice, a token, and a second node.
fn small_state() -> MetaState {
    let founding =
        Founding { cluster: 0xc1, facts: facts(), nonce: 1, rules: 6, placement: initial_placement(1, Seed(5)) };
    let commands = [
        MetaCommand::Found(Box::new(founding)),
        MetaCommand::RegisterNode {
            nonce: 2,
            facts: NodeFacts { grpc: "c:3".to_owned(), ..facts() },
            rules: 6,
            token: None,
        },
        MetaCommand::AllocateReplica { group: ShardGroupId(0), node: NodeId(2), replaces: None, expected_epoch: 1 },
        MetaCommand::BeginSplit {
            group: ShardGroupId(0),
            at: PlacementKey(1 << 63),
            ref_epoch: RefEpoch(0xe),
            expected_epoch: 2,
        },
        MetaCommand::SetSetting { key: crate::meta::settings::SettingKey::Copies, value: 3 },
        MetaCommand::CreateToken { id: 1, kind: TokenKind::Join, secret_hash: [5; 32], expires_ms: 99, uses: 2 },
    ];
    let mut state = None;
    for (at, command) in commands.into_iter().enumerate() {
        apply(&mut state, Request { id: at as u128, proposed_ms: 10, command }, at as u64).unwrap();
    }
    state.unwrap()
}

#[test]
fn the_bytes_of_a_founding_and_of_a_state_are_golden() {
    let founding =
        Founding { cluster: 0xc1, facts: facts(), nonce: 1, rules: 6, placement: initial_placement(1, Seed(5)) };
    golden(
        &request(MetaCommand::Found(Box::new(founding))),
        expect![
            "010b0a00000000000000000000000000000d0c00000000000001c100000000000000000000000000000003000000613a3103000000623a32010000007a01000000760100000002000000020100000000000001000000000000000000000000000000060000000000000001000000000000000101000000020000000000000001000000000000000000000000000000ffffffffffffffff00000000000000000cfa178c53d7f53901000000010000000000000001000000000000000000010001010000000000000000000000000000000000000000000000000000000000000000"
        ],
    );
    golden(
        &states::encode(None, &Applied::default()),
        expect!["42574d54010100011b000000010000000000000000000000000000000000000000000000000000b485f83546e00138"],
    );
    golden(
        &states::encode(Some(&small_state()), &Applied::default()),
        expect![
            "42574d54020100011b00000001000000000000000000000000000000000000000000000000000002000144000000c10000000000000000000000000000000a000000000000000600000000000000020000000300000000000000030000000000000007000000000000000500000000000000030001a600000002000000010000000000000003000000613a3103000000623a32010000007a010000007601000000020000000201000000000000010a00000000000000010000000000000001000000000000000000000000000000020000000000000003000000633a3303000000623a32010000007a010000007601000000020000000201000000000000010a00000000000000020000000000000002000000000000000000000000000000040001c800000003000000000000000102000000050000000000000001000000000000000000000000000000ffffffffffffffff00000000000000000cfa178c53d7f539020000000100000000000000010000000000000000000102000000000000000200000000000000010000010000000000000080010000000e00000000000000020000000300000000000000010000000000000000000104000000000000000200000000000000010001010100000000000000000000000000000000000000000000000000000000000000000500010e0000000100000007000300000000000000060001470000000100000001000000000000000005050505050505050505050505050505050505050505050505050505050505050a00000000000000630000000000000002000000000000000000070001710100000600000001000000000000000a00000000000000002c000000666f756e646564206279206e6f6465203120617420613a31207769746820312073686172642067726f75707302000000000000000a0000000000000001140000006e6f64652032206a6f696e656420617420633a3303000000000000000a00000000000000022a0000006e6f6465203220697320676976656e207265706c6963612032206f662073686172642067726f7570203004000000000000000a00000000000000023700000073686172642067726f75702030206973206265696e672073706c6974206174203830303030303030303030303030303020696e746f203105000000000000000a0000000000000003180000006d6f76652e636f70696573207761732073657420746f203306000000000000000a000000000000000436000000746f6b656e203030303030303030303030303030303120746f206a6f696e2061732061206e6f64652077617320676976656e206f7574080001b000000006000000000000000000000000000000000000000001000000000000000000000000000000010200000000000000020000000000000002000000000000000000000000000000020200000000000000030000000000000000000000000000000301000000020000000300000000000000010000000000000000000104000000000000000200000000000000010001040000000000000000000000000000000005000000000000000000000000000000009ceec7de75b6c5fd"
        ],
    );
}

#[test]
fn the_bytes_of_replies_are_golden() {
    golden(&replies::encode(&Ok(Outcome::Done)), expect!["010000"]);
    golden(
        &replies::encode(&Ok(Outcome::Node { node: NodeId(1), meta_replica: ReplicaId(2) })),
        expect!["01000101000000000000000200000000000000"],
    );
    golden(&replies::encode(&Ok(Outcome::Replica { replica: ReplicaId(2) })), expect!["0100020200000000000000"]);
    let replicas = small_state().placement.groups()[0].split.clone().unwrap().replicas;
    golden(
        &replies::encode(&Ok(Outcome::Split { child: ShardGroupId(1), replicas })),
        expect!["01000301000000020000000300000000000000010000000000000000000104000000000000000200000000000000010001"],
    );
    let refusals: Vec<u8> = every_refusal().into_iter().flat_map(|refusal| replies::encode(&Err(refusal))).collect();
    golden(
        &refusals,
        expect![
            "0101014000000000000000050000000000000001010201010303000000000000000101040100000000000000020000000000000001010501000000000000000200000000000000030000000000000001010604000000000000000100000000000000010000000000000003000000000000000101070100000000000000010108010000000000000001010901000000000000000201010a01000000000000000200000000000000030000000000000001010b0100000000000000020000000000000001010c0100000000000000020000000000000001010d0100000000000000050000000000000001010e010000000000000001010f0100000000000000020000000000000001011002000000000000000900000000000000010111020000000000000003000000000000000101120300000077687901011308000000000000000101140600000000000000010115010116020000000000000001011c060000000000000001011d000101011e01011f010000000000000002000000000000000300000000000000010117010118010119070000000000000001011a010000000000000040000000000000006300000000000000020001011b03"
        ],
    );
}
