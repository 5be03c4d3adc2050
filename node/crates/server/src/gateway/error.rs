//! What a client is told when something goes wrong: Prometheus's error types, statuses and JSON.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bellwether_promql::{EvalError, PlanError};

use super::body::BodyError;
use super::json;
use crate::query::QueryError;
use crate::routing::{MaintainError, NotReplicated};
use crate::shards::SelectError;

/// The sorts of errors that Prometheus's clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense.
    BadData,
    /// The request is larger than is taken.
    TooLarge,
    /// The query failed, by its data or by a limit.
    Execution,
    /// The query ran too long.
    Timeout,
    /// Somebody stopped the query.
    Canceled,
    /// No such thing.
    NotFound,
    /// It is there already, and another.
    Conflict,
    /// The method is not for this path.
    MethodNotAllowed,
    /// The caller may not do this.
    Forbidden,
    /// Cannot be done at the moment.
    Unavailable,
    /// Our own broken promise, or damaged data.
    Internal,
}

impl ErrorKind {
    /// The value of `errorType`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::BadData | ErrorKind::TooLarge | ErrorKind::MethodNotAllowed => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Canceled => "canceled",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Internal => "internal",
        }
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadData => StatusCode::BAD_REQUEST,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Timeout | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            // nginx's "client closed request", as Prometheus answers.
            ErrorKind::Canceled => StatusCode::from_u16(499).expect("three digits"),
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error answer of `/api/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Its sort.
    pub kind: ErrorKind,
    /// What is wrong, and where.
    pub message: String,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error without advice.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> ApiError {
        ApiError { kind, message: message.into(), retry_after: None }
    }

    /// The request makes no sense.
    pub fn bad_data(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::BadData, message)
    }

    /// A parameter makes no sense.
    pub fn parameter(name: &str, reason: impl fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// The request is larger than is taken.
    pub fn too_large(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::TooLarge, message)
    }

    /// Cannot be done at the moment.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> ApiError {
        ApiError { kind: ErrorKind::Unavailable, message: message.into(), retry_after: Some(retry_after) }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> ApiError {
        let kind = match error {
            SelectError::Limit(_) | SelectError::Evaluation(_) => ErrorKind::Execution,
            SelectError::Cancelled => ErrorKind::Canceled,
            SelectError::Unavailable { .. } => return ApiError::unavailable(error.to_string(), RETRY_AFTER),
            SelectError::Corrupt { .. } | SelectError::Refused { .. } | SelectError::Storage { .. } => {
                ErrorKind::Internal
            }
        };
        ApiError::new(kind, error.to_string())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> ApiError {
        match error {
            BodyError::TooLarge { .. } => ApiError::too_large(error.to_string()),
            BodyError::TooSlow | BodyError::Broken(_) => ApiError::bad_data(error.to_string()),
        }
    }
}

impl From<MaintainError> for ApiError {
    fn from(error: MaintainError) -> ApiError {
        match &error {
            MaintainError::There(failed) if failed.is_for_another_node() => {
                ApiError::unavailable(error.to_string(), RETRY_AFTER)
            }
            MaintainError::Here(_) | MaintainError::There(_) => ApiError::new(ErrorKind::Internal, error.to_string()),
        }
    }
}

impl From<NotReplicated> for ApiError {
    fn from(error: NotReplicated) -> ApiError {
        match error.error.is_transient() {
            true => ApiError::unavailable(error.to_string(), RETRY_AFTER),
            false => ApiError::new(ErrorKind::Internal, error.to_string()),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        let kind = match error {
            // The position is part of the parser's message.
            QueryError::Parse(_) | QueryError::Plan(PlanError::NotForRanges(_)) => {
                return ApiError::parameter("query", error);
            }
            QueryError::Selector(error) => return ApiError::parameter("match[]", error),
            // Prometheus's words, one with the parameter's name and one without.
            QueryError::Selectors(reason) if reason.starts_with("no ") => ErrorKind::BadData,
            QueryError::Selectors(reason) => return ApiError::parameter("match[]", reason),
            QueryError::Pattern(_) => ErrorKind::BadData,
            QueryError::Plan(PlanError::Selections { .. } | PlanError::Patterns(_)) => {
                return ApiError::parameter("query", error);
            }
            QueryError::Killed => ErrorKind::Canceled,
            QueryError::Plan(PlanError::Parameter(_) | PlanError::Duration { .. }) => ErrorKind::Execution,
            QueryError::Plan(_) => ErrorKind::BadData,
            QueryError::Select(error) => return error.into(),
            QueryError::Evaluation(EvalError::Cancelled) => ErrorKind::Canceled,
            QueryError::Evaluation(EvalError::Selections { .. } | EvalError::Columns { .. }) => ErrorKind::Internal,
            QueryError::Limit { .. } | QueryError::Evaluation(_) => ErrorKind::Execution,
            QueryError::Timeout { .. } | QueryError::QueueTimeout { .. } => ErrorKind::Timeout,
            QueryError::QueueFull { .. } | QueryError::TotalMemory { .. } => {
                return ApiError::unavailable(error.to_string(), RETRY_AFTER);
            }
            QueryError::Failed(_) => ErrorKind::Internal,
        };
        ApiError::new(kind, error.to_string())
    }
}

/// When to try again after the node could not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.kind == ErrorKind::Internal {
            tracing::error!(error = self.message, "a request failed");
        }
        let mut body = Vec::with_capacity(64 + self.message.len());
        body.extend_from_slice(b"{\"status\":\"error\",\"errorType\":");
        json::push_string(&mut body, self.kind.as_str());
        body.extend_from_slice(b",\"error\":");
        json::push_string(&mut body, &self.message);
        body.push(b'}');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(delay) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after(delay));
        }
        response
    }
}

/// The same error as plain text, where Prometheus has no JSON.
#[derive(Debug)]
pub struct TextError(ApiError);

impl<E: Into<ApiError>> From<E> for TextError {
    fn from(error: E) -> TextError {
        TextError(error.into())
    }
}

impl IntoResponse for TextError {
    fn into_response(self) -> Response {
        let text = format!("{}\n", self.0.message);
        let mut response = self.0.into_response();
        *response.body_mut() = Body::from(text);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

/// The header's value: whole seconds, at least one.
pub fn retry_after(delay: Duration) -> HeaderValue {
    HeaderValue::from(delay.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use bellwether_model::NodeId;

    use super::*;
    use crate::peers::{Callee, PeerError};

    #[test]
    fn maintenance_that_misses_a_node_can_be_asked_for_again() {
        let callee = || Callee::Node(NodeId(3));
        let gone = PeerError::Unreachable { callee: callee(), reason: "connection refused".to_owned() };
        let error = ApiError::from(MaintainError::There(gone));
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Unavailable, Some(RETRY_AFTER)));
        let broken = PeerError::Broken { callee: callee(), reason: "a run is damaged".to_owned() };
        assert_eq!(ApiError::from(MaintainError::There(broken)).kind, ErrorKind::Internal);
    }
}
