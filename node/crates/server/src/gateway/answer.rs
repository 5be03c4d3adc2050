//! Successful answers: written piece by piece, and the envelope that `/api/v1` puts around its data.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::json::push_strings;
use crate::query::{Place, QueryError};

/// Bytes of one piece of a long answer: memory held per answer, and time that encoding takes between two looks at other
/// connections.
const PIECE_BYTES: usize = 64 << 10;

/// Data that is written piece by piece, so that a long answer never lies in memory as a whole.
pub trait Pieces: Send + 'static {
    /// Appends some more of the data, stopping soon after `out` has `enough` bytes; says whether that was the end.
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool;
}

/// What an answer may add to its data.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// The result may be wrong or incomplete.
    pub warnings: Vec<String>,
    /// Hints that do not affect correctness.
    pub infos: Vec<String>,
}

impl Notes {
    fn write(&self, out: &mut Vec<u8>) {
        for (name, notes) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !notes.is_empty() {
                out.extend_from_slice(format!(",\"{name}\":").as_bytes());
                push_strings(out, notes);
            }
        }
    }
}

/// `{"status":"success","data":..}` around short data.
pub fn json(data: impl AsRef<[u8]>) -> Response {
    with_notes(data, &Notes::default())
}

/// The same, with warnings and infos.
pub fn with_notes(data: impl AsRef<[u8]>, notes: &Notes) -> Response {
    let data = data.as_ref();
    let mut out = Vec::with_capacity(data.len() + 64);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(data);
    notes.write(&mut out);
    out.push(b'}');
    response(Body::from(out))
}

/// The same around data of any length.
pub fn pieces(data: impl Pieces, notes: Notes, place: Option<Place>) -> Response {
    response(body(Envelope { data, notes, begun: false }, place))
}

/// What is written piece by piece, as a body.
///
/// A long one holds its place among the running queries until it is sent, and ends early if the query is killed.
pub fn body(mut data: impl Pieces, place: Option<Place>) -> Body {
    let mut first = Vec::with_capacity(PIECE_BYTES / 8);
    if data.write(&mut first, PIECE_BYTES) {
        return Body::from(first);
    }
    let rest = futures::stream::unfold((Some(first), Some((data, place))), |(ready, left)| async move {
        if let Some(piece) = ready {
            return Some((Ok(Bytes::from(piece)), (None, left)));
        }
        let (mut data, place) = left?;
        if place.as_ref().is_some_and(Place::is_killed) {
            return Some((Err(QueryError::Killed), (None, None)));
        }
        // Encoding is pure computation: other connections of this thread go first now and then.
        tokio::task::yield_now().await;
        let mut piece = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        let ended = data.write(&mut piece, PIECE_BYTES);
        Some((Ok(Bytes::from(piece)), (None, (!ended).then_some((data, place)))))
    });
    Body::from_stream(rest)
}

const HEAD: &[u8] = b"{\"status\":\"success\",\"data\":";

struct Envelope<D> {
    data: D,
    notes: Notes,
    begun: bool,
}

impl<D: Pieces> Pieces for Envelope<D> {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(HEAD);
        }
        let ended = self.data.write(out, enough);
        if ended {
            self.notes.write(out);
            out.push(b'}');
        }
        ended
    }
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(std::ops::Range<u32>);

    impl Pieces for Numbers {
        fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
            if self.0.start == 0 {
                out.push(b'[');
            }
            while out.len() < enough {
                let Some(number) = self.0.next() else {
                    out.push(b']');
                    return true;
                };
                if number > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(number.to_string().as_bytes());
            }
            false
        }
    }

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.into()).unwrap()
    }

    #[tokio::test]
    async fn a_short_answer_announces_its_length() {
        let response = pieces(Numbers(0..3), Notes::default(), None);
        assert!(axum::body::HttpBody::size_hint(response.body()).exact().is_some());
        assert_eq!(text(response).await, r#"{"status":"success","data":[0,1,2]}"#);
    }

    #[tokio::test]
    async fn a_long_answer_comes_in_pieces_and_whole() {
        let notes = Notes { warnings: vec!["careful".into()], infos: vec!["a \"note\"".into()] };
        let response = pieces(Numbers(0..100_000), notes, None);
        assert!(axum::body::HttpBody::size_hint(response.body()).exact().is_none());
        let answer: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(answer["data"].as_array().unwrap().len(), 100_000);
        assert_eq!(answer["data"][99_999], 99_999);
        assert_eq!(answer["warnings"][0], "careful");
        assert_eq!(answer["infos"][0], "a \"note\"");
    }

    #[tokio::test]
    async fn short_data_goes_out_as_it_is() {
        assert_eq!(text(json("[]")).await, r#"{"status":"success","data":[]}"#);
    }
}
