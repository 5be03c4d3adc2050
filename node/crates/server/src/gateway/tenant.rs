//! Whose data a request concerns.

use axum::http::HeaderMap;
use bellwether_model::Tenant;

use super::{ApiError, Gateway};

/// The header that names the tenant, as in Cortex and Mimir.
pub const TENANT_HEADER: &str = "x-scope-orgid";

impl Gateway {
    /// The tenant that a request names, or the default one.
    pub(super) fn tenant(&self, headers: &HeaderMap) -> Result<Tenant, ApiError> {
        let Some(name) = headers.get(TENANT_HEADER).filter(|_| self.tenant_header) else {
            return Ok(self.default_tenant.clone());
        };
        let name = name.to_str().map_err(|_| ApiError::bad_data("header X-Scope-OrgID is not ASCII text"))?;
        Tenant::new(name).map_err(|error| ApiError::bad_data(format!("header X-Scope-OrgID: {error}")))
    }
}
