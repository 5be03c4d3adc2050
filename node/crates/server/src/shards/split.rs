//! How a group is cut in two: an entry of its own log says where, and that entry is the cut-over.
//!
//! Every replica applies it at the same place in the log, so all do the same:
//!
//! 1. It is decided whether the split can be, from the group's state alone ([`Ownership::decide`]). The answer is kept, by the
//!    child's id: a split is settled once, whoever proposes it again, and after a refusal none of its proposals is late.
//! 2. The replica flushes, links its files to a copy, makes that copy the child's replica on this node
//!    ([`Shard::become_child`]) and moves it to its place. A child that is there already stays: a crash came between, and the
//!    entry is applied again. The child begins as if from a snapshot at the entry's own place, of which its membership is part; places in
//!    its log are therefore above all of the parent's that its data know.
//! 3. The parent's range shrinks and its generation rises, and then it forgets the series that the child owns: who reads at
//!    that moment sees by the range that something is missing.

use bellwether_ingest::{ENTRY_VERSION_FIRST, SplitCommand};
use bellwether_model::{HashRange, PlacementKey, ShardGroupId};
use bellwether_probe::{Bug, planted, reached};
use bellwether_raft::{Applied, HandOnError, LogPosition, ReplicaId, hand_on_membership};
use bellwether_tsdb::{AppliedMark, OpenError, Shard, StorageError};
use bytes::Bytes;

use super::replica_store::ReplicaStore;
use super::shard_mark;

/// The version of what is replicated that a group begins with, until its log makes another one active.
pub const VERSION_FIRST: u32 = ENTRY_VERSION_FIRST as u32;

/// What a group owns at a place in its log, and what its log has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The range.
    pub range: HashRange,
    /// Rises when the range changes.
    pub generation: u32,
    /// The latest split that its log has settled.
    pub last_split: Option<SettledSplit>,
    /// The version of what is replicated that its log has made active.
    pub version: u32,
}

/// A split that a group's log has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledSplit {
    /// The child: its id is given once, so it names the split.
    pub child: ShardGroupId,
    /// What came of it.
    pub outcome: SplitOutcome,
}

/// What came of a split; it will not become anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SplitOutcome {
    /// There is a child.
    Done = 1,
    /// A later split came before it.
    Outdated = 2,
    /// The child's first key is not one that the group can give away.
    OutsideRange = 3,
    /// The group's members are not those that the split was begun with.
    OtherMembers = 4,
}

impl SplitOutcome {
    /// By its number.
    pub fn numbered(number: u64) -> Option<SplitOutcome> {
        use SplitOutcome::{Done, OtherMembers, Outdated, OutsideRange};
        [Done, Outdated, OutsideRange, OtherMembers].into_iter().find(|outcome| *outcome as u64 == number)
    }
}

/// What a child begins with.
struct Child {
    group: ShardGroupId,
    owned: Ownership,
    applied: Applied,
}

impl Ownership {
    /// Of a group that has always owned the same.
    pub fn founded(range: HashRange) -> Ownership {
        Ownership { range, generation: 0, last_split: None, version: VERSION_FIRST }
    }

    /// The version of the entries that may be proposed.
    pub fn entry_version(&self) -> u8 {
        u8::try_from(self.version).unwrap_or(u8::MAX)
    }

    /// What comes of a split at the place `index` of the log, where the members are `membership`; with what the child begins.
    fn decide(&self, split: &SplitCommand, membership: Option<&Bytes>, index: u64) -> Result<Child, SplitOutcome> {
        match self.last_split {
            Some(settled) if settled.child == split.child => return Err(settled.outcome),
            Some(settled) if settled.child > split.child => return Err(SplitOutcome::Outdated),
            _ => {}
        }
        if split.at <= self.range.first || split.at > self.range.last {
            return Err(SplitOutcome::OutsideRange);
        }
        // A term before all others: whoever is elected first goes on from here.
        let founded = LogPosition { term: 0, leader: ReplicaId(0), index };
        let membership = membership.ok_or(SplitOutcome::OtherMembers)?;
        let replicas = split.replicas.iter().map(|(beside, own)| (ReplicaId(beside.0), ReplicaId(own.0))).collect();
        let membership = hand_on_membership(membership, &replicas, founded);
        let membership = membership.map_err(|error| match error {
            HandOnError::Joint | HandOnError::OtherMembers | HandOnError::Damaged(_) => SplitOutcome::OtherMembers,
        })?;
        Ok(Child {
            group: split.child,
            owned: Ownership {
                version: self.version,
                ..Ownership::founded(HashRange { first: split.at, last: self.range.last })
            },
            applied: Applied { log: Some(founded), membership: Some(membership) },
        })
    }

    /// What the group owns once a split is settled.
    fn settled(self, split: &SplitCommand, outcome: SplitOutcome) -> Ownership {
        let last_split = Some(SettledSplit { child: split.child, outcome });
        let first = self.range.first;
        match outcome {
            SplitOutcome::Done => Ownership {
                range: HashRange { first, last: PlacementKey(split.at.0 - 1) },
                generation: self.generation + 1,
                last_split,
                ..self
            },
            _ => Ownership { last_split, ..self },
        }
    }
}

/// Applies a split at the place `index` of the log, up to the point where the series that the child owns are to be forgotten.
/// Returns what came of it, and what the group owns from now on where that is not what it did.
pub fn apply(
    owned: Ownership,
    split: &SplitCommand,
    membership: Option<&Bytes>,
    index: u64,
    (shard, store): (&Shard, &ReplicaStore),
) -> Result<(SplitOutcome, Option<Ownership>), OpenError> {
    let child = match owned.decide(split, membership, index) {
        Ok(child) => child,
        Err(outcome) => {
            match owned.last_split {
                Some(settled) if settled.child == split.child => reached("a split was proposed twice"),
                _ => reached("a split was refused by its group's log"),
            }
            // An answer that was given before is given again, and changes nothing.
            let is_new = owned.last_split.is_none_or(|settled| settled.child < split.child);
            return Ok((outcome, is_new.then(|| owned.settled(split, outcome))));
        }
    };
    let own = split.replicas.iter().find(|(beside, _)| beside.0 == store.replica.0);
    if let Some((_, replica)) = own {
        let store = ReplicaStore {
            group: child.group,
            replica: ReplicaId(replica.0),
            ref_epoch: split.ref_epoch,
            ..store.clone()
        };
        make_child(shard, &child, &store)?;
    }
    Ok((SplitOutcome::Done, Some(owned.settled(split, SplitOutcome::Done))))
}

fn make_child(parent: &Shard, child: &Child, store: &ReplicaStore) -> Result<(), OpenError> {
    if store.is_there().map_err(|source| engine(store, source))? {
        reached("a split was applied again after a crash");
        return Ok(());
    }
    if !planted(Bug::SplitUnflushed) {
        parent.flush()?;
    }
    let copy = store.fresh_copy();
    parent.checkpoint(&*store.disk, &copy)?;
    let mark = AppliedMark(shard_mark::encode(&child.applied, &child.owned));
    let made =
        store.open_copy(&copy).and_then(|shard| Ok(shard.become_child(store.ref_epoch, child.owned.range, mark)?));
    let placed =
        made.and_then(|()| store.disk.rename(&copy, &store.generation(0)).map_err(|source| engine(store, source)));
    if placed.is_err() {
        // Left to the next start, if this fails too.
        let _ = store.disk.remove(&copy);
    }
    placed
}

fn engine(store: &ReplicaStore, source: bellwether_kv::Error) -> OpenError {
    StorageError::Engine { place: store.directory(), source }.into()
}
