//! The answer with all samples: one protobuf message, `prometheus.ReadResponse`, in snappy's block format.
//!
//! The format says its length first and then knows no whole: any part may be compressed by itself. So the message's lengths are
//! summed up beforehand, and what follows is made and sent part by part.

use bellwether_model::{Labels, Timestamp};
use bellwether_promql::FetchedSeries;
use prost::encoding::{encode_varint, encoded_len_varint};
use snap::raw::Encoder;

use super::super::answer::Pieces;
use crate::write::wire_histogram::{self, put_bytes};

/// What is compressed at a time: what snappy itself takes for a block.
const BLOCK_BYTES: usize = 64 << 10;
/// Samples written before the block's length is looked at.
const SAMPLES_AT_A_TIME: usize = 1_000;

// The tags of ReadResponse.results, QueryResult.timeseries, TimeSeries.labels and TimeSeries.samples: all have one byte.
const RESULT: u8 = 0x0a;
const SERIES: u8 = 0x0a;
const LABEL: u8 = 0x0a;
const SAMPLE: u8 = 0x12;
/// The number of TimeSeries.histograms.
const HISTOGRAM: u64 = 4;
// Label.name, Label.value, Sample.value, Sample.timestamp
const NAME: u8 = 0x0a;
const VALUE: u8 = 0x12;
const SAMPLE_VALUE: u8 = 0x09;
const SAMPLE_TIMESTAMP: u8 = 0x10;

/// The format cannot say how long the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer has {bytes} bytes, more than its format allows: accept STREAMED_XOR_CHUNKS, or ask for less")]
pub struct TooLong {
    /// Bytes before compression.
    pub bytes: u64,
}

/// The answer on its way out.
pub struct SamplesAnswer {
    results: Vec<Measured>,
    /// The length of all, until it is written.
    length: Option<u32>,
    /// Results, series and samples written; of the last two, within what contains them.
    at: (usize, usize, usize),
    /// Whether the head of the result or series at that place is written.
    begun: (bool, bool),
    block: Vec<u8>,
    encoder: Encoder,
}

/// Series of one query, and the lengths of their messages.
struct Measured {
    series: Vec<MeasuredSeries>,
    length: u64,
}

struct MeasuredSeries {
    series: FetchedSeries,
    /// Its histograms as fields of its message.
    histograms: Vec<u8>,
    length: u64,
}

impl SamplesAnswer {
    /// Measures the answer: a pass over all timestamps.
    pub fn new(results: Vec<Vec<FetchedSeries>>) -> Result<SamplesAnswer, TooLong> {
        let results: Vec<Measured> = results.into_iter().map(Measured::new).collect();
        let bytes = results.iter().map(|result| field_length(result.length)).sum();
        let length = u32::try_from(bytes).map_err(|_| TooLong { bytes })?;
        let block = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 4);
        Ok(SamplesAnswer {
            results,
            length: Some(length),
            at: (0, 0, 0),
            begun: (false, false),
            block,
            encoder: Encoder::new(),
        })
    }

    /// Fills the block with what comes next of the message; says whether that was the end.
    fn fill(&mut self) -> bool {
        while let Some(result) = self.results.get(self.at.0) {
            if !self.begun.0 {
                self.begun.0 = true;
                begin(&mut self.block, RESULT, result.length);
            }
            while let Some(MeasuredSeries { series, histograms, length }) = result.series.get(self.at.1) {
                if !self.begun.1 {
                    self.begun.1 = true;
                    begin(&mut self.block, SERIES, *length);
                    push_labels(&mut self.block, &series.labels);
                }
                while self.at.2 < series.values.len() {
                    if self.block.len() >= BLOCK_BYTES {
                        return false;
                    }
                    let end = series.values.len().min(self.at.2 + SAMPLES_AT_A_TIME);
                    for at in self.at.2..end {
                        push_sample(&mut self.block, series.timestamps[at], series.values[at]);
                    }
                    self.at.2 = end;
                }
                self.block.extend_from_slice(histograms);
                (self.at.1, self.at.2, self.begun.1) = (self.at.1 + 1, 0, false);
            }
            (self.at, self.begun) = ((self.at.0 + 1, 0, 0), (false, false));
        }
        true
    }
}

impl Pieces for SamplesAnswer {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        if let Some(length) = self.length.take() {
            encode_varint(u64::from(length), out);
        }
        loop {
            let ended = self.fill();
            for block in self.block.chunks(BLOCK_BYTES) {
                push_compressed(&mut self.encoder, block, out);
            }
            self.block.clear();
            if ended || out.len() >= enough {
                return ended;
            }
        }
    }
}

/// Compresses a block without its own length.
fn push_compressed(encoder: &mut Encoder, block: &[u8], out: &mut Vec<u8>) {
    let compressed = encoder.compress_vec(block).expect("a block is far from the format's limit");
    out.extend_from_slice(&compressed[encoded_len_varint(block.len() as u64)..]);
}

impl Measured {
    fn new(series: Vec<FetchedSeries>) -> Measured {
        let measure = |mut series: FetchedSeries| {
            let labels: u64 = series.labels.iter().map(|label| field_length(label_length(label))).sum();
            let samples = series.timestamps.iter().zip(&series.values);
            let samples: u64 = samples.map(|(timestamp, value)| field_length(sample_length(*timestamp, *value))).sum();
            let mut histograms = Vec::new();
            if let Some(own) = series.histograms.take() {
                for (timestamp, histogram) in own.timestamps.iter().zip(&own.histograms) {
                    put_bytes(&mut histograms, HISTOGRAM, &wire_histogram::encode(*timestamp, histogram));
                }
            }
            let length = labels + samples + histograms.len() as u64;
            MeasuredSeries { series, histograms, length }
        };
        let series: Vec<_> = series.into_iter().map(measure).collect();
        let length = series.iter().map(|series| field_length(series.length)).sum();
        Measured { series, length }
    }
}

/// Bytes of a field of so many bytes, its tag and length included.
pub fn field_length(length: u64) -> u64 {
    1 + encoded_len_varint(length) as u64 + length
}

fn label_length(label: bellwether_model::Label<'_>) -> u64 {
    field_length(label.name.len() as u64) + field_length(label.value.len() as u64)
}

/// Zeros are left out, as encoders do; not negative zero, which is another value.
fn sample_length(timestamp: Timestamp, value: f64) -> u64 {
    let value = if value.to_bits() == 0 { 0 } else { 9 };
    value + if timestamp == 0 { 0 } else { 1 + encoded_len_varint(timestamp as u64) as u64 }
}

fn begin(out: &mut Vec<u8>, tag: u8, length: u64) {
    out.push(tag);
    encode_varint(length, out);
}

/// Appends labels as fields of number 1, which both forms of answers have.
pub fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    for label in labels.iter() {
        begin(out, LABEL, label_length(label));
        for (tag, text) in [(NAME, label.name), (VALUE, label.value)] {
            begin(out, tag, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn push_sample(out: &mut Vec<u8>, timestamp: Timestamp, value: f64) {
    begin(out, SAMPLE, sample_length(timestamp, value));
    if value.to_bits() != 0 {
        out.push(SAMPLE_VALUE);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    if timestamp != 0 {
        out.push(SAMPLE_TIMESTAMP);
        encode_varint(timestamp as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::messages::ReadResponse;
    use super::super::testing::fetched;
    use super::*;

    fn whole(results: Vec<Vec<FetchedSeries>>, enough: usize) -> Vec<u8> {
        let mut answer = SamplesAnswer::new(results).unwrap();
        let mut out = Vec::new();
        loop {
            let mut piece = Vec::new();
            let ended = answer.write(&mut piece, enough);
            out.extend(piece);
            if ended {
                return snap::raw::Decoder::new().decompress_vec(&out).unwrap();
            }
        }
    }

    #[test]
    fn the_message_has_prometheus_s_bytes() {
        // What Prometheus 2.42 answers after it was sent these samples.
        let golden = "0a370a350a0f0a085f5f6e616d655f5f120374776f121009000000000000f03f1080bde2de9f3412100900000000000004401098b2e3de9f34";
        let two = fetched(&[("__name__", "two")], &[(1_795_226_640_000, 1.0), (1_795_226_655_000, 2.5)]);
        let bytes = whole(vec![vec![two]], 1);
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
    }

    #[test]
    fn a_long_answer_is_whole_however_it_is_cut() {
        let samples: Vec<(i64, f64)> = (0..50_000).map(|at| (at * 15_000 - 7, (at % 977) as f64 / 4.0)).collect();
        let series = |name: &str, count: usize| fetched(&[("__name__", name), ("a", "ü")], &samples[..count]);
        let results =
            || vec![vec![series("a", 50_000), series("b", 0), series("c", 1)], vec![], vec![series("d", 9_000)]];
        let message = whole(results(), 1);
        assert_eq!(message, whole(results(), 1 << 20));
        let read = ReadResponse::decode(&message[..]).unwrap();
        assert_eq!(read.encoded_len(), message.len());
        assert_eq!(read.results.len(), 3);
        let lengths = |at: usize| read.results[at].timeseries.iter().map(|one| one.samples.len()).collect::<Vec<_>>();
        assert_eq!((lengths(0), lengths(1), lengths(2)), (vec![50_000, 0, 1], vec![], vec![9_000]));
        let back = read.results[0].timeseries[0].samples.iter().map(|sample| (sample.timestamp, sample.value));
        assert!(back.eq(samples));
        assert_eq!(read.results[0].timeseries[2].labels[1].value, "ü");
    }

    #[test]
    fn zeros_are_left_out_but_not_negative_ones() {
        let message = whole(vec![vec![fetched(&[], &[(0, 0.0), (1, -0.0)])]], 1);
        assert_eq!(message, [0x0a, 17, 0x0a, 15, 0x12, 0, 0x12, 11, 0x09, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x10, 1]);
    }

    #[test]
    fn an_answer_to_nothing_is_an_empty_message() {
        assert_eq!(whole(vec![], 1), b"");
        assert_eq!(whole(vec![vec![]], 1), [0x0a, 0]);
    }
}
