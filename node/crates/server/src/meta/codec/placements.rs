//! The bytes of a Placement.
//!
//! How groups came to be is a list of its own, of those groups alone that have been split or split off.

use bellwether_model::{HashRange, PlacementKey, RefEpoch, ShardGroupId};
use bellwether_placement::{
    GroupLoad, Origin, PendingSplit, PlacedGroup, Placement, PlacementParts, Replica, ReplicaRole,
};

use super::{DecodeError, Decoder, Encoder, unknown};

impl Encoder {
    pub(super) fn placement(&mut self, placement: &Placement) {
        let parts = placement.parts();
        self.u64(parts.epoch);
        self.u8(parts.point_rule);
        self.u32(parts.next_group.0);
        self.replica(parts.next_replica);
        self.list(parts.groups.iter(), Encoder::group);
    }

    pub(super) fn origins(&mut self, placement: &Placement) {
        let told = placement.groups().iter().filter(|group| !group.is_as_founded());
        self.list(told.collect::<Vec<_>>().into_iter(), |to, group| {
            to.u32(group.id.0);
            to.option(group.origin.parent, |to, parent| to.u32(parent.0));
            to.u64(group.origin.range.first.0);
            to.u64(group.origin.range.last.0);
        });
    }

    fn group(&mut self, group: &PlacedGroup) {
        self.u32(group.id.0);
        self.u64(group.range.first.0);
        self.u64(group.range.last.0);
        self.u64(group.range_generation);
        self.u64(group.ref_epoch.0);
        self.replicas(&group.replicas);
        self.option(group.split.as_ref(), |to, split| {
            to.u64(split.at.0);
            to.u32(split.child.0);
            to.u64(split.ref_epoch.0);
            to.replicas(&split.replicas);
        });
        self.option(group.leader, Encoder::node);
        self.u64(group.load.bytes);
        self.u64(group.load.series);
        self.u64(group.load.samples_per_second);
        self.option(group.load.middle, |to, key| to.u64(key.0));
    }

    pub(super) fn replicas(&mut self, replicas: &[Replica]) {
        self.list(replicas.iter(), |to, replica| {
            to.replica(replica.id);
            to.node(replica.node);
            to.u8(match replica.role {
                ReplicaRole::Voter => 0,
                ReplicaRole::Learner => 1,
            });
            to.option(replica.replaces, Encoder::node);
            to.flag(replica.caught_up);
        });
    }
}

/// The origin of a group that has always owned the same.
fn founded(range: HashRange) -> Origin {
    Origin { parent: None, range }
}

impl Decoder<'_> {
    pub(super) fn origins(&mut self) -> Result<Vec<(ShardGroupId, Origin)>, DecodeError> {
        self.list(|from| {
            let group = ShardGroupId(from.u32()?);
            let parent = from.option(|from| from.u32().map(ShardGroupId))?;
            let range = HashRange { first: PlacementKey(from.u64()?), last: PlacementKey(from.u64()?) };
            Ok((group, Origin { parent, range }))
        })
    }

    pub(super) fn placement(&mut self) -> Result<Placement, DecodeError> {
        let parts = PlacementParts {
            epoch: self.u64()?,
            point_rule: self.u8()?,
            next_group: ShardGroupId(self.u32()?),
            next_replica: self.replica()?,
            groups: self.list(Decoder::group)?,
        };
        Placement::try_from(parts).map_err(|_| DecodeError::Damaged("the placement does not hold together"))
    }

    fn group(&mut self) -> Result<PlacedGroup, DecodeError> {
        let id = ShardGroupId(self.u32()?);
        let range = HashRange { first: PlacementKey(self.u64()?), last: PlacementKey(self.u64()?) };
        Ok(PlacedGroup {
            id,
            range,
            range_generation: self.u64()?,
            origin: founded(range),
            ref_epoch: RefEpoch(self.u64()?),
            replicas: self.replicas()?,
            split: self.option(|from| {
                Ok(PendingSplit {
                    at: PlacementKey(from.u64()?),
                    child: ShardGroupId(from.u32()?),
                    ref_epoch: RefEpoch(from.u64()?),
                    replicas: from.replicas()?,
                })
            })?,
            leader: self.option(Decoder::node)?,
            load: GroupLoad {
                bytes: self.u64()?,
                series: self.u64()?,
                samples_per_second: self.u64()?,
                middle: self.option(|from| from.u64().map(PlacementKey))?,
            },
        })
    }

    pub(super) fn replicas(&mut self) -> Result<Vec<Replica>, DecodeError> {
        self.list(|from| {
            Ok(Replica {
                id: from.replica()?,
                node: from.node()?,
                role: match from.u8()? {
                    0 => ReplicaRole::Voter,
                    1 => ReplicaRole::Learner,
                    _ => return unknown("a replica has an unknown role"),
                },
                replaces: from.option(Decoder::node)?,
                caught_up: from.flag()?,
            })
        })
    }
}
