//! Tests of `wire`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use expect_test::{Expect, expect};

use super::*;
use crate::types::{Command, Leader, Member, Membership, Payload};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: Leader { term: 3, node_id: 1 }, index }
}

fn vote() -> Vote {
    Vote { leader_id: Leader { term: 4, node_id: 2 }, committed: true }
}

fn membership() -> Membership {
    Membership::new(vec![[1].into()], BTreeMap::from([(1, Member { node: 11 })])).unwrap()
}

/// The encoding is this, decodes to the same, and no prefix of it decodes.
fn check<T: Debug>(
    message: &T,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
    golden: Expect,
) {
    let bytes = encode(message);
    golden.assert_eq(&hex(&bytes));
    assert_eq!(format!("{:?}", decode(bytes.clone()).unwrap()), format!("{message:?}"));
    for end in 0..bytes.len() {
        decode(bytes.slice(..end)).unwrap_err();
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode(longer.into()).unwrap_err(), DecodeError::Trailing(1));
    let mut newer = bytes.to_vec();
    newer[0] = VERSION + 1;
    assert_eq!(decode(newer.into()).unwrap_err(), DecodeError::Version { found: VERSION + 1 });
}

fn check_message(message: Message, golden: Expect) {
    check(&message, Message::encode, Message::decode, golden);
}

fn check_answer(answer: Answer, golden: Expect) {
    check(&answer, Answer::encode, Answer::decode, golden);
}

#[test]
fn an_append_has_these_bytes() {
    let entries =
        [Payload::Blank, Payload::Normal(Command(Bytes::from_static(b"payload"))), Payload::Membership(membership())];
    let entries = (6..).zip(entries).map(|(index, payload)| Entry { log_id: log_id(index), payload }).collect();
    let request =
        AppendEntriesRequest { vote: vote(), prev_log_id: Some(log_id(5)), entries, leader_commit: Some(log_id(4)) };
    check_message(
        Message::Append(request, QuorumAge::of(Duration::from_millis(300))),
        expect![
            "0101000000000000000400000000000000020101000000000000000300000000000000010000000000000005010000000000000003000000000000000100000000000000040000012c00000003000000000000000300000000000000010000000000000006000000000000000000000000030000000000000001000000000000000701000000077061796c6f6164000000000000000300000000000000010000000000000008020000001e00010001000000000000000100010000000000000001000000000000000b"
        ],
    );
}

#[test]
fn a_heartbeat_has_these_bytes() {
    let request = AppendEntriesRequest { vote: vote(), prev_log_id: None, entries: Vec::new(), leader_commit: None };
    check_message(
        Message::Append(request, QuorumAge::UNHEARD),
        expect!["010100000000000000040000000000000002010000ffffffff00000000"],
    );
}

#[test]
fn votes_have_these_bytes() {
    let request = || VoteRequest { vote: vote(), last_log_id: Some(log_id(5)), leadership_transfer: true };
    check_message(
        Message::Vote(request()),
        expect!["010200000000000000040000000000000002010100000000000000030000000000000001000000000000000501"],
    );
    check_message(
        Message::PreVote(request()),
        expect!["010300000000000000040000000000000002010100000000000000030000000000000001000000000000000501"],
    );
    let answer = VoteResponse { vote: vote(), vote_granted: true, last_log_id: Some(log_id(5)) };
    check_answer(
        Answer::Vote(answer),
        expect!["010200000000000000040000000000000002010101000000000000000300000000000000010000000000000005"],
    );
}

#[test]
fn a_transfer_of_leadership_has_these_bytes() {
    let request = TransferLeaderRequest::new(vote(), 3, Some(log_id(5)));
    check_message(
        Message::TransferLeader(request),
        expect![
            "01040000000000000004000000000000000201000000000000000301000000000000000300000000000000010000000000000005"
        ],
    );
    check_answer(Answer::TransferLeader(Ok(())), expect!["010400"]);
    let changed = TransferLeaderError::VoteChanged { expected: vote(), actual: vote() };
    check_answer(
        Answer::TransferLeader(Err(changed)),
        expect!["01040100000000000000040000000000000002010000000000000004000000000000000201"],
    );
    let behind = TransferLeaderError::LogNotFlushed { expected: Some(log_id(5)), actual: None };
    check_answer(
        Answer::TransferLeader(Err(behind)),
        expect!["0104020100000000000000030000000000000001000000000000000500"],
    );
}

#[test]
fn answers_to_an_append_have_these_bytes() {
    check_answer(Answer::Append(AppendEntriesResponse::Success, Backlog::of(0x0102)), expect!["01010000010200"]);
    check_answer(
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(5))), Backlog::of(u64::MAX)),
        expect!["0101ffffffff0101000000000000000300000000000000010000000000000005"],
    );
    check_answer(Answer::Append(AppendEntriesResponse::Conflict, Backlog::of(0)), expect!["01010000000002"]);
    check_answer(
        Answer::Append(AppendEntriesResponse::HigherVote(vote()), Backlog::of(0)),
        expect!["010100000000030000000000000004000000000000000201"],
    );
}

#[test]
fn an_install_has_these_bytes() {
    let last_membership = StoredMembership::new(Some(log_id(2)), membership());
    let meta = SnapshotMeta { last_log_id: Some(log_id(5)), last_membership };
    check(
        &InstallHeader { vote: vote(), meta },
        InstallHeader::encode,
        InstallHeader::decode,
        expect![
            "01050000000000000004000000000000000201010000000000000003000000000000000100000000000000050100000000000000030000000000000001000000000000000200010001000000000000000100010000000000000001000000000000000b"
        ],
    );
    check_answer(Answer::Install(SnapshotResponse { vote: vote() }), expect!["01050000000000000004000000000000000201"]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let check = |vote, last_log_id, at, expected: &str| {
        let last_membership = StoredMembership::new(at, membership());
        let header = InstallHeader { vote, meta: SnapshotMeta { last_log_id, last_membership } };
        let error = InstallHeader::decode(header.encode()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let later = |index| Some(LogId { leader_id: Leader { term: 5, node_id: 1 }, index });
    check(vote(), later(5), None, "a checkpoint of a later leader");
    check(vote(), None, None, "a checkpoint of nothing");
    check(vote(), Some(log_id(5)), Some(log_id(6)), "its membership comes behind its end");
    check(vote(), Some(log_id(u64::MAX)), None, "is no index");
    check(Vote { committed: false, ..vote() }, Some(log_id(5)), None, "its vote is no leader's");

    let entries = vec![Entry { log_id: later(6).unwrap(), payload: Payload::Blank }];
    let append = AppendEntriesRequest { vote: vote(), prev_log_id: Some(log_id(5)), entries, leader_commit: None };
    let error = Message::decode(Message::Append(append, QuorumAge::UNHEARD).encode()).unwrap_err().to_string();
    assert!(error.contains("an entry of a later leader"), "{error}");
}

#[test]
fn an_append_with_a_gap_is_refused() {
    let entries = vec![Entry { log_id: log_id(7), payload: Payload::Blank }];
    let request = AppendEntriesRequest { vote: vote(), prev_log_id: Some(log_id(5)), entries, leader_commit: None };
    let error = Message::decode(Message::Append(request, QuorumAge::UNHEARD).encode()).unwrap_err();
    assert_eq!(error, DecodeError::Invalid { field: "index behind the entry before", value: 7 });
}

#[test]
fn a_count_that_no_message_has_is_refused_before_anything_is_allocated() {
    let mut bytes = start(APPEND, 64);
    codec::put_vote(&mut bytes, &vote());
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    let error = Message::decode(bytes.into()).unwrap_err();
    assert!(matches!(error, DecodeError::TooMany { field: "entries", .. }), "{error}");
}

#[test]
fn hostile_bytes_are_refused_or_understood() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut framed = vec![VERSION];
        framed.extend_from_slice(bytes);
        let framed = Bytes::from(framed);
        if let Ok(message) = Message::decode(framed.clone()) {
            assert_eq!(message.encode(), framed);
            let is_empty = matches!(message, Message::Append(request, _) if request.entries.is_empty());
            assert_eq!(is_empty_append(&framed), is_empty);
        }
        is_empty_append(bytes);
        if let Ok(answer) = Answer::decode(framed.clone()) {
            assert_eq!(answer.encode(), framed);
        }
        let _ = InstallHeader::decode(framed);
    });
}

#[test]
fn an_append_without_entries_is_known_by_its_first_bytes() {
    let append = |prev_log_id, leader_commit, entries| {
        let request = AppendEntriesRequest { vote: vote(), prev_log_id, entries, leader_commit };
        Message::Append(request, QuorumAge::of(Duration::from_millis(7))).encode()
    };
    let entry = || vec![Entry { log_id: log_id(0), payload: Payload::Blank }];
    for prev in [None, Some(log_id(5))] {
        for commit in [None, Some(log_id(4))] {
            let empty = append(prev, commit, Vec::new());
            assert!(is_empty_append(&empty));
            for end in 0..empty.len() {
                assert!(!is_empty_append(&empty[..end]));
            }
        }
    }
    assert!(!is_empty_append(&append(None, Some(log_id(4)), entry())));
    let request = VoteRequest { vote: vote(), last_log_id: None, leadership_transfer: false };
    assert!(!is_empty_append(&Message::Vote(request).encode()));
}
