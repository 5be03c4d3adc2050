//! `ProposeAlerting`: a command for an alert group, which this node must lead.

use bellwether_proto::peer::v1::{self, Failure, ProposeAlertingAnswer, ProposeAlertingRequest};
use bellwether_raft::GroupId;
use tonic::Status;

use super::PeerService;
use super::propose_meta::not_proposed;

impl PeerService {
    pub(super) async fn propose_to_alert_group(
        &self,
        request: ProposeAlertingRequest,
    ) -> Result<ProposeAlertingAnswer, Status> {
        let alerting =
            self.alerting.as_ref().ok_or_else(|| Status::unimplemented("this node serves no alert groups"))?;
        let group = GroupId(request.group);
        match alerting.propose_here(group, &request.command).await {
            Some(Ok((reply, index))) => Ok(ProposeAlertingAnswer { reply, index }),
            Some(Err(error)) => Err(not_proposed(group, &error).into_status()),
            None => {
                let message = format!("group {} is no alert group", request.group);
                Err(Failure::new(message, v1::Rejected {}).into_status())
            }
        }
    }
}
