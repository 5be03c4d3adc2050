//! Which program a node runs: what it says and stores it can do in some versions, and not in others.
//!
//! Two sorts of versions are told apart. Those of the interface between nodes are settled on each connection. Those of what
//! is replicated (commands of the meta group, its state) are the cluster's: one is active, every node must know it, and it
//! rises when somebody finalizes an upgrade.

use std::fmt;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its version, for people.
    pub version: &'static str,
    /// Versions of the interface between nodes that it speaks.
    pub peers: Versions,
    /// Versions of what is replicated that it works with.
    pub formats: Versions,
}

impl Program {
    /// This one.
    pub const THIS: Program = Program {
        version: env!("CARGO_PKG_VERSION"),
        peers: Versions { lowest: 1, highest: 1 },
        // 2: shard groups store histograms.
        formats: Versions { lowest: 1, highest: 2 },
    };
}

/// A span of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub lowest: u32,
    /// The newest.
    pub highest: u32,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lowest, self.highest)
    }
}

impl Versions {
    /// Reads what is written.
    pub fn parse(text: &str) -> Option<Versions> {
        let (lowest, highest) = text.split_once('-')?;
        let versions = Versions { lowest: lowest.parse().ok()?, highest: highest.parse().ok()? };
        (versions.lowest <= versions.highest).then_some(versions)
    }

    /// The newest version that is in both.
    pub fn common(self, other: Versions) -> Option<u32> {
        let newest = self.highest.min(other.highest);
        (newest >= self.lowest.max(other.lowest)).then_some(newest)
    }
}
