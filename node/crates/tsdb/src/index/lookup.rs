//! From matchers to refs, label names and label values.
//!
//! 1. Matchers that cannot match an absent label select by postings: the union of the pairs whose values pass.
//!    The smallest of them starts; a matcher whose union would be much larger than what is left is instead tested series by series.
//! 2. Matchers that match an absent label (`!=`, `!~`, `=""`) only remove: series that have the label with a value that fails.
//! 3. What one pair answers is computed once per query, however many series share the pair.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_model::{MatchOp, Matcher, SeriesRef, Tenant};

use super::postings::{intersect, union_of_disjoint};
use super::{Index, PairId, TenantId};

/// Regular expressions, which may be slow, that run between two looks at the flag that says stop.
const MATCHES_BETWEEN_LOOKS: usize = 64;
/// Series looked at in the same time, about.
const SERIES_BETWEEN_LOOKS: usize = 16 * 1024;

/// The caller said stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// Counts work, and looks at the flag now and then.
struct Watch<'c> {
    cancel: &'c AtomicBool,
    left: usize,
}

impl Watch<'_> {
    /// What one regular expression costs, in series.
    const MATCH: usize = SERIES_BETWEEN_LOOKS / MATCHES_BETWEEN_LOOKS;

    fn work(&mut self, series: usize) -> Result<(), Cancelled> {
        match self.left.checked_sub(series) {
            Some(left) => self.left = left,
            None => {
                self.left = SERIES_BETWEEN_LOOKS;
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Cancelled);
                }
            }
        }
        Ok(())
    }
}

/// A matcher is tested series by series when its postings are more than this many times the candidates.
const TEST_EACH_FACTOR: usize = 4;

impl Index {
    /// The series of a tenant that pass all matchers, ascending.
    pub fn matching(&self, tenant: &Tenant, matchers: &[Matcher]) -> Vec<u32> {
        self.matching_unless(&AtomicBool::new(false), tenant, matchers).expect("nobody can raise the flag")
    }

    /// The same, but stops soon after `cancel` is raised.
    pub fn matching_unless(
        &self,
        cancel: &AtomicBool,
        tenant: &Tenant,
        matchers: &[Matcher],
    ) -> Result<Vec<u32>, Cancelled> {
        let watch = &mut Watch { cancel, left: 0 };
        watch.work(1)?;
        let Some(tenant) = self.tenant(tenant) else { return Ok(Vec::new()) };
        let (selecting, removing): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| !m.matches_empty());

        let mut selections: Vec<(usize, Vec<PairId>, &Matcher)> = Vec::with_capacity(selecting.len());
        for matcher in selecting {
            let pairs = self.passing_pairs(tenant, matcher, watch)?;
            let size = pairs.iter().map(|pair| self.pairs[pair.0 as usize].series.len()).sum();
            selections.push((size, pairs, matcher));
        }
        selections.sort_by_key(|(size, _, _)| *size);

        let mut candidates: Option<Vec<u32>> = None;
        for (size, pairs, matcher) in selections {
            candidates = Some(match candidates {
                None => self.union(&pairs, watch)?,
                Some(candidates) if size > candidates.len().saturating_mul(TEST_EACH_FACTOR) => {
                    self.test_each(candidates, tenant, matcher, watch)?
                }
                Some(candidates) => match pairs.as_slice() {
                    [one] => intersect(&candidates, &self.pairs[one.0 as usize].series),
                    _ => intersect(&candidates, &self.union(&pairs, watch)?),
                },
            });
        }
        let mut candidates = candidates.unwrap_or_else(|| self.tenants[tenant.0 as usize].series.clone());
        for matcher in removing {
            if candidates.is_empty() {
                break;
            }
            candidates = self.test_each(candidates, tenant, matcher, watch)?;
        }
        Ok(candidates)
    }

    fn union(&self, pairs: &[PairId], watch: &mut Watch<'_>) -> Result<Vec<u32>, Cancelled> {
        let mut lists = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let series = self.pairs[pair.0 as usize].series.as_slice();
            watch.work(1 + series.len())?;
            lists.push(series);
        }
        Ok(union_of_disjoint(lists.into_iter()))
    }

    fn name_pairs(&self, tenant: TenantId, name: &str) -> &[PairId] {
        let Some(symbol) = self.symbols.find(name) else { return &[] };
        self.tenants[tenant.0 as usize].names.get(&symbol).map_or(&[], Vec::as_slice)
    }

    /// The pairs of a label whose value passes a matcher that an absent label does not pass.
    fn passing_pairs(
        &self,
        tenant: TenantId,
        matcher: &Matcher,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<PairId>, Cancelled> {
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
                watch.work(values.len())?;
                let pairs: BTreeSet<PairId> = values.iter().filter_map(by_value).collect();
                Ok(pairs.into_iter().collect())
            }
            _ => {
                let mut passing = Vec::new();
                for pair in self.name_pairs(tenant, matcher.name()) {
                    watch.work(Watch::MATCH)?;
                    if matcher.matches(self.pair_text(*pair).1) {
                        passing.push(*pair);
                    }
                }
                Ok(passing)
            }
        }
    }

    /// Keeps the candidates that pass, looking at each one's own pairs.
    fn test_each(
        &self,
        mut candidates: Vec<u32>,
        tenant: TenantId,
        matcher: &Matcher,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u32>, Cancelled> {
        let Some(name) = self.symbols.find(matcher.name()) else {
            if !matcher.matches_empty() {
                candidates.clear();
            }
            return Ok(candidates);
        };
        // Answers per pair of this label, so that a regular expression runs once per value.
        let pairs = self.name_pairs(tenant, matcher.name());
        let (Some(lowest), Some(highest)) = (pairs.first(), pairs.last()) else {
            if !matcher.matches_empty() {
                candidates.clear();
            }
            return Ok(candidates);
        };
        let mut answers: Vec<Option<bool>> = vec![None; (highest.0 - lowest.0 + 1) as usize];
        let mut going_on = Ok(());
        candidates.retain(|series| {
            going_on = going_on.and_then(|()| watch.work(1));
            if going_on.is_err() {
                return false;
            }
            let pairs = self.pairs_of(*series);
            match pairs.iter().find(|pair| self.pairs[pair.0 as usize].name == name) {
                None => matcher.matches_empty(),
                Some(pair) => *answers[(pair.0 - lowest.0) as usize].get_or_insert_with(|| {
                    going_on = watch.work(Watch::MATCH);
                    matcher.matches(self.pair_text(*pair).1)
                }),
            }
        });
        going_on.map(|()| candidates)
    }

    /// The label names of some series of a tenant.
    pub fn label_names(&self, cancel: &AtomicBool, series: &[u32]) -> Result<BTreeSet<String>, Cancelled> {
        let watch = &mut Watch { cancel, left: 0 };
        let mut symbols = BTreeSet::new();
        for series in series {
            let pairs = self.pairs_of(*series);
            watch.work(pairs.len())?;
            symbols.extend(pairs.iter().map(|pair| self.pairs[pair.0 as usize].name));
        }
        Ok(symbols.into_iter().map(|symbol| self.symbols.text(symbol).to_owned()).collect())
    }

    /// The values of one label in some series, ascending; at most `limit`.
    pub fn label_values(
        &self,
        cancel: &AtomicBool,
        name: &str,
        series: &[u32],
        limit: usize,
    ) -> Result<BTreeSet<String>, Cancelled> {
        let Some(symbol) = self.symbols.find(name) else { return Ok(BTreeSet::new()) };
        let watch = &mut Watch { cancel, left: 0 };
        let mut pairs = BTreeSet::new();
        for series in series {
            watch.work(1)?;
            pairs.extend(self.pairs_of(*series).iter().find(|pair| self.pairs[pair.0 as usize].name == symbol));
        }
        let mut values = BTreeSet::new();
        for pair in pairs {
            watch.work(1)?;
            values.insert(self.pair_text(pair).1);
            if values.len() > limit {
                values.pop_last();
            }
        }
        Ok(values.into_iter().map(str::to_owned).collect())
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
    }

    #[test]
    fn a_raised_flag_ends_a_lookup() {
        let series: Vec<Vec<(&str, String)>> =
            (0..1000).map(|at| vec![("__name__", "m".to_owned()), ("l", format!("{at}"))]).collect();
        let series: Vec<Vec<(&str, &str)>> =
            series.iter().map(|pairs| pairs.iter().map(|(name, value)| (*name, value.as_str())).collect()).collect();
        let index = index(&series);
        let conditions = [Matcher::equal("__name__", "m"), matcher(MatchOp::NotRegex, "l", ".*[13].*")];
        let tenant = Tenant::default_tenant();
        assert_eq!(index.matching_unless(&AtomicBool::new(true), &tenant, &conditions), Err(Cancelled));
        assert_eq!(index.matching_unless(&AtomicBool::new(false), &tenant, &conditions).unwrap().len(), 512);
        // Raised in the middle: by the time that the next so many values are tested, it is seen.
        let raised = AtomicBool::new(true);
        for left in [0, Watch::MATCH * 10, SERIES_BETWEEN_LOOKS - 1] {
            let watch = &mut Watch { cancel: &raised, left };
            let id = index.tenant(&tenant).unwrap();
            assert_eq!(index.passing_pairs(id, &conditions[1], watch), Err(Cancelled));
            let watch = &mut Watch { cancel: &raised, left };
            let everything: Vec<u32> = (0..1000).collect();
            assert_eq!(index.test_each(everything, id, &conditions[1], watch), Err(Cancelled));
        }
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
