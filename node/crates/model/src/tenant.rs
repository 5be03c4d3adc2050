//! Whose data it is.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// A tenant's name. Tenants never see each other's series.
// Invariant: 1 to TENANT_BYTES_MAX bytes of the alphabet below, not "." or "..": safe in paths, keys and headers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// Why a tenant's name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// No name at all.
    #[error("the tenant's name is empty")]
    Empty,
    /// Longer than the limit.
    #[error("the tenant's name has {length} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// A character outside the alphabet.
    #[error("the tenant's name contains {character:?}; letters, digits and !-_.*'() are allowed")]
    Character {
        /// The first such character.
        character: char,
    },
    /// A name that a file system would read as a direction.
    #[error("the tenant's name may not be \".\" or \"..\"")]
    Reserved,
}

impl Tenant {
    /// Checks a name against the rules that Mimir's users know.
    pub fn new(name: &str) -> Result<Tenant, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        if name.len() > limits::TENANT_BYTES_MAX {
            return Err(TenantError::TooLong { length: name.len(), limit: limits::TENANT_BYTES_MAX });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(character) = name.chars().find(|c| !allowed(*c)) {
            return Err(TenantError::Character { character });
        }
        if name == "." || name == ".." {
            return Err(TenantError::Reserved);
        }
        Ok(Tenant(name.into()))
    }

    /// The tenant of requests that name none.
    pub fn default_tenant() -> Tenant {
        Tenant("default".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_scope_ids() {
        assert_eq!(Tenant::new("team-a_1.2*'()!").unwrap().as_str(), "team-a_1.2*'()!");
        assert_eq!(Tenant::new(""), Err(TenantError::Empty));
        assert_eq!(Tenant::new(".."), Err(TenantError::Reserved));
        assert_eq!(Tenant::new("a/b"), Err(TenantError::Character { character: '/' }));
        assert!(matches!(Tenant::new(&"t".repeat(151)), Err(TenantError::TooLong { .. })));
    }
}
