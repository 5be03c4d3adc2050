//! What other nodes want to read.

use bellwether_proto::peer::v1::read_index::Outcome;
use bellwether_proto::peer::v1::{ReadIndex, ReadIndexAnswer, ReadIndexRequest};
use futures::future::join_all;

use crate::peers::error::wire_position;
use crate::routing::Router;
use crate::routing::freshness::freshness_here;

impl Router {
    /// How far replicas must have come, for groups that are led here.
    pub async fn serve_read_index(&self, request: &ReadIndexRequest) -> ReadIndexAnswer {
        let answers = request.groups.iter().map(|group| self.read_index_of(*group, request.with_members));
        ReadIndexAnswer { groups: join_all(answers).await }
    }

    async fn read_index_of(&self, group: u32, with_members: bool) -> ReadIndex {
        let fresh = match self.led_here(group) {
            Ok(local) => {
                let fresh = freshness_here(&local, with_members).await;
                fresh.map_err(|error| self.failure(local.id(), &error))
            }
            Err(failure) => Err(failure),
        };
        match fresh {
            Ok(fresh) => {
                let outcome = Some(Outcome::Position(wire_position(fresh.position)));
                ReadIndex { group, outcome, members: fresh.members.into_iter().map(|replica| replica.0).collect() }
            }
            Err(failure) => ReadIndex { group, outcome: Some(Outcome::Failure(failure)), members: Vec::new() },
        }
    }
}
