//! Bounds the bytes of writes being handled, per node and per tenant, and refuses all writes while the disk is nearly
//! full. What is beyond a bound is refused at once, with a reason: the sender keeps it and comes again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::Tenant;
use parking_lot::Mutex;
use prometheus::IntGauge;

use super::WriteError;
use super::outcome::RETRY_AFTER;

/// What a request counts at least, so that a flood of empty ones is bounded too.
const REQUEST_BYTES_MIN: u64 = 4096;

/// The gate before the write path.
pub struct Admission {
    limit_bytes: u64,
    tenant_limit_bytes: u64,
    state: Mutex<State>,
    gauge: IntGauge,
}

#[derive(Default)]
struct State {
    bytes: u64,
    tenants: BTreeMap<Tenant, u64>,
    /// Why nothing is let in, if nothing is.
    closed: Option<String>,
}

/// Room for one request; given back when dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    tenant: Tenant,
    bytes: u64,
}

impl Admitted {
    /// Whose request it is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

impl Admission {
    /// An open gate. The gauge follows the bytes inside.
    pub fn new(limit_bytes: u64, tenant_limit_bytes: u64, gauge: IntGauge) -> Arc<Admission> {
        Arc::new(Admission { limit_bytes, tenant_limit_bytes, state: Mutex::default(), gauge })
    }

    /// Room for a request of `bytes`, once decompressed.
    pub fn admit(self: &Arc<Self>, tenant: &Tenant, bytes: u64) -> Result<Admitted, WriteError> {
        let bytes = bytes.max(REQUEST_BYTES_MIN);
        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            return Err(WriteError::Transient { reason: reason.clone(), retry_after: RETRY_AFTER });
        }
        let of_tenant = state.tenants.get(tenant).copied().unwrap_or(0);
        let overloaded = |whose: String, in_flight: u64, limit: u64| WriteError::Transient {
            reason: format!(
                "overloaded: {in_flight} of {limit} bytes of {whose} are in flight, no room for {bytes} more"
            ),
            retry_after: RETRY_AFTER,
        };
        if state.bytes + bytes > self.limit_bytes {
            return Err(overloaded("writes".to_owned(), state.bytes, self.limit_bytes));
        }
        if of_tenant + bytes > self.tenant_limit_bytes {
            return Err(overloaded(format!("tenant {tenant}'s writes"), of_tenant, self.tenant_limit_bytes));
        }
        state.bytes += bytes;
        state.tenants.insert(tenant.clone(), of_tenant + bytes);
        self.gauge.set(state.bytes as i64);
        Ok(Admitted { admission: self.clone(), tenant: tenant.clone(), bytes })
    }

    /// Lets nothing in any more, or opens again.
    pub fn set_closed(&self, reason: Option<String>) {
        self.state.lock().closed = reason;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        state.bytes -= self.bytes;
        if let Some(of_tenant) = state.tenants.get_mut(&self.tenant) {
            *of_tenant -= self.bytes;
            if *of_tenant == 0 {
                state.tenants.remove(&self.tenant);
            }
        }
        self.admission.gauge.set(state.bytes as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Admission> {
        Admission::new(20_000, 10_000, IntGauge::new("in_flight", "test").unwrap())
    }

    #[test]
    fn room_is_bounded_per_node_and_tenant_and_given_back() {
        let (gate, a, b) = (gate(), Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        let first = gate.admit(&a, 9000).unwrap();
        assert!(gate.admit(&a, 5000).err().unwrap().to_string().contains("tenant a's writes"));
        let second = gate.admit(&b, 9000).unwrap();
        let error = gate.admit(&Tenant::new("c").unwrap(), 5000).err().unwrap();
        assert_eq!(
            error.to_string(),
            "overloaded: 18000 of 20000 bytes of writes are in flight, no room for 5000 more"
        );
        drop(first);
        assert!(gate.admit(&a, 10_000).is_ok());
        drop(second);
        assert_eq!((gate.state.lock().bytes, gate.gauge.get()), (0, 0));
        assert!(gate.state.lock().tenants.is_empty());
    }

    #[test]
    fn a_closed_gate_says_why() {
        let gate = gate();
        gate.set_closed(Some("the disk is full".to_owned()));
        let error = gate.admit(&Tenant::default_tenant(), 1).err().unwrap();
        assert_eq!(error, WriteError::Transient { reason: "the disk is full".to_owned(), retry_after: RETRY_AFTER });
        gate.set_closed(None);
        assert!(gate.admit(&Tenant::default_tenant(), 1).is_ok());
    }
}
