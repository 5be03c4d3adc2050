//! Why a query gave no result.

use std::time::Duration;

use bellwether_model::PatternError;
use bellwether_promql::{EvalError, LimitError, ParseError, PlanError};

use crate::env::JobFailed;
use crate::shards::SelectError;

/// Why a query gave no result; limits are named with their configuration keys.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no query.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// The text and the times do not go together.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// It would touch too much.
    #[error("the query touches more than {limit} {what}, which is the limit {key}")]
    Limit {
        /// Of what it would touch too much.
        what: &'static str,
        /// How much it may touch.
        limit: u64,
        /// The configuration key of the limit.
        key: &'static str,
    },
    /// All queries together would hold too much.
    #[error(
        "all queries together would hold more than {limit} bytes, which is the limit query.max_total_bytes; try later"
    )]
    TotalMemory {
        /// How much they may hold.
        limit: u64,
    },
    /// A text is no selector.
    #[error("{0}")]
    Selector(ParseError),
    /// A matcher's regular expression is none, or too large.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// No selectors, or one that says nothing.
    #[error("{0}")]
    Selectors(&'static str),
    /// Somebody ended it.
    #[error("the query was killed")]
    Killed,
    /// Its data could not be read.
    #[error("{0}")]
    Select(SelectError),
    /// Its data do not fit it, or a limit of the evaluation was reached.
    #[error("{0}")]
    Evaluation(EvalError),
    /// It ran too long, and was stopped.
    #[error("query timed out in expression evaluation after {limit:?} (parameter timeout, or query.timeout)")]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// It waited too long.
    #[error("query timed out in query queue after {limit:?}: {running} queries run already (query.max_concurrent)")]
    QueueTimeout {
        /// How long it may take.
        limit: Duration,
        /// Queries that may run at a time.
        running: u32,
    },
    /// Too many queries at once.
    #[error("too many queries: {running} run (query.max_concurrent) and {waiting} wait")]
    QueueFull {
        /// Queries that may run at a time.
        running: u32,
        /// Queries that may wait.
        waiting: usize,
    },
    /// Our own broken promise.
    #[error("the query failed: {0}")]
    Failed(#[from] JobFailed),
}

impl From<LimitError> for QueryError {
    fn from(error: LimitError) -> QueryError {
        let (what, limit, key) = match error {
            LimitError::Series { limit } => ("series", limit, "query.max_series"),
            LimitError::Samples { limit } => ("samples", limit, "query.max_samples"),
            LimitError::Memory { limit } => ("bytes of memory", limit, "query.max_bytes"),
            LimitError::TotalMemory { limit } => return QueryError::TotalMemory { limit },
        };
        QueryError::Limit { what, limit, key }
    }
}

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> QueryError {
        match error {
            SelectError::Limit(error) => error.into(),
            SelectError::Evaluation(error) => error.into(),
            other => QueryError::Select(other),
        }
    }
}

impl From<EvalError> for QueryError {
    fn from(error: EvalError) -> QueryError {
        match error {
            EvalError::Limit(error) => error.into(),
            other => QueryError::Evaluation(other),
        }
    }
}

impl QueryError {
    /// The value of the metric's label `result`.
    pub fn as_label(&self) -> &'static str {
        match self {
            QueryError::Parse(_)
            | QueryError::Plan(_)
            | QueryError::Pattern(_)
            | QueryError::Selector(_)
            | QueryError::Selectors(_) => "bad_data",
            QueryError::Limit { .. } | QueryError::TotalMemory { .. } => "limit",
            QueryError::Killed => "killed",
            QueryError::Evaluation(_) => "execution",
            QueryError::Timeout { .. } | QueryError::QueueTimeout { .. } => "timeout",
            QueryError::QueueFull { .. } => "queue_full",
            QueryError::Select(_) | QueryError::Failed(_) => "error",
        }
    }
}
