//! PromQL, complete but for native histograms: parse, plan, evaluate over fetched series.
//!
//! Pure: no I/O, no clock, no threads, no storage. A query goes through four steps:
//! 1. [`parse`] turns text into a checked [`Expr`] that knows its places in the text and prints back canonically.
//! 2. [`Plan::new`] fixes the times of evaluation and lists the [`Selection`]s that must be fetched.
//! 3. The caller fetches each selection from wherever the data is, as [`FetchedSeries`].
//!    Where only aggregations read it, a [`Reducer`] can take the series as they come, and keep their [`Partial`] result.
//! 4. [`evaluate`] computes the [`Outcome`], within the [`Limits`] of its [`QueryAccount`], stopping soon after [`Cancel`] says so.
//!
//! The semantics are those of Prometheus 3, experimental parts included: ranges and lookback are open on the left, sums are
//! compensated, names are dropped at once unless [`PlanOptions::delayed_name_removal`] says otherwise. Where its messages are part of the interface they are the same here.
//!
//! Read [`ast`], `plan`, `eval`, in this order.

pub mod account;
pub mod ast;
pub mod functions;
pub mod lexer;
pub mod limits;
pub mod parser;
pub mod series_notation;
pub mod types;

mod column;
mod duration;
mod eval;
mod histogram;
mod literal;
mod lower;
mod outcome;
mod plan;
mod pretty;
mod printer;
mod reducible;
mod selectors;
mod series;
mod span;
mod stepwise;
mod trace;
mod windows;

pub use account::{LimitError, Limits, MemoryPool, QueryAccount};
pub use ast::Expr;
pub use eval::partial::{Damage, Partial, Reducer};
pub use eval::{Cancel, Fetched, evaluate, evaluate_traced, evaluate_with};
pub use histogram::{Bucket, FloatHistogram};
pub use literal::{duration_text, number_text, parse_duration_ms};
pub use outcome::{EvalError, HistogramPoint, MatrixSeries, Outcome, Point, Value, VectorSample};
pub use parser::{ParseError, check_length, parse, parse_selectors};
pub use plan::{EvalTimes, LabelNames, Plan, PlanError, PlanOptions, Selection};
pub use series::{FetchedHistograms, FetchedSeries};
pub use span::Span;
pub use stepwise::{StepReach, step_reach};
pub use trace::{Clock, PlanStep, StepCost};
pub use types::ValueType;
