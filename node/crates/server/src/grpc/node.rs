//! What a node says about itself.

use bellwether_proto::v1::{AddressesRequest, AddressesResponse, StatusRequest, StatusResponse, node_server};
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

    async fn addresses(&self, _: Request<AddressesRequest>) -> Result<Response<AddressesResponse>, Status> {
        let state = self.0.meta.as_ref().ok_or_else(|| Status::unimplemented("this node is of no cluster"))?;
        let addresses = state.borrow().present_nodes().map(|(_, node)| node.facts.grpc.clone()).collect();
        Ok(Response::new(AddressesResponse { addresses }))
    }
}
