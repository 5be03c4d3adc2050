//! Storing samples.

use bellwether_model::{Labels, Sample};
use bellwether_proto::v1::{WriteRequest, WriteResponse, write_server};
use tonic::{Request, Response, Status};

use super::GrpcState;
use crate::write::WriteError;

/// See the interface's `write.proto`.
pub struct Write(pub GrpcState);

#[tonic::async_trait]
impl write_server::Write for Write {
    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let tenant = self.0.admit(&request)?;
        let rows: Vec<(Labels, Sample)> = request
            .into_inner()
            .try_into()
            .map_err(|error: bellwether_proto::MessageError| Status::invalid_argument(error.to_string()))?;
        let outcome = self.0.write.write_samples(&tenant, rows, Vec::new()).await.map_err(status)?;
        let refused_because = if outcome.refused.is_empty() { String::new() } else { outcome.refused.to_string() };
        let refused = outcome.refused.count();
        Ok(Response::new(WriteResponse { samples: outcome.samples, refused, refused_because }))
    }
}

fn status(error: WriteError) -> Status {
    let message = error.to_string();
    match error {
        WriteError::Malformed(_) => Status::invalid_argument(message),
        WriteError::TooLarge { .. } => Status::resource_exhausted(message),
        WriteError::Transient { .. } => Status::unavailable(message),
        WriteError::Internal(_) => Status::internal(message),
    }
}
