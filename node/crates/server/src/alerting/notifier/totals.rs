//! How many there are of what messages sum up: a query, asked when a message is sent.

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{Tenant, Timestamp};
use bellwether_promql::Value;

use crate::env::BoxFuture;
use crate::query::{Coordinator, RuleQuery};

/// How long a message waits for it.
const TOTAL_DEADLINE: Duration = Duration::from_secs(5);

/// Who knows.
pub trait Totals: Send + Sync {
    /// What a query comes to at a time: the sum of its series.
    fn total<'a>(&'a self, tenant: &'a Tenant, query: &'a str, at: Timestamp) -> BoxFuture<'a, Result<f64, String>>;
}

impl Totals for Arc<Coordinator> {
    fn total<'a>(&'a self, tenant: &'a Tenant, query: &'a str, at: Timestamp) -> BoxFuture<'a, Result<f64, String>> {
        Box::pin(async move {
            let expr = bellwether_promql::parse(query).map_err(|error| error.to_string())?;
            let query = RuleQuery { tenant, text: query, expr: &expr, time: at, timeout: TOTAL_DEADLINE };
            match self.ask(query).await.map_err(|error| error.to_string())? {
                Value::Scalar(point) => Ok(point.value),
                Value::Vector(vector) if vector.is_empty() => Err("the query gives nothing".to_owned()),
                Value::Vector(vector) => Ok(vector.iter().map(|sample| sample.point.value).sum()),
                Value::Matrix(_) | Value::String { .. } => Err("the query gives no numbers".to_owned()),
            }
        })
    }
}
