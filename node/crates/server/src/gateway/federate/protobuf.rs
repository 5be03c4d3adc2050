//! The newest samples as `io.prometheus.client.MetricFamily`, each with its length in front: the one format that has native
//! histograms.
//!
//! As in Prometheus numbers are untyped, histograms have floats for counts, and a metric that has both is announced again and again.
//! Histograms with bounds of their own, for which that message has no fields, are classic ones here.

use axum::http::{HeaderMap, header};
use bellwether_model::{CounterResetHint, Counts, Histogram, METRIC_NAME};
use bellwether_promql::{FetchedSeries, FloatHistogram};
use prost::Message;

use super::super::answer::Pieces;
use super::super::name_escaping::NameEscaping;
use super::INSTANCE;

/// The name of the message in media types.
const MESSAGE: &str = "io.prometheus.client.MetricFamily";
/// A family goes on in another message once it has so many metrics.
const METRICS_PER_MESSAGE: usize = 256;

// MetricType
const UNTYPED: i32 = 3;
const HISTOGRAM: i32 = 4;
const GAUGE_HISTOGRAM: i32 = 5;

/// Whether a client would rather have this format than text. Of equal wishes the first one counts.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut best = (0.0, false);
    for entry in accept.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let wish: f64 = parameter("q").map_or(Ok(1.0), str::parse).unwrap_or(0.0);
        let is_protobuf = media_type == "application/vnd.google.protobuf"
            && parameter("proto") == Some(MESSAGE)
            && parameter("encoding").is_none_or(|encoding| encoding == "delimited");
        let is_text = matches!(media_type, "text/plain" | "text/*" | "*/*")
            && matches!(parameter("version"), None | Some("0.0.4"));
        if (is_protobuf || is_text) && wish > best.0 {
            best = (wish, is_protobuf);
        }
    }
    best.1
}

/// The answer's media type.
pub fn content_type(escaping: NameEscaping) -> String {
    let escaping = escaping.as_str();
    format!("application/vnd.google.protobuf; proto={MESSAGE}; encoding=delimited; escaping={escaping}")
}

/// Messages on their way out.
pub struct Families {
    /// Sorted by metric.
    series: Vec<FetchedSeries>,
    written: usize,
    escaping: NameEscaping,
}

impl Families {
    /// Of series that are sorted by metric.
    pub fn new(series: Vec<FetchedSeries>, escaping: NameEscaping) -> Families {
        Families { series, written: 0, escaping }
    }

    fn metric(&self, series: &FetchedSeries) -> Option<(i32, wire::Metric)> {
        let label = |name: &str, value: &str| wire::LabelPair {
            name: Some(self.escaping.escape(name).into_owned()),
            value: Some(value.to_owned()),
        };
        let labels = series.labels.iter().filter(|label| label.name != METRIC_NAME);
        let instance = series.labels.get(INSTANCE).is_none().then(|| label(INSTANCE, ""));
        let labels = labels.map(|own| label(own.name, own.value)).chain(instance).collect();
        if let Some(own) = &series.histograms
            && let (Some(timestamp), Some(histogram)) = (own.timestamps.last(), own.histograms.last())
        {
            let kind = match histogram.counter_reset_hint {
                CounterResetHint::Gauge => GAUGE_HISTOGRAM,
                _ => HISTOGRAM,
            };
            let histogram = Some(if histogram.is_custom() { classic(histogram) } else { native(histogram) });
            return Some((kind, wire::Metric { labels, untyped: None, timestamp_ms: Some(*timestamp), histogram }));
        }
        let (timestamp, value) = (series.timestamps.last()?, series.values.last()?);
        let untyped = Some(wire::Untyped { value: Some(*value) });
        Some((UNTYPED, wire::Metric { labels, untyped, timestamp_ms: Some(*timestamp), histogram: None }))
    }
}

impl Pieces for Families {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while out.len() < enough {
            let mut family: Option<wire::MetricFamily> = None;
            while let Some(series) = self.series.get(self.written) {
                let (Some(name), Some((kind, metric))) = (series.labels.metric_name(), self.metric(series)) else {
                    self.written += 1;
                    continue;
                };
                let name = self.escaping.escape(name).into_owned();
                let open = family.get_or_insert_with(|| wire::MetricFamily {
                    name: Some(name.clone()),
                    kind: Some(kind),
                    metrics: Vec::new(),
                });
                let is_of_it = open.name.as_ref() == Some(&name) && open.kind == Some(kind);
                if !is_of_it || open.metrics.len() >= METRICS_PER_MESSAGE {
                    break;
                }
                open.metrics.push(metric);
                self.written += 1;
            }
            let Some(family) = family else { return true };
            out.extend_from_slice(&family.encode_length_delimited_to_vec());
        }
        false
    }
}

fn spans(spans: &[bellwether_model::Span]) -> Vec<wire::BucketSpan> {
    spans.iter().map(|span| wire::BucketSpan { offset: Some(span.offset), length: Some(span.length) }).collect()
}

fn native(histogram: &Histogram) -> wire::Histogram {
    let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<f64>>();
    let (count, zero, positive, negative) = match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            (*count as f64, *zero_count as f64, floats(positive), floats(negative))
        }
        Counts::Float { count, zero_count, positive, negative } => {
            (*count, *zero_count, positive.clone(), negative.clone())
        }
    };
    wire::Histogram {
        sample_count_float: Some(count),
        sample_sum: Some(histogram.sum),
        schema: Some(histogram.schema),
        zero_threshold: Some(histogram.zero_threshold),
        zero_count_float: Some(zero),
        negative_spans: spans(&histogram.negative_spans),
        negative_counts: negative,
        positive_spans: spans(&histogram.positive_spans),
        positive_counts: positive,
        buckets: Vec::new(),
    }
}

fn classic(histogram: &Histogram) -> wire::Histogram {
    let histogram = FloatHistogram::from(histogram);
    let mut below = 0.0;
    let buckets = histogram.buckets().map(|bucket| {
        below += bucket.count;
        wire::Bucket { cumulative_count_float: Some(below), upper_bound: Some(bucket.upper) }
    });
    let buckets = buckets.collect();
    wire::Histogram {
        sample_count_float: Some(histogram.count()),
        sample_sum: Some(histogram.sum()),
        buckets,
        ..wire::Histogram::default()
    }
}

/// The messages, as far as they are used.
/// <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MetricFamily {
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        #[prost(int32, optional, tag = "3")]
        pub kind: Option<i32>,
        #[prost(message, repeated, tag = "4")]
        pub metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<LabelPair>,
        #[prost(message, optional, tag = "5")]
        pub untyped: Option<Untyped>,
        #[prost(int64, optional, tag = "6")]
        pub timestamp_ms: Option<i64>,
        #[prost(message, optional, tag = "7")]
        pub histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct LabelPair {
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub value: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Untyped {
        #[prost(double, optional, tag = "1")]
        pub value: Option<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        #[prost(double, optional, tag = "2")]
        pub sample_sum: Option<f64>,
        #[prost(message, repeated, tag = "3")]
        pub buckets: Vec<Bucket>,
        #[prost(double, optional, tag = "4")]
        pub sample_count_float: Option<f64>,
        #[prost(sint32, optional, tag = "5")]
        pub schema: Option<i32>,
        #[prost(double, optional, tag = "6")]
        pub zero_threshold: Option<f64>,
        #[prost(double, optional, tag = "8")]
        pub zero_count_float: Option<f64>,
        #[prost(message, repeated, tag = "9")]
        pub negative_spans: Vec<BucketSpan>,
        #[prost(double, repeated, packed = "false", tag = "11")]
        pub negative_counts: Vec<f64>,
        #[prost(message, repeated, tag = "12")]
        pub positive_spans: Vec<BucketSpan>,
        #[prost(double, repeated, packed = "false", tag = "14")]
        pub positive_counts: Vec<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Bucket {
        #[prost(double, optional, tag = "2")]
        pub upper_bound: Option<f64>,
        #[prost(double, optional, tag = "4")]
        pub cumulative_count_float: Option<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct BucketSpan {
        #[prost(sint32, optional, tag = "1")]
        pub offset: Option<i32>,
        #[prost(uint32, optional, tag = "2")]
        pub length: Option<u32>,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use bellwether_model::{Labels, Span};
    use bellwether_promql::FetchedHistograms;

    use super::*;

    fn number(name: &str, job: &str) -> FetchedSeries {
        let labels = Labels::of(&[("__name__", name), ("job", job)]);
        FetchedSeries { labels, timestamps: [5].into(), values: vec![1.5], histograms: None }
    }

    fn histogram(schema: i32, hint: CounterResetHint) -> Histogram {
        let is_custom = schema == -53;
        Histogram {
            counter_reset_hint: hint,
            schema,
            zero_threshold: 0.0,
            sum: 18.5,
            counts: Counts::Integer { count: 7, zero_count: 0, positive: vec![2, 5], negative: vec![] },
            positive_spans: vec![Span { offset: i32::from(!is_custom), length: 2 }],
            negative_spans: vec![],
            custom_values: if is_custom { vec![0.5] } else { vec![] },
        }
    }

    fn with(name: &str, histogram: Histogram) -> FetchedSeries {
        let own = FetchedHistograms { timestamps: [7].into(), histograms: vec![histogram] };
        FetchedSeries {
            timestamps: [].into(),
            values: Vec::new(),
            histograms: Some(Box::new(own)),
            ..number(name, "j")
        }
    }

    fn read(series: Vec<FetchedSeries>) -> Vec<wire::MetricFamily> {
        let whole = |enough: usize| {
            let mut families = Families::new(series.clone(), NameEscaping::Underscores);
            let mut out = Vec::new();
            loop {
                let mut piece = Vec::new();
                let ended = families.write(&mut piece, enough);
                out.extend(piece);
                if ended {
                    return out;
                }
            }
        };
        let bytes = whole(1);
        assert_eq!(bytes, whole(1 << 20));
        let mut rest = &bytes[..];
        let mut families = Vec::new();
        while !rest.is_empty() {
            families.push(wire::MetricFamily::decode_length_delimited(&mut rest).unwrap());
        }
        families
    }

    #[test]
    fn metrics_of_one_name_and_type_are_a_family() {
        let families = read(vec![
            number("a.b", "1"),
            number("a.b", "2"),
            with("h", histogram(3, CounterResetHint::Unknown)),
            with("h", histogram(3, CounterResetHint::Gauge)),
            number("h", "3"),
        ]);
        let shown: Vec<(String, i32, usize)> = families
            .iter()
            .map(|family| (family.name.clone().unwrap(), family.kind.unwrap(), family.metrics.len()))
            .collect();
        let named = |name: &str, kind, metrics| (name.to_owned(), kind, metrics);
        assert_eq!(
            shown,
            [
                named("a_b", UNTYPED, 2),
                named("h", HISTOGRAM, 1),
                named("h", GAUGE_HISTOGRAM, 1),
                named("h", UNTYPED, 1)
            ]
        );
        let one = families[1].metrics[0].histogram.clone().unwrap();
        assert_eq!((one.sample_count_float, one.sample_sum, one.schema), (Some(7.0), Some(18.5), Some(3)));
        assert_eq!((one.positive_counts, one.positive_spans.len()), (vec![2.0, 5.0], 1));
        let labels: Vec<&str> = families[0].metrics[0].labels.iter().filter_map(|pair| pair.name.as_deref()).collect();
        assert_eq!(labels, ["job", "instance"]);
        assert_eq!(read(vec![number("a", "1"); 600]).len(), 3);
    }

    #[test]
    fn own_bounds_become_classic_buckets() {
        let families = read(vec![with("h", histogram(-53, CounterResetHint::Unknown))]);
        let one = families[0].metrics[0].histogram.clone().unwrap();
        let buckets: Vec<_> = one.buckets.iter().map(|own| (own.upper_bound, own.cumulative_count_float)).collect();
        assert_eq!(buckets, [(Some(0.5), Some(2.0)), (Some(f64::INFINITY), Some(7.0))]);
        assert_eq!(one.schema, None);
    }

    #[test]
    fn clients_say_which_format_they_would_rather_have() {
        let wanted =
            |value: &'static str| is_wanted(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]));
        // What Prometheus sends with native histograms, and without.
        assert!(wanted(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(!wanted("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert!(!wanted("text/plain,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"));
        assert!(!wanted("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"));
        assert!(!wanted("application/vnd.google.protobuf;q=0.1;proto=io.prometheus.client.MetricFamily,*/*;q=0.2"));
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
