//! `Report`: what this node carries and how it fares.

use bellwether_proto::peer::v1::{ReportAnswer, ReportRequest};
use tonic::Status;

use super::PeerService;
use crate::meta::Meta;
use crate::peers::error::wire_position;

impl PeerService {
    pub(super) async fn serve_report(&self, request: &ReportRequest) -> Result<ReportAnswer, Status> {
        match &self.reporter {
            Some(reporter) => {
                let meta = self.meta.as_ref();
                Ok(ReportAnswer {
                    leads_meta: meta.is_some_and(Meta::leads_a_quorum),
                    meta_end: meta.and_then(|meta| meta.group().log_end()).map(wire_position),
                    ..reporter.answer(request).await
                })
            }
            None => Err(Status::unimplemented("this node makes no reports")),
        }
    }
}
