//! What metadata has been passed on already: version 2.0 repeats a metric's type and help with every series of every
//! request, version 1.0 every minute.
//!
//! A table of fingerprints, each with one place to be. Two that want the same place push each other out and are told
//! again and again; nothing is ever wrongly held back for longer than until [`MetadataFilter::clear`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Fingerprints that are remembered: ten thousand metrics push out few of each other, in 256 KiB.
const PLACES: usize = 32 * 1024;

/// Remembers what metadata was told. Shared by all requests of a gateway.
#[derive(Debug)]
pub struct MetadataFilter {
    places: Box<[AtomicU64]>,
}

impl Default for MetadataFilter {
    fn default() -> MetadataFilter {
        MetadataFilter { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl MetadataFilter {
    /// Whether this has not been told lately; from now on it has been.
    pub fn is_news(&self, fingerprint: u64) -> bool {
        // Zero marks an empty place.
        let fingerprint = fingerprint.max(1);
        let place = &self.places[fingerprint as usize % PLACES];
        // Relaxed: at worst two requests tell the same thing.
        if place.load(Ordering::Relaxed) == fingerprint {
            return false;
        }
        place.store(fingerprint, Ordering::Relaxed);
        true
    }

    /// Forgets everything: to be called when passing metadata on has failed, and from time to time.
    pub fn clear(&self) {
        self.places.iter().for_each(|place| place.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_news_once_until_cleared() {
        let filter = MetadataFilter::default();
        assert!(filter.is_news(7) && filter.is_news(0));
        assert!(!filter.is_news(7) && !filter.is_news(0));
        assert!(filter.is_news(7 + PLACES as u64) && filter.is_news(7));
        filter.clear();
        assert!(filter.is_news(7));
    }
}
