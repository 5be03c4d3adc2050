//! Alerting: rule files, templates, alert state machines, unit tests of rules, whom alerts are told to.
//!
//! Pure: no I/O, no clock, no threads. Files come in as text, times as numbers, and whoever evaluates a rule brings a
//! [`Querier`] that knows the samples.
//!
//! - [`rules`]: Prometheus's rule files, every error with its place.
//! - [`template`]: Go's `text/template`, as far as rules and notifications use it.
//! - [`state`]: what becomes of a rule's alerts and series with each evaluation.
//! - [`evaluate`]: one evaluation of a group: query, step, samples to store.
//! - [`unit`]: Prometheus's unit tests of rules, run over samples in memory.
//! - [`replay`]: when rules would have fired, over what somebody else has stored.
//! - [`definition`]: alerts in a dialect with thresholds, as rules.
//! - [`notify`]: Alertmanager's configuration: whom alerts are told to, and when.
//! - [`set_back`]: a time that was wrong.
//! - [`alert_group`]: all that is known of a tenant's alerting, replicated: rules, alerts, silences, what was told.

pub mod alert_group;
mod cursor;
pub mod definition;
pub mod duration;
pub mod evaluate;
pub mod limits;
pub mod notify;
pub mod replay;
pub mod rules;
mod samples;
pub mod set_back;
pub mod state;
pub mod template;
pub mod unit;
pub mod yaml;

pub use evaluate::{Querier, QueryError};
