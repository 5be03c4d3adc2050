//! Tests of `record`.

use bellwether_kv::KvEngine;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::types::{Member, Membership};

const ID: ReplicaKey = ReplicaKey { group: GroupId(7), replica: ReplicaId(9) };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
    LogId { leader_id: Leader { term, node_id }, index }
}

fn membership() -> Membership {
    let members =
        (1..=4).map(|replica| (replica, Member { node: replica + 10 })).collect::<std::collections::BTreeMap<_, _>>();
    Membership::new(vec![[1].into(), [1, 2, 3].into()], members).unwrap()
}

fn check_entry(payload: Payload, golden: Expect) {
    let entry = Entry { log_id: log_id(3, 1, 258), payload };
    let key = key(ID, RecordKind::Entry, 258);
    let value = encode_entry(&key, &entry);
    golden.assert_eq(&format!("{} {}", hex(&key), hex(&value)));
    assert_eq!(decode_entry(&key, value).unwrap(), entry);
}

#[test]
fn a_blank_entry_has_these_bytes() {
    let golden =
        expect!["000000070000000000000009020000000000000102 010000000000000000030000000000000001860c740a932fe137"];
    check_entry(Payload::Blank, golden);
}

#[test]
fn an_entry_has_these_bytes() {
    let golden = expect![
        "000000070000000000000009020000000000000102 0101000000000000000300000000000000017061796c6f6164747a4e01b7003f83"
    ];
    check_entry(Payload::Normal(Command(Bytes::from_static(b"payload"))), golden);
}

#[test]
fn an_entry_with_a_membership_has_these_bytes() {
    let golden = expect![
        "000000070000000000000009020000000000000102 010200000000000000030000000000000001000200010000000000000001000300000000000000010000000000000002000000000000000300040000000000000001000000000000000b0000000000000002000000000000000c0000000000000003000000000000000d0000000000000004000000000000000eee1f89293f299d77"
    ];
    check_entry(Payload::Membership(membership()), golden);
}

#[test]
fn a_vote_has_these_bytes() {
    let vote = Vote { leader_id: Leader { term: 3, node_id: 9 }, committed: true };
    let key = key(ID, RecordKind::Vote, 0);
    let value = encode_vote(&key, &vote);
    expect!["000000070000000000000009000000000000000000 0100000000000000030000000000000009011e0aebb2c3d61826"]
        .assert_eq(&format!("{} {}", hex(&key), hex(&value)));
    assert_eq!(decode_vote(&key, &value).unwrap(), vote);
}

#[test]
fn a_cut_has_these_bytes() {
    let key = key(ID, RecordKind::Purged, 0);
    let value = encode_purged(&key, &log_id(3, 1, 257));
    expect![
        "000000070000000000000009010000000000000000 010000000000000003000000000000000100000000000001019fa8c635ab33b730"
    ]
    .assert_eq(&format!("{} {}", hex(&key), hex(&value)));
    assert_eq!(decode_purged(&key, &value).unwrap(), log_id(3, 1, 257));
}

#[test]
fn a_kept_membership_has_these_bytes() {
    let stored = crate::types::StoredMembership::new(Some(log_id(3, 1, 5)), membership());
    let bytes = codec::encode_stored_membership(&stored);
    expect!["0101000000000000000300000000000000010000000000000005000200010000000000000001000300000000000000010000000000000002000000000000000300040000000000000001000000000000000b0000000000000002000000000000000c0000000000000003000000000000000d0000000000000004000000000000000e"].assert_eq(&hex(&bytes));
    assert_eq!(codec::decode_stored_membership(bytes).unwrap(), stored);
}

#[test]
fn a_value_under_another_key_is_refused() {
    let entry = Entry { log_id: log_id(3, 1, 5), payload: Payload::Blank };
    let value = encode_entry(&key(ID, RecordKind::Entry, 5), &entry);
    let other = key(ID, RecordKind::Entry, 6);
    assert_eq!(decode_entry(&other, value), Err(DecodeError::Checksum));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let key = key(ID, RecordKind::Vote, 0);
    let newer = seal(&key, vec![VERSION + 1, 1, 2, 3]);
    assert_eq!(decode_vote(&key, &newer), Err(DecodeError::Version { found: VERSION + 1 }));
}

#[test]
fn a_membership_without_one_of_its_voters_is_refused() {
    let bytes = [&[0, 1, 0, 1][..], &5u64.to_be_bytes(), &[0, 0]].concat();
    assert!(matches!(Reader::new(bytes.into()).membership(), Err(DecodeError::Membership(_))));
}

#[test]
fn replicas_in_a_store_are_found() {
    let spaces = [bellwether_kv::SpaceConfig { name: "log", kind: bellwether_kv::SpaceKind::Log }];
    let engine = bellwether_kv::MemEngine::new(&spaces).unwrap();
    let space = bellwether_kv::Space(0);
    let mut batch = bellwether_kv::WriteBatch::default();
    for (group, replica) in [(1, 1), (1, 2), (7, 9)] {
        let id = ReplicaKey { group: GroupId(group), replica: ReplicaId(replica) };
        for index in 0..3 {
            batch.put(space, key(id, RecordKind::Entry, index), "x");
        }
        batch.put(space, key(id, RecordKind::Vote, 0), "x");
    }
    engine.write(&batch, bellwether_kv::Durability::Synced).unwrap();
    let found = crate::recovery::stored_replicas(&engine, space).unwrap();
    let found: Vec<_> = found.into_iter().map(|id| (id.group.0, id.replica.0)).collect();
    assert_eq!(found, [(1, 1), (1, 2), (7, 9)]);
}

proptest! {
    #[test]
    fn entries_come_back(term: u64, node_id: u64, index: u64, payload: Vec<u8>) {
        let key = key(ID, RecordKind::Entry, index);
        let entry = Entry { log_id: log_id(term, node_id, index), payload: Payload::Normal(Command(payload.into())) };
        prop_assert_eq!(decode_entry(&key, encode_entry(&key, &entry)).unwrap(), entry);
    }

    #[test]
    fn any_change_of_a_value_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
        let key = key(ID, RecordKind::Entry, 5);
        let entry = Entry { log_id: log_id(1, 1, 5), payload: Payload::Normal(Command(payload.into())) };
        let value = encode_entry(&key, &entry);
        let mut flipped = value.to_vec();
        let at = at.index(flipped.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(decode_entry(&key, flipped.into()).is_err());
        prop_assert!(decode_entry(&key, value.slice(..at)).is_err(), "cut at {}", at);
    }
}

#[test]
fn hostile_bytes_are_refused_or_understood() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let key = key(ID, RecordKind::Entry, 5);
        // Past the checksum, so that the decoder behind it is reached.
        let value = seal(&key, bytes.to_vec());
        if let Ok(entry) = decode_entry(&key, value) {
            let again = encode_entry(&key, &entry);
            assert_eq!(decode_entry(&key, again).unwrap(), entry);
        }
        let _ = decode_vote(&key, &seal(&key, bytes.to_vec()));
        let _ = decode_purged(&key, &seal(&key, bytes.to_vec()));
        let _ = codec::decode_stored_membership(bytes.to_vec().into());
    });
}
