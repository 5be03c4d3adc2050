//! PromQL queries.

use std::time::Duration;

use bellwether_model::Sample;
use bellwether_promql::{MatrixSeries, Outcome, Point, Value, VectorSample};
use bellwether_proto::v1::query_response::Result as Shape;
use bellwether_proto::v1::{
    Explanation, InstantRequest, Matrix, QueryResponse, RangeRequest, Scalar, Series, Text, Vector, query_server,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::GrpcState;
use super::explanation::explanation;
use crate::gateway::{ApiError, ErrorKind};
use crate::query::{Answer, QueryError, QueryRequest, QueryTimes};
use crate::sending::paced;

/// Bytes of one part, about: it lies in memory as messages and as bytes.
const PART_BYTES: usize = 1 << 20;
/// Bytes of a sample in a part, about.
const SAMPLE_BYTES: usize = 20;

/// See the interface's `query.proto`.
pub struct Query(pub GrpcState);

/// The parts of a result on their way out.
type Responses = BoxStream<'static, Result<QueryResponse, Status>>;

#[tonic::async_trait]
impl query_server::Query for Query {
    type InstantStream = Responses;
    type RangeStream = Responses;

    async fn instant(&self, request: Request<InstantRequest>) -> Result<Response<Responses>, Status> {
        let tenant = self.0.admit(&request)?;
        let InstantRequest { query: text, time_ms, timeout_ms, stale_ms, partial_response: partial, explain } =
            request.into_inner();
        // Results at one time are not kept.
        let cached = false;
        let times = QueryTimes::Instant(time_ms.unwrap_or_else(|| self.0.clock.now_ms()));
        let timeout = timeout(timeout_ms);
        let stale = stale_ms.map(Duration::from_millis);
        self.run(QueryRequest {
            tenant,
            text,
            times,
            timeout,
            lookback: None,
            stale,
            partial,
            samples_per_step: false,
            cached,
            traced: explain,
        })
        .await
    }

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<Responses>, Status> {
        let tenant = self.0.admit(&request)?;
        let RangeRequest {
            query: text,
            start_ms: start,
            end_ms: end,
            step_ms,
            timeout_ms,
            stale_ms,
            partial_response: partial,
            explain,
            no_cache,
        } = request.into_inner();
        let cached = !no_cache;
        let times = QueryTimes::Range { start, end, step_ms };
        let timeout = timeout(timeout_ms);
        let stale = stale_ms.map(Duration::from_millis);
        self.run(QueryRequest {
            tenant,
            text,
            times,
            timeout,
            lookback: None,
            stale,
            partial,
            samples_per_step: false,
            cached,
            traced: explain,
        })
        .await
    }
}

impl Query {
    async fn run(&self, request: QueryRequest) -> Result<Response<Responses>, Status> {
        let answer = self.0.queries.run(request).await.map_err(|error| status(error.into()))?;
        let Answer { outcome, cost, plan, trace, place } = answer;
        if outcome.value.has_histograms() {
            let message = "the result has native histograms, which are answered over HTTP alone";
            return Err(Status::failed_precondition(message));
        }
        let explanation = trace.map(|trace| explanation(&plan, &cost, &trace));
        let parts = futures::stream::iter(Parts::new(outcome, explanation))
            .map(move |part| if place.is_killed() { Err(status(QueryError::Killed.into())) } else { Ok(part) });
        let sent = paced(parts, (), self.0.queries.send_timeout());
        let sent = sent.map(|part| part.map_err(|slow| Status::deadline_exceeded(slow.to_string())).flatten());
        Ok(Response::new(sent.boxed()))
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
        ErrorKind::Conflict => Status::already_exists(message),
        ErrorKind::Forbidden => Status::permission_denied(message),
        ErrorKind::Unavailable => Status::unavailable(message),
        ErrorKind::Internal => Status::internal(message),
    }
}

fn sample(point: &Point) -> Sample {
    Sample { timestamp: point.timestamp, value: point.value }
}

/// Cuts a result into parts.
struct Parts {
    left: Left,
    warnings: Vec<String>,
    infos: Vec<String>,
    explanation: Option<Explanation>,
    /// An empty result is a part, too.
    begun: bool,
}

enum Left {
    Scalar(Point),
    Text(Text),
    Vector(std::vec::IntoIter<VectorSample>),
    Matrix(std::vec::IntoIter<MatrixSeries>, Option<MatrixSeries>),
}

impl Parts {
    fn new(outcome: Outcome, explanation: Option<Explanation>) -> Parts {
        let Outcome { value, warnings, infos, .. } = outcome;
        let left = match value {
            Value::Scalar(point) => Left::Scalar(point),
            Value::String { timestamp, value } => Left::Text(Text { timestamp_ms: timestamp, value }),
            Value::Vector(samples) => Left::Vector(samples.into_iter()),
            Value::Matrix(series) => Left::Matrix(series.into_iter(), None),
        };
        Parts { left, warnings, infos, explanation, begun: false }
    }
}

impl Iterator for Parts {
    type Item = QueryResponse;

    fn next(&mut self) -> Option<QueryResponse> {
        let first = !std::mem::replace(&mut self.begun, true);
        let mut room = Room(PART_BYTES);
        let shape = match &mut self.left {
            Left::Scalar(point) => first.then(|| Shape::Scalar(Scalar { sample: Some(sample(point).into()) }))?,
            Left::Text(text) => Shape::Text(first.then(|| std::mem::take(text))?),
            Left::Vector(samples) => {
                let mut series = Vec::new();
                while room.is_left()
                    && let Some(one) = samples.next()
                {
                    room.take(one.labels.byte_len() + SAMPLE_BYTES);
                    series.push(Series::new(&one.labels, std::iter::once(sample(&one.point))));
                }
                (first || !series.is_empty()).then_some(Shape::Vector(Vector { series }))?
            }
            Left::Matrix(all, open) => {
                let mut series = Vec::new();
                while room.is_left()
                    && let Some(mut one) = open.take().or_else(|| all.next())
                {
                    room.take(one.labels.byte_len());
                    let rest = one.points.split_off(one.points.len().min(1 + room.0 / SAMPLE_BYTES));
                    room.take(one.points.len() * SAMPLE_BYTES);
                    series.push(Series::new(&one.labels, one.points.iter().map(sample)));
                    if !rest.is_empty() {
                        *open = Some(MatrixSeries { points: rest, ..one });
                    }
                }
                (first || !series.is_empty()).then_some(Shape::Matrix(Matrix { series }))?
            }
        };
        let (warnings, infos) = (std::mem::take(&mut self.warnings), std::mem::take(&mut self.infos));
        Some(QueryResponse { result: Some(shape), warnings, infos, explanation: self.explanation.take() })
    }
}

/// Bytes that a part may still take.
struct Room(usize);

impl Room {
    fn is_left(&self) -> bool {
        self.0 > 0
    }

    fn take(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use bellwether_model::Labels;

    use super::*;

    fn outcome(value: Value) -> Outcome {
        Outcome { value, warnings: vec!["careful".to_owned()], infos: Vec::new(), samples_per_step: Vec::new() }
    }

    fn point(at: i64) -> Point {
        Point { timestamp: at, value: at as f64 }
    }

    #[test]
    fn an_empty_result_is_one_part() {
        for value in [Value::Vector(Vec::new()), Value::Matrix(Vec::new()), Value::Scalar(point(1))] {
            let parts: Vec<QueryResponse> = Parts::new(outcome(value), None).collect();
            assert_eq!(parts.len(), 1);
            assert_eq!(parts[0].warnings, ["careful"]);
        }
    }

    #[test]
    fn a_long_result_is_cut_and_loses_nothing() {
        let labels = |at: usize| Labels::of(&[("n", &format!("{at:05}"))]);
        let lengths = [1usize, 200_000, 3, 70_000, 1];
        let series = lengths.iter().enumerate().map(|(at, length)| MatrixSeries {
            labels: labels(at),
            points: (0..*length as i64).map(point).collect(),
            histograms: Vec::new(),
        });
        let mut found: Vec<(String, Vec<i64>)> = Vec::new();
        let mut count = 0;
        for part in Parts::new(outcome(Value::Matrix(series.collect())), None) {
            assert_eq!(part.warnings.len(), usize::from(count == 0));
            count += 1;
            let Some(Shape::Matrix(Matrix { series })) = part.result else { panic!("a matrix") };
            assert!(series.iter().map(|one| one.samples.len()).sum::<usize>() <= PART_BYTES / SAMPLE_BYTES + 5);
            for one in series {
                let times: Vec<i64> = one.samples.iter().map(|sample| sample.timestamp_ms).collect();
                match found.last_mut().filter(|(name, _)| *name == one.labels[0].value) {
                    Some((_, all)) => all.extend(times),
                    None => found.push((one.labels[0].value.clone(), times)),
                }
            }
        }
        assert!(count > 3);
        for ((name, times), (at, length)) in found.iter().zip(lengths.iter().enumerate()) {
            assert_eq!((name, times.len()), (&format!("{at:05}"), *length));
            assert!(times.is_sorted());
        }
        let samples =
            (0..100_000).map(|at| VectorSample { labels: labels(at), point: point(0), histogram: None }).collect();
        let parts: Vec<QueryResponse> = Parts::new(outcome(Value::Vector(samples)), None).collect();
        let series = |part: &QueryResponse| match &part.result {
            Some(Shape::Vector(vector)) => vector.series.len(),
            _ => 0,
        };
        assert!(parts.len() > 2);
        assert_eq!(parts.iter().map(series).sum::<usize>(), 100_000);
    }
}
