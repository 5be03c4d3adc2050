//! Parameters of a request: the URL's query and, of a POST, the form in its body; the form comes first.
//!
//! Times and durations are read in every format that Prometheus takes, and refused with its words.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use bellwether_model::Timestamp;

use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::write::{BODY_UNIT_BYTES, body_units};
use super::{Gateway, body, calendar};
use crate::query::{TIME_MAX, TIME_MIN};

/// Bytes of a form: Go's limit, hence Prometheus's.
const FORM_BYTES_MAX: usize = 10 << 20;
/// Bytes of all forms that are received or looked at now; beyond them a request is answered 503.
pub const FORMS_BYTES_MAX: u64 = 64 << 20;
/// When to come again after that.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const _: () = assert!(FORM_BYTES_MAX as u64 <= FORMS_BYTES_MAX && FORMS_BYTES_MAX / BODY_UNIT_BYTES <= u32::MAX as u64);
/// Parameters of one request: many selectors at most, and a parameter of two bytes takes fifty in memory.
const PAIRS_MAX: usize = 10_000;
/// What Prometheus's clients send for "since ever" and "for ever" (Go's extreme times, formatted).
const FORMATTED_MIN: &str = "-292273086-05-16T16:47:06Z";
const FORMATTED_MAX: &str = "+292277025-08-18T07:12:54.999999999Z";

/// The parameters in the order that Prometheus looks at them.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    /// Room among the forms.
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Params {
    /// Parses a form and a URL's query.
    pub fn parse(form: &[u8], query: &str) -> Result<Params, ApiError> {
        let pairs = form_urlencoded::parse(form).chain(form_urlencoded::parse(query.as_bytes()));
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        let pairs: Vec<_> = pairs.take(PAIRS_MAX + 1).collect();
        if pairs.len() > PAIRS_MAX {
            return Err(ApiError::bad_data(format!("the request has more than {PAIRS_MAX} parameters")));
        }
        Ok(Params { pairs, _room: None })
    }

    /// The first value of a name; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(other, _)| other == name);
        first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A time that must be given.
    pub fn time(&self, name: &'static str) -> Result<Timestamp, ApiError> {
        parse_time(self.get(name).unwrap_or_default()).map_err(|reason| ApiError::parameter(name, reason))
    }

    /// A time that may be left out.
    pub fn time_or(&self, name: &'static str, default: Timestamp) -> Result<Timestamp, ApiError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        parse_time(text)
            .map_err(|reason| ApiError::parameter(name, format!("Invalid time value for '{name}': {reason}")))
    }

    /// A duration in milliseconds that must be given.
    pub fn duration_ms(&self, name: &'static str) -> Result<i64, ApiError> {
        parse_duration_ms(self.get(name).unwrap_or_default()).map_err(|reason| ApiError::parameter(name, reason))
    }

    /// A timeout that may be left out.
    pub fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        if self.get("timeout").is_none() {
            return Ok(None);
        }
        self.duration_ms("timeout").map(|ms| Some(Duration::from_millis(ms.max(0).unsigned_abs())))
    }

    /// Whether something is wanted that is not done of itself.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("" | "false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(text) => Err(ApiError::parameter(name, format!("{text:?} is neither true nor false"))),
        }
    }

    /// How many results the client wants at most; 0 and nothing mean all.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        let limit: i64 =
            text.parse().map_err(|_| ApiError::parameter("limit", format!("cannot parse {text:?} to a number")))?;
        let limit = usize::try_from(limit).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }
}

impl FromRequest<Arc<Gateway>> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Arc<Gateway>) -> Result<Params, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut room = None;
        let form = if request.method() == Method::POST && is_form(&request) {
            room = Some(Arc::new(gateway.room_for_form(request.headers(), FORM_BYTES_MAX)?));
            body::read(request, FORM_BYTES_MAX).await.map_err(|error| match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(error.to_string()),
                _ => ApiError::bad_data(format!("error parsing form values: {error}")),
            })?
        } else {
            Bytes::new()
        };
        Ok(Params { _room: room, ..Params::parse(&form, &query)? })
    }
}

impl Gateway {
    /// Room for a request's body of at most `limit` bytes among all that are received or looked at.
    pub(super) fn room_for_form(&self, headers: &HeaderMap, limit: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let length = body::announced_length(headers).unwrap_or(limit as u64);
        // A longer one is refused when it is read.
        let units = body_units(length.min(limit as u64)) as u32;
        self.forms.clone().try_acquire_many_owned(units).map_err(|_| {
            let message = format!("the forms of requests in work have {FORMS_BYTES_MAX} bytes together");
            ApiError::unavailable(message, RETRY_AFTER)
        })
    }
}

fn is_form(request: &Request) -> bool {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type.is_some_and(|value| {
        value
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
    })
}

/// A time: seconds since the Unix epoch as a decimal number, or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let fail = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        if !seconds.is_finite() {
            return Err(fail());
        }
        // Whole seconds and the rest apart, so that a large time keeps its milliseconds.
        let whole = seconds.trunc();
        let millis = ((seconds - whole) * 1000.0).round() as i64;
        return Ok((whole as i64).saturating_mul(1000).saturating_add(millis).clamp(TIME_MIN, TIME_MAX));
    }
    match text {
        FORMATTED_MIN => Ok(TIME_MIN),
        FORMATTED_MAX => Ok(TIME_MAX),
        _ => calendar::parse_rfc3339(text).ok_or_else(fail),
    }
}

/// A duration in milliseconds: seconds as a decimal number, or units from years to milliseconds (`1h30m`).
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let overflow = || format!("cannot parse {text:?} to a valid duration. It overflows int64");
    if let Ok(seconds) = text.parse::<f64>() {
        // Prometheus keeps nanoseconds in an i64.
        if !(seconds * 1e9).is_finite() || (seconds * 1e9).abs() > i64::MAX as f64 {
            return Err(overflow());
        }
        return Ok((seconds * 1000.0).round() as i64);
    }
    parse_units(text).ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// Units of a duration from the largest down, in milliseconds; each may occur once, in this order.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

fn parse_units(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = rest.split_at(digits);
        let unit = &unit[..unit.bytes().take_while(u8::is_ascii_alphabetic).count()];
        let at = next_unit + UNITS[next_unit..].iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(count.parse::<i64>().ok()?.checked_mul(UNITS[at].1)?)?;
        next_unit = at + 1;
        rest = &rest[digits + unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_format_of_prometheus_is_read() {
        for (text, timestamp) in [
            ("0", 0),
            ("1435781430.781", 1_435_781_430_781),
            ("1.4357814307810e9", 1_435_781_430_781),
            ("-1.5", -1_500),
            ("1795132800.0004", 1_795_132_800_000),
            ("2015-07-01T20:10:30.781Z", 1_435_781_430_781),
            ("2015-07-01T22:10:30+02:00", 1_435_781_430_000),
            (FORMATTED_MIN, TIME_MIN),
            (FORMATTED_MAX, TIME_MAX),
            ("1e30", TIME_MAX),
            ("-1e30", TIME_MIN),
        ] {
            assert_eq!(parse_time(text), Ok(timestamp), "{text}");
        }
        for text in ["", "abc", "NaN", "+Inf", "2015-07-01", "30s"] {
            assert_eq!(parse_time(text), Err(format!("cannot parse {text:?} to a valid timestamp")));
        }
    }

    #[test]
    fn every_duration_format_of_prometheus_is_read() {
        for (text, ms) in [
            ("15", 15_000),
            ("0.25", 250),
            ("1e3", 1_000_000),
            ("-5", -5_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "m", "5", "5mm", "5s5m", "1.5h", "-5m", "99999999999999999999y", "5 m", "5m5m"] {
            if text != "5" {
                assert!(parse_duration_ms(text).is_err(), "{text}");
            }
        }
        assert_eq!(
            parse_duration_ms("1e300").unwrap_err(),
            "cannot parse \"1e300\" to a valid duration. It overflows int64"
        );
    }

    #[test]
    fn the_form_comes_before_the_url() {
        let params = Params::parse(b"query=a%2Bb&match[]=x", "query=c&match%5B%5D=y&nocache=1&empty=").unwrap();
        assert_eq!(params.get("query"), Some("a+b"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.get("empty"), None);
        assert_eq!(params.get("absent"), None);
    }

    #[test]
    fn a_request_has_so_many_parameters_at_most() {
        assert!(Params::parse("a&".repeat(PAIRS_MAX).as_bytes(), "").is_ok());
        let error = Params::parse("a&".repeat(PAIRS_MAX).as_bytes(), "b").unwrap_err();
        assert_eq!(error.to_string(), "the request has more than 10000 parameters");
    }

    #[test]
    fn a_limit_is_a_number_that_is_not_negative() {
        let limit = |text: &str| {
            let params = Params::parse(b"", &format!("limit={text}"));
            params.and_then(|params| params.limit()).map_err(|error| error.to_string())
        };
        assert_eq!(limit("3"), Ok(Some(3)));
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit(""), Ok(None));
        assert_eq!(limit("-1"), Err("invalid parameter \"limit\": limit must be non-negative".to_owned()));
        assert_eq!(limit("x"), Err("invalid parameter \"limit\": cannot parse \"x\" to a number".to_owned()));
    }
}
