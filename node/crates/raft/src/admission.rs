//! Bounds the bytes of proposals in flight, per group and per node: openraft's own queues count messages only.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::errors::ProposeError;

/// One budget of bytes.
#[derive(Clone)]
pub(crate) struct Budget {
    scope: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

impl Budget {
    pub fn new(scope: &'static str, limit: usize) -> Self {
        Self { scope, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    pub fn in_flight(&self) -> usize {
        self.limit - self.free.available_permits().min(self.limit)
    }

    async fn take(&self, bytes: usize, wait: Duration) -> Result<OwnedSemaphorePermit, ProposeError> {
        // Small payloads occupy the queues too.
        let permits = u32::try_from(bytes.max(MESSAGE_BYTES_MIN).min(self.limit)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.free.clone().try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        match tokio::time::timeout(wait, self.free.clone().acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Overloaded {
                scope: self.scope,
                bytes,
                in_flight: self.in_flight(),
                limit: self.limit,
                waited: wait,
            }),
        }
    }
}

/// What a proposal counts at least.
const MESSAGE_BYTES_MIN: usize = 256;

/// Bytes admitted for one proposal, of the group's share and of the node's, until dropped.
pub struct Admitted {
    _permits: [OwnedSemaphorePermit; 2],
    bytes: i64,
    in_flight: IntGauge,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.in_flight.sub(self.bytes);
    }
}

/// Room for `bytes` in both budgets, at once or within `wait` each. `in_flight` counts what was admitted.
pub(crate) async fn admit(
    group: &Budget,
    node: &Budget,
    bytes: usize,
    wait: Duration,
    in_flight: &IntGauge,
) -> Result<Admitted, ProposeError> {
    let permits = [group.take(bytes, wait).await?, node.take(bytes, wait).await?];
    in_flight.add(bytes as i64);
    Ok(Admitted { _permits: permits, bytes: bytes as i64, in_flight: in_flight.clone() })
}
