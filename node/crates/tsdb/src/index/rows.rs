//! Per series: its hash, its pairs, its place in runs, its last Window, and whether it lives.
//!
//! Refs rise and are never used again, so rows stand in pages by ref; a page whose series have all expired is given back. An expired series
//! keeps its row until the registry on disk has forgotten it: a flush stores the state of an earlier moment.

use bellwether_model::SeriesHash;

use super::PairId;

/// Refs per page.
const ROWS_PER_PAGE: usize = 1024;
/// Bits per word of the list of living series.
const WORD_BITS: usize = 64;

#[derive(Default)]
struct Page {
    hashes: Vec<SeriesHash>,
    /// First ref of the series' tenant and of its metric.
    sort_of: Vec<(u32, u32)>,
    last_windows: Vec<i32>,
    /// Where each row's pairs end.
    pair_ends: Vec<u32>,
    pairs: Vec<PairId>,
}

/// All rows.
#[derive(Default)]
pub struct Rows {
    pages: Vec<Option<Box<Page>>>,
    living: Vec<u64>,
    count: u32,
    living_count: u32,
}

/// What a row says.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub hash: SeriesHash,
    pub sort: (u32, u32),
    pub last_window: i32,
    pub pairs: &'a [PairId],
}

impl Rows {
    /// How many refs were given; also the next one.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Series that live.
    pub fn living(&self) -> u32 {
        self.living_count
    }

    #[inline]
    pub fn is_living(&self, series: u32) -> bool {
        let word = self.living.get(series as usize / WORD_BITS).copied().unwrap_or_default();
        word >> (series as usize % WORD_BITS) & 1 != 0
    }

    /// Every living series of a range of refs, ascending.
    pub fn living_in(&self, first: u32, end: u32) -> impl Iterator<Item = u32> + '_ {
        (first..end.min(self.count)).filter(|series| self.is_living(*series))
    }

    fn page(&self, series: u32) -> Option<(&Page, usize)> {
        let page = self.pages.get(series as usize / ROWS_PER_PAGE)?.as_deref()?;
        let at = series as usize % ROWS_PER_PAGE;
        (at < page.hashes.len()).then_some((page, at))
    }

    /// The row of a series that lives, or that has expired and is not forgotten.
    pub fn get(&self, series: u32) -> Option<Row<'_>> {
        let (page, at) = self.page(series)?;
        let start = if at == 0 { 0 } else { page.pair_ends[at - 1] as usize };
        let pairs = &page.pairs[start..page.pair_ends[at] as usize];
        // A forgotten row among others has no pairs; a series has at least its metric's name.
        let row = Row { hash: page.hashes[at], sort: page.sort_of[at], last_window: page.last_windows[at], pairs };
        (!pairs.is_empty()).then_some(row)
    }

    /// Adds the next row.
    pub fn push(&mut self, row: Row<'_>) -> u32 {
        let series = self.count;
        let (page, at) = (series as usize / ROWS_PER_PAGE, series as usize % ROWS_PER_PAGE);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new(Page::default()));
        // Series before it in its page are forgotten.
        page.hashes.resize(at, SeriesHash(0));
        page.sort_of.resize(at, (0, 0));
        page.last_windows.resize(at, i32::MIN);
        let end = page.pairs.len() as u32;
        page.pair_ends.resize(at, end);
        page.hashes.push(row.hash);
        page.sort_of.push(row.sort);
        page.last_windows.push(row.last_window);
        page.pairs.extend_from_slice(row.pairs);
        // At most 64 labels per row.
        page.pair_ends.push(page.pairs.len() as u32);
        self.count += 1;
        self.living.resize(series as usize / WORD_BITS + 1, 0);
        self.living[series as usize / WORD_BITS] |= 1 << (series as usize % WORD_BITS);
        self.living_count += 1;
        series
    }

    /// Adds the next ref as one whose series is forgotten.
    pub fn push_forgotten(&mut self) {
        self.count += 1;
    }

    /// The series has expired: its row stays until it is forgotten.
    pub fn expire(&mut self, series: u32) {
        if self.is_living(series) {
            self.living[series as usize / WORD_BITS] &= !(1 << (series as usize % WORD_BITS));
            self.living_count -= 1;
        }
    }

    /// Gives back the page of a series if none of its series lives or is `kept`.
    pub fn free_page_of(&mut self, series: u32, kept: impl Fn(u32, u32) -> bool) {
        let page = series as usize / ROWS_PER_PAGE;
        let (first, end) = ((page * ROWS_PER_PAGE) as u32, ((page + 1) * ROWS_PER_PAGE) as u32);
        if end > self.count || self.living_in(first, end).next().is_some() || kept(first, end) {
            return;
        }
        self.pages[page] = None;
    }

    /// The number of the series' last Window, at least `window` from now on. Says whether that changes it.
    pub fn raise_last_window(&mut self, series: u32, window: i32) -> bool {
        let page = self.pages.get_mut(series as usize / ROWS_PER_PAGE).and_then(Option::as_deref_mut);
        let last = page.and_then(|page| page.last_windows.get_mut(series as usize % ROWS_PER_PAGE));
        match last {
            Some(last) if *last < window => {
                *last = window;
                true
            }
            _ => false,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let page_bytes = |page: &Page| {
            size_of::<Page>()
                + page.hashes.capacity() * 16
                + page.sort_of.capacity() * 8
                + (page.last_windows.capacity() + page.pair_ends.capacity() + page.pairs.capacity()) * 4
        };
        self.pages.capacity() * 8
            + self.living.capacity() * 8
            + self.pages.iter().flatten().map(|page| page_bytes(page)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[PairId]) -> Row<'_> {
        Row { hash: SeriesHash(9), sort: (1, 2), last_window: 5, pairs }
    }

    #[test]
    fn an_expired_row_stays_until_its_page_is_freed() {
        let mut rows = Rows::default();
        for _ in 0..ROWS_PER_PAGE + 1 {
            rows.push(row(&[PairId(1), PairId(2)]));
        }
        for series in 0..ROWS_PER_PAGE as u32 {
            rows.expire(series);
            rows.expire(series);
        }
        assert_eq!((rows.len(), rows.living()), (1025, 1));
        assert!(!rows.is_living(0) && rows.get(0).is_some_and(|row| row.pairs.len() == 2));
        rows.free_page_of(0, |_, _| true);
        assert!(rows.get(0).is_some());
        rows.free_page_of(0, |_, _| false);
        assert!(rows.get(0).is_none());
        rows.free_page_of(1024, |_, _| false);
        assert!(rows.get(1024).is_some(), "a page that still grows stays");
    }

    #[test]
    fn forgotten_rows_leave_gaps() {
        let mut rows = Rows::default();
        for _ in 0..3000 {
            rows.push_forgotten();
        }
        assert_eq!(rows.push(row(&[PairId(7)])), 3000);
        assert!(rows.get(2999).is_none() && !rows.is_living(2999));
        assert_eq!(rows.get(3000).unwrap().pairs, [PairId(7)]);
        assert_eq!(rows.living_in(0, u32::MAX).collect::<Vec<_>>(), [3000]);
        assert!(rows.raise_last_window(3000, 6) && !rows.raise_last_window(3000, 6));
        assert!(!rows.raise_last_window(2, 6));
        assert!(rows.bytes() < 80_000, "one page: {} bytes", rows.bytes());
    }
}
