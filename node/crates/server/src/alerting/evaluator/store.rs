//! Stores the samples of rules: they take the same way in as everybody's.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_alert::state::{RuleSample, RuleValue};
use bellwether_model::{Histogram, Labels, Tenant};

use crate::write::{ContentEncoding, RemoteWriteVersion, WriteError, WritePath, own_body};

/// Samples of one request. A group's rules seldom have more; those that do are stored in parts.
const SAMPLES_PER_REQUEST_MAX: usize = 5_000;

/// Why samples of rules were not stored, or not all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Some of them never will be.
    #[error("samples were not stored: {0}")]
    Refused(String),
    /// They cannot be stored now.
    #[error("samples were not stored: {0}")]
    Unavailable(String),
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> StoreError {
        match error {
            WriteError::Transient { .. } | WriteError::Internal(_) => StoreError::Unavailable(error.to_string()),
            error => StoreError::Refused(error.to_string()),
        }
    }
}

/// Stores samples for a tenant. What is refused keeps nothing else out; where something is unavailable, some of them may be stored.
pub async fn store(write: &Arc<WritePath>, tenant: &Tenant, samples: &[&RuleSample]) -> Result<(), StoreError> {
    let mut refused = None;
    for body in bodies(samples) {
        let (version, encoding) = (RemoteWriteVersion::V1, ContentEncoding::Identity);
        let stored = write.remote_write(tenant, version, encoding, body.into()).await.map_err(StoreError::from);
        let of_body = match stored {
            Ok(outcome) if outcome.refused.is_empty() => None,
            Ok(outcome) => Some(StoreError::Refused(outcome.refused.to_string())),
            Err(refused @ StoreError::Refused(_)) => Some(refused),
            Err(unavailable @ StoreError::Unavailable(_)) => return Err(unavailable),
        };
        refused = refused.or(of_body);
    }
    refused.map_or(Ok(()), Err)
}

/// Leaves out the ends of series to which another sample, or a rule that has recorded some of `also`, gives a value at the same
/// time: the end would be stored in the value's place. As in Prometheus, such a series goes on.
pub fn leave_out_vain_ends<'s, 'a>(
    samples: impl Iterator<Item = &'s mut Vec<RuleSample>>,
    also: impl Iterator<Item = &'a Labels>,
) {
    let mut samples: Vec<&mut Vec<RuleSample>> = samples.collect();
    let all = || samples.iter().flat_map(|of_rule| of_rule.iter());
    let mut ends: BTreeSet<Labels> =
        all().filter(|sample| sample.is_end()).map(|sample| sample.labels.clone()).collect();
    if ends.is_empty() {
        return;
    }
    let mut in_vain = BTreeSet::new();
    let mut goes_on = |labels: &Labels| in_vain.extend(ends.take(labels));
    all().filter(|sample| !sample.is_end()).for_each(|sample| goes_on(&sample.labels));
    also.for_each(goes_on);
    if !in_vain.is_empty() {
        samples.iter_mut().for_each(|of_rule| {
            of_rule.retain(|sample| !(sample.is_end() && in_vain.contains(&sample.labels)));
        });
    }
}

/// Remote-write 1.0 bodies with all of the samples, in their order.
fn bodies(samples: &[&RuleSample]) -> impl Iterator<Item = Vec<u8>> {
    samples.chunks(SAMPLES_PER_REQUEST_MAX).map(body)
}

fn body(samples: &[&RuleSample]) -> Vec<u8> {
    let floats = samples.iter().filter_map(|sample| match &sample.value {
        RuleValue::Float(value) => {
            Some((&sample.labels, std::slice::from_ref(&sample.timestamp), std::slice::from_ref(value)))
        }
        RuleValue::Histogram(_) => None,
    });
    let mut body = own_body::encode_series(floats);
    for sample in samples {
        if let RuleValue::Histogram(histogram) = &sample.value {
            let histogram = Histogram::from(&**histogram);
            own_body::put_histograms(&mut body, &sample.labels, &[sample.timestamp], &[histogram]);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use bellwether_ingest::ControlCommand;
    use bellwether_model::{Matcher, TimeRange, is_stale_marker, stale_marker};
    use bellwether_promql::series_notation::{NotedValue, parse_values};
    use bellwether_promql::{FloatHistogram, Limits, QueryAccount};

    use super::*;
    use crate::env::{Program, WallClock};
    use crate::shards::{ReadContext, Wanted};
    use crate::testing::Storage;

    #[tokio::test]
    async fn numbers_histograms_and_stale_markers_are_stored() {
        let storage = Storage::open(bellwether_kv::MemDisk::new(), |_| {}).await;
        let version = ControlCommand::SetActiveVersion { version: Program::THIS.formats.highest };
        for group in storage.shards.serving() {
            group.command(&version, &*storage.clock).await.unwrap();
        }
        let now = storage.clock.now_ms();
        let sample =
            |name: &str, timestamp, value| RuleSample { labels: Labels::of(&[("__name__", name)]), timestamp, value };
        let noted = match &parse_values("{{schema:1 sum:2.5 count:3 buckets:[1 2]}}").unwrap()[..] {
            [Some(NotedValue::Histogram(histogram))] => FloatHistogram::from(&**histogram),
            other => panic!("{other:?}"),
        };
        let samples = [
            sample("number", now, RuleValue::Float(1.5)),
            sample("shape", now, RuleValue::Histogram(Arc::new(noted))),
            sample("number", now + 1, RuleValue::Float(stale_marker())),
        ];
        let tenant = Tenant::default_tenant();
        store(&storage.write, &tenant, &samples.each_ref()).await.unwrap();
        let values = storage.values("number").await.unwrap();
        assert!(values[0] == 1.5 && is_stale_marker(values[1]), "{values:?}");
        let matchers = [Matcher::equal("__name__", "shape")].into();
        let read = ReadContext::new(QueryAccount::new(Limits::default()));
        let found = storage.router.select(&tenant, matchers, TimeRange::ALL, Wanted::All, &read).await.unwrap();
        assert_eq!(found[0].histograms.as_ref().unwrap().histograms[0].sum, 2.5);
        let future = sample("number", i64::MAX / 2, RuleValue::Float(1.0));
        let refused = store(&storage.write, &tenant, &[&future]).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Refused(why) if why.contains("too far in the future")), "{refused}");
    }

    #[tokio::test]
    async fn what_is_refused_keeps_nothing_else_out() {
        let storage = Storage::open(bellwether_kv::MemDisk::new(), |_| {}).await;
        let now = storage.clock.now_ms();
        let sample = |name: &str, timestamp| RuleSample {
            labels: Labels::of(&[("__name__", name)]),
            timestamp,
            value: RuleValue::Float(1.0),
        };
        let mut samples = vec![sample("refused", i64::MAX / 2)];
        samples.extend((1..SAMPLES_PER_REQUEST_MAX).map(|_| sample("taken", now)));
        samples.push(sample("of_the_next_request", now));
        let stored = store(&storage.write, &Tenant::default_tenant(), &samples.iter().collect::<Vec<_>>()).await;
        assert!(matches!(&stored, Err(StoreError::Refused(why)) if why.starts_with("1 refused")), "{stored:?}");
        assert_eq!(storage.values("of_the_next_request").await.unwrap(), [1.0]);
    }

    #[test]
    fn an_end_is_left_out_where_another_rule_gives_a_value() {
        let labels = |name: &str| Labels::of(&[("__name__", name)]);
        let sample =
            |name: &str, value| RuleSample { labels: labels(name), timestamp: 1, value: RuleValue::Float(value) };
        let end = |name: &str| sample(name, stale_marker());
        let mut rules = [vec![sample("a", 1.0), end("b")], vec![end("a"), end("c"), end("d"), sample("e", 2.0)]];
        leave_out_vain_ends(rules.iter_mut(), [labels("d")].iter());
        assert_eq!(rules[0].len(), 2);
        let names: Vec<&str> = rules[1].iter().filter_map(|sample| sample.labels.metric_name()).collect();
        assert_eq!(names, ["c", "e"]);
    }

    #[test]
    fn many_samples_are_several_requests() {
        let labels = Labels::of(&[("__name__", "a")]);
        let sample = RuleSample { labels, timestamp: 1, value: RuleValue::Float(1.0) };
        let samples = vec![&sample; SAMPLES_PER_REQUEST_MAX + 1];
        assert_eq!(bodies(&samples).count(), 2);
        assert_eq!(bodies(&[]).count(), 0);
    }
}
