//! The answer as a stream of chunks: messages `prometheus.ChunkedReadResponse`, each with its length and checksum before it.
//!
//! ```text
//! length: varint | crc32c of the message: u32 BE | message        (and again)
//! ```
//!
//! A message has some chunks of one series, and the number of the query that they answer. Series come sorted, query after query,
//! the chunks of a series by time: each is of floats or of native histograms.

use bellwether_model::Timestamp;
use bellwether_promql::FetchedSeries;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::super::answer::Pieces;
use super::crc32c::crc32c;
use super::histogram_chunk;
use super::samples::{field_length, push_labels};
use super::xor_chunk::{self, SAMPLES_PER_CHUNK};

/// A frame ends with the chunk that brings it to this length. Prometheus fills 1 MiB; less waits and holds less.
const FRAME_BYTES: usize = 64 << 10;
/// What Prometheus lets a frame have unless it is configured otherwise; clients count on it.
const FRAME_BYTES_OF_PROMETHEUS: usize = 1 << 20;
/// More than a chunk can take: its head, and for each sample 4 + 64 and 13 + 64 bits; or histograms.
const CHUNK_BYTES_MAX: usize = {
    let (floats, histograms) = (64 + SAMPLES_PER_CHUNK * 19, 64 + histogram_chunk::CHUNK_BYTES_MAX);
    if floats > histograms { floats } else { histograms }
};

const _: () = assert!(FRAME_BYTES + CHUNK_BYTES_MAX <= FRAME_BYTES_OF_PROMETHEUS);

// ChunkedReadResponse.chunked_series and .query_index, ChunkedSeries.chunks
const SERIES: u8 = 0x0a;
const QUERY_INDEX: u8 = 0x10;
const CHUNK: u8 = 0x12;
// Chunk.min_time_ms, .max_time_ms, .type, .data
const MIN_TIME: u8 = 0x08;
const MAX_TIME: u8 = 0x10;
const TYPE: u8 = 0x18;
const DATA: u8 = 0x22;
/// `Chunk.Encoding.XOR`
const XOR: u8 = 1;

/// The answer on its way out.
pub struct ChunksAnswer {
    results: Vec<Vec<FetchedSeries>>,
    at: Place,
}

/// What is written: results, series, samples of either kind; of all but the first, within what contains them.
#[derive(Default)]
struct Place {
    result: usize,
    series: usize,
    floats: usize,
    histograms: usize,
}

impl ChunksAnswer {
    /// An answer to queries, in their order.
    pub fn new(results: Vec<Vec<FetchedSeries>>) -> ChunksAnswer {
        ChunksAnswer { results, at: Place::default() }
    }

    /// The next message, if there is one.
    fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            let result = self.results.get(self.at.result)?;
            let Some(series) = result.get(self.at.series) else {
                self.at = Place { result: self.at.result + 1, ..Place::default() };
                continue;
            };
            let mut content = Vec::with_capacity(series.labels.byte_len() + 1024);
            push_labels(&mut content, &series.labels);
            let labels_end = content.len();
            // Labels alone may fill it.
            while content.len() == labels_end || content.len() < FRAME_BYTES {
                if !self.at.push_chunk(&mut content, series) {
                    self.at = Place { result: self.at.result, series: self.at.series + 1, ..Place::default() };
                    break;
                }
            }
            if content.len() == labels_end {
                continue;
            }
            let query = self.at.result;
            let mut message = Vec::with_capacity(content.len() + 16);
            push_bytes(&mut message, SERIES, &content);
            if query > 0 {
                push_number(&mut message, QUERY_INDEX, query as u64);
            }
            return Some(message);
        }
    }
}

impl Place {
    /// Appends the next chunk of a series, if there is one.
    fn push_chunk(&mut self, out: &mut Vec<u8>, series: &FetchedSeries) -> bool {
        let times = &series.timestamps[self.floats..];
        let (of_histograms, histograms) = match &series.histograms {
            Some(own) => (&own.timestamps[self.histograms..], &own.histograms[self.histograms..]),
            None => (&[][..], &[][..]),
        };
        match (times.first(), of_histograms.first()) {
            (None, None) => return false,
            (Some(float), next) if next.is_none_or(|next| float < next) => {
                let before = next.map_or(times.len(), |next| times.partition_point(|time| time < next));
                let count = before.min(SAMPLES_PER_CHUNK);
                let data = xor_chunk::encode(&times[..count], &series.values[self.floats..][..count]);
                push_chunk(out, (times[0], times[count - 1]), XOR, &data);
                self.floats += count;
            }
            (next, _) => {
                let before = next.map_or(histograms.len(), |next| of_histograms.partition_point(|time| time < next));
                let count = histogram_chunk::run_length(&histograms[..before]);
                let data = histogram_chunk::encode(&of_histograms[..count], &histograms[..count]);
                let times = (of_histograms[0], of_histograms[count - 1]);
                push_chunk(out, times, histogram_chunk::encoding(&histograms[0]), &data);
                self.histograms += count;
            }
        }
        true
    }
}

impl Pieces for ChunksAnswer {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while out.len() < enough {
            let Some(message) = self.message() else { return true };
            encode_varint(message.len() as u64, out);
            out.extend_from_slice(&crc32c(&message).to_be_bytes());
            out.extend_from_slice(&message);
        }
        false
    }
}

fn push_chunk(out: &mut Vec<u8>, (first, last): (Timestamp, Timestamp), encoding: u8, data: &[u8]) {
    let times = [(MIN_TIME, first as u64), (MAX_TIME, last as u64)].into_iter().filter(|(_, time)| *time != 0);
    let times_length: usize = times.clone().map(|(_, time)| 1 + encoded_len_varint(time)).sum();
    out.push(CHUNK);
    encode_varint(times_length as u64 + 2 + field_length(data.len() as u64), out);
    times.for_each(|(tag, time)| push_number(out, tag, time));
    out.extend_from_slice(&[TYPE, encoding]);
    push_bytes(out, DATA, data);
}

fn push_number(out: &mut Vec<u8>, tag: u8, number: u64) {
    out.push(tag);
    encode_varint(number, out);
}

fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    push_number(out, tag, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::messages::{self, ChunkedReadResponse};
    use super::super::testing::fetched;
    use super::super::xor_chunk::tests::decode;
    use super::*;

    /// Query, metric, samples.
    type Read = (i64, String, Vec<(i64, u64)>);

    fn whole(results: Vec<Vec<FetchedSeries>>, enough: usize) -> Vec<u8> {
        let mut answer = ChunksAnswer::new(results);
        let mut out = Vec::new();
        loop {
            let mut piece = Vec::new();
            let ended = answer.write(&mut piece, enough);
            assert!(piece.len() < enough + FRAME_BYTES + CHUNK_BYTES_MAX + 64);
            out.extend(piece);
            if ended {
                return out;
            }
        }
    }

    #[test]
    fn a_frame_has_prometheus_s_bytes() {
        // What Prometheus 2.42 answers after it was sent these samples.
        let golden = "3d287a0e380a3b0a0f0a085f5f6e616d655f5f120374776f12280880bde2de9f341098b2e3de9f3418012216000280fac4bdbf683ff00000000000009875c26fff40";
        let two = fetched(&[("__name__", "two")], &[(1_795_226_640_000, 1.0), (1_795_226_655_000, 2.5)]);
        let bytes = whole(vec![vec![two]], 1);
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
    }

    #[test]
    fn every_sample_comes_once_in_frames_of_bounded_length() {
        let samples: Vec<(i64, f64)> = (0..30_000).map(|at| (at * 997 - 7, (at as f64).sin())).collect();
        let series = |name: &str, count: usize| fetched(&[("__name__", name), ("a", "b")], &samples[..count]);
        let results = || vec![vec![series("a", 30_000), series("b", 0)], vec![], vec![series("c", 121)]];
        let bytes = whole(results(), 1);
        assert_eq!(bytes, whole(results(), 1 << 30));
        let mut found: Vec<Read> = Vec::new();
        for (sum, message) in messages::frames(&bytes) {
            assert_eq!(sum, crc32c(&message));
            assert!(message.len() <= FRAME_BYTES + CHUNK_BYTES_MAX);
            let frame = ChunkedReadResponse::decode(&message[..]).unwrap();
            assert_eq!(frame.encoded_len(), message.len());
            let [series] = &frame.chunked_series[..] else { panic!("a frame has one series") };
            let key = (frame.query_index, series.labels[0].value.clone());
            if found.last().is_none_or(|(index, name, _)| (*index, name) != (key.0, &key.1)) {
                found.push((key.0, key.1, Vec::new()));
            }
            let all = &mut found.last_mut().unwrap().2;
            for chunk in &series.chunks {
                assert_eq!(chunk.encoding, i32::from(XOR));
                let decoded = decode(&chunk.data);
                assert_eq!((chunk.min_time_ms, chunk.max_time_ms), (decoded[0].0, decoded[decoded.len() - 1].0));
                all.extend(decoded);
            }
        }
        let want =
            |count: usize| samples[..count].iter().map(|(time, value)| (*time, value.to_bits())).collect::<Vec<_>>();
        assert!(found == [(0, "a".to_owned(), want(30_000)), (2, "c".to_owned(), want(121))]);
    }

    #[test]
    fn the_widest_chunk_is_not_wider_than_its_bound() {
        let timestamps: Vec<i64> = (0..SAMPLES_PER_CHUNK as i64).map(|at| (at << 50) + ((at % 2) << 49)).collect();
        let values: Vec<f64> = (0..SAMPLES_PER_CHUNK as u64)
            .map(|at| f64::from_bits(if at % 2 == 0 { u64::MAX >> (at % 5) } else { 1 << (at % 7) }))
            .collect();
        let chunk = xor_chunk::encode(&timestamps, &values);
        assert!(chunk.len() + 64 <= CHUNK_BYTES_MAX, "{}", chunk.len());
    }
}
