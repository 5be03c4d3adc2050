//! What came, read strictly: nothing that is not a series of the workload, nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::Timestamp;
use serde_json::Value;

use crate::cluster::history::{Found, Series};
use crate::reference::{Key, Rows, Shape};

/// The series of a row.
pub(super) fn series(tenant: usize, labels: &Value) -> Option<Series> {
    let number = |name: &str| labels[name].as_str()?.parse().ok();
    let series = Series { tenant, writer: number("writer")?, number: number("n")? };
    let name = &labels["__name__"];
    let named = labels.as_object().map_or(0, serde_json::Map::len);
    let is_its = if name.is_null() { named == 2 } else { named == 3 && *name == series.metric() };
    is_its.then_some(series)
}

/// One pair of a time and a value.
fn pair(pair: &Value) -> Option<(Timestamp, f64)> {
    let timestamp = (pair[0].as_f64()? * 1000.0).round() as Timestamp;
    Some((timestamp, pair[1].as_str()?.parse().ok()?))
}

fn values(row: &Value) -> Option<Vec<(Timestamp, f64)>> {
    match row["values"].as_array() {
        Some(values) => values.iter().map(pair).collect(),
        None => Some(vec![pair(&row["value"])?]),
    }
}

/// Samples as they are stored.
pub(super) fn found(tenant: usize, rows: &[Value]) -> Result<Found, String> {
    let mut found = Found::new();
    for row in rows {
        let wrong = || format!("no phantoms: {row} is nothing that was written");
        let series = series(tenant, &row["metric"]).ok_or_else(wrong)?;
        let samples = values(row).ok_or_else(wrong)?.into_iter().map(|(timestamp, value)| (timestamp, value as u64));
        if row["metric"]["__name__"].is_null() || found.insert(series, samples.collect()).is_some() {
            return Err(format!("retries are idempotent: {series:?} is there twice, or without its name"));
        }
    }
    Ok(found)
}

/// Counts by what their labels say.
pub(super) fn counts<K: Ord>(rows: &[Value], key: impl Fn(&Value) -> Option<K>) -> Result<BTreeMap<K, u64>, String> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let (Some(key), Some((_, count))) = (key(&row["metric"]), pair(&row["value"])) else {
            return Err(format!("counts are right: {row} counts nothing that was written"));
        };
        if counts.insert(key, count as u64).is_some() {
            return Err(format!("counts are right: {} is there twice", row["metric"]));
        }
    }
    Ok(counts)
}

/// Series as they are listed.
pub(super) fn named(tenant: usize, rows: &[Value]) -> Result<BTreeSet<Series>, String> {
    let mut named = BTreeSet::new();
    for labels in rows {
        if !series(tenant, labels).is_some_and(|series| named.insert(series)) {
            return Err(format!("series have their names: {labels} is nobody's, or there twice"));
        }
    }
    Ok(named)
}

/// What was computed.
pub(super) fn rows(tenant: usize, shape: &Shape, json: &[Value]) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for row in json {
        let labels = &row["metric"];
        let key = match shape {
            Shape::Grouped(..) | Shape::Ratio(..) => group(labels),
            _ => series(tenant, labels).map(Key::Series),
        };
        let (Some(key), Some(values)) = (key, values(row)) else {
            return Err(format!("queries are computed right: {row} is a row of nothing that was written"));
        };
        if rows.insert(key, values).is_some() {
            return Err(format!("queries are computed right: {labels} is there twice"));
        }
    }
    Ok(rows)
}

fn group(labels: &Value) -> Option<Key> {
    let labels = labels.as_object()?;
    let number = |name: &str, prefix: &str| match labels.get(name) {
        Some(text) => text.as_str()?.strip_prefix(prefix)?.parse().ok().map(Some),
        None => Some(None),
    };
    let (writer, metric) = (number("writer", "")?, number("__name__", "m")?);
    let known = usize::from(writer.is_some()) + usize::from(metric.is_some());
    (known == labels.len()).then_some(Key::Group(writer, metric))
}
