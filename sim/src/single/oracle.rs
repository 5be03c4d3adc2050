//! What must be true: everything acknowledged is there, bit for bit, and nothing that was never written.
//!
//! A write whose acknowledgement never came is *unknown*: it may be there or not. So each cell (series and timestamp)
//! holds the values that may be read there, and whether nothing may be.

use std::collections::BTreeMap;

use bellwether_model::{Labels, Matcher, Sample, Tenant, TimeRange, Timestamp};

/// One tenant's series.
pub type SeriesKey = (Tenant, Labels);

/// What may be read at one timestamp of one series.
#[derive(Debug, Clone, Default)]
struct Cell {
    values: Vec<u64>,
    may_be_absent: bool,
}

/// All cells that were ever written.
#[derive(Debug, Default)]
pub struct Oracle {
    cells: BTreeMap<SeriesKey, BTreeMap<Timestamp, Cell>>,
}

impl Oracle {
    /// A sample was acknowledged, and no other write to its cell was under way.
    pub fn acknowledged(&mut self, series: &SeriesKey, sample: Sample) {
        let cell = Cell { values: vec![sample.value.to_bits()], may_be_absent: false };
        self.cells.entry(series.clone()).or_default().insert(sample.timestamp, cell);
    }

    /// A sample's acknowledgement did not come.
    pub fn unknown(&mut self, series: &SeriesKey, sample: Sample) {
        let absent = Cell { values: Vec::new(), may_be_absent: true };
        let cell = self.cells.entry(series.clone()).or_default().entry(sample.timestamp).or_insert(absent);
        cell.values.push(sample.value.to_bits());
    }

    /// Samples were deleted, or may have been.
    pub fn deleted(&mut self, tenant: &Tenant, matchers: &[Matcher], range: TimeRange, is_known: bool) {
        if range.is_empty() {
            return;
        }
        for ((owner, labels), cells) in &mut self.cells {
            if owner == tenant && all_match(matchers, labels) {
                for cell in cells.range_mut(range.first..=range.last).map(|(_, cell)| cell) {
                    cell.may_be_absent = true;
                    if is_known {
                        cell.values.clear();
                    }
                }
            }
        }
    }

    /// Samples that must be there.
    pub fn acknowledged_samples(&self) -> usize {
        self.cells.values().flat_map(BTreeMap::values).filter(|cell| !cell.may_be_absent).count()
    }

    /// Checks a selection against what must be there; says what is wrong.
    pub fn check(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        found: &[(Labels, Vec<Sample>)],
    ) -> Result<(), String> {
        if let Some(pair) = found.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("series are not sorted and unique: {} before {}", pair[0].0, pair[1].0));
        }
        let found: BTreeMap<&Labels, &Vec<Sample>> = found.iter().map(|(labels, samples)| (labels, samples)).collect();
        for (labels, samples) in &found {
            let Some(cells) = self.cells.get(&(tenant.clone(), (*labels).clone())) else {
                return Err(format!("{labels} of tenant {tenant} was never written"));
            };
            if !all_match(matchers, labels) {
                return Err(format!("{labels} does not match"));
            }
            if let Some(pair) = samples.windows(2).find(|pair| pair[0].timestamp >= pair[1].timestamp) {
                return Err(format!("{labels}: samples out of order at {}", pair[1].timestamp));
            }
            for sample in samples.iter() {
                let legal =
                    cells.get(&sample.timestamp).is_some_and(|cell| cell.values.contains(&sample.value.to_bits()));
                if !legal || !range.contains(sample.timestamp) {
                    return Err(format!(
                        "{labels}: {:#x} at {} was never written there, or lies outside the range",
                        sample.value.to_bits(),
                        sample.timestamp
                    ));
                }
            }
        }
        for ((owner, labels), cells) in &self.cells {
            if owner != tenant || !all_match(matchers, labels) {
                continue;
            }
            let samples = found.get(labels).map_or(&[][..], |samples| samples.as_slice());
            if range.is_empty() {
                continue;
            }
            let due = cells.range(range.first..=range.last).filter(|(_, cell)| !cell.may_be_absent);
            for (timestamp, _) in due {
                if samples.binary_search_by_key(timestamp, |sample| sample.timestamp).is_err() {
                    return Err(format!("{labels} of tenant {tenant}: the acknowledged sample at {timestamp} is lost"));
                }
            }
        }
        Ok(())
    }
}

fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &[(Labels, Vec<Sample>)]) -> Result<(), String> {
        let tenant = Tenant::default_tenant();
        let up = Labels::of(&[("__name__", "up")]);
        let mut oracle = Oracle::default();
        oracle.acknowledged(&(tenant.clone(), up.clone()), Sample { timestamp: 1, value: 1.0 });
        oracle.acknowledged(&(tenant.clone(), up.clone()), Sample { timestamp: 2, value: 2.0 });
        oracle.unknown(&(tenant.clone(), up.clone()), Sample { timestamp: 2, value: 3.0 });
        oracle.unknown(&(tenant.clone(), up), Sample { timestamp: 9, value: 9.0 });
        oracle.check(&tenant, &[Matcher::equal("__name__", "up")], TimeRange::new(0, 10), found)
    }

    fn up(samples: &[(i64, f64)]) -> Vec<(Labels, Vec<Sample>)> {
        let samples = samples.iter().map(|(timestamp, value)| Sample { timestamp: *timestamp, value: *value });
        vec![(Labels::of(&[("__name__", "up")]), samples.collect())]
    }

    #[test]
    fn what_was_acknowledged_and_what_is_unknown_passes() {
        assert_eq!(check(&up(&[(1, 1.0), (2, 2.0)])), Ok(()));
        assert_eq!(check(&up(&[(1, 1.0), (2, 3.0), (9, 9.0)])), Ok(()));
    }

    #[test]
    fn losses_phantoms_and_disorder_are_caught() {
        assert!(check(&[]).unwrap_err().contains("lost"));
        assert!(check(&up(&[(1, 1.0)])).unwrap_err().contains("lost"));
        assert!(check(&up(&[(1, 1.5), (2, 2.0)])).unwrap_err().contains("never written"));
        assert!(check(&up(&[(2, 2.0), (1, 1.0)])).unwrap_err().contains("order"));
        assert!(check(&up(&[(1, 1.0), (2, 2.0), (3, 3.0)])).unwrap_err().contains("never written"));
    }
}
