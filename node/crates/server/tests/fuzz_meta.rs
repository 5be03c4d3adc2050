//! Hostile bytes of the meta group: whatever they are, a value or an error, and a value is written as it was read.

use bellwether_server::env::Seed;
use bellwether_server::meta::MetaCommand;
use bellwether_server::meta::apply::apply;
use bellwether_server::meta::codec::{replies, requests, states};
use bellwether_server::meta::command::{Founding, Outcome, Refusal, Request};
use bellwether_server::meta::founding::initial_placement;
use bellwether_server::meta::state::{MetaState, NodeFacts};
use xxhash_rust::xxh3::xxh3_64;

#[path = "../../ingest/tests/support/mutation.rs"]
mod mutation;

use mutation::mutated;

const CHECKSUM_BYTES: usize = 8;

fn founding() -> Request {
    let facts = NodeFacts {
        grpc: "a:1".to_owned(),
        http: "b:2".to_owned(),
        version: "v".to_owned(),
        lowest_format: 1,
        highest_format: 1,
        ..NodeFacts::default()
    };
    let placement = initial_placement(2, Seed(1));
    let founding = Founding { cluster: 1, facts, nonce: 2, rules: 3, placement };
    Request { id: 4, proposed_ms: 5, command: MetaCommand::Found(Box::new(founding)) }
}

fn founded() -> MetaState {
    let mut state = None;
    apply(&mut state, founding(), 1).expect("it is the first");
    state.expect("it is founded")
}

#[test]
fn fuzz_request() {
    let valid = requests::encode(&founding(), 1);
    let state = founded();
    bolero::check!().for_each(|input: &[u8]| {
        for bytes in [input.to_vec(), mutated(&valid, input)] {
            let Ok(request) = requests::decode(&bytes, 1) else { continue };
            assert_eq!(requests::decode(&requests::encode(&request, 1), 1).as_ref(), Ok(&request));
            let _ = apply(&mut None, request.clone(), 1);
            let _ = apply(&mut Some(state.clone()), request, 2);
        }
    });
}

#[test]
fn fuzz_reply() {
    let valid =
        [Ok(Outcome::Done), Err(Refusal::StaleEpoch { expected: 1, current: 2 })].map(|it| replies::encode(&it));
    bolero::check!().for_each(|input: &[u8]| {
        let mutants = valid.iter().map(|valid| mutated(valid, input));
        for bytes in std::iter::once(input.to_vec()).chain(mutants) {
            if let Ok(reply) = replies::decode(&bytes) {
                assert_eq!(replies::decode(&replies::encode(&reply)), Ok(reply));
            }
        }
    });
}

#[test]
fn fuzz_state() {
    let valid = states::encode(Some(&founded()), &Default::default());
    let valid = &valid[..valid.len() - CHECKSUM_BYTES];
    bolero::check!().for_each(|input: &[u8]| {
        // With a checksum that fits, so that what is behind it is reached.
        for mut bytes in [input.to_vec(), mutated(valid, input)] {
            bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
            if let Ok((state, applied)) = states::decode(&bytes, 1) {
                assert_eq!(states::decode(&states::encode(state.as_ref(), &applied), 1), Ok((state, applied)));
            }
        }
    });
}
