//! What must be true, one file each.
//!
//! Some look at the nodes from outside, again and again ([`Watcher`], [`bounded`], [`content_equal`]); the others compare an answer with what
//! clients wrote ([`check_answer`], [`counted`], [`named`], [`computed`]), or what is said of alerts with what was said before ([`alert_kept`],
//! [`told_once`]), or settings with what operators chose ([`chosen`]). One hears of each deed as it is done ([`one_evaluator`]).

pub mod acknowledged;
pub mod alert_kept;
pub mod bounded;
pub mod cared_for;
pub mod chosen;
pub mod committed_once;
pub mod computed;
pub mod content_equal;
pub mod counted;
pub mod durable_quorum;
pub mod election_safety;
pub mod forward_only;
pub mod generations_agree;
pub mod idempotent;
pub mod known_in_the_end;
pub mod leader_complete;
pub mod log_matching;
pub mod members_agree;
pub mod members_forward;
pub mod meta_agrees;
pub mod named;
pub mod one_evaluator;
pub mod one_owner;
pub mod phantom;
pub mod read_your_writes;
pub mod replicas_equal;
pub mod ring_partition;
pub mod synced_first;
pub mod told_at_last;
pub mod told_once;
pub mod undamaged;

use crate::cluster::history::{Cells, Found, History, Moment};
use crate::cluster::observe::NodeSeen;

/// Looks at all nodes, now and then, and says what is wrong.
pub trait Watcher {
    /// What is claimed.
    fn name(&self) -> &'static str;
    /// Looks at the nodes that serve.
    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String>;
}

/// Everything that watches.
pub fn watchers() -> Vec<Box<dyn Watcher>> {
    vec![
        Box::new(election_safety::ElectionSafety::default()),
        Box::new(committed_once::CommittedOnce::default()),
        Box::new(forward_only::ForwardOnly::default()),
        Box::new(log_matching::LogMatching),
        Box::new(leader_complete::LeaderComplete::default()),
        Box::new(synced_first::SyncedFirst::default()),
        Box::new(durable_quorum::DurableQuorum::default()),
        Box::new(replicas_equal::ReplicasEqual::default()),
        Box::new(meta_agrees::MetaAgrees::default()),
        Box::new(ring_partition::RingPartition::default()),
        Box::new(members_forward::MembersForward::default()),
        Box::new(members_agree::MembersAgree::default()),
        Box::new(generations_agree::GenerationsAgree::default()),
        Box::new(one_owner::OneOwner::default()),
        Box::new(undamaged::Undamaged),
    ]
}

/// Checks the samples of an answer. `before` is what was known at the moment when the query was sent, of all series that it
/// means.
pub fn check_answer(before: &Cells, sent: Moment, history: &History, found: &Found) -> Result<(), String> {
    acknowledged::check(before, sent, history, found)?;
    idempotent::check(found)?;
    phantom::check(history, found)?;
    read_your_writes::check(sent, history, found)
}
