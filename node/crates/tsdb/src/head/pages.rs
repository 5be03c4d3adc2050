//! A sequence that grows by whole pages, so that what is in it stays where it is.

/// Items by number. The first page grows from nothing up to a page, the others are whole from the start: many shards hold
/// next to nothing, and a deletion begins a new head.
pub struct Pages<T, const PER_PAGE: usize> {
    pages: Vec<Vec<T>>,
}

impl<T, const PER_PAGE: usize> Default for Pages<T, PER_PAGE> {
    fn default() -> Self {
        Pages { pages: Vec::new() }
    }
}

impl<T, const PER_PAGE: usize> Pages<T, PER_PAGE> {
    /// Adds an item and returns its number.
    pub fn push(&mut self, item: T) -> u32 {
        match self.pages.last() {
            None => self.pages.push(Vec::new()),
            Some(page) if page.len() == PER_PAGE => self.pages.push(Vec::with_capacity(PER_PAGE)),
            Some(_) => {}
        }
        let number = self.len();
        self.pages.last_mut().expect("a page was just made").push(item);
        number
    }

    /// The item of a number that [`push`](Self::push) returned.
    #[inline]
    pub fn get(&self, at: u32) -> &T {
        &self.pages[at as usize / PER_PAGE][at as usize % PER_PAGE]
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.pages[at as usize / PER_PAGE][at as usize % PER_PAGE]
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        match self.pages.last() {
            Some(page) => ((self.pages.len() - 1) * PER_PAGE + page.len()) as u32,
            None => 0,
        }
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let whole = self.pages.len().saturating_sub(1) * PER_PAGE;
        (self.pages.first().map_or(0, Vec::capacity) + whole) * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_under_their_numbers_and_the_first_page_is_no_larger_than_what_it_holds() {
        let mut pages = Pages::<u64, 64>::default();
        assert_eq!(pages.bytes(), 0);
        for item in 0..1000 {
            assert_eq!(pages.push(item), item as u32);
            let held = (item as usize + 1) * size_of::<u64>();
            let most = if item < 64 { held.max(32) * 2 } else { held + 64 * size_of::<u64>() };
            assert!((held..=most).contains(&pages.bytes()), "{item}: {}", pages.bytes());
        }
        *pages.get_mut(64) = 5;
        assert_eq!((*pages.get(63), *pages.get(64), *pages.get(999)), (63, 5, 999));
        assert_eq!((pages.len(), pages.iter().count()), (1000, 1000));
    }
}
