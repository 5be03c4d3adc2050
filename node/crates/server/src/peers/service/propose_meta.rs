//! `ProposeMeta`: a command for the meta group, which this node must lead.

use bellwether_proto::peer::v1::{self, Failure, ProposeMetaAnswer, ProposeMetaRequest};
use tonic::Status;

use super::PeerService;
use crate::meta::META_GROUP;
use crate::meta::propose::HereError;
use crate::peers::error::propose_failure;

impl PeerService {
    pub(super) async fn propose(&self, request: ProposeMetaRequest) -> Result<ProposeMetaAnswer, Status> {
        match self.meta()?.propose_here(&request.command).await {
            Ok((reply, index)) => Ok(ProposeMetaAnswer { reply, index }),
            Err(HereError::Propose(error)) => Err(propose_failure(META_GROUP, &error).into_status()),
            Err(error @ HereError::Unreadable(_)) => {
                Err(Failure::new(error.to_string(), v1::Rejected {}).into_status())
            }
            Err(error @ HereError::NoQuorum) => {
                Err(Failure::new(error.to_string(), v1::FateUnknown::default()).into_status())
            }
        }
    }
}
