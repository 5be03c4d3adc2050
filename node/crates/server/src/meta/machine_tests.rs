//! Tests of flushes and copies that meet.

use std::sync::mpsc;
use std::time::Duration;

use bellwether_kv::{Faults, MemDisk};
use bellwether_raft::{LogPosition, ReplicaId};

use super::*;
use crate::env::Seed;
use crate::meta::command::{Founding, MetaCommand, Request};
use crate::meta::founding::initial_placement;
use crate::meta::state::NodeFacts;
use crate::testing::HookedDisk;

fn founded(disk: Arc<dyn KvDisk>) -> MetaStateMachine {
    let placement = initial_placement(1, Seed(1));
    let facts = NodeFacts {
        grpc: "a:1".to_owned(),
        http: "a:2".to_owned(),
        version: "v".to_owned(),
        lowest_format: 1,
        highest_format: 1,
        ..NodeFacts::default()
    };
    let founding = Founding { cluster: 1, facts, nonce: 1, rules: 1, placement };
    let request = Request { id: 1, proposed_ms: 0, command: MetaCommand::Found(Box::new(founding)) };
    let mut told = None;
    apply(&mut told, request.clone(), 1).unwrap();
    write_told(&*disk, &told.unwrap()).unwrap();
    let machine = MetaStateMachine::open(disk, Arc::new(|reason| panic!("{reason}")), 1).unwrap();
    machine.apply(vec![entry(1, EntryPayload::Normal(requests::encode(&request, 1).into()))]).unwrap();
    machine
}

fn entry(index: u64, payload: EntryPayload) -> CommittedEntry {
    CommittedEntry { position: LogPosition { term: 1, leader: ReplicaId(1), index }, payload }
}

#[test]
fn a_copy_is_installed_on_a_disk_that_is_full_with_it() {
    let disk = MemDisk::new();
    let target = founded(Arc::new(disk.clone()));
    let applied = Applied { log: Some(LogPosition { term: 1, leader: ReplicaId(1), index: 7 }), membership: None };
    let content = states::encode(target.live.lock().state.as_ref(), &applied);
    // Enough to open the copy, and not for a second one.
    let room_bytes = 128;
    assert!(content.len() > 2 * room_bytes);
    target.store.write_copy("arrived", content.into()).unwrap();
    let capacity_bytes = Some(disk.used_bytes() + room_bytes as u64);
    disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
    target.install(Checkpoint { applied, directory: "arrived".into() }).unwrap();
    assert_eq!(target.applied().log.unwrap().index, 7);
    assert!(!disk.exists("arrived").unwrap());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "two threads of a node meet")]
fn a_flush_does_not_replace_a_copy_that_is_installed_meanwhile() {
    let disk = MemDisk::new();
    let hooked = HookedDisk::new(&disk);
    let target = Arc::new(founded(hooked.clone()));
    let source = founded(Arc::new(MemDisk::new()));
    source.apply(vec![entry(2, EntryPayload::Blank)]).unwrap();
    let applied = source.applied();
    let content = states::encode(source.live.lock().state.as_ref(), &applied);
    target.store.write_copy("arrived", content.into()).unwrap();
    let copy = Checkpoint { applied: source.applied(), directory: "arrived".into() };

    let (installing, (installed, waiting)) = (target.clone(), mpsc::channel());
    let (joined, thread) = mpsc::channel();
    hooked.hook(move || {
        // The flush is about to write what it saw before.
        let install = std::thread::spawn(move || {
            installing.install(copy).unwrap();
            installed.send(()).ok();
        });
        joined.send(install).unwrap();
        // Either it waits for the flush, or it is done and about to be overwritten.
        waiting.recv_timeout(Duration::from_millis(50)).ok();
        Ok(())
    });
    target.flush().unwrap();
    thread.recv().unwrap().join().unwrap();
    assert_eq!(target.applied().log.unwrap().index, 2);
    let (_, stored) = states::decode(&disk.read_small_file(STATE_FILE).unwrap().unwrap(), 1).unwrap();
    assert_eq!(stored.log.unwrap().index, 2, "what is on the disk is the newer one");
}
