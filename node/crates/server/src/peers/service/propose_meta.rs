//! `ProposeMeta`: a command for the meta group, which this node must lead.

use bellwether_proto::peer::v1::{self, Failure, ProposeMetaAnswer, ProposeMetaRequest};
use bellwether_raft::GroupId;
use tonic::Status;

use super::PeerService;
use crate::common_group::propose::HereError;
use crate::meta::META_GROUP;
use crate::peers::error::propose_failure;

impl PeerService {
    pub(super) async fn propose(&self, request: ProposeMetaRequest) -> Result<ProposeMetaAnswer, Status> {
        match self.meta()?.propose_here(&request.command).await {
            Ok((reply, index)) => Ok(ProposeMetaAnswer { reply, index }),
            Err(error) => Err(not_proposed(META_GROUP, &error).into_status()),
        }
    }
}

/// What a node says when a request for a group of all nodes has no reply.
pub(super) fn not_proposed(group: GroupId, error: &HereError) -> Failure {
    match error {
        HereError::Propose(error) => propose_failure(group, error),
        HereError::Unreadable(_) => Failure::new(error.to_string(), v1::Rejected {}),
        HereError::NoQuorum => Failure::new(error.to_string(), v1::FateUnknown::default()),
    }
}
