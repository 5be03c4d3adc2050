//! `Report`: what this node carries and how it fares.

use bellwether_proto::peer::v1::ReportAnswer;
use tonic::Status;

use super::PeerService;

impl PeerService {
    pub(super) async fn serve_report(&self) -> Result<ReportAnswer, Status> {
        match &self.reporter {
            Some(reporter) => Ok(reporter.report().await),
            None => Err(Status::unimplemented("this node makes no reports")),
        }
    }
}
