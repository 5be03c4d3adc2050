//! One node with groups of one voter: what is acknowledged survives, and trouble with storage is told apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_kv::{Damage, Faults, MemDisk, Trigger, Unsynced};
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::*;
use crate::record::{self, RecordKind};
use crate::testing::{self, LOG, Ledger, Nobody, open, options, payload, sole};
use crate::types::{Leader, Vote};
use crate::wire::{Message, QuorumAge};
use crate::{FatalError, LogError, ProposeError, StorageTrouble};
use openraft::raft::AppendEntriesRequest;

const FIRST: ReplicaKey = ReplicaKey { group: GroupId(1), replica: ReplicaId(1) };

async fn propose_all(group: &RaftGroup, numbers: std::ops::Range<u64>, bytes: usize) {
    for reply in join_all(numbers.map(|number| group.propose(payload(number, bytes)))).await {
        reply.unwrap();
    }
}

fn expected(numbers: std::ops::Range<u64>, bytes: usize) -> Vec<Bytes> {
    numbers.map(|number| payload(number, bytes)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_sole_voter_leads_at_once() {
    let began = tokio::time::Instant::now();
    let node = open(&MemDisk::new(), options());
    let mut groups = Vec::new();
    for group in 0..8 {
        groups.push(sole(&node, group, &Arc::default()).await);
    }
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    assert!(groups.iter().all(|group| group.state().is_leader));
    assert_eq!(node.groups().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_proposal_returns_the_reply_of_the_state_machine() {
    let node = open(&MemDisk::new(), options());
    let ledger = Arc::default();
    let group = sole(&node, 1, &ledger).await;
    assert_eq!(group.propose(payload(7, 20)).await.unwrap(), payload(7, 20));
    assert_eq!(ledger.payloads(), expected(7..8, 20));
    group.read_barrier().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn everything_acknowledged_survives_a_loss_of_power() {
    let disk = MemDisk::new();
    let ledger = Arc::<Ledger>::default();
    let node = open(&disk, options());
    let group = sole(&node, 1, &ledger).await;
    propose_all(&group, 0..100, 50).await;
    group.flush().await.unwrap();
    propose_all(&group, 100..200, 50).await;
    disk.power_loss(Unsynced::Lost);
    drop((group, node));

    let reopened = ledger.reopen();
    assert_eq!(reopened.payloads().len(), 100, "what was flushed");
    let node = open(&disk, options());
    let group = sole(&node, 1, &reopened).await;
    assert_eq!(reopened.payloads(), expected(0..200, 50), "the log behind the flush is applied again");
    assert_eq!(group.propose(payload(200, 50)).await.unwrap(), payload(200, 50));
}

#[tokio::test(start_paused = true)]
async fn a_write_cut_short_by_a_loss_of_power_is_there_whole_or_not_at_all() {
    for seed in 0..20 {
        let disk = MemDisk::new();
        let ledger = Arc::<Ledger>::default();
        let node = open(&disk, options());
        let group = sole(&node, 1, &ledger).await;
        propose_all(&group, 0..10, 50).await;
        // Written as the writer does, but not synced: the power goes before that.
        let engine = node.0.shared.writer.engine().clone();
        let last = group.state().last.unwrap();
        for index in last + 1..last + 5 {
            let key = record::key(FIRST, RecordKind::Entry, index);
            let value = record::encode_entry(&key, &test_entry(index));
            let mut batch = bellwether_kv::WriteBatch::default();
            batch.put(testing::SPACE, key, value);
            engine.write(&batch, bellwether_kv::Durability::Buffered).unwrap();
        }
        disk.power_loss(Unsynced::SomeKept { seed });
        drop((group, node, engine));
        let reopened = ledger.reopen();
        let node = open(&disk, options());
        sole(&node, 1, &reopened).await;
        assert_eq!(reopened.payloads()[..10], expected(0..10, 50));
    }
}

fn test_entry(index: u64) -> crate::types::Entry {
    let leader_id = crate::types::Leader { term: 1, node_id: 1 };
    let command = crate::types::Command(payload(index, 30));
    crate::types::Entry {
        log_id: crate::types::LogId { leader_id, index },
        payload: crate::types::Payload::Normal(command),
    }
}

#[tokio::test(start_paused = true)]
async fn groups_do_not_see_each_other() {
    let disk = MemDisk::new();
    let (one, two) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
    {
        let node = open(&disk, options());
        let (first, second) = (sole(&node, 1, &one).await, sole(&node, 2, &two).await);
        propose_all(&first, 0..20, 10).await;
        propose_all(&second, 50..60, 10).await;
        first.flush().await.unwrap();
        assert_eq!(node.stored_replicas().await.unwrap(), [1, 2].map(|group| (GroupId(group), ReplicaId(1))));
        disk.power_loss(Unsynced::Lost);
    }
    let node = open(&disk, options());
    let (one, two) = (one.reopen(), two.reopen());
    sole(&node, 1, &one).await;
    sole(&node, 2, &two).await;
    assert_eq!(one.payloads(), expected(0..20, 10));
    assert_eq!(two.payloads(), expected(50..60, 10));
}

/// Runs jobs on threads, as production does.
#[derive(Default)]
struct Threads;

impl Blocking for Threads {
    #[allow(clippy::disallowed_methods, reason = "a test's executor")]
    fn run(&self, _: BlockingClass, job: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(job);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_serves_many_proposals_of_many_groups() {
    let options = options();
    let registry = options.registry.clone();
    let node = testing::open_with(&MemDisk::new(), options, Arc::new(Threads), 1);
    let mut groups = Vec::new();
    for group in 0..4 {
        groups.push(sole(&node, group, &Arc::default()).await);
    }
    let proposals = groups.iter().flat_map(|group| (0..250).map(|number| group.propose(payload(number, 100))));
    for reply in join_all(proposals).await {
        reply.unwrap();
    }
    let family = registry.gather().into_iter().find(|family| family.name() == "bellwether_raft_entries_per_write");
    let histogram = family.unwrap().get_metric()[0].get_histogram().clone();
    assert!(histogram.get_sample_sum() >= 1000.0);
    assert!(histogram.get_sample_count() < 500, "{} writes for 1000 proposals", histogram.get_sample_count());
    node.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_flush_cuts_the_log_and_gives_its_space_back() {
    let disk = MemDisk::new();
    let node = open(&disk, options());
    let group = sole(&node, 1, &Arc::default()).await;
    propose_all(&group, 0..100, 10_000).await;
    assert!(group.unflushed_log_bytes() > 1_000_000);
    assert!(disk.used_bytes() > 1_000_000);
    let applied = group.flush().await.unwrap();
    node.reclaim().await.unwrap();
    assert_eq!(group.unflushed_log_bytes(), 0);
    assert!(disk.used_bytes() < 10_000, "{} bytes", disk.used_bytes());
    let state = group.state();
    assert_eq!((state.flushed, state.purged), (applied.log, applied.log));
    propose_all(&group, 0..1, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_right_after_a_flush_applies_nothing_again() {
    let disk = MemDisk::new();
    let ledger = Arc::<Ledger>::default();
    let node = open(&disk, options());
    let group = sole(&node, 1, &ledger).await;
    propose_all(&group, 0..100, 10).await;
    group.flush().await.unwrap();
    node.shutdown().await;
    disk.crash();
    drop((group, node));
    let reopened = ledger.reopen();
    let node = open(&disk, options());
    let group = sole(&node, 1, &reopened).await;
    // Only the new leader's blank entry.
    assert_eq!(reopened.batches.lock().iter().sum::<usize>(), 1);
    assert_eq!(group.state().voters.len(), 1, "the membership came with the state machine");
    propose_all(&group, 100..110, 10).await;
    assert_eq!(reopened.payloads(), expected(0..110, 10));
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_is_found_with_its_place_and_never_applied() {
    for bit in 0..400 {
        let disk = MemDisk::new();
        let ledger = Arc::<Ledger>::default();
        let node = open(&disk, options());
        let group = sole(&node, 1, &ledger).await;
        propose_all(&group, 0..10, 24).await;
        node.shutdown().await;
        disk.crash();
        drop((group, node));
        let key = record::key(FIRST, RecordKind::Entry, 5);
        disk.damage(LOG, "log", &key, Damage::Silent { bit }).unwrap();
        let node = open(&disk, options());
        let reopened = ledger.reopen();
        let started = node.start_group(GroupId(1), ReplicaId(1), reopened.clone(), Arc::new(Nobody)).await;
        match started.map(drop).unwrap_err() {
            StartError::Log(LogError::CorruptEntry { group, index, .. }) => assert_eq!((group.0, index), (1, 5)),
            other => panic!("{other}"),
        }
        assert!(reopened.payloads().is_empty());
        // The others are not concerned, and the damaged one may be tried again.
        sole(&node, 2, &Arc::default()).await;
        assert!(node.group(GroupId(1), ReplicaId(1)).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn damage_that_appears_while_the_group_runs_stops_it_with_the_place() {
    let disk = MemDisk::new();
    let ledger = Arc::<Ledger>::default();
    let node = open(&disk, options());
    let group = sole(&node, 1, &ledger).await;
    propose_all(&group, 0..3000, 4000).await;
    node.shutdown().await;
    disk.crash();
    drop((group, node));
    let node = open(&disk, options());
    // The log is checked when the group starts, and read again for applying: damaged in between.
    let recovering =
        Arc::new(DamageAt { disk: disk.clone(), ledger: ledger.reopen(), damaged: AtomicBool::new(false) });
    let group = node.start_group(GroupId(1), ReplicaId(1), recovering.clone(), Arc::new(Nobody)).await.unwrap();
    let error = group.ready().await.unwrap_err().to_string();
    assert!(error.contains("group 1, replica 1: entry 2500 is corrupt"), "{error}");
    assert!(recovering.ledger.payloads().len() < 2500);
    let failure = group.state().failure.unwrap();
    assert!(failure.contains("entry 2500 is corrupt"), "{failure}");
    assert!(matches!(group.propose(payload(1, 10)).await, Err(ProposeError::Stopped { .. })));
}

struct DamageAt {
    disk: MemDisk,
    ledger: Arc<Ledger>,
    damaged: AtomicBool,
}

impl StateMachine for DamageAt {
    fn applied(&self) -> crate::Applied {
        self.ledger.applied()
    }

    fn apply(&self, entries: Vec<crate::CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        if !self.damaged.swap(true, Ordering::Relaxed) {
            let key = record::key(FIRST, RecordKind::Entry, 2500);
            self.disk.damage(LOG, "log", &key, Damage::Silent { bit: 300 }).unwrap();
        }
        self.ledger.apply(entries)
    }

    fn flush(&self) -> Result<crate::Applied, FatalError> {
        self.ledger.flush()
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        self.ledger.checkpoint()
    }

    fn discard(&self, checkpoint: Checkpoint) {
        self.ledger.discard(checkpoint);
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        self.ledger.install(checkpoint)
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_entry_is_an_error() {
    let disk = MemDisk::new();
    let node = open(&disk, options());
    let group = sole(&node, 1, &Arc::default()).await;
    propose_all(&group, 0..10, 24).await;
    node.shutdown().await;
    let engine = node.0.shared.writer.engine().clone();
    let mut batch = bellwether_kv::WriteBatch::default();
    batch.delete(testing::SPACE, record::key(FIRST, RecordKind::Entry, 5));
    engine.write(&batch, bellwether_kv::Durability::Synced).unwrap();
    let node = RaftNode::open(engine, testing::SPACE, options(), Arc::new(crate::Inline), 1).unwrap();
    let started = node.start_group(GroupId(1), ReplicaId(1), Arc::<Ledger>::default(), Arc::new(Nobody)).await;
    let error = started.map(drop).unwrap_err().to_string();
    assert!(error.contains("entry 5 is missing, the next one found is 6"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_at_once_and_writes_resume_by_themselves() {
    let disk = MemDisk::new();
    let ledger = Arc::<Ledger>::default();
    let node = open(&disk, options());
    let group = sole(&node, 1, &ledger).await;
    propose_all(&group, 0..10, 1000).await;
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes() + 100), ..Faults::default() });
    // The one that meets the full disk waits, then says that its fate is unknown.
    let met = group.propose(payload(10, 1000)).await.unwrap_err();
    assert!(matches!(&met, ProposeError::StorageUnavailable { trouble: StorageTrouble::DiskFull(_), in_flight: true }));
    assert!(met.to_string().starts_with("no space left on device"), "{met}");
    let began = tokio::time::Instant::now();
    let refused = group.propose(payload(11, 1000)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::StorageUnavailable { in_flight: false, .. }), "{refused}");
    assert!(began.elapsed() < Duration::from_millis(1));
    group.read_barrier().await.unwrap();
    assert_eq!(ledger.payloads(), expected(0..10, 1000), "reads go on");

    disk.set_faults(Faults::default());
    let resumed = timeout(Duration::from_secs(2), async {
        loop {
            match group.propose(payload(12, 1000)).await {
                Ok(_) => return,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    });
    resumed.await.unwrap();
    let mut all = expected(0..11, 1000);
    all.push(payload(12, 1000));
    assert_eq!(ledger.payloads(), all, "what waited for space was applied, in order");
    disk.power_loss(Unsynced::Lost);
    drop((group, node));
    let reopened = ledger.reopen();
    sole(&open(&disk, options()), 1, &reopened).await;
    assert_eq!(reopened.payloads(), all);
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_or_sync_calls_for_the_end_and_acknowledges_nothing_more() {
    let write = Faults { write: Trigger::Nth(1), ..Faults::default() };
    let sync = Faults { sync: Trigger::Nth(1), ..Faults::default() };
    for (faults, reason) in [(write, "write failed"), (sync, "fsync failed")] {
        let disk = MemDisk::new();
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut options = options();
        let heard = said.clone();
        options.on_fatal = Arc::new(move |reason| heard.lock().push(reason.to_owned()));
        let node = open(&disk, options);
        let ledger = Arc::<Ledger>::default();
        let group = sole(&node, 1, &ledger).await;
        propose_all(&group, 0..10, 10).await;
        disk.set_faults(faults);
        for result in join_all((10..20).map(|number| group.propose(payload(number, 10)))).await {
            assert!(matches!(result, Err(ProposeError::Stopped { .. })), "{result:?}");
        }
        disk.set_faults(Faults::default());
        let error = group.propose(payload(20, 10)).await.unwrap_err();
        assert!(
            matches!(error, ProposeError::StorageUnavailable { trouble: StorageTrouble::Failed(_), .. }),
            "{error}"
        );
        assert_eq!(said.lock().len(), 1);
        assert!(said.lock()[0].contains(reason), "{said:?}");
        // The next process finds everything acknowledged, and no hole.
        disk.power_loss(Unsynced::Lost);
        drop((group, node));
        let reopened = ledger.reopen();
        let node = open(&disk, testing::options());
        let group = sole(&node, 1, &reopened).await;
        assert_eq!(reopened.payloads(), expected(0..10, 10));
        propose_all(&group, 10..20, 10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_panics_stops_its_group_alone() {
    let node = open(&MemDisk::new(), options());
    let (bad, good) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
    let (first, second) = (sole(&node, 1, &bad).await, sole(&node, 2, &good).await);
    bad.panic.store(true, Ordering::Relaxed);
    let error = first.propose(payload(5, 10)).await.unwrap_err();
    assert!(error.to_string().contains("the job panicked"), "{error}");
    propose_all(&second, 0..5, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_stops_on_a_full_disk_starts_again_when_there_is_room() {
    let disk = MemDisk::new();
    let ledger = Arc::<Ledger>::default();
    let node = open(&disk, options());
    let group = sole(&node, 1, &ledger).await;
    propose_all(&group, 0..10, 1000).await;
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
    group.propose(payload(10, 1000)).await.unwrap_err();
    group.shutdown().await;
    let transport = Arc::new(Nobody);
    let early = node.start_group(GroupId(1), ReplicaId(1), ledger.reopen(), transport.clone()).await;
    assert!(matches!(early.map(drop), Err(StartError::Running(..))), "its last write is still to come");
    disk.set_faults(Faults::default());
    sleep(Duration::from_secs(1)).await;
    let reopened = ledger.reopen();
    sole(&node, 1, &reopened).await;
    assert_eq!(reopened.payloads(), expected(0..11, 1000));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_ends_long_after_its_shutdown_answers_whoever_still_asks() {
    let disk = MemDisk::new();
    let node = open(&disk, options());
    let group = sole(&node, 1, &Arc::default()).await;
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
    // Its vote waits for room, and openraft for its vote.
    let vote = Vote { leader_id: Leader { term: 9, node_id: 2 }, committed: true };
    let request = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    let word = Message::Append(request, QuorumAge::UNHEARD).encode();
    timeout(Duration::from_secs(1), group.handle(word)).await.unwrap_err();
    group.shutdown().await;
    disk.set_faults(Faults::default());
    sleep(Duration::from_secs(1)).await;
    assert!(!group.votes_alone().await);
}

#[tokio::test(start_paused = true)]
async fn proposals_beyond_the_budget_are_refused() {
    let disk = MemDisk::new();
    let mut options = options();
    options.group_in_flight_bytes = 10_000;
    options.admission_wait = Duration::ZERO;
    let node = open(&disk, options);
    let group = sole(&node, 1, &Arc::default()).await;
    let results = join_all((0..50).map(|number| group.propose(payload(number, 1000)))).await;
    let admitted = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(admitted, 10);
    let refused = results.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(refused, ProposeError::Overloaded { scope: "group", limit: 10_000, .. }), "{refused}");
    // A caller that waits finds room.
    group.propose(payload(1, 1000)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_no_entry_may_have_is_refused() {
    let mut options = options();
    options.entry_bytes_max = 100;
    let node = open(&MemDisk::new(), options);
    let group = sole(&node, 1, &Arc::default()).await;
    let error = group.propose(payload(1, 101)).await.unwrap_err();
    assert_eq!(error, ProposeError::TooLarge { bytes: 101, limit: 100 });
    group.propose(payload(1, 100)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_gives_up_stops_its_group_and_no_other() {
    let node = open(&MemDisk::new(), options());
    let (bad, good) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
    let (first, second) = (sole(&node, 1, &bad).await, sole(&node, 2, &good).await);
    propose_all(&first, 0..5, 10).await;
    *bad.refuse.lock() = Some("broken".to_owned());
    let error = first.propose(payload(5, 10)).await.unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
    assert!(first.state().failure.unwrap().contains("broken"));
    propose_all(&second, 0..5, 10).await;
    // It can be started again where it was.
    first.shutdown().await;
    let reopened = bad.reopen();
    let again = sole(&node, 1, &reopened).await;
    assert_eq!(reopened.payloads(), expected(0..6, 10));
    propose_all(&again, 6..7, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_runs_once() {
    let node = open(&MemDisk::new(), options());
    let group = sole(&node, 1, &Arc::default()).await;
    let twice = node.start_group(GroupId(1), ReplicaId(1), Arc::<Ledger>::default(), Arc::new(Nobody)).await;
    assert!(matches!(twice.map(drop), Err(StartError::Running(GroupId(1), ReplicaId(1)))));
    group.shutdown().await;
    assert!(node.groups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_applied_again_in_parts() {
    let disk = MemDisk::new();
    let ledger = Arc::<Ledger>::default();
    let node = open(&disk, options());
    let group = sole(&node, 1, &ledger).await;
    for part in 0..10 {
        propose_all(&group, part * 100..part * 100 + 100, 20_000).await;
    }
    disk.crash();
    drop((group, node));
    let reopened = ledger.reopen();
    let node = open(&disk, options());
    sole(&node, 1, &reopened).await;
    assert_eq!(reopened.payloads(), ledger.payloads());
    let largest = reopened.batches.lock().iter().copied().max().unwrap();
    assert!(largest < 500, "{largest} entries of 20 kB in one call");
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_older_than_the_log_is_refused() {
    let disk = MemDisk::new();
    let node = open(&disk, options());
    let group = sole(&node, 1, &Arc::default()).await;
    propose_all(&group, 0..10, 10).await;
    group.flush().await.unwrap();
    node.shutdown().await;
    disk.crash();
    let node = open(&disk, options());
    let started = node.start_group(GroupId(1), ReplicaId(1), Arc::<Ledger>::default(), Arc::new(Nobody)).await;
    assert!(matches!(started.map(drop), Err(StartError::Log(LogError::StateBehindLog { .. }))));
}
