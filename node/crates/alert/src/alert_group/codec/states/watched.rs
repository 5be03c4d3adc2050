//! The bytes of the series that threshold rules watch, and of which rules are muted: a section of its own.

use std::sync::Arc;

use bellwether_model::{Labels, Tenant};

use super::super::{DecodeError, Decoder, Encoder};
use super::Table;
use crate::alert_group::state::AlertGroupState;
use crate::state::threshold::watch::Watchlist;

/// What a rule watches, and which.
pub(super) struct OfRule<'s> {
    tenant: &'s Tenant,
    namespace: &'s str,
    group: &'s str,
    rule: usize,
    is_muted: bool,
    watched: &'s Watchlist,
}

/// Of all rules that watch something or are muted.
pub(super) fn all(state: &AlertGroupState) -> impl Iterator<Item = OfRule<'_>> {
    let groups = state.tenants.iter().flat_map(|(tenant, of_tenant)| {
        let namespaces = of_tenant.namespaces.iter();
        namespaces.flat_map(move |(namespace, groups)| groups.iter().map(move |group| (tenant, namespace, group)))
    });
    let rules = groups.flat_map(|(tenant, namespace, (group, stored))| {
        let rules = stored.progress.rules.iter().enumerate();
        rules.map(move |(rule, known)| {
            let (is_muted, watched) = (known.is_muted, &*known.watched);
            OfRule { tenant, namespace, group, rule, is_muted, watched }
        })
    });
    rules.filter(|of_rule| of_rule.is_muted || !of_rule.watched.is_empty())
}

impl Encoder {
    pub(super) fn watched_of_rule(&mut self, of_rule: &OfRule<'_>, table: &Table<'_>) {
        let OfRule { tenant, namespace, group, rule, is_muted, watched } = of_rule;
        self.tenant(tenant);
        self.text(namespace);
        self.text(group);
        self.size(*rule);
        self.flag(*is_muted);
        self.list(watched.iter(), |to, (labels, watched)| {
            to.known(labels, table);
            to.watched(watched);
        });
    }
}

impl Decoder<'_> {
    pub(super) fn watched_section(&mut self, state: &mut AlertGroupState, table: &[Labels]) -> Result<(), DecodeError> {
        let taken: Vec<()> = self.list(|from| {
            let (tenant, namespace, group, rule) = (from.tenant()?, from.str()?, from.str()?, from.size()?);
            let is_muted = from.flag()?;
            let watched: Watchlist = from.list(|from| Ok((from.known(table)?, from.watched()?)))?;
            let of_tenant = state.tenants.get_mut(&tenant);
            let known = of_tenant.and_then(|of_tenant| {
                of_tenant.totals.watched += watched.len();
                let stored = of_tenant.namespaces.get_mut(namespace)?.get_mut(group)?;
                Arc::make_mut(stored).progress.rules.get_mut(rule).filter(|rule| rule.watched.is_empty())
            });
            let known = known.ok_or(DecodeError::Damaged("series are watched by a rule that is not there"))?;
            (known.is_muted, known.watched) = (is_muted, Arc::new(watched));
            Ok(())
        })?;
        drop(taken);
        Ok(())
    }
}
