//! Whose data a request concerns.

use axum::http::HeaderMap;
use bellwether_model::Tenant;

use super::{ApiError, ErrorKind, Gateway};

/// The header that names the tenant, as in Cortex and Mimir.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// Why a request may not name its tenant: anybody could name anybody's. Serving it as another's would mix their data.
pub const NAMED_ELSEWHERE: &str = "only a listener on a loopback address serves other tenants than `default`";

impl Gateway {
    /// The tenant that a request names, or the default one.
    pub(super) fn tenant(&self, headers: &HeaderMap) -> Result<Tenant, ApiError> {
        let Some(name) = headers.get(TENANT_HEADER) else { return Ok(self.default_tenant.clone()) };
        let name = name.to_str().map_err(|_| ApiError::bad_data("header X-Scope-OrgID is not ASCII text"))?;
        let tenant = Tenant::new(name).map_err(|error| ApiError::bad_data(format!("header X-Scope-OrgID: {error}")))?;
        if tenant != self.default_tenant && !self.tenant_header {
            return Err(ApiError::new(ErrorKind::Forbidden, format!("header X-Scope-OrgID: {NAMED_ELSEWHERE}")));
        }
        Ok(tenant)
    }
}
