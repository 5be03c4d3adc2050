//! Rule groups.

use std::sync::Arc;

use bellwether_alert::alert_group::{Command, Outcome, StoredGroup};
use bellwether_alert::rules::composite::{self, Misfit};
use bellwether_alert::rules::{self, Rule, RuleGroup};
use bellwether_model::{NodeId, Tenant};
use bellwether_placement::EvaluatorRing;

use super::{Desk, DeskError};

/// A rule group with its names.
#[derive(Debug, Clone)]
pub struct NamedGroup {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub group: Arc<StoredGroup>,
}

impl Desk {
    /// Takes a rule group as YAML: its name and revision. It is stored as the rules are written anew, so that groups of several texts
    /// can be listed together.
    pub async fn set_rule_group(
        &self,
        tenant: &Tenant,
        namespace: &str,
        text: &str,
    ) -> Result<(String, u64), DeskError> {
        let group = rules::read_group(text).map_err(DeskError::Wrong)?;
        let misfits = self.check_composites(tenant, namespace, &group);
        if !misfits.is_empty() {
            return Err(DeskError::Wrong(misfits.iter().map(|misfit| misfit.problem(&group.name)).collect()));
        }
        self.set_checked(tenant, namespace, rules::write_group(&group)).await
    }

    /// What is wrong with the composite rules of a group that is to be set, beside the rules that there are.
    pub fn check_composites(&self, tenant: &Tenant, namespace: &str, group: &RuleGroup) -> Vec<Misfit> {
        let is_composite = |rule: &Rule| matches!(rule, Rule::Alerting(rule) if rule.composite.is_some());
        if !group.rules.iter().any(is_composite) {
            return Vec::new();
        }
        let others = self.look(tenant, |state| {
            let mut others = composite::Others::default();
            for (of, groups) in state.into_iter().flat_map(|state| &state.namespaces) {
                let stays = |(name, _): &(&String, &Arc<StoredGroup>)| of != namespace || **name != group.name;
                let parsed = groups.iter().filter(stays).filter_map(|(_, stored)| stored.parsed.as_ref().ok());
                parsed.for_each(|group| others.add(group));
            }
            others
        });
        composite::check(group, others)
    }

    /// Takes a rule group whose text is right already, and is stored as it is.
    pub async fn set_checked(
        &self,
        tenant: &Tenant,
        namespace: &str,
        text: String,
    ) -> Result<(String, u64), DeskError> {
        if namespace.is_empty() {
            return Err(DeskError::Invalid("the namespace is empty".to_owned()));
        }
        let command = Command::set_rule_group(tenant.clone(), namespace.to_owned(), &text).map_err(DeskError::Wrong)?;
        let Command::SetRuleGroup { group, .. } = &command else {
            unreachable!("a rule group is set by its command");
        };
        let name = group.clone();
        match self.propose(tenant, command).await? {
            Outcome::Revision(revision) => Ok((name, revision)),
            _ => Ok((name, 0)),
        }
    }

    /// Forgets a rule group.
    pub async fn delete_rule_group(&self, tenant: &Tenant, namespace: &str, group: &str) -> Result<(), DeskError> {
        let (namespace, group) = (namespace.to_owned(), group.to_owned());
        let command = Command::DeleteRuleGroup { tenant: tenant.clone(), namespace, group };
        self.propose(tenant, command).await.map(drop)
    }

    /// Forgets all rule groups of a namespace.
    pub async fn delete_namespace(&self, tenant: &Tenant, namespace: &str) -> Result<(), DeskError> {
        let command = Command::DeleteNamespace { tenant: tenant.clone(), namespace: namespace.to_owned() };
        self.propose(tenant, command).await.map(drop)
    }

    /// Rule groups by namespace and name: all, or those of a namespace.
    pub fn rule_groups(&self, tenant: &Tenant, namespace: Option<&str>) -> Vec<NamedGroup> {
        self.look(tenant, |state| {
            let namespaces = state.into_iter().flat_map(|state| &state.namespaces);
            let wanted = namespaces.filter(|(name, _)| namespace.is_none_or(|wanted| wanted == *name));
            let named = wanted.flat_map(|(namespace, groups)| {
                groups.iter().map(|(name, group)| NamedGroup {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    group: group.clone(),
                })
            });
            named.collect()
        })
    }

    /// One rule group.
    pub fn rule_group(&self, tenant: &Tenant, namespace: &str, group: &str) -> Option<Arc<StoredGroup>> {
        self.look(tenant, |state| state?.namespaces.get(namespace)?.get(group).cloned())
    }

    /// How often a rule group is evaluated.
    pub fn interval_ms(&self, named: &NamedGroup) -> i64 {
        named.rules().and_then(|rules| rules.interval_ms).unwrap_or(self.default_interval_ms)
    }

    /// Who evaluates a tenant's rules.
    pub fn evaluators(&self, tenant: &Tenant) -> EvaluatorRing {
        let nodes = self.look_at_group(tenant, |state| state.ring.nodes.clone());
        EvaluatorRing::new(nodes)
    }
}

/// The node that evaluates a rule group.
pub fn evaluator(ring: &EvaluatorRing, tenant: &Tenant, namespace: &str, group: &str) -> Option<NodeId> {
    ring.evaluator(format!("{}/{namespace}/{group}", tenant.as_str()).as_bytes())
}

impl NamedGroup {
    /// Its rules; none if the text means nothing to this program.
    pub fn rules(&self) -> Option<&rules::RuleGroup> {
        self.group.parsed.as_deref().ok()
    }
}
