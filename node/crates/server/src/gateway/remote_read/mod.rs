//! Remote read: `POST /api/v1/read`, by which Prometheus and others fetch samples as they are stored.
//!
//! A request is protobuf in snappy's block format; the answer is either one such message with all samples, or a stream of
//! messages with Prometheus's own chunks, whichever the client names first. Both are made while they are sent.
//! <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>

mod bit_writer;
mod chunks;
mod crc32c;
mod histogram_chunk;
#[cfg(test)]
#[path = "../../../tests/http_support/remote_read.rs"]
mod messages;
mod request;
mod samples;
mod xor_chunk;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bellwether_ingest::{Encoding, decompress};

use super::error::{ApiError, ErrorKind, TextError};
use super::{Gateway, answer, body};
use chunks::ChunksAnswer;
use request::Form;
use samples::SamplesAnswer;

/// Bytes of a request, both as it comes and decompressed: four times what its texts may have.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(REQUEST_BYTES_MAX >= 4 * bellwether_promql::limits::QUERY_BYTES_MAX);

/// `POST /api/v1/read`. Errors are plain text, as in Prometheus.
pub(super) async fn remote_read(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, TextError> {
    let tenant = gateway.tenant(request.headers())?;
    let request = {
        let _room = gateway.room_for_form(request.headers(), REQUEST_BYTES_MAX)?;
        let compressed = body::read(request, REQUEST_BYTES_MAX).await.map_err(ApiError::from)?;
        let mut message = Vec::new();
        decompress(Encoding::Snappy, &compressed, REQUEST_BYTES_MAX, &mut message)
            .map_err(|error| ApiError::bad_data(error.to_string()))?;
        request::decode(&message).map_err(|error| ApiError::bad_data(error.to_string()))?
    };
    let queries = &gateway.state.queries;
    let (results, place) = queries.samples(&tenant, request.queries).await.map_err(ApiError::from)?;
    let mut response;
    match request.form {
        Form::Samples => {
            let measured = queries.executor().run(move || SamplesAnswer::new(results)).await;
            let measured = measured.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
            let answer = measured.map_err(|error| ApiError::new(ErrorKind::Execution, error.to_string()))?;
            response = Response::new(answer::body(answer, Some(place)));
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            let kind = HeaderValue::from_static("application/x-protobuf");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Form::XorChunks => {
            response = Response::new(answer::body(ChunksAnswer::new(results), Some(place)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(STREAM));
        }
    }
    Ok(response)
}

/// The media type of streamed chunks.
pub const STREAM: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

#[cfg(test)]
mod testing {
    use bellwether_model::Labels;
    use bellwether_promql::FetchedSeries;

    /// A series as storage gives it.
    pub fn fetched(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> FetchedSeries {
        let (timestamps, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        FetchedSeries { labels: Labels::of(labels), timestamps: timestamps.into(), values, histograms: None }
    }
}
