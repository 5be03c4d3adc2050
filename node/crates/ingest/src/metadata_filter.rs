//! What metadata has been passed on already: version 2.0 repeats a metric's type and help with every series of every
//! request, version 1.0 every minute.
//!
//! A table of fingerprints, each with one place to be. Two that want the same place push each other out and are told
//! again and again; nothing is ever wrongly held back for longer than until [`MetadataFilter::clear`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fingerprints that are remembered: ten thousand metrics push out few of each other, in 256 KiB.
const PLACES: usize = 32 * 1024;

/// Remembers what metadata was told. Shared by all requests of a gateway.
#[derive(Debug)]
pub struct MetadataFilter {
    places: Arc<[AtomicU64]>,
}

impl Default for MetadataFilter {
    fn default() -> MetadataFilter {
        MetadataFilter { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl MetadataFilter {
    /// Begins what one request tells.
    pub fn tell(&self) -> Telling {
        Telling { places: self.places.clone(), fingerprints: Vec::new() }
    }

    /// Forgets everything: to be called from time to time, since what was stored may be lost by a limit.
    pub fn clear(&self) {
        self.places.iter().for_each(|place| place.store(0, Ordering::Relaxed));
    }
}

/// The news of one request. Others hold the same back meanwhile; unless it was [told](Self::told) in the end, it is news again.
#[derive(Debug, Default)]
pub struct Telling {
    places: Arc<[AtomicU64]>,
    fingerprints: Vec<u64>,
}

impl Telling {
    /// Whether this has not been told lately, nor is being told.
    pub fn is_news(&mut self, fingerprint: u64) -> bool {
        // Zero marks an empty place.
        let fingerprint = fingerprint.max(1);
        let Some(place) = self.places.get(fingerprint as usize % PLACES) else { return true };
        // Relaxed: at worst two requests tell the same thing.
        if place.load(Ordering::Relaxed) == fingerprint {
            return false;
        }
        place.store(fingerprint, Ordering::Relaxed);
        self.fingerprints.push(fingerprint);
        true
    }

    /// All of it has been passed on.
    pub fn told(mut self) {
        self.fingerprints.clear();
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        for fingerprint in &self.fingerprints {
            if let Some(place) = self.places.get(*fingerprint as usize % PLACES) {
                // Another may have its place by now.
                let _ = place.compare_exchange(*fingerprint, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_news_once_until_cleared() {
        let filter = MetadataFilter::default();
        let mut telling = filter.tell();
        assert!(telling.is_news(7) && telling.is_news(0));
        assert!(!telling.is_news(7) && !telling.is_news(0));
        assert!(telling.is_news(7 + PLACES as u64) && telling.is_news(7));
        filter.clear();
        assert!(telling.is_news(7));
    }

    #[test]
    fn what_a_request_that_failed_would_have_told_is_news_again() {
        let filter = MetadataFilter::default();
        let (mut fails, mut succeeds) = (filter.tell(), filter.tell());
        assert!(fails.is_news(7) && succeeds.is_news(8));
        assert!(!succeeds.is_news(7), "somebody is telling it");
        drop(fails);
        succeeds.told();
        assert!(filter.tell().is_news(7) && !filter.tell().is_news(8));
    }
}
