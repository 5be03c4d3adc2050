//! What a node says about itself.

use bellwether_proto::v1::{StatusRequest, StatusResponse, node_server};
use tonic::{Request, Response, Status};

use super::GrpcState;

/// See the interface's `node.proto`.
pub struct Node(pub GrpcState);

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let stats = self.0.router.shards().stats();
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.0.started_ms,
            ready: *self.0.ready.borrow(),
            http_address: self.0.http_address.to_string(),
            active_series: stats.active_series,
            disk_bytes: stats.disk_bytes,
        }))
    }
}
