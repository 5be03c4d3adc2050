//! Having another node copy a shard group to a place for backups, and asking after its operations.

use std::time::Duration;

use bellwether_model::{HashRange, NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId};
use bellwether_proto::peer::v1::back_up_group_part::Part;
use bellwether_proto::peer::v1::{
    BackUpGroupPart, BackUpGroupRequest, BackUpProgress, BackedUpFile, BackedUpGroup, LogPosition, OperateRequest,
};
use bellwether_proto::v1::Operation;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::timeout;

use super::PeerClient;
use super::error::PeerError;
use crate::backup::CopyProgress;
use crate::backup::manifest::{FilePart, GroupPart, ObjectHash};

/// A copy of which nothing is heard for so long is given up. The other node says something every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl PeerClient {
    /// See the interface's `BackUpGroup`. Dropping the call ends the copying.
    pub async fn back_up_group(
        &self,
        url: &str,
        group: ShardGroupId,
        tell: watch::Sender<CopyProgress>,
    ) -> Result<GroupPart, PeerError> {
        let broken = |reason: &str| PeerError::Broken { callee: self.callee().clone(), reason: reason.to_owned() };
        let request = BackUpGroupRequest { url: url.to_owned(), group: group.0 };
        let begun = self.call(SILENCE_MAX, |mut peer| async move { peer.back_up_group(request).await });
        let mut parts = begun.await?;
        loop {
            let part = match timeout(SILENCE_MAX, parts.message()).await {
                Ok(Ok(Some(BackUpGroupPart { part: Some(part) }))) => part,
                Ok(Ok(Some(BackUpGroupPart { part: None }))) => continue,
                Ok(Ok(None)) => return Err(broken("it ended the copying without a word")),
                Ok(Err(status)) => return Err(PeerError::of_status(self.callee().clone(), &status)),
                Err(_) => return Err(PeerError::Deadline { callee: self.callee().clone(), after: SILENCE_MAX }),
            };
            match part {
                Part::Progress(BackUpProgress { done_bytes, total_bytes, sent_bytes }) => {
                    tell.send_replace(CopyProgress { done_bytes, total_bytes, sent_bytes });
                }
                Part::Done(done) => return part_of(done).ok_or_else(|| broken("what it copied cannot be read")),
            }
        }
    }

    /// See the interface's `Operate`.
    pub async fn operate(&self, request: OperateRequest, deadline: Duration) -> Result<Vec<Operation>, PeerError> {
        let answer = self.call(deadline, |mut peer| async move { peer.operate(request).await }).await?;
        let read = answer.operations.into_iter().map(Operation::decode).collect::<Result<_, _>>();
        read.map_err(|error| PeerError::Broken { callee: self.callee().clone(), reason: error.to_string() })
    }
}

/// A part of a backup as it travels.
pub fn wire_part(part: GroupPart) -> BackedUpGroup {
    let files = part.files.into_iter().map(|file| BackedUpFile {
        name: file.name,
        bytes: file.bytes,
        object: file.object.0.to_vec().into(),
    });
    BackedUpGroup {
        group: part.group.0,
        first_key: part.range.first.0,
        last_key: part.range.last.0,
        ref_epoch: part.ref_epoch.0,
        node: part.node.0,
        replica: part.replica.0,
        position: Some(LogPosition { term: part.term, index: part.index, ..LogPosition::default() }),
        series: part.series,
        samples: part.samples,
        files: files.collect(),
    }
}

fn part_of(done: BackedUpGroup) -> Option<GroupPart> {
    let position = done.position.unwrap_or_default();
    let file = |file: BackedUpFile| {
        bellwether_kv::check_file_name(&file.name).ok()?;
        Some(FilePart { name: file.name, bytes: file.bytes, object: ObjectHash(file.object[..].try_into().ok()?) })
    };
    Some(GroupPart {
        group: ShardGroupId(done.group),
        range: HashRange { first: PlacementKey(done.first_key), last: PlacementKey(done.last_key) },
        ref_epoch: RefEpoch(done.ref_epoch),
        node: NodeId(done.node),
        replica: ReplicaId(done.replica),
        term: position.term,
        index: position.index,
        series: done.series,
        samples: done.samples,
        files: done.files.into_iter().map(file).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_arrives_as_it_was_sent_and_a_damaged_one_does_not() {
        let part = GroupPart {
            group: ShardGroupId(3),
            range: HashRange { first: PlacementKey(5), last: PlacementKey(u64::MAX) },
            ref_epoch: RefEpoch(7),
            node: NodeId(2),
            replica: ReplicaId(9),
            term: 4,
            index: 1000,
            series: 12,
            samples: 34,
            files: vec![FilePart { name: "000012.sst".to_owned(), bytes: 5, object: ObjectHash::of(b"hello") }],
        };
        assert_eq!(part_of(wire_part(part.clone())), Some(part.clone()));
        let mut leaving = wire_part(part.clone());
        leaving.files[0].name = "../x".to_owned();
        assert_eq!(part_of(leaving), None);
        let mut short = wire_part(part);
        short.files[0].object.truncate(31);
        assert_eq!(part_of(short), None);
    }
}
