//! PromQL queries.

use std::time::Duration;

use bellwether_model::Sample;
use bellwether_promql::{Outcome, Point, Value};
use bellwether_proto::v1::query_response::Result as Shape;
use bellwether_proto::v1::{
    InstantRequest, Matrix, QueryResponse, RangeRequest, Scalar, Series, Text, Vector, query_server,
};
use tonic::{Request, Response, Status};

use super::GrpcState;
use crate::gateway::{ApiError, ErrorKind};
use crate::query::{QueryRequest, QueryTimes};

/// See the interface's `query.proto`.
pub struct Query(pub GrpcState);

#[tonic::async_trait]
impl query_server::Query for Query {
    async fn instant(&self, request: Request<InstantRequest>) -> Result<Response<QueryResponse>, Status> {
        let tenant = self.0.admit(&request)?;
        let InstantRequest { query: text, time_ms, timeout_ms } = request.into_inner();
        let times = QueryTimes::Instant(time_ms.unwrap_or_else(|| self.0.clock.now_ms()));
        self.run(QueryRequest { tenant, text, times, timeout: timeout(timeout_ms), lookback: None }).await
    }

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<QueryResponse>, Status> {
        let tenant = self.0.admit(&request)?;
        let RangeRequest { query: text, start_ms: start, end_ms: end, step_ms, timeout_ms } = request.into_inner();
        let times = QueryTimes::Range { start, end, step_ms };
        self.run(QueryRequest { tenant, text, times, timeout: timeout(timeout_ms), lookback: None }).await
    }
}

impl Query {
    async fn run(&self, request: QueryRequest) -> Result<Response<QueryResponse>, Status> {
        let (outcome, _cost) = self.0.queries.run(request).await.map_err(|error| status(error.into()))?;
        Ok(Response::new(response(outcome)))
    }
}

fn timeout(timeout_ms: Option<i64>) -> Option<Duration> {
    timeout_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()))
}

/// The same sorts of errors as over HTTP.
fn status(error: ApiError) -> Status {
    let message = error.message;
    match error.kind {
        ErrorKind::BadData | ErrorKind::MethodNotAllowed => Status::invalid_argument(message),
        ErrorKind::TooLarge => Status::resource_exhausted(message),
        ErrorKind::Execution => Status::failed_precondition(message),
        ErrorKind::Timeout => Status::deadline_exceeded(message),
        ErrorKind::Canceled => Status::cancelled(message),
        ErrorKind::NotFound => Status::not_found(message),
        ErrorKind::Forbidden => Status::permission_denied(message),
        ErrorKind::Unavailable => Status::unavailable(message),
        ErrorKind::Internal => Status::internal(message),
    }
}

fn sample(point: &Point) -> Sample {
    Sample { timestamp: point.timestamp, value: point.value }
}

fn response(outcome: Outcome) -> QueryResponse {
    let Outcome { value, warnings, infos } = outcome;
    let result = match value {
        Value::Scalar(point) => Shape::Scalar(Scalar { sample: Some(sample(&point).into()) }),
        Value::String { timestamp, value } => Shape::Text(Text { timestamp_ms: timestamp, value }),
        Value::Vector(samples) => Shape::Vector(Vector {
            series: samples.iter().map(|one| Series::new(&one.labels, std::iter::once(sample(&one.point)))).collect(),
        }),
        Value::Matrix(series) => Shape::Matrix(Matrix {
            series: series.iter().map(|one| Series::new(&one.labels, one.points.iter().map(sample))).collect(),
        }),
    };
    QueryResponse { result: Some(result), warnings, infos }
}
