//! From matchers to refs, label names and label values.
//!
//! 1. Matchers that cannot match an absent label select by postings: the union of the pairs whose values pass.
//!    The smallest of them starts; a matcher whose union would be much larger than what is left is instead tested series by series.
//! 2. Matchers that match an absent label (`!=`, `!~`, `=""`) only remove: series that have the label with a value that fails.
//! 3. What one pair answers is computed once per query, however many series share the pair.

use std::collections::BTreeSet;

use bellwether_model::{MatchOp, Matcher, SeriesRef, Tenant};

use super::postings::{intersect, union_of_disjoint};
use super::{Index, PairId, TenantId};

/// A matcher is tested series by series when its postings are more than this many times the candidates.
const TEST_EACH_FACTOR: usize = 4;

impl Index {
    /// The series of a tenant that pass all matchers, ascending.
    pub fn matching(&self, tenant: &Tenant, matchers: &[Matcher]) -> Vec<u32> {
        let Some(tenant) = self.tenant(tenant) else { return Vec::new() };
        let (selecting, removing): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| !m.matches_empty());

        let mut selections: Vec<(usize, Vec<PairId>, &Matcher)> = selecting
            .into_iter()
            .map(|matcher| {
                let pairs = self.passing_pairs(tenant, matcher);
                let size = pairs.iter().map(|pair| self.pairs[pair.0 as usize].series.len()).sum();
                (size, pairs, matcher)
            })
            .collect();
        selections.sort_by_key(|(size, _, _)| *size);

        let mut candidates: Option<Vec<u32>> = None;
        for (size, pairs, matcher) in selections {
            candidates = Some(match candidates {
                None => self.union(&pairs),
                Some(candidates) if size > candidates.len().saturating_mul(TEST_EACH_FACTOR) => {
                    self.test_each(candidates, tenant, matcher)
                }
                Some(candidates) => match pairs.as_slice() {
                    [one] => intersect(&candidates, &self.pairs[one.0 as usize].series),
                    _ => intersect(&candidates, &self.union(&pairs)),
                },
            });
        }
        let mut candidates = candidates.unwrap_or_else(|| self.tenants[tenant.0 as usize].series.clone());
        for matcher in removing {
            if candidates.is_empty() {
                break;
            }
            candidates = self.test_each(candidates, tenant, matcher);
        }
        candidates
    }

    fn union(&self, pairs: &[PairId]) -> Vec<u32> {
        union_of_disjoint(pairs.iter().map(|pair| self.pairs[pair.0 as usize].series.as_slice()))
    }

    fn name_pairs(&self, tenant: TenantId, name: &str) -> &[PairId] {
        let Some(symbol) = self.symbols.find(name) else { return &[] };
        self.tenants[tenant.0 as usize].names.get(&symbol).map_or(&[], Vec::as_slice)
    }

    /// The pairs of a label whose value passes a matcher that an absent label does not pass.
    fn passing_pairs(&self, tenant: TenantId, matcher: &Matcher) -> Vec<PairId> {
        let by_value = |value: &String| -> Option<PairId> {
            let (name, value) = (self.symbols.find(matcher.name())?, self.symbols.find(value)?);
            let same = |pair: &u32| {
                let pair = &self.pairs[*pair as usize];
                (pair.tenant, pair.name, pair.value) == (tenant, name, value)
            };
            self.pair_of.find(super::pair_hash(tenant, name, value), same).map(|pair| PairId(*pair))
        };
        match (matcher.op(), matcher.alternatives()) {
            (MatchOp::Equal | MatchOp::Regex, Some(values)) => {
                let pairs: BTreeSet<PairId> = values.iter().filter_map(by_value).collect();
                pairs.into_iter().collect()
            }
            _ => self
                .name_pairs(tenant, matcher.name())
                .iter()
                .copied()
                .filter(|pair| matcher.matches(self.pair_text(*pair).1))
                .collect(),
        }
    }

    /// Keeps the candidates that pass, looking at each one's own pairs.
    fn test_each(&self, mut candidates: Vec<u32>, tenant: TenantId, matcher: &Matcher) -> Vec<u32> {
        let Some(name) = self.symbols.find(matcher.name()) else {
            if !matcher.matches_empty() {
                candidates.clear();
            }
            return candidates;
        };
        // Answers per pair of this label, so that a regular expression runs once per value.
        let pairs = self.name_pairs(tenant, matcher.name());
        let (Some(lowest), Some(highest)) = (pairs.first(), pairs.last()) else {
            if !matcher.matches_empty() {
                candidates.clear();
            }
            return candidates;
        };
        let mut answers: Vec<Option<bool>> = vec![None; (highest.0 - lowest.0 + 1) as usize];
        candidates.retain(|series| {
            let pairs = self.pairs_of(*series);
            match pairs.iter().find(|pair| self.pairs[pair.0 as usize].name == name) {
                None => matcher.matches_empty(),
                Some(pair) => *answers[(pair.0 - lowest.0) as usize]
                    .get_or_insert_with(|| matcher.matches(self.pair_text(*pair).1)),
            }
        });
        candidates
    }

    /// The label names of some series of a tenant (of all, if `series` is `None`).
    pub fn label_names(&self, tenant: &Tenant, series: Option<&[u32]>) -> BTreeSet<String> {
        let Some(tenant) = self.tenant(tenant) else { return BTreeSet::new() };
        match series {
            None => {
                let names = self.tenants[tenant.0 as usize].names.keys();
                names.map(|name| self.symbols.text(*name).to_owned()).collect()
            }
            Some(series) => {
                let symbols: BTreeSet<_> = series
                    .iter()
                    .flat_map(|series| self.pairs_of(*series))
                    .map(|pair| self.pairs[pair.0 as usize].name)
                    .collect();
                symbols.into_iter().map(|symbol| self.symbols.text(symbol).to_owned()).collect()
            }
        }
    }

    /// The values of one label in some series of a tenant (in all, if `series` is `None`).
    pub fn label_values(&self, tenant: &Tenant, name: &str, series: Option<&[u32]>) -> BTreeSet<String> {
        let Some(tenant) = self.tenant(tenant) else { return BTreeSet::new() };
        let value = |pair: &PairId| self.pair_text(*pair).1.to_owned();
        match series {
            None => self.name_pairs(tenant, name).iter().map(value).collect(),
            Some(series) => {
                let Some(symbol) = self.symbols.find(name) else { return BTreeSet::new() };
                let pairs: BTreeSet<PairId> = series
                    .iter()
                    .filter_map(|series| {
                        self.pairs_of(*series).iter().find(|pair| self.pairs[pair.0 as usize].name == symbol).copied()
                    })
                    .collect();
                pairs.iter().map(value).collect()
            }
        }
    }

    /// The tenant of a series, by name.
    pub fn tenant_of_series(&self, series: SeriesRef) -> &Tenant {
        self.tenant_name(self.tenant_of(series.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_model::{Labels, SeriesHash};
    use proptest::prelude::*;

    fn index(series: &[Vec<(&str, &str)>]) -> Index {
        let mut index = Index::default();
        for pairs in series {
            let labels = Labels::of(pairs);
            let tenant = Tenant::default_tenant();
            index.add(SeriesHash::of(&tenant, &labels), &tenant, &labels, 0);
        }
        index
    }

    fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
        Matcher::new(op, name, value).unwrap()
    }

    #[test]
    fn tenants_never_see_each_other() {
        let index = index(&[vec![("__name__", "up"), ("secret", "x")]]);
        let other = Tenant::new("other").unwrap();
        assert!(index.matching(&other, &[Matcher::equal("__name__", "up")]).is_empty());
        assert!(index.label_names(&other, None).is_empty());
        assert!(index.label_values(&other, "secret", None).is_empty());
    }

    proptest! {
        /// Whatever the shortcuts do, the answer is what testing every series gives.
        #[test]
        fn matching_agrees_with_testing_every_series(
            series in proptest::collection::btree_set(("[ab]", "[abc]?", "[xy]?"), 1..20),
            conditions in proptest::collection::vec(
                (0usize..4, prop_oneof![Just("__name__"), Just("l"), Just("m"), Just("none")],
                 prop_oneof![Just(""), Just("a"), Just("a|b"), Just("a|"), Just(".*"), Just(".+"), Just("[xc]"), Just("x.*")]),
                0..4),
        ) {
            let series: Vec<Vec<(&str, &str)>> = series
                .iter()
                .map(|(name, l, m)| vec![("__name__", name.as_str()), ("l", l.as_str()), ("m", m.as_str())])
                .collect();
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers: Vec<Matcher> = conditions.iter().map(|(op, name, value)| matcher(ops[*op], name, value)).collect();
            let expected: Vec<u32> = (0..series.len() as u32)
                .filter(|at| {
                    let labels = Labels::of(&series[*at as usize]);
                    matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
                })
                .collect();
            prop_assert_eq!(index(&series).matching(&Tenant::default_tenant(), &matchers), expected);
        }
    }
}
