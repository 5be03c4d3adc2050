//! How many new series a tenant may send into the log per second: series cost far more than samples, and a sender that
//! puts a request id into a label must not take the node down.

use std::collections::BTreeMap;

use bellwether_model::Tenant;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Tenants whose use is remembered; when there are more, those whose budget is full again are forgotten.
const TENANTS_MAX: usize = 10_000;

/// A bucket of permits per tenant, filled at a steady rate up to one second's worth.
pub struct SeriesBudget {
    per_second: f64,
    buckets: Mutex<BTreeMap<Tenant, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    permits: f64,
    filled: Instant,
}

impl SeriesBudget {
    /// A budget of so many series per second for each tenant.
    pub fn new(per_second: u64) -> SeriesBudget {
        SeriesBudget { per_second: per_second as f64, buckets: Mutex::default() }
    }

    /// Takes up to `wanted` permits and says how many were granted.
    pub fn take(&self, tenant: &Tenant, wanted: usize, now: Instant) -> usize {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= TENANTS_MAX {
            buckets.retain(|_, bucket| self.refilled(*bucket, now).permits < self.per_second);
        }
        let full = Bucket { permits: self.per_second, filled: now };
        let bucket = buckets.entry(tenant.clone()).or_insert(full);
        *bucket = self.refilled(*bucket, now);
        let granted = wanted.min(bucket.permits as usize);
        bucket.permits -= granted as f64;
        granted
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let seconds = now.saturating_duration_since(bucket.filled).as_secs_f64();
        Bucket { permits: (bucket.permits + seconds * self.per_second).min(self.per_second), filled: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_per_tenant_and_fills_again() {
        let (budget, start) = (SeriesBudget::new(100), Instant::now());
        let (a, b) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        assert_eq!(budget.take(&a, 70, start), 70);
        assert_eq!(budget.take(&a, 70, start), 30);
        assert_eq!(budget.take(&a, 1, start), 0);
        assert_eq!(budget.take(&b, 1, start), 1);
        assert_eq!(budget.take(&a, 70, start + Duration::from_millis(500)), 50);
        assert_eq!(budget.take(&a, 1000, start + Duration::from_secs(60)), 100);
    }
}
