//! PromQL queries.

use std::time::Duration;

use bellwether_model::Sample;
use bellwether_promql::{FloatHistogram, HistogramPoint, MatrixSeries, Outcome, Point, Value, VectorSample};
use bellwether_proto::v1::query_response::Result as Shape;
use bellwether_proto::v1::{
    Bucket, Explanation, HistogramSample, HistogramValue, InstantRequest, Matrix, QueryResponse, RangeRequest,
    ResultSeries, Scalar, Text, Vector, query_server,
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
/// Bytes of a bucket of a histogram in a part, about.
const BUCKET_BYTES: usize = 34;

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

fn histogram_sample(timestamp_ms: i64, histogram: &FloatHistogram) -> HistogramSample {
    let buckets = histogram.buckets().filter(|bucket| bucket.count != 0.0).map(|bucket| Bucket {
        lower: bucket.lower,
        upper: bucket.upper,
        count: bucket.count,
        lower_inclusive: bucket.lower_inclusive,
        upper_inclusive: bucket.upper_inclusive,
    });
    let value = HistogramValue { count: histogram.count(), sum: histogram.sum(), buckets: buckets.collect() };
    HistogramSample { timestamp_ms, histogram: Some(value) }
}

/// What it takes in a part, about.
fn histogram_bytes(sample: &HistogramSample) -> usize {
    SAMPLE_BYTES + sample.histogram.as_ref().map_or(0, |value| SAMPLE_BYTES + value.buckets.len() * BUCKET_BYTES)
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
                    let histogram = one.histogram.as_ref().map(|own| histogram_sample(one.point.timestamp, own));
                    let bytes = histogram.as_ref().map_or(SAMPLE_BYTES, histogram_bytes);
                    room.take(one.labels.byte_len() + bytes);
                    let number = histogram.is_none().then(|| sample(&one.point));
                    series.push(ResultSeries::new(&one.labels, number.into_iter(), histogram.into_iter().collect()));
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
                    let mut left = std::mem::take(&mut one.histograms).into_iter().peekable();
                    let mut histograms = Vec::new();
                    // Behind all numbers.
                    while rest.is_empty()
                        && (room.is_left() || one.points.is_empty() && histograms.is_empty())
                        && let Some(HistogramPoint { timestamp, histogram }) = left.next()
                    {
                        let own = histogram_sample(timestamp, &histogram);
                        room.take(histogram_bytes(&own));
                        histograms.push(own);
                    }
                    series.push(ResultSeries::new(&one.labels, one.points.iter().map(sample), histograms));
                    if !rest.is_empty() || left.peek().is_some() {
                        *open = Some(MatrixSeries { points: rest, histograms: left.collect(), ..one });
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

    fn histogram(at: i64) -> HistogramPoint {
        let mut one = bellwether_model::Histogram {
            counter_reset_hint: bellwether_model::CounterResetHint::Gauge,
            schema: -53,
            zero_threshold: 0.0,
            sum: at as f64,
            counts: bellwether_model::Counts::Integer {
                count: 6,
                zero_count: 0,
                positive: vec![1, 0, 5],
                negative: vec![],
            },
            positive_spans: vec![bellwether_model::Span { offset: 0, length: 3 }],
            negative_spans: vec![],
            custom_values: vec![0.5, 1.0],
        };
        one.sum = at as f64;
        HistogramPoint { timestamp: at, histogram: std::sync::Arc::new(FloatHistogram::from(&one)) }
    }

    #[test]
    fn histograms_come_as_their_buckets_and_none_is_lost() {
        let labels = || Labels::of(&[("n", "a")]);
        let mixed = [(2i64, 30_000i64), (0, 5), (70_000, 3), (1, 0)].map(|(points, histograms)| MatrixSeries {
            labels: Labels::of(&[("n", &points.to_string())]),
            points: (0..points).map(point).collect(),
            histograms: (points..points + histograms).map(histogram).collect(),
        });
        let mut found: Vec<(String, usize, usize)> = Vec::new();
        let mut count = 0;
        for part in Parts::new(outcome(Value::Matrix(mixed.to_vec())), None) {
            count += 1;
            assert!(prost::Message::encoded_len(&part) < 2 * PART_BYTES);
            let Some(Shape::Matrix(Matrix { series })) = part.result else { panic!("a matrix") };
            for one in series {
                let name = one.labels[0].value.clone();
                match found.last_mut().filter(|(last, ..)| *last == name) {
                    Some((_, samples, histograms)) => {
                        *samples += one.samples.len();
                        *histograms += one.histograms.len();
                    }
                    None => found.push((name, one.samples.len(), one.histograms.len())),
                }
            }
        }
        assert!(count > 2);
        let named = |name: &str, samples, histograms| (name.to_owned(), samples, histograms);
        assert_eq!(found, [named("2", 2, 30_000), named("0", 0, 5), named("70000", 70_000, 3), named("1", 1, 0)]);
        let one = histogram(7);
        let sample = VectorSample { labels: labels(), point: point(7), histogram: Some(one.histogram) };
        let Some(QueryResponse { result: Some(Shape::Vector(vector)), .. }) =
            Parts::new(outcome(Value::Vector(vec![sample])), None).next()
        else {
            panic!("a vector")
        };
        let bucket =
            |lower, upper, count| Bucket { lower, upper, count, lower_inclusive: lower < 0.0, upper_inclusive: true };
        let buckets = vec![bucket(f64::NEG_INFINITY, 0.5, 1.0), bucket(1.0, f64::INFINITY, 5.0)];
        let value = HistogramValue { count: 6.0, sum: 7.0, buckets };
        assert_eq!(vector.series[0].histograms, [HistogramSample { timestamp_ms: 7, histogram: Some(value) }]);
        assert!(vector.series[0].samples.is_empty());
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
