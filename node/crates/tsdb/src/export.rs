//! Everything that a shard holds, Window by Window, for whoever carries it to another cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{Tenant, TimeRange};

use crate::error::SelectError;
use crate::index::SortKey;
use crate::select::{SelectedSeries, Wanted};
use crate::shard::Shard;
use crate::window::WindowStart;

/// Series read at a time, at most.
const SERIES_MAX: u64 = 1024;

/// Reads one tenant's samples of one Window, some series at a time.
pub struct WindowReader {
    shard: Arc<Shard>,
    keys: Vec<SortKey>,
    next: usize,
    range: TimeRange,
    /// Samples that a series has here, about.
    samples_each: u64,
}

impl Shard {
    /// The Windows that a run has samples of, oldest first.
    pub fn windows(&self) -> Vec<TimeRange> {
        self.state.read().catalog.windows.keys().map(|window| window.range()).collect()
    }

    /// Whoever has series or metadata here.
    pub fn tenants(&self) -> Vec<Tenant> {
        let state = self.state.read();
        let mut tenants: BTreeSet<Tenant> = state.index.tenants().cloned().collect();
        tenants.extend(state.metadata.tenants().cloned());
        tenants.into_iter().collect()
    }

    /// Reads a tenant's samples of the Window `window`, as [`windows`](Self::windows) names it.
    pub fn read_window(self: &Arc<Self>, tenant: &Tenant, window: TimeRange) -> Result<WindowReader, SelectError> {
        let range = self.visible(window);
        let keys = match range.is_empty() {
            true => Vec::new(),
            false => self.matching_in_order(tenant, &[], &AtomicBool::new(false))?,
        };
        let samples_each = {
            let catalog = self.state.read().catalog.clone();
            let runs = catalog.windows.get(&WindowStart(window.first)).map(|window| window.runs.as_slice());
            let each = runs.unwrap_or_default().iter().map(|run| run.samples.div_ceil(run.series.max(1)));
            each.sum::<u64>().max(1)
        };
        Ok(WindowReader { shard: self.clone(), keys, next: 0, range, samples_each })
    }
}

impl WindowReader {
    /// The next series that have samples, with about as many samples as asked for; none at the end.
    pub fn next(&mut self, samples: u64) -> Result<Vec<SelectedSeries>, SelectError> {
        let mut read = Vec::new();
        while read.is_empty() && self.next < self.keys.len() {
            let count = (samples / self.samples_each).clamp(1, SERIES_MAX) as usize;
            let end = self.keys.len().min(self.next.saturating_add(count));
            let keys = &self.keys[self.next..end];
            let cancel = AtomicBool::new(false);
            self.shard.read_each(keys, self.range, Wanted::All, &cancel, &mut |series| {
                read.push(series);
                Ok::<(), SelectError>(())
            })?;
            self.next = end;
        }
        Ok(read)
    }
}
