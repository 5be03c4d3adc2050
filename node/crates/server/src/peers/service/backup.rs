//! `BackUpGroup` and `Operate`: this node copies one of its groups, and tells of its operations.

use std::time::Duration;

use bellwether_model::ShardGroupId;
use bellwether_proto::peer::v1::back_up_group_part::Part;
use bellwether_proto::peer::v1::{BackUpGroupPart, BackUpGroupRequest, BackUpProgress, OperateAnswer, OperateRequest};
use futures::stream::unfold;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;
use tonic::Status;
use tonic::codegen::BoxStream;

use super::PeerService;
use crate::backup::{Backups, CopyProgress};
use crate::operations::Operations;
use crate::peers::backup::wire_part;
use crate::peers::error::chain;

/// How often it is said how far a copy has come, also where it has not.
const TELL: Duration = Duration::from_secs(1);

/// What long work this node does for itself and for others.
#[derive(Clone)]
pub struct LongWork {
    /// Copies of groups.
    pub backups: Backups,
    /// What was begun here.
    pub operations: Operations,
}

fn message(part: Part) -> BackUpGroupPart {
    BackUpGroupPart { part: Some(part) }
}

fn told(progress: &watch::Receiver<CopyProgress>) -> Part {
    let CopyProgress { done_bytes, total_bytes, sent_bytes } = *progress.borrow();
    Part::Progress(BackUpProgress { done_bytes, total_bytes, sent_bytes })
}

impl PeerService {
    fn long_work(&self) -> Result<&LongWork, Status> {
        self.long_work.as_ref().ok_or_else(|| Status::unimplemented("this node does no long work"))
    }

    pub(super) fn serve_back_up(&self, request: BackUpGroupRequest) -> Result<BoxStream<BackUpGroupPart>, Status> {
        let copier = self.long_work()?.backups.copier().clone();
        let mut stopped = self.stopped.clone();
        let (parts, received) = mpsc::channel(1);
        tokio::spawn(async move {
            let (tell, progress) = watch::channel(CopyProgress::default());
            let copying = copier.copy(&request.url, ShardGroupId(request.group), tell);
            let mut copying = std::pin::pin!(copying);
            let mut ticks = interval(TELL);
            loop {
                let part = tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stopped| *stopped) => Err(Status::unavailable("the node is stopping")),
                    // Dropped with it, the copying ends.
                    () = parts.closed() => return,
                    copied = &mut copying => match copied {
                        Ok(part) => Ok(Part::Done(wire_part(part))),
                        Err(error) => Err(Status::failed_precondition(chain(&error))),
                    },
                    _ = ticks.tick() => {
                        Ok(told(&progress))
                    }
                };
                let is_last = !matches!(part, Ok(Part::Progress(_)));
                if is_last && parts.send(Ok(message(told(&progress)))).await.is_err() {
                    return;
                }
                if parts.send(part.map(message)).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Box::pin(unfold(received, |mut received| async move { Some((received.recv().await?, received)) })))
    }

    pub(super) async fn serve_operate(&self, request: OperateRequest) -> Result<OperateAnswer, Status> {
        let operations = &self.long_work()?.operations;
        let told = match request.cancel.as_str() {
            "" => operations.list(),
            id => operations.cancel(id).await.into_iter().collect(),
        };
        Ok(OperateAnswer { operations: told.iter().map(|operation| operation.encode_to_vec().into()).collect() })
    }
}
