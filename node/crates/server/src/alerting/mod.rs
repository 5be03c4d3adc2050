//! Alerting.

pub mod evaluator;
