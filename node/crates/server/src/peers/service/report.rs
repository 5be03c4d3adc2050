//! `Report`: what this node carries and how it fares.

use bellwether_proto::peer::v1::{ReportAnswer, ReportRequest};
use tonic::Status;

use super::PeerService;

impl PeerService {
    pub(super) async fn serve_report(&self, request: &ReportRequest) -> Result<ReportAnswer, Status> {
        match &self.reporter {
            Some(reporter) => Ok(reporter.answer(request).await),
            None => Err(Status::unimplemented("this node makes no reports")),
        }
    }
}
