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
        let samples = values(row).ok_or_else(wrong)?;
        let samples = samples.into_iter().map(|(timestamp, value)| Some((timestamp, series.serial(value)?)));
        let samples = samples.collect::<Option<_>>().ok_or_else(wrong)?;
        if row["metric"]["__name__"].is_null() || found.insert(series, samples).is_some() {
            return Err(format!("retries are idempotent: {series:?} is there twice, or without its name"));
        }
    }
    Ok(found)
}

/// A number without a fraction.
fn whole(value: f64) -> Option<u64> {
    (value as u64 as f64 == value).then_some(value as u64)
}

/// Counts by what their labels say.
pub(super) fn counts<K: Ord>(rows: &[Value], key: impl Fn(&Value) -> Option<K>) -> Result<BTreeMap<K, u64>, String> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let count = pair(&row["value"]).and_then(|(_, count)| whole(count));
        let (Some(key), Some(count)) = (key(&row["metric"]), count) else {
            return Err(format!("counts are right: {row} counts nothing that was written"));
        };
        if counts.insert(key, count).is_some() {
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
        let key = if shape.is_of_groups() { group(labels) } else { series(tenant, labels).map(Key::Series) };
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
    let value: Option<f64> = labels.get("v").map_or(Some(None), |text| Some(Some(text.as_str()?.parse().ok()?)))?;
    let known = usize::from(writer.is_some()) + usize::from(metric.is_some()) + usize::from(value.is_some());
    (known == labels.len()).then_some(match value {
        Some(value) => Key::Value(writer, metric, value.to_bits()),
        None => Key::Group(writer, metric),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_with_a_fraction_is_no_serial_number_and_no_count() {
        let read = |value: &str| {
            let row = json!({"metric": {"__name__": "m2", "writer": "1", "n": "2"}, "values": [[10.5, value]]});
            found(0, &[row])
        };
        let series = Series { tenant: 0, writer: 1, number: 2 };
        assert_eq!(read("7"), Ok(Found::from([(series, vec![(10_500, 7)])])));
        let counted = |value: &str| counts(&[json!({"metric": {}, "value": [10.5, value]})], |_| Some(()));
        assert_eq!(counted("7"), Ok(BTreeMap::from([((), 7)])));
        for value in ["7.9", "-7", "NaN", "+Inf", "1e300"] {
            assert!(read(value).is_err() && counted(value).is_err(), "{value}");
        }
    }
}
