//! Alerting. So far: templates, YAML as a tree that knows its places, and durations.

pub mod duration;
pub mod limits;
pub mod template;
pub mod yaml;
