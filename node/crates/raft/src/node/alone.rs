//! A replica that goes on without the others, which are gone for ever: what it knows of its group while it does not run, and the
//! entry that makes it the only member.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_kv::Operation;
use bytes::Bytes;

use super::RaftNode;
use crate::blocking::{self, BlockingClass};
use crate::codec;
use crate::errors::{LogError, StartError};
use crate::record::{self, RecordKind};
use crate::recovery::{self, Recovered};
use crate::state_machine::Applied;
use crate::types::{
    self, Entry, GroupId, Leader, LogId, LogPosition, Member, Membership, NodeId, ReplicaId, ReplicaKey,
};
use crate::types::{Payload, Vote};

/// What a replica that does not run knows of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastKnown {
    /// The last entry of its log.
    pub end: Option<LogPosition>,
    /// The nodes whose replicas vote: one set, or two where the voters were being changed. A quorum is a majority of each.
    pub voters: Vec<BTreeSet<NodeId>>,
}

impl RaftNode {
    /// What a replica knows of its group, whether a quorum ever had it or not. It must not run.
    pub async fn last_known(
        &self,
        group: GroupId,
        replica: ReplicaId,
        applied: &Applied,
    ) -> Result<LastKnown, StartError> {
        let id = ReplicaKey { group, replica };
        let recovered = self.recovered(id, applied).await?;
        let membership = membership(id, &recovered, applied.membership.as_ref())?;
        let node_of = |replica: &u64| membership.get_node(replica).map(|member| member.node);
        let voters = membership.get_joint_config().iter().map(|set| set.iter().filter_map(node_of).collect());
        Ok(LastKnown { end: end(&recovered).as_ref().map(types::position), voters: voters.collect() })
    }

    /// Makes a replica the only member of its group, with all that its log has: what a quorum may never have had counts from then
    /// on. Durable when it returns; the replica must not run, and leads once it is started. Only where the others are gone
    /// for ever: a majority of them that came back would be a second group of the same name.
    pub async fn go_on_alone(
        &self,
        group: GroupId,
        replica: ReplicaId,
        node: NodeId,
        applied: &Applied,
    ) -> Result<LogPosition, StartError> {
        let id = ReplicaKey { group, replica };
        let recovered = self.recovered(id, applied).await?;
        let last_term = end(&recovered).map_or(0, |last| last.leader_id.term);
        let voted_term = recovered.vote.map_or(0, |vote| vote.leader_id.term);
        // A term that nobody has led in, so that no other entry can have this one's place and term.
        let leader_id = Leader { term: last_term.max(voted_term) + 1, node_id: replica.0 };
        let log_id = LogId { leader_id, index: recovered.index.next() };
        let members = BTreeMap::from([(replica.0, Member { node })]);
        let membership =
            Membership::new(vec![BTreeSet::from([replica.0])], members).expect("its one voter is a member");
        let writer = &self.0.shared.writer;
        let (vote_key, entry_key) =
            (record::key(id, RecordKind::Vote, 0), record::key(id, RecordKind::Entry, log_id.index));
        let vote = record::encode_vote(&vote_key, &Vote { leader_id, committed: false });
        let entry = record::encode_entry(&entry_key, &Entry { log_id, payload: Payload::Membership(membership) });
        let operations = vec![
            Operation::Put(writer.space(), vote_key.to_vec(), vote),
            Operation::Put(writer.space(), entry_key.to_vec(), entry),
        ];
        let written = writer.write(None, operations).await;
        written.map_err(|reason| StartError::Stopped { group, reason })?;
        Ok(types::position(&log_id))
    }

    async fn recovered(&self, id: ReplicaKey, applied: &Applied) -> Result<Recovered, StartError> {
        let (shared, applied) = (&self.0.shared, applied.log);
        let writer = shared.writer.clone();
        let recovered = blocking::call(&shared.executor, BlockingClass::Apply, move || {
            recovery::recover(&**writer.engine(), writer.space(), id, applied)
        });
        Ok(recovered.await.map_err(|_| LogError::executor(id))??)
    }
}

fn end(recovered: &Recovered) -> Option<LogId> {
    recovered.index.last()
}

/// The latest membership: of the log, or the one that the state machine keeps.
fn membership(id: ReplicaKey, recovered: &Recovered, applied: Option<&Bytes>) -> Result<Membership, StartError> {
    if let Some(membership) = recovered.index.last_membership() {
        return Ok(membership.clone());
    }
    let damaged = |reason: String| StartError::Membership { group: id.group, reason };
    let applied = applied.ok_or_else(|| damaged("it never had one".to_owned()))?;
    let stored = codec::decode_stored_membership(applied.clone()).map_err(|error| damaged(error.to_string()))?;
    Ok(stored.membership().clone())
}
