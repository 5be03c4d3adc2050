//! PromQL queries.

use std::time::Duration;

use prost::Message;
use tonic::{Response, Status, Streaming};

use crate::call::{Client, Repeat};
use crate::v1::query_client::QueryClient;
use crate::v1::query_response::Result as Shape;
use crate::v1::{Explanation, InstantRequest, QueryResponse, RangeRequest};
use crate::{Error, ResultSeries, Sample};

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the expression is worth.
    pub value: Value,
    /// What the caller should know about its correctness.
    pub warnings: Vec<String>,
    /// Hints that do not affect it.
    pub infos: Vec<String>,
    /// How it was evaluated, if that was asked for.
    pub explanation: Option<Explanation>,
}

/// What an expression is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number without labels.
    Scalar(Sample),
    /// A text.
    Text {
        /// When the expression was evaluated.
        timestamp_ms: i64,
        /// The text.
        value: String,
    },
    /// One sample per series: a number, or a histogram.
    Vector(Vec<ResultSeries>),
    /// Many samples per series, ascending in time.
    Matrix(Vec<ResultSeries>),
}

/// What a query may leave out, and what is told beside its result. The default is nothing: an answer contains all that was
/// acknowledged before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// Replicas may answer that had all that their leaders had within this time, even where nobody leads now.
    pub stale: Option<Duration>,
    /// Shard groups that cannot be read are left out, with a warning for each; otherwise that is an error.
    pub partial_response: bool,
    /// The answer says how it was evaluated.
    pub explain: bool,
    /// All steps of a range are computed, whatever the node has kept of earlier answers.
    pub no_cache: bool,
}

impl QueryOptions {
    fn stale_ms(&self) -> Option<u64> {
        self.stale.map(|stale| u64::try_from(stale.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Client {
    /// Evaluates an expression at one time, in milliseconds since the Unix epoch; `None` is the node's now.
    pub async fn instant(&self, query: &str, time_ms: Option<i64>) -> Result<Answer, Error> {
        self.instant_with(query, time_ms, QueryOptions::default()).await
    }

    /// The same, where an answer may be less than whole.
    pub async fn instant_with(&self, query: &str, time_ms: Option<i64>, how: QueryOptions) -> Result<Answer, Error> {
        let request = InstantRequest {
            query: query.to_owned(),
            time_ms,
            timeout_ms: Some(self.timeout_ms()),
            stale_ms: how.stale_ms(),
            partial_response: how.partial_response,
            explain: how.explain,
        };
        let bytes_max = self.options().answer_bytes_max;
        let send = |channel, request| {
            let mut client = self.query_client(channel);
            async move { gathered(client.instant(request).await?.into_inner(), bytes_max).await }
        };
        let (answer, address) = self.call(Repeat::UnlessLate, &request, send).await?;
        checked(answer, address)
    }

    /// Evaluates an expression every `step_ms` from `start_ms` to `end_ms`, both included.
    pub async fn range(&self, query: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Answer, Error> {
        self.range_with(query, start_ms, end_ms, step_ms, QueryOptions::default()).await
    }

    /// The same, where an answer may be less than whole.
    pub async fn range_with(
        &self,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        how: QueryOptions,
    ) -> Result<Answer, Error> {
        let request = RangeRequest {
            query: query.to_owned(),
            start_ms,
            end_ms,
            step_ms,
            timeout_ms: Some(self.timeout_ms()),
            stale_ms: how.stale_ms(),
            partial_response: how.partial_response,
            explain: how.explain,
            no_cache: how.no_cache,
        };
        let bytes_max = self.options().answer_bytes_max;
        let send = |channel, request| {
            let mut client = self.query_client(channel);
            async move { gathered(client.range(request).await?.into_inner(), bytes_max).await }
        };
        let (answer, address) = self.call(Repeat::UnlessLate, &request, send).await?;
        checked(answer, address)
    }

    fn query_client(&self, channel: tonic::transport::Channel) -> QueryClient<tonic::transport::Channel> {
        let client = QueryClient::new(channel).max_decoding_message_size(self.options().answer_bytes_max);
        match self.options().compression.encoding() {
            Some(encoding) => client.accept_compressed(encoding),
            None => client,
        }
    }

    fn timeout_ms(&self) -> i64 {
        i64::try_from(self.options().timeout.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The parts of an answer as one; together they have so many bytes at most.
async fn gathered(mut parts: Streaming<QueryResponse>, bytes_max: usize) -> Result<Response<QueryResponse>, Status> {
    let mut whole = QueryResponse::default();
    let mut bytes = 0;
    while let Some(part) = parts.message().await? {
        bytes += part.encoded_len();
        if bytes > bytes_max {
            let message = format!("the answer has more than {bytes_max} bytes, which is what this client takes");
            return Err(Status::resource_exhausted(message));
        }
        join(&mut whole, part);
    }
    Ok(Response::new(whole))
}

fn join(whole: &mut QueryResponse, part: QueryResponse) {
    whole.warnings.extend(part.warnings);
    whole.infos.extend(part.infos);
    whole.explanation = whole.explanation.take().or(part.explanation);
    match (&mut whole.result, part.result) {
        (Some(Shape::Vector(all)), Some(Shape::Vector(more))) => all.series.extend(more.series),
        (Some(Shape::Matrix(all)), Some(Shape::Matrix(more))) => {
            for series in more.series {
                match all.series.last_mut() {
                    // A series that did not fit into its part goes on.
                    Some(last) if last.labels == series.labels => {
                        last.samples.extend(series.samples);
                        last.histograms.extend(series.histograms);
                    }
                    _ => all.series.push(series),
                }
            }
        }
        (result, more) => *result = more.or_else(|| result.take()),
    }
}

fn checked(answer: QueryResponse, address: String) -> Result<Answer, Error> {
    let missing = |missing| Error::Malformed { address, missing };
    let value = match answer.result {
        Some(Shape::Scalar(scalar)) => Value::Scalar(scalar.sample.ok_or_else(|| missing("a sample"))?),
        Some(Shape::Text(text)) => Value::Text { timestamp_ms: text.timestamp_ms, value: text.value },
        Some(Shape::Vector(vector)) => Value::Vector(vector.series),
        Some(Shape::Matrix(matrix)) => Value::Matrix(matrix.series),
        None => return Err(missing("a result")),
    };
    let QueryResponse { warnings, infos, explanation, .. } = answer;
    Ok(Answer { value, warnings, infos, explanation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HistogramSample;
    use crate::v1::{Label, Matrix};

    #[test]
    fn a_series_that_was_cut_is_one_again() {
        let series = |name: &str, times: &[i64]| ResultSeries {
            labels: vec![Label { name: "n".to_owned(), value: name.to_owned() }],
            samples: times.iter().map(|time| Sample { timestamp_ms: *time, value: 1.0 }).collect(),
            histograms: times.iter().map(|time| HistogramSample { timestamp_ms: *time, histogram: None }).collect(),
        };
        let part = |series: Vec<ResultSeries>, warnings: &[&str]| QueryResponse {
            result: Some(Shape::Matrix(Matrix { series })),
            warnings: warnings.iter().map(|text| (*text).to_owned()).collect(),
            infos: Vec::new(),
            explanation: None,
        };
        let mut whole = QueryResponse::default();
        join(&mut whole, part(vec![series("a", &[1]), series("b", &[1, 2])], &["careful"]));
        join(&mut whole, part(vec![series("b", &[3]), series("c", &[1])], &[]));
        let all = vec![series("a", &[1]), series("b", &[1, 2, 3]), series("c", &[1])];
        assert_eq!(whole, part(all, &["careful"]));
    }
}
