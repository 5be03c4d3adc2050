//! The health service of gRPC: serving once the node is ready, whatever service is asked for.

use std::pin::Pin;

use futures::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

/// Answers from the node's readiness.
pub struct Health {
    ready: watch::Receiver<bool>,
}

impl Health {
    /// Follows `ready`.
    pub fn new(ready: watch::Receiver<bool>) -> Health {
        Health { ready }
    }
}

fn response(ready: bool) -> HealthCheckResponse {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(response(*self.ready.borrow())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut ready = self.ready.clone();
        ready.mark_changed();
        let changes = futures::stream::unfold(ready, |mut ready| async move {
            ready.changed().await.ok()?;
            let now = *ready.borrow_and_update();
            Some((Ok(response(now)), ready))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic_health::pb::health_server::Health as _;

    use super::*;

    #[tokio::test]
    async fn health_follows_readiness() {
        let (set, ready) = watch::channel(false);
        let health = Health::new(ready);
        let ask = || Request::new(HealthCheckRequest::default());
        let mut changes = health.watch(ask()).await.unwrap().into_inner();
        let not_serving = ServingStatus::NotServing as i32;
        assert_eq!(health.check(ask()).await.unwrap().into_inner().status, not_serving);
        assert_eq!(changes.next().await.unwrap().unwrap().status, not_serving);
        set.send(true).unwrap();
        assert_eq!(changes.next().await.unwrap().unwrap().status, ServingStatus::Serving as i32);
        drop(set);
        assert!(changes.next().await.is_none());
    }
}
