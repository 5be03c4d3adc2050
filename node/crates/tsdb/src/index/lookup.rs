//! From matchers to refs, label names and label values.
//!
//! 1. Matchers that cannot match an absent label select by postings: the union of the pairs whose values pass.
//!    The smallest of them starts; a matcher whose union would be much larger than what is left is instead tested series by series.
//! 2. Matchers that match an absent label (`!=`, `!~`, `=""`) only remove: series that have the label with a value that fails.
//! 3. What one pair answers is computed once per query, however many series share the pair; of the first kind of matchers it is
//!    [remembered](super::remembered) for the next query.
//!
//! A lookup looks at the index in short holds ([`Holds`]), so that apply, which waits for them, never waits for a regular expression or a long list:
//! texts and refs are copied out piece by piece, and compared and merged outside. Lists may shrink and grow between two holds, so they are gone
//! through by number and not by place. A series that lives from beginning to end is found, whatever else changes.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_model::{MatchOp, Matcher, SeriesRef, Tenant};

use super::postings::{intersect, union_of_disjoint};
use super::remembered::{OfGeneration, Passing, Remembered};
use super::{Index, PairId, TenantId};

/// Regular expressions, which may be slow, that run between two looks at the flag that says stop.
const MATCHES_BETWEEN_LOOKS: usize = 64;
/// Series looked at in the same time, about.
const SERIES_BETWEEN_LOOKS: usize = 16 * 1024;

/// Refs that are copied in one hold.
const REFS_PER_HOLD: usize = 16 * 1024;
/// Series or pairs that are looked at in one hold.
pub const LOOKS_PER_HOLD: usize = 2048;
/// Once so many bytes of text are copied, a hold ends.
const TEXT_BYTES_PER_HOLD: usize = 64 << 10;

/// Why a lookup ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// The caller said stop.
    Cancelled,
    /// The index was made anew meanwhile, and its pairs have other numbers: to be begun again.
    MadeAnew,
}

/// The way to an index that others may change between two holds.
pub trait Holds {
    /// Looks at the index, for a short time.
    fn hold<R>(&self, look: impl FnOnce(&Index) -> R) -> Result<R, Interrupted>;
}

/// An index that nobody changes meanwhile.
struct Unchanging<'i>(&'i Index);

impl Holds for Unchanging<'_> {
    fn hold<R>(&self, look: impl FnOnce(&Index) -> R) -> Result<R, Interrupted> {
        Ok(look(self.0))
    }
}

/// Counts work, and looks at the flag now and then.
struct Watch<'c> {
    cancel: &'c AtomicBool,
    left: Cell<usize>,
}

impl Watch<'_> {
    /// What one regular expression costs, in series.
    const MATCH: usize = SERIES_BETWEEN_LOOKS / MATCHES_BETWEEN_LOOKS;

    fn work(&self, series: usize) -> Result<(), Interrupted> {
        match self.left.get().checked_sub(series) {
            Some(left) => self.left.set(left),
            None => {
                self.left.set(SERIES_BETWEEN_LOOKS);
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Interrupted::Cancelled);
                }
            }
        }
        Ok(())
    }
}

/// A matcher is tested series by series when its postings are more than this many times the candidates.
const TEST_EACH_FACTOR: usize = 4;

/// The series of a tenant that pass all matchers, ascending.
pub fn matching(
    holds: &impl Holds,
    remembered: OfGeneration<'_>,
    cancel: &AtomicBool,
    tenant: &Tenant,
    matchers: &[Matcher],
) -> Result<Vec<u32>, Interrupted> {
    let watch = Watch { cancel, left: Cell::new(0) };
    watch.work(1)?;
    let Some(tenant) = holds.hold(|index| index.tenant(tenant))? else { return Ok(Vec::new()) };
    Lookup { holds, remembered, watch, tenant }.matching(matchers)
}

/// Texts of some pairs, end to end.
#[derive(Default)]
struct Texts {
    text: String,
    /// Each pair, and where its text ends.
    pairs: Vec<(PairId, usize)>,
}

impl Texts {
    fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    fn push(&mut self, pair: PairId, text: &str) {
        self.text.push_str(text);
        self.pairs.push((pair, self.text.len()));
    }

    fn is_full(&self) -> bool {
        self.pairs.len() >= LOOKS_PER_HOLD || self.text.len() >= TEXT_BYTES_PER_HOLD
    }

    fn iter(&self) -> impl Iterator<Item = (PairId, &str)> {
        let starts = std::iter::once(0).chain(self.pairs.iter().map(|(_, end)| *end));
        self.pairs.iter().zip(starts).map(|((pair, end), start)| (*pair, &self.text[start..*end]))
    }
}

/// Answers of a matcher for the pairs of one label.
struct Answers {
    lowest: u32,
    of: Vec<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Unknown,
    /// Its text is on its way.
    Asked,
    Is(bool),
}

impl Answers {
    fn of(&mut self, pair: PairId) -> &mut Answer {
        // Pairs of the label that came later have higher numbers.
        let at = (pair.0 - self.lowest) as usize;
        if at >= self.of.len() {
            self.of.resize(at + 1, Answer::Unknown);
        }
        &mut self.of[at]
    }
}

/// A lookup at work.
struct Lookup<'a, H> {
    holds: &'a H,
    remembered: OfGeneration<'a>,
    watch: Watch<'a>,
    tenant: TenantId,
}

impl<H: Holds> Lookup<'_, H> {
    fn matching(&self, matchers: &[Matcher]) -> Result<Vec<u32>, Interrupted> {
        let (selecting, removing): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| !m.matches_empty());
        let mut selections: Vec<(usize, Vec<PairId>, &Matcher)> = Vec::with_capacity(selecting.len());
        for matcher in selecting {
            let pairs = self.passing_pairs(matcher)?;
            selections.push((self.size(&pairs)?, pairs, matcher));
        }
        selections.sort_by_key(|(size, _, _)| *size);

        let mut candidates: Option<Vec<u32>> = None;
        for (size, pairs, matcher) in selections {
            candidates = Some(match candidates {
                None => self.union(&pairs)?,
                Some(candidates) if size > candidates.len().saturating_mul(TEST_EACH_FACTOR) => {
                    self.test_each(candidates, matcher)?
                }
                Some(candidates) => intersect(&candidates, &self.union(&pairs)?),
            });
        }
        let mut candidates = match candidates {
            Some(candidates) => candidates,
            None => self.all_series()?,
        };
        for matcher in removing {
            if candidates.is_empty() {
                break;
            }
            candidates = self.test_each(candidates, matcher)?;
        }
        Ok(candidates)
    }

    /// Series that have any of the pairs, about.
    fn size(&self, pairs: &[PairId]) -> Result<usize, Interrupted> {
        let mut size = 0;
        for some in pairs.chunks(LOOKS_PER_HOLD) {
            size += self.holds.hold(|index| some.iter().map(|pair| index.series_of(*pair).len()).sum::<usize>())?;
        }
        Ok(size)
    }

    /// The series that have any of the pairs, ascending.
    fn union(&self, pairs: &[PairId]) -> Result<Vec<u32>, Interrupted> {
        let mut series: Vec<u32> = Vec::new();
        let mut ends: Vec<usize> = Vec::with_capacity(pairs.len());
        // The last one copied of the list that is being copied.
        let mut after = None;
        while ends.len() < pairs.len() {
            self.watch.work(REFS_PER_HOLD)?;
            self.holds.hold(|index| {
                let mut left = REFS_PER_HOLD;
                while let Some(pair) = pairs.get(ends.len()).filter(|_| left > 0) {
                    // To go on with the next list costs as much as some refs.
                    left = left.saturating_sub(REFS_PER_HOLD / LOOKS_PER_HOLD);
                    let rest = behind(index.series_of(*pair), after);
                    let taken = &rest[..rest.len().min(left)];
                    series.extend_from_slice(taken);
                    left -= taken.len();
                    match taken.len() == rest.len() {
                        true => {
                            ends.push(series.len());
                            after = None;
                        }
                        false => after = taken.last().copied().or(after),
                    }
                }
            })?;
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(union_of_disjoint(starts.zip(&ends).map(|(start, end)| &series[start..*end])))
    }

    /// All series of the tenant.
    fn all_series(&self) -> Result<Vec<u32>, Interrupted> {
        let mut series: Vec<u32> = Vec::new();
        loop {
            self.watch.work(REFS_PER_HOLD)?;
            let is_whole = self.holds.hold(|index| {
                let rest = behind(index.series_of_tenant(self.tenant), series.last().copied());
                let taken = &rest[..rest.len().min(REFS_PER_HOLD)];
                series.extend_from_slice(taken);
                taken.len() == rest.len()
            })?;
            if is_whole {
                return Ok(series);
            }
        }
    }

    /// The pairs of a label whose value passes a matcher that an absent label does not pass.
    fn passing_pairs(&self, matcher: &Matcher) -> Result<Vec<PairId>, Interrupted> {
        if let (MatchOp::Equal | MatchOp::Regex, Some(values)) = (matcher.op(), matcher.alternatives()) {
            let mut pairs = BTreeSet::new();
            for some in values.chunks(LOOKS_PER_HOLD) {
                self.watch.work(some.len())?;
                let find = |index: &Index, value: &String| index.pair(self.tenant, matcher.name(), value);
                self.holds.hold(|index| pairs.extend(some.iter().filter_map(|value| find(index, value))))?;
            }
            return Ok(pairs.into_iter().collect());
        }
        let Passing { pairs: mut passing, compared: mut after } = self.remembered.find(self.tenant, matcher);
        let known = after;
        let mut texts = Texts::default();
        loop {
            texts.clear();
            let is_whole = self.holds.hold(|index| {
                for pair in behind(index.name_pairs(self.tenant, matcher.name()), after) {
                    texts.push(*pair, index.pair_text(*pair).1);
                    if texts.is_full() {
                        return false;
                    }
                }
                true
            })?;
            for (pair, text) in texts.iter() {
                self.watch.work(Watch::MATCH)?;
                if matcher.matches(text) {
                    passing.push(pair);
                }
            }
            after = texts.pairs.last().map(|(last, _)| *last).or(after);
            if is_whole {
                let passing = Passing { pairs: passing, compared: after };
                if after > known {
                    self.remembered.keep(self.tenant, matcher, &passing);
                }
                return Ok(passing.pairs);
            }
        }
    }

    /// Keeps the candidates that pass, looking at each one's own pairs.
    fn test_each(&self, mut candidates: Vec<u32>, matcher: &Matcher) -> Result<Vec<u32>, Interrupted> {
        let lowest = self.holds.hold(|index| index.name_pairs(self.tenant, matcher.name()).first().copied())?;
        // Answers per pair of this label, so that a regular expression runs once per value.
        let mut answers = Answers { lowest: lowest.map_or(0, |pair| pair.0), of: Vec::new() };
        let mut texts = Texts::default();
        let mut pairs: Vec<Option<PairId>> = Vec::with_capacity(LOOKS_PER_HOLD);
        let (mut looked_at, mut kept) = (0, 0);
        while looked_at < candidates.len() {
            texts.clear();
            pairs.clear();
            self.holds.hold(|index| {
                let name = index.symbols.find(matcher.name());
                for series in candidates[looked_at..].iter().take(LOOKS_PER_HOLD) {
                    // What has expired meanwhile may be left out or not; its pairs may be lower than the lowest.
                    let own = if index.is_living(*series) { index.pairs_of(*series) } else { &[] };
                    let of_label = |pair: &&PairId| Some(index.pairs[pair.0 as usize].name) == name;
                    let pair = own.iter().find(of_label).copied();
                    pairs.push(pair);
                    let Some(pair) = pair else { continue };
                    let answer = answers.of(pair);
                    if *answer == Answer::Unknown {
                        *answer = Answer::Asked;
                        texts.push(pair, index.pair_text(pair).1);
                    }
                    if texts.is_full() {
                        break;
                    }
                }
            })?;
            for (pair, text) in texts.iter() {
                self.watch.work(Watch::MATCH)?;
                *answers.of(pair) = Answer::Is(matcher.matches(text));
            }
            self.watch.work(pairs.len())?;
            for pair in &pairs {
                let passes = match pair {
                    None => matcher.matches_empty(),
                    Some(pair) => *answers.of(*pair) == Answer::Is(true),
                };
                if passes {
                    candidates[kept] = candidates[looked_at];
                    kept += 1;
                }
                looked_at += 1;
            }
        }
        candidates.truncate(kept);
        Ok(candidates)
    }
}

/// What comes after a number in an ascending list.
fn behind<T: Ord + Copy>(list: &[T], after: Option<T>) -> &[T] {
    match after {
        Some(after) => &list[list.partition_point(|found| *found <= after)..],
        None => list,
    }
}

impl Index {
    /// The series of a tenant that pass all matchers, ascending.
    pub fn matching(&self, tenant: &Tenant, matchers: &[Matcher]) -> Vec<u32> {
        let (remembered, cancel) = (Remembered::default(), AtomicBool::new(false));
        let remembered = remembered.of_generation(self.generation);
        matching(&Unchanging(self), remembered, &cancel, tenant, matchers).expect("nobody raises the flag")
    }

    fn name_pairs(&self, tenant: TenantId, name: &str) -> &[PairId] {
        let Some(symbol) = self.symbols.find(name) else { return &[] };
        self.tenants[tenant.0 as usize].names.get(&symbol).map_or(&[], Vec::as_slice)
    }

    fn pair(&self, tenant: TenantId, name: &str, value: &str) -> Option<PairId> {
        let (name, value) = (self.symbols.find(name)?, self.symbols.find(value)?);
        let same = |pair: &u32| {
            let pair = &self.pairs[*pair as usize];
            (pair.tenant, pair.name, pair.value) == (tenant, name, value)
        };
        self.pair_of.find(super::pair_hash(tenant, name, value), same).map(|pair| PairId(*pair))
    }

    /// The living series with a pair, ascending.
    fn series_of(&self, pair: PairId) -> &[u32] {
        &self.pairs[pair.0 as usize].series
    }

    fn series_of_tenant(&self, tenant: TenantId) -> &[u32] {
        &self.tenants[tenant.0 as usize].series
    }

    /// The label names of some series of a tenant: of so few that it may be done in one hold.
    pub fn label_names(&self, series: &[u32]) -> BTreeSet<String> {
        let pairs = series.iter().flat_map(|series| self.pairs_of(*series));
        let symbols: BTreeSet<_> = pairs.map(|pair| self.pairs[pair.0 as usize].name).collect();
        symbols.into_iter().map(|symbol| self.symbols.text(symbol).to_owned()).collect()
    }

    /// The values of one label in some series: of so few that it may be done in one hold.
    pub fn label_values(&self, name: &str, series: &[u32]) -> BTreeSet<String> {
        let Some(symbol) = self.symbols.find(name) else { return BTreeSet::new() };
        let of_label = |pair: &&PairId| self.pairs[pair.0 as usize].name == symbol;
        let pairs: BTreeSet<&PairId> =
            series.iter().filter_map(|series| self.pairs_of(*series).iter().find(of_label)).collect();
        pairs.into_iter().map(|pair| self.pair_text(*pair).1.to_owned()).collect()
    }

    /// The tenant of a series, by name.
    pub fn tenant_of_series(&self, series: SeriesRef) -> &Tenant {
        self.tenant_name(self.tenant_of(series.0))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

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
        let holds = Unchanging(&index);
        let raised = AtomicBool::new(true);
        let remembered = Remembered::default();
        let remembered = remembered.of_generation(0);
        assert_eq!(super::matching(&holds, remembered, &raised, &tenant, &conditions), Err(Interrupted::Cancelled));
        assert_eq!(index.matching(&tenant, &conditions).len(), 512);
        // Raised in the middle: by the time that the next so many values are tested, it is seen.
        for left in [0, Watch::MATCH * 10, SERIES_BETWEEN_LOOKS - 1] {
            let watch = || Watch { cancel: &raised, left: Cell::new(left) };
            let id = index.tenant(&tenant).unwrap();
            let lookup = Lookup { holds: &holds, remembered, watch: watch(), tenant: id };
            assert_eq!(lookup.passing_pairs(&conditions[1]), Err(Interrupted::Cancelled));
            let lookup = Lookup { holds: &holds, remembered, watch: watch(), tenant: id };
            assert_eq!(lookup.test_each((0..1000).collect(), &conditions[1]), Err(Interrupted::Cancelled));
        }
    }

    /// An index that changes between any two holds: a series expires, and one comes.
    struct Changing {
        index: RefCell<Index>,
        doomed: RefCell<Vec<u32>>,
        holds: Cell<usize>,
    }

    impl Holds for Changing {
        fn hold<R>(&self, look: impl FnOnce(&Index) -> R) -> Result<R, Interrupted> {
            let mut index = self.index.borrow_mut();
            self.holds.set(self.holds.get() + 1);
            if let Some(doomed) = self.doomed.borrow_mut().pop() {
                index.expire(&[doomed]);
            }
            let labels = numbered(1_000_000 + self.holds.get() as u32);
            index.add(SeriesHash::of(&Tenant::default_tenant(), &labels), &Tenant::default_tenant(), &labels, 0);
            Ok(look(&index))
        }
    }

    fn numbered(series: u32) -> Labels {
        Labels::of(&[("__name__", "m"), ("id", &format!("{series:07}")), ("few", &(series % 7).to_string())])
    }

    #[test]
    fn holds_are_short_and_what_lives_from_beginning_to_end_is_found() {
        const SERIES: u32 = 40_000;
        let tenant = Tenant::default_tenant();
        for conditions in [
            vec![],
            vec![Matcher::equal("__name__", "m")],
            vec![matcher(MatchOp::Regex, "id", "0.*[02468]")],
            vec![matcher(MatchOp::NotRegex, "id", ".*1")],
            vec![matcher(MatchOp::Regex, "few", "[13]"), matcher(MatchOp::NotRegex, "id", ".*7")],
            vec![matcher(MatchOp::Regex, "id", ".*00"), matcher(MatchOp::Regex, "few", ".+")],
        ] {
            let mut index = Index::default();
            for series in 0..SERIES {
                let labels = numbered(series);
                index.add(SeriesHash::of(&tenant, &labels), &tenant, &labels, 0);
            }
            // Every third series may go at any moment.
            let doomed: Vec<u32> = (0..SERIES).filter(|series| series % 3 == 0).collect();
            let changing = Changing { index: index.into(), doomed: doomed.into(), holds: Cell::new(0) };
            let cancel = AtomicBool::new(false);
            let remembered = Remembered::default();
            let remembered = remembered.of_generation(0);
            let found = super::matching(&changing, remembered, &cancel, &tenant, &conditions).unwrap();
            // Once more, with what the first one left behind and all that came and went since.
            let again = super::matching(&changing, remembered, &cancel, &tenant, &conditions).unwrap();
            let passes = |series: &u32| {
                let labels = numbered(*series);
                conditions.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
            };
            let stays = |series: &u32| *series < SERIES && !series.is_multiple_of(3);
            let expected: Vec<u32> = (0..SERIES).filter(|series| stays(series) && passes(series)).collect();
            for found in [found, again] {
                assert!(found.is_sorted(), "{conditions:?}");
                assert_eq!(found.into_iter().filter(stays).collect::<Vec<u32>>(), expected, "{conditions:?}");
            }
            assert!(changing.holds.get() >= 4, "{} holds: {conditions:?}", changing.holds.get());
        }
    }

    proptest! {
        /// What is remembered of earlier lookups makes no difference, whatever came and went since, even if a value came back.
        #[test]
        fn what_is_remembered_agrees_with_looking_anew(
            steps in proptest::collection::vec(
                (0u32..12, any::<bool>(), prop_oneof![Just("a.+"), Just(".*[1-4]"), Just(".+")], any::<bool>()), 1..40),
        ) {
            let (tenant, mut index, cancel) = (Tenant::default_tenant(), Index::default(), AtomicBool::new(false));
            let remembered = Remembered::default();
            for (value, is_negative, pattern, is_asked) in steps {
                let labels = Labels::of(&[("__name__", "m"), ("l", &format!("{}{value}", if value % 3 == 0 { "b" } else { "a" }))]);
                let hash = SeriesHash::of(&tenant, &labels);
                match index.find(hash) {
                    Some(series) => index.expire(&[series.0]),
                    None => drop(index.add(hash, &tenant, &labels, 0)),
                }
                if is_asked {
                    let op = if is_negative { MatchOp::NotRegex } else { MatchOp::Regex };
                    // The second one is negative and selects all the same.
                    let conditions = [matcher(op, "l", pattern), matcher(MatchOp::NotRegex, "l", "|c")];
                    let of_generation = remembered.of_generation(index.generation());
                    let found = super::matching(&Unchanging(&index), of_generation, &cancel, &tenant, &conditions).unwrap();
                    prop_assert_eq!(found, index.matching(&tenant, &conditions));
                }
            }
        }

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
