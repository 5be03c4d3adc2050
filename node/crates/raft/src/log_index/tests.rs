//! Tests of `log_index`.

use proptest::prelude::*;

use super::*;

fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: Leader { term, node_id: 1 }, index }
}

/// The same, kept plainly.
#[derive(Debug, Default)]
struct Model {
    purged: Option<LogId>,
    entries: Vec<(LogId, u64)>,
}

#[derive(Debug, Clone)]
enum Change {
    Push { new_term: bool, bytes: u64 },
    Truncate { keep: usize },
    Purge { count: u64 },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (prop::bool::weighted(0.2), 1..100u64).prop_map(|(new_term, bytes)| Change::Push { new_term, bytes }),
        1 => (0..20usize).prop_map(|keep| Change::Truncate { keep }),
        1 => (1..8u64).prop_map(|count| Change::Purge { count }),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_plain_list(changes in prop::collection::vec(change(), 0..60)) {
        let (mut index, mut model, mut term) = (LogIndex::default(), Model::default(), 1);
        for change in changes {
            let first = model.purged.map_or(0, |id| id.index + 1);
            let next = first + model.entries.len() as u64;
            match change {
                Change::Push { new_term, bytes } => {
                    term += u64::from(new_term);
                    index.push(log_id(term, next), bytes, None);
                    model.entries.push((log_id(term, next), bytes));
                }
                Change::Truncate { keep } => {
                    index.truncate(first + keep as u64);
                    model.entries.truncate(keep);
                }
                Change::Purge { count } => {
                    // May lie behind the last entry, as after a checkpoint.
                    let upto = model.entries.get(count as usize - 1).map_or(log_id(term, first + count - 1), |entry| entry.0);
                    index.purge(upto);
                    model.entries.drain(..(count as usize).min(model.entries.len()));
                    model.purged = Some(upto);
                }
            }
            let first = model.purged.map_or(0, |id| id.index + 1);
            let next = first + model.entries.len() as u64;
            prop_assert_eq!((index.first(), index.next(), index.purged()), (first, next, model.purged));
            prop_assert_eq!(index.last(), model.entries.last().map(|entry| entry.0).or(model.purged));
            prop_assert_eq!(index.log_id(next), None);
            for (id, _) in &model.entries {
                prop_assert_eq!(index.log_id(id.index), Some(*id));
            }
            let bytes_from = |from: u64| -> u64 {
                model.entries.iter().filter(|(id, _)| id.index >= from).map(|(_, bytes)| bytes).sum()
            };
            prop_assert_eq!(index.bytes(), bytes_from(0));
            for from in first..=next {
                prop_assert_eq!(index.bytes_from(from), bytes_from(from));
                for limit in [0, 50, 200, u64::MAX >> 1] {
                    let end = index.end_within(from, next, limit);
                    let taken = bytes_from(from) - bytes_from(end);
                    if from < next {
                        prop_assert!(end > from && (taken <= limit || end == from + 1));
                        prop_assert!(end == next || bytes_from(from) - bytes_from(end + 1) > limit);
                    } else {
                        prop_assert_eq!(end, next);
                    }
                }
            }
            for limit in [0, 50, 200, 100_000] {
                let start = index.start_of_last(limit);
                prop_assert!(bytes_from(start) <= limit);
                prop_assert!(start == first || bytes_from(start - 1) > limit);
            }
        }
    }
}

#[test]
fn memberships_go_with_their_entries() {
    let members = |replica: u64| {
        let members = BTreeMap::from([(replica, crate::types::Member { node: 1 })]);
        Membership::new(vec![[replica].into()], members).unwrap()
    };
    let mut index = LogIndex::default();
    index.push(log_id(1, 0), 1, Some(members(1)));
    index.push(log_id(1, 1), 1, None);
    index.push(log_id(1, 2), 1, Some(members(2)));
    index.push(log_id(1, 3), 1, Some(members(3)));
    index.truncate(3);
    assert_eq!((index.membership(2), index.membership(3)), (Some(&members(2)), None));
    index.purge(log_id(1, 1));
    assert_eq!((index.membership(0), index.membership(2)), (None, Some(&members(2))));
}
