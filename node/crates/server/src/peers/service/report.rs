//! `Report`: what this node carries and how it fares.

use bellwether_proto::peer::v1::ReportAnswer;
use tonic::Status;

use super::PeerService;
use crate::balance::report::Reporter;

impl PeerService {
    pub(super) async fn serve_report(&self) -> Result<ReportAnswer, Status> {
        let shards = self.routed()?.shards().clone();
        Ok(Reporter::new(shards, &self.env).report().await)
    }
}
