//! What follows from a rule group's text, found out once for each revision.

use std::sync::Arc;

use bellwether_alert::rules::RuleGroup;

use super::dependencies;
use super::schedule::GroupKey;
use super::ticks::Ticks;

/// See the module.
#[derive(Debug)]
pub struct Prepared {
    /// Of which revision.
    pub revision: u64,
    /// When the group is evaluated.
    pub ticks: Ticks,
    /// For each rule, whether what is recorded before it must be stored first.
    pub store_before: Vec<bool>,
    /// Where people see each rule's query.
    pub generator_urls: Vec<Arc<str>>,
}

impl Prepared {
    /// Of a group's rules.
    pub fn new(key: &GroupKey, revision: u64, group: &RuleGroup, default_interval_ms: i64) -> Prepared {
        let generator_urls = group.rules.iter().map(|rule| generator_url(&rule.query().text)).collect();
        let ticks = ticks(key, group, default_interval_ms);
        Prepared { revision, ticks, store_before: dependencies::store_before(group), generator_urls }
    }
}

/// When a group is evaluated.
pub fn ticks(key: &GroupKey, group: &RuleGroup, default_interval_ms: i64) -> Ticks {
    Ticks::of(key.to_string().as_bytes(), group.interval_ms.unwrap_or(default_interval_ms))
}

/// Where people see a query, as Prometheus has it.
fn generator_url(query: &str) -> Arc<str> {
    let escaped: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    format!("/graph?g0.expr={escaped}&g0.tab=1").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_seen_where_prometheus_has_it() {
        assert_eq!(&*generator_url("up{a=\"b\"} > 1"), "/graph?g0.expr=up%7Ba%3D%22b%22%7D+%3E+1&g0.tab=1");
    }
}
