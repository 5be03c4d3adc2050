//! Which pairs passed the matchers that were asked lately: dashboards and rules ask the same regular expressions again and again.
//!
//! Pairs get rising numbers, and one that nobody has any more never comes back under its number. So what is remembered of a matcher
//! stays true, and only pairs that came since are compared. It ends when the index is made anew, with other numbers.

use std::collections::BTreeMap;

use bellwether_model::{MatchOp, Matcher};
use parking_lot::Mutex;

use super::{PairId, TenantId};

/// Bytes that are remembered of one shard.
const BYTES_MAX: usize = 1 << 20;
/// Bytes of one matcher; of others nothing is remembered.
const MATCHER_BYTES_MAX: usize = BYTES_MAX / 4;
/// What a matcher takes beside its texts and pairs, about.
const MATCHER_BYTES: usize = 128;

/// The pairs of a label that pass a matcher, as far as they were compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passing {
    /// Those that pass, ascending; some may be without a series by now.
    pub pairs: Vec<PairId>,
    /// The last pair of the label that was compared.
    pub compared: Option<PairId>,
}

type Key = (TenantId, MatchOp, String, String);

fn key(tenant: TenantId, matcher: &Matcher) -> Key {
    (tenant, matcher.op(), matcher.name().to_owned(), matcher.value().to_owned())
}

struct Entry {
    passing: Passing,
    /// When it was asked for last.
    used: u64,
}

#[derive(Default)]
struct Inner {
    /// Of the index to which the numbers belong.
    generation: u64,
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
    uses: u64,
}

/// See the module.
#[derive(Default)]
pub struct Remembered(Mutex<Inner>);

/// What is remembered of an index of one generation.
#[derive(Clone, Copy)]
pub struct OfGeneration<'r> {
    remembered: &'r Remembered,
    generation: u64,
}

impl Remembered {
    /// Of an index of this generation.
    pub fn of_generation(&self, generation: u64) -> OfGeneration<'_> {
        OfGeneration { remembered: self, generation }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.lock().bytes
    }
}

impl OfGeneration<'_> {
    /// What is remembered of a matcher; nothing compared, if it is not known.
    pub(super) fn find(&self, tenant: TenantId, matcher: &Matcher) -> Passing {
        let mut inner = self.remembered.0.lock();
        let inner = &mut *inner;
        if inner.generation != self.generation {
            return Passing::default();
        }
        inner.uses += 1;
        let Some(entry) = inner.entries.get_mut(&key(tenant, matcher)) else { return Passing::default() };
        entry.used = inner.uses;
        entry.passing.clone()
    }

    /// Remembers it, unless more is known. Those that were not asked for longest make room.
    pub(super) fn keep(&self, tenant: TenantId, matcher: &Matcher, passing: &Passing) {
        let key = key(tenant, matcher);
        let bytes = bytes_of(&key, passing);
        let mut inner = self.remembered.0.lock();
        let inner = &mut *inner;
        if inner.generation < self.generation {
            *inner = Inner { generation: self.generation, ..Inner::default() };
        }
        let known = inner.entries.get(&key).map(|entry| entry.passing.compared);
        if inner.generation > self.generation || bytes > MATCHER_BYTES_MAX || known > Some(passing.compared) {
            return;
        }
        inner.uses += 1;
        inner.bytes += bytes;
        let entry = Entry { passing: passing.clone(), used: inner.uses };
        if let Some(before) = inner.entries.insert(key.clone(), entry) {
            inner.bytes -= bytes_of(&key, &before.passing);
        }
        while inner.bytes > BYTES_MAX
            && let Some(oldest) = inner.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
            && let Some(removed) = inner.entries.remove(&oldest)
        {
            inner.bytes -= bytes_of(&oldest, &removed.passing);
        }
    }
}

fn bytes_of((_, _, name, value): &Key, passing: &Passing) -> usize {
    MATCHER_BYTES + name.len() + value.len() + passing.pairs.len() * size_of::<PairId>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(pairs: impl IntoIterator<Item = u32>, compared: u32) -> Passing {
        Passing { pairs: pairs.into_iter().map(PairId).collect(), compared: Some(PairId(compared)) }
    }

    fn regex(value: &str) -> Matcher {
        Matcher::new(MatchOp::Regex, "l", value).unwrap()
    }

    const TENANT: TenantId = TenantId(0);

    #[test]
    fn who_compared_more_is_believed() {
        let remembered = Remembered::default();
        let now = remembered.of_generation(0);
        now.keep(TENANT, &regex("a.+"), &passing([1, 3], 5));
        now.keep(TENANT, &regex("a.+"), &passing([1], 2));
        assert_eq!(now.find(TENANT, &regex("a.+")), passing([1, 3], 5));
        assert_eq!(now.find(TenantId(1), &regex("a.+")), Passing::default());
        assert_eq!(now.find(TENANT, &Matcher::new(MatchOp::NotRegex, "l", "a.+").unwrap()), Passing::default());
    }

    #[test]
    fn an_index_made_anew_has_other_numbers() {
        let remembered = Remembered::default();
        remembered.of_generation(0).keep(TENANT, &regex("a.+"), &passing([1], 5));
        assert_eq!(remembered.of_generation(1).find(TENANT, &regex("a.+")), Passing::default());
        remembered.of_generation(1).keep(TENANT, &regex("a.+"), &passing([2], 2));
        // A lookup in the index of before ends late.
        remembered.of_generation(0).keep(TENANT, &regex("a.+"), &passing([1, 6], 9));
        assert_eq!(remembered.of_generation(0).find(TENANT, &regex("a.+")), Passing::default());
        assert_eq!(remembered.of_generation(1).find(TENANT, &regex("a.+")), passing([2], 2));
    }

    #[test]
    fn those_not_asked_for_longest_make_room() {
        let remembered = Remembered::default();
        let now = remembered.of_generation(0);
        let many = (MATCHER_BYTES_MAX / size_of::<PairId>() - 200) as u32;
        for at in 0..5 {
            now.keep(TENANT, &regex(&format!("a{at}.*")), &passing(0..many, many));
            assert!(remembered.bytes() <= BYTES_MAX);
            let _ = now.find(TENANT, &regex("a0.*"));
        }
        let is_known = |at: u32| now.find(TENANT, &regex(&format!("a{at}.*"))).compared.is_some();
        assert_eq!([0, 1, 2, 3, 4].map(is_known), [true, false, true, true, true]);
        now.keep(TENANT, &regex("huge.*"), &passing(0..many * 2, many * 2));
        assert_eq!(now.find(TENANT, &regex("huge.*")), Passing::default());
    }
}
