//! Storing samples. A request's message lies on the wire as a remote-write 1.0 body does, so it is never decoded here: it
//! takes the way in of all bodies, with the same bounds. Room is taken by the length that its frame announces, before it
//! is received.

use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bellwether_proto::v1::WriteResponse;
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, UnaryService};

use super::GrpcState;
use crate::env::BoxFuture;
use crate::write::{Admitted, ContentEncoding, RemoteWriteVersion, WriteError};

/// Where the method is found: see the interface's `write.proto`.
pub const PATH: &str = "/bellwether.v1.Write/Write";

/// A message must arrive within this time: slow senders would hold memory for ever.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The metadata key that names the compression of messages.
const ENCODING_KEY: &str = "grpc-encoding";
/// In front of a message: whether it is compressed, and its length.
const FRAME_HEADER_BYTES: usize = 5;

/// Answers one call.
pub async fn write(State(state): State<GrpcState>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let received = tokio::time::timeout(MESSAGE_TIMEOUT, receive(&state, &parts.headers, body)).await;
    let late =
        || Status::unavailable(format!("the message did not arrive within {} seconds", MESSAGE_TIMEOUT.as_secs()));
    match received.unwrap_or_else(|_| Err(late())) {
        Ok((admitted, encoding, mut frame)) => {
            let length = frame.len();
            // The way in decompresses, within its bounds: here the message is just bytes.
            frame[0] = 0;
            parts.headers.remove(ENCODING_KEY);
            let request = Request::from_parts(parts, Body::from(frame.freeze()));
            let mut grpc = Grpc::new(RawCodec::<WriteResponse>(PhantomData)).max_decoding_message_size(length);
            grpc.unary(Call { state, admitted: Some((admitted, encoding)) }, request).await.into_response()
        }
        Err(status) => status.into_http::<Body>(),
    }
}

/// Lets a message in and reads it, header and all.
async fn receive(
    state: &GrpcState,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Admitted, ContentEncoding, BytesMut), Status> {
    let tenant = state.admit(&tonic::Request::from_parts(
        MetadataMap::from_headers(headers.clone()),
        tonic::Extensions::default(),
        (),
    ))?;
    let mut pieces = body.into_data_stream();
    let mut frame = BytesMut::new();
    let mut admitted = None;
    let mut expected = FRAME_HEADER_BYTES;
    loop {
        if admitted.is_none()
            && let Some(header) = frame.first_chunk::<FRAME_HEADER_BYTES>()
        {
            let encoding = encoding(header, headers)?;
            let length = announced(header, state.config.ingest.max_decompressed_bytes.0)?;
            expected += length;
            admitted = Some((state.write.admit(&tenant, length as u64).map_err(status)?, encoding));
            frame.reserve(expected - frame.len().min(expected));
        }
        if frame.len() > expected {
            return Err(Status::invalid_argument("the request has more than one message"));
        }
        match pieces.next().await.transpose().map_err(|error| Status::unavailable(error.to_string()))? {
            Some(piece) => frame.extend_from_slice(&piece),
            None => break,
        }
    }
    match admitted {
        Some((admitted, encoding)) if frame.len() == expected => Ok((admitted, encoding, frame)),
        _ => Err(Status::invalid_argument(format!("the message ends after {} of {expected} bytes", frame.len()))),
    }
}

/// How a message is compressed.
fn encoding(header: &[u8; FRAME_HEADER_BYTES], headers: &HeaderMap) -> Result<ContentEncoding, Status> {
    match (header[0], headers.get(ENCODING_KEY).map_or(b"".as_slice(), HeaderValue::as_bytes)) {
        (0, _) => Ok(ContentEncoding::Identity),
        (1, b"zstd") => Ok(ContentEncoding::Zstd),
        _ => Err(Status::unimplemented("messages may be compressed with zstd, and in no other way")),
    }
}

/// The length of a message by its header.
fn announced(header: &[u8; FRAME_HEADER_BYTES], limit: u64) -> Result<usize, Status> {
    let [_, length @ ..] = *header;
    let length = u32::from_be_bytes(length);
    if u64::from(length) > limit {
        let message = format!("the message has {length} bytes, the limit is {limit} (ingest.max_decompressed_bytes)");
        return Err(Status::resource_exhausted(message));
    }
    Ok(length as usize)
}

/// A call whose message has been let in.
struct Call {
    state: GrpcState,
    admitted: Option<(Admitted, ContentEncoding)>,
}

impl UnaryService<Bytes> for Call {
    type Response = WriteResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<WriteResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (write, admitted) = (self.state.write.clone(), self.admitted.take());
        Box::pin(async move {
            let (admitted, encoding) = admitted.ok_or_else(|| Status::internal("a call was made twice"))?;
            let body = request.into_inner();
            let outcome = match encoding {
                ContentEncoding::Identity => write.write_admitted(admitted, body).await,
                encoding => {
                    // It needs room for what it decompresses to instead.
                    let tenant = admitted.tenant().clone();
                    drop(admitted);
                    write.remote_write(&tenant, RemoteWriteVersion::V1, encoding, body).await
                }
            };
            let outcome = outcome.map_err(status)?;
            let refused_because = if outcome.refused.is_empty() { String::new() } else { outcome.refused.to_string() };
            let refused = outcome.refused.count();
            Ok(tonic::Response::new(WriteResponse {
                samples: outcome.samples,
                refused,
                refused_because,
                histograms: outcome.histograms,
                exemplars: outcome.exemplars,
            }))
        })
    }
}

/// Takes messages as they came, and sends those of a type.
struct RawCodec<T>(PhantomData<T>);

impl<T: Message + 'static> Codec for RawCodec<T> {
    type Encode = T;
    type Decode = Bytes;
    type Encoder = MessageEncoder<T>;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> MessageEncoder<T> {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

struct MessageEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

fn status(error: WriteError) -> Status {
    let message = error.to_string();
    match error {
        WriteError::Malformed(_) => Status::invalid_argument(message),
        WriteError::TooLarge { .. } | WriteError::TooManyNewSeries(_) => Status::resource_exhausted(message),
        WriteError::Transient { .. } => Status::unavailable(message),
        WriteError::Internal(_) => Status::internal(message),
    }
}
