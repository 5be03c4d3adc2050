//! Remote-write bodies, versions 1.0 and 2.0.

use std::collections::BTreeMap;

use prost::Message;

/// A series to be written: labels in the order given, samples as (milliseconds, value).
#[derive(Clone)]
pub struct Series {
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    pub samples: Vec<(i64, f64)>,
}

/// `series("up{job=a}", ..)` without escapes: names and values as they stand.
pub fn series(text: &str, samples: &[(i64, f64)]) -> Series {
    let (name, rest) = text.split_once('{').unwrap_or((text, ""));
    let pairs = rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let mut labels: BTreeMap<Vec<u8>, Vec<u8>> =
        pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect();
    if !name.is_empty() {
        labels.insert(b"__name__".to_vec(), name.into());
    }
    Series { labels: labels.into_iter().collect(), samples: samples.to_vec() }
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequestV1 {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<SeriesV1>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetadataV1>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelV1>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleV1>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelV1 {
    // Bytes, so that tests can send what is not UTF-8.
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SampleV1 {
    // Optional, because -0.0 would be left out as the default.
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

impl From<&(i64, f64)> for SampleV1 {
    fn from((timestamp, value): &(i64, f64)) -> SampleV1 {
        SampleV1 { value: Some(*value), timestamp: *timestamp }
    }
}

/// Metadata of version 1.0.
#[derive(Clone, PartialEq, Message)]
pub struct MetadataV1 {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

pub fn metadata(name: &str, kind: i32, help: &str) -> MetadataV1 {
    MetadataV1 { kind, name: name.into(), help: help.into(), unit: String::new() }
}

/// A body of version 1.0.
pub fn v1(series: &[Series]) -> Vec<u8> {
    v1_with_metadata(series, Vec::new())
}

pub fn v1_with_metadata(series: &[Series], metadata: Vec<MetadataV1>) -> Vec<u8> {
    let timeseries = series
        .iter()
        .map(|one| SeriesV1 {
            labels: one.labels.iter().cloned().map(|(name, value)| LabelV1 { name, value }).collect(),
            samples: one.samples.iter().map(SampleV1::from).collect(),
        })
        .collect();
    WriteRequestV1 { timeseries, metadata }.encode_to_vec()
}

/// A body of version 2.0, field by field.
#[derive(Clone, PartialEq, Message)]
pub struct V2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<SeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleV1>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<HistogramV2>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<MetadataV2>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramV2 {
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarV2 {
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct MetadataV2 {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

impl V2 {
    pub fn new() -> V2 {
        V2 { symbols: vec![String::new()], timeseries: Vec::new() }
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(at) = self.symbols.iter().position(|symbol| symbol == text) {
            return at as u32;
        }
        self.symbols.push(text.to_owned());
        (self.symbols.len() - 1) as u32
    }

    /// Adds a series with its help text, native histograms and exemplars.
    pub fn add(&mut self, series: &Series, help: &str, histograms: usize, exemplars: usize) -> &mut V2 {
        let texts: Vec<&[u8]> = series.labels.iter().flat_map(|(name, value)| [&name[..], &value[..]]).collect();
        let labels_refs = texts.iter().map(|text| self.symbol(std::str::from_utf8(text).unwrap())).collect();
        let timestamp = series.samples.first().map_or(0, |(timestamp, _)| *timestamp);
        let samples = series.samples.iter().map(SampleV1::from).collect();
        let metadata = MetadataV2 { kind: 1, help_ref: self.symbol(help), unit_ref: 0 };
        self.timeseries.push(SeriesV2 {
            labels_refs,
            samples,
            histograms: vec![HistogramV2 { timestamp }; histograms],
            exemplars: vec![ExemplarV2 { value: 1.0, timestamp }; exemplars],
            metadata: Some(metadata),
        });
        self
    }
}

/// Snappy's block format.
pub fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}
