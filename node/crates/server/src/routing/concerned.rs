//! Which groups a read concerns: few where its matchers fix the metric's name.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_model::{HashRange, METRIC_NAME, Matcher, PlacementKey, Tenant};

use crate::shards::{Ring, RingGroup};

/// Names of metrics by which a read is sent to the groups that can have them; one that names more asks all groups.
const NAMES_ROUTED_MAX: usize = 1024;

/// The groups that can hold series of any of the selectors.
pub fn concerned<'a>(
    ring: &'a Ring,
    tenant: &Tenant,
    selectors: &[Arc<[Matcher]>],
) -> impl Iterator<Item = &'a RingGroup> + use<'a> {
    let mut names: Option<BTreeSet<&String>> = Some(BTreeSet::new());
    for matchers in selectors {
        let fixed = matchers.iter().find_map(|matcher| {
            let fixes_name = matcher.name() == METRIC_NAME && !matcher.is_negative();
            matcher.alternatives().filter(|_| fixes_name)
        });
        names = names.zip(fixed).map(|(mut names, fixed)| {
            names.extend(fixed);
            names
        });
        names = names.filter(|names| names.len() <= NAMES_ROUTED_MAX);
    }
    let points: Option<BTreeSet<HashRange>> =
        names.map(|names| names.iter().flat_map(|name| PlacementKey::of_metric(tenant, name)).collect());
    let concerned = move |group: &&RingGroup| {
        points.as_ref().is_none_or(|points| points.iter().any(|point| point.overlaps(group.range)))
    };
    ring.groups().iter().filter(concerned)
}
