//! A remote-read request: which samples are wanted, and in which form.

use bellwether_ingest::WireError;
use bellwether_ingest::protobuf::{Message, bytes_field, varint_field};
use bellwether_model::{MatchOp, TimeRange};
use bellwether_promql::limits::MATCHERS_PER_SELECTOR_MAX;

use crate::query::{MatcherText, SamplesRead, TIME_MAX, TIME_MIN};

/// Queries of one request; Prometheus sends one.
const QUERIES_MAX: usize = 64;

/// How the samples are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One message with all samples, compressed with snappy.
    Samples,
    /// A stream of messages with chunks.
    XorChunks,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRequest {
    /// Each is answered by itself.
    pub queries: Vec<SamplesRead>,
    /// The first form of those that the client takes which we have.
    pub form: Form,
}

/// Why a request makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A name or value is not text.
    #[error("the {what} at byte {offset} is not UTF-8")]
    NotText {
        /// What should be text.
        what: &'static str,
        /// Where in the decompressed body.
        offset: usize,
    },
    /// Too many queries.
    #[error("the request has more than {QUERIES_MAX} queries")]
    Queries,
    /// Too many matchers.
    #[error("a query has more than {MATCHERS_PER_SELECTOR_MAX} matchers")]
    Matchers,
    /// A matcher of a kind that nobody knows.
    #[error("invalid matcher type {number} at byte {offset}")]
    MatcherType {
        /// Its number.
        number: u64,
        /// Where in the decompressed body.
        offset: usize,
    },
    /// The client takes nothing that we have.
    #[error(
        "server does not support any of the requested response types, of which the first is {first}; supported: \
         SAMPLES (0), STREAMED_XOR_CHUNKS (1)"
    )]
    ResponseTypes {
        /// The number of its first choice.
        first: u64,
    },
}

// prometheus.ReadRequest
const QUERIES: u64 = bytes_field(1);
const ACCEPTED: u64 = varint_field(2);
const ACCEPTED_PACKED: u64 = bytes_field(2);
// prometheus.Query
const START: u64 = varint_field(1);
const END: u64 = varint_field(2);
const MATCHERS: u64 = bytes_field(3);
const HINTS: u64 = bytes_field(4);
// prometheus.ReadHints; what the client does with the samples (1, 2, 5 to 7) changes none of them.
const HINTED_START: u64 = varint_field(3);
const HINTED_END: u64 = varint_field(4);
// prometheus.LabelMatcher
const TYPE: u64 = varint_field(1);
const NAME: u64 = bytes_field(2);
const VALUE: u64 = bytes_field(3);

/// Reads a decompressed body.
pub fn decode(body: &[u8]) -> Result<ReadRequest, RequestError> {
    let mut queries = Vec::new();
    let mut accepted = Accepted::default();
    let mut message = Message::new(body);
    while !message.is_at_end() {
        match message.tag()? {
            QUERIES if queries.len() == QUERIES_MAX => return Err(RequestError::Queries),
            QUERIES => queries.push(query(message.message()?)?),
            ACCEPTED => accepted.add(message.varint()?),
            ACCEPTED_PACKED => {
                let mut packed = message.message()?;
                while !packed.is_at_end() {
                    accepted.add(packed.varint()?);
                }
            }
            other => message.skip(other)?,
        }
    }
    Ok(ReadRequest { queries, form: accepted.form()? })
}

/// The response types that a client takes, in the order in which it wants them.
#[derive(Default)]
struct Accepted {
    first: Option<u64>,
    known: Option<Form>,
}

impl Accepted {
    fn add(&mut self, number: u64) {
        self.first.get_or_insert(number);
        let form = match number {
            0 => Some(Form::Samples),
            1 => Some(Form::XorChunks),
            _ => None,
        };
        self.known = self.known.or(form);
    }

    fn form(&self) -> Result<Form, RequestError> {
        match (self.known, self.first) {
            (Some(form), _) => Ok(form),
            // Clients older than the choice.
            (None, None) => Ok(Form::Samples),
            (None, Some(first)) => Err(RequestError::ResponseTypes { first }),
        }
    }
}

fn query(mut message: Message<'_>) -> Result<SamplesRead, RequestError> {
    let mut matchers = Vec::new();
    let (mut start, mut end, mut hinted) = (0, 0, None);
    while !message.is_at_end() {
        match message.tag()? {
            START => start = message.varint()? as i64,
            END => end = message.varint()? as i64,
            HINTS => hinted = hinted_range(message.message()?)?,
            MATCHERS if matchers.len() == MATCHERS_PER_SELECTOR_MAX => return Err(RequestError::Matchers),
            MATCHERS => matchers.push(matcher(message.message()?)?),
            other => message.skip(other)?,
        }
    }
    if let Some((first, last)) = hinted.filter(|(first, last)| start.max(*first) <= end.min(*last)) {
        (start, end) = (start.max(first), end.min(last));
    }
    let range = TimeRange::new(start.clamp(TIME_MIN, TIME_MAX), end.clamp(TIME_MIN, TIME_MAX));
    Ok(SamplesRead { matchers, range })
}

/// The part of the time range that this selector needs, if it is named: Prometheus asks for that of all selectors of its query.
fn hinted_range(mut message: Message<'_>) -> Result<Option<(i64, i64)>, RequestError> {
    let (mut start, mut end) = (0, 0);
    while !message.is_at_end() {
        match message.tag()? {
            HINTED_START => start = message.varint()? as i64,
            HINTED_END => end = message.varint()? as i64,
            other => message.skip(other)?,
        }
    }
    Ok(Some((start, end)).filter(|range| *range != (0, 0)))
}

fn matcher(mut message: Message<'_>) -> Result<MatcherText, RequestError> {
    let mut matcher = MatcherText { op: MatchOp::Equal, name: String::new(), value: String::new() };
    while !message.is_at_end() {
        let offset = message.offset();
        match message.tag()? {
            TYPE => {
                matcher.op = match message.varint()? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    number => return Err(RequestError::MatcherType { number, offset }),
                };
            }
            NAME => matcher.name = text(message.message()?, "name of a label")?,
            VALUE => matcher.value = text(message.message()?, "value of a matcher")?,
            other => message.skip(other)?,
        }
    }
    Ok(matcher)
}

fn text(message: Message<'_>, what: &'static str) -> Result<String, RequestError> {
    let text = str::from_utf8(message.rest());
    text.map(str::to_owned).map_err(|_| RequestError::NotText { what, offset: message.offset() })
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    fn matcher(op: MatchOp, name: &str, value: &str) -> MatcherText {
        MatcherText { op, name: name.to_owned(), value: value.to_owned() }
    }

    fn one(matchers: Vec<MatcherText>) -> Vec<u8> {
        let written: Vec<_> =
            matchers.iter().map(|matcher| (matcher.op as i32, &*matcher.name, &*matcher.value)).collect();
        messages::request(&[(-5, 1_795_161_600_000, &written)], &[1, 0])
    }

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let matchers = vec![
            matcher(MatchOp::Equal, "__name__", "up"),
            matcher(MatchOp::NotEqual, "job", ""),
            matcher(MatchOp::Regex, "ключ.1", "a|b"),
            matcher(MatchOp::NotRegex, "", ".*"),
        ];
        let read = decode(&one(matchers.clone())).unwrap();
        assert_eq!(read.form, Form::XorChunks);
        assert_eq!(read.queries, [SamplesRead { matchers, range: TimeRange::new(-5, 1_795_161_600_000) }]);
    }

    #[test]
    fn the_golden_request_is_understood() {
        // One query of up{} from 1 to 2 with hints, streamed chunks first: as prompb encodes it.
        let body = b"\x0a\x1e\x08\x01\x10\x02\x1a\x0e\x12\x08__name__\x1a\x02up\x22\x08\x08\x01\x18\x01\x20\x02\x38\x09\x12\x02\x01\x00";
        let read = decode(body).unwrap();
        assert_eq!(read.form, Form::XorChunks);
        let up = SamplesRead { matchers: vec![matcher(MatchOp::Equal, "__name__", "up")], range: TimeRange::new(1, 2) };
        assert_eq!(read.queries, [up]);
    }

    #[test]
    fn hints_narrow_the_time_range_and_never_leave_it() {
        let range = |start: u8, end: u8, hints: &[u8]| {
            let query = [&[8, start, 16, end, 34, hints.len() as u8], hints].concat();
            let read = decode(&[&[10, query.len() as u8], &query[..]].concat()).unwrap();
            read.queries[0].range
        };
        assert_eq!(range(10, 90, &[24, 20, 32, 80]), TimeRange::new(20, 80));
        assert_eq!(range(10, 90, &[24, 5, 32, 80]), TimeRange::new(10, 80));
        // They are of no use, or there are none in them.
        assert_eq!(range(10, 90, &[24, 95, 32, 99]), TimeRange::new(10, 90));
        assert_eq!(range(10, 90, &[8, 1]), TimeRange::new(10, 90));
        assert_eq!(range(0, 90, &[8, 1]), TimeRange::new(0, 90));
    }

    #[test]
    fn the_client_s_first_choice_that_we_have_is_taken() {
        let form = |accepted: &[i32]| decode(&messages::request(&[], accepted)).map(|request| request.form);
        assert_eq!(form(&[]), Ok(Form::Samples));
        assert_eq!(form(&[0, 1]), Ok(Form::Samples));
        assert_eq!(form(&[7, 1, 0]), Ok(Form::XorChunks));
        assert_eq!(form(&[7, 8]), Err(RequestError::ResponseTypes { first: 7 }));
        // Not packed, as old encoders do it.
        assert_eq!(decode(&[0x10, 0x01]).map(|request| request.form), Ok(Form::XorChunks));
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_place() {
        let error = |body: &[u8]| decode(body).unwrap_err().to_string();
        assert_eq!(error(b"\x0a\x05\x08"), "malformed protobuf at byte 1: a length reaches beyond its message");
        assert_eq!(error(b"\x0a\x04\x1a\x02\x08\x04"), "invalid matcher type 4 at byte 4");
        assert_eq!(error(b"\x0a\x05\x1a\x03\x12\x01\xff"), "the name of a label at byte 6 is not UTF-8");
        assert_eq!(error(&b"\x0a\x00".repeat(QUERIES_MAX + 1)), "the request has more than 64 queries");
        let many = vec![matcher(MatchOp::Equal, "a", "b"); MATCHERS_PER_SELECTOR_MAX + 1];
        assert_eq!(error(&one(many)), "a query has more than 256 matchers");
    }

    #[test]
    fn a_request_that_is_cut_off_or_damaged_is_an_error_or_another_request() {
        let body = one(vec![matcher(MatchOp::Regex, "job", "a.*")]);
        for length in 0..body.len() {
            let _ = decode(&body[..length]);
        }
        for bit in 0..body.len() * 8 {
            let mut damaged = body.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&damaged);
        }
    }
}
