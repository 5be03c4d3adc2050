//! A registry's metric families as readings, named as the text format names them.

use bellwether_model::{MetricKind, MetricMetadata};
use prometheus::proto::{MetricFamily, MetricType};

use super::{Reading, Target};
use crate::gateway::push_float;

/// Everything that the families hold.
pub fn target(families: &[MetricFamily]) -> Target {
    let mut target = Target::default();
    for family in families {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => MetricKind::Counter,
            MetricType::GAUGE => MetricKind::Gauge,
            MetricType::HISTOGRAM => MetricKind::Histogram,
            MetricType::SUMMARY => MetricKind::Summary,
            MetricType::UNTYPED => MetricKind::Unknown,
        };
        let metadata = MetricMetadata { kind, help: family.help().to_owned(), unit: String::new() };
        target.metadata.insert(family.name().to_owned(), metadata);
        for metric in family.get_metric() {
            let labels: Vec<(String, String)> =
                metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect();
            let mut add = |suffix: &str, extra: Option<(&str, String)>, value: f64| {
                let mut labels = labels.clone();
                labels.extend(extra.map(|(name, value)| (name.to_owned(), value)));
                target.readings.push(Reading { name: format!("{}{suffix}", family.name()), labels, value });
            };
            match family.get_field_type() {
                MetricType::COUNTER => add("", None, metric.get_counter().get_value()),
                MetricType::GAUGE => add("", None, metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    let count = histogram.get_sample_count() as f64;
                    for bucket in histogram.get_bucket() {
                        if bucket.upper_bound().is_finite() {
                            let bound = ("le", number_text(bucket.upper_bound()));
                            add("_bucket", Some(bound), bucket.cumulative_count() as f64);
                        }
                    }
                    add("_bucket", Some(("le", number_text(f64::INFINITY))), count);
                    add("_sum", None, histogram.get_sample_sum());
                    add("_count", None, count);
                }
                // Nothing of ours is of these types.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    target
}

fn number_text(value: f64) -> String {
    let mut text = Vec::new();
    push_float(&mut text, value);
    String::from_utf8(text).expect("numbers are ASCII")
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounter, Registry};

    use super::*;

    #[test]
    fn a_histogram_becomes_buckets_sum_and_count() {
        let registry = Registry::new();
        let seconds = HistogramOpts::new("seconds", "Help.").buckets(vec![0.5, 2.0]);
        let seconds = HistogramVec::new(seconds, &["kind"]).unwrap();
        let total = IntCounter::new("total", "Help.").unwrap();
        registry.register(Box::new(seconds.clone())).unwrap();
        registry.register(Box::new(total.clone())).unwrap();
        total.inc_by(3);
        seconds.with_label_values(&["a"]).observe(0.25);
        seconds.with_label_values(&["a"]).observe(1.0);
        seconds.with_label_values(&["a"]).observe(9.0);
        let target = target(&registry.gather());
        let shown: Vec<String> = target
            .readings
            .iter()
            .map(|reading| {
                let labels: Vec<String> =
                    reading.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{}{{{}}} {}", reading.name, labels.join(","), reading.value)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "seconds_bucket{kind=a,le=0.5} 1",
                "seconds_bucket{kind=a,le=2} 2",
                "seconds_bucket{kind=a,le=+Inf} 3",
                "seconds_sum{kind=a} 10.25",
                "seconds_count{kind=a} 3",
                "total{} 3",
            ]
        );
        assert_eq!(target.metadata["seconds"].kind, MetricKind::Histogram);
        assert_eq!(target.metadata["total"].help, "Help.");
    }
}
