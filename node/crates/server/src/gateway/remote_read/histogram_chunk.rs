//! Prometheus's chunk encodings of native histograms, integer and float, written as its clients read them.
//!
//! ```text
//! count: u16 BE | flags: u8 | zero threshold | schema | positive spans | negative spans | custom bounds, if the schema has some
//! integer: t, count, zero count, sum, buckets | their deltas, sum by xor | (deltas of deltas, sum by xor)*
//! float:   t, count, zero count, sum, buckets | (delta of t, then of deltas; all else by xor)*
//! ```
//!
//! All histograms of a chunk have the same buckets, and no counter of it has started anew after the first one; the flags say how
//! that one follows what came before. Buckets of integers are differences from one to the next, as in Prometheus's histograms.
//! A stale marker has no buckets and is the last of its chunk. Numbers take `0`, or up to eight ones and their bits.
//! <https://github.com/prometheus/prometheus/blob/main/tsdb/chunkenc/histogram.go>, `float_histogram.go`, `histogram_meta.go`, `varbit.go`

use bellwether_model::{CounterResetHint, Counts, Histogram, Span, Timestamp};

use super::bit_writer::{BitWriter, Window};
use super::xor_chunk::SAMPLES_PER_CHUNK;

/// A chunk of more histograms ends once their numbers may take so much.
const CHUNK_BYTES: usize = 32 << 10;
/// What a number takes at most: eight ones and 64 bits.
const NUMBER_BYTES: usize = 9;
/// The most that a chunk takes: of one histogram each bucket a number, each span two; and [`CHUNK_BYTES`] of others.
pub const CHUNK_BYTES_MAX: usize =
    bellwether_model::limits::HISTOGRAM_BUCKETS_MAX * 2 * NUMBER_BYTES + CHUNK_BYTES + 64;

/// Widths of numbers, each with one more one before it.
const WIDTHS: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];
/// Powers of two as zero thresholds take one byte if their exponents, as of a number from 1/2 to 1, are these.
const EXPONENTS: std::ops::RangeInclusive<i64> = -242..=11;
/// Bounds are whole thousandths if they are below this.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// `Chunk.Encoding.HISTOGRAM` or `FLOAT_HISTOGRAM`.
pub fn encoding(histogram: &Histogram) -> u8 {
    match histogram.counts {
        Counts::Integer { .. } => 2,
        Counts::Float { .. } => 3,
    }
}

/// How many of the first histograms, of which there is one at least, make a chunk.
pub fn run_length(histograms: &[Histogram]) -> usize {
    let mut bytes = 0;
    let pairs = histograms.windows(2).take(SAMPLES_PER_CHUNK - 1);
    let run = pairs.take_while(|pair| {
        bytes += (pair[1].parts() + 4) * NUMBER_BYTES;
        bytes <= CHUNK_BYTES && continues(&pair[0], &pair[1])
    });
    1 + run.count()
}

/// Whether one may follow the other in a chunk.
fn continues(before: &Histogram, next: &Histogram) -> bool {
    if before.is_stale() || encoding(before) != encoding(next) {
        return false;
    }
    if next.is_stale() {
        return true;
    }
    let is_gauge = |histogram: &Histogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    let bits = |bounds: &[f64]| bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<u64>>();
    let is_alike = before.schema == next.schema
        && before.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && before.positive_spans == next.positive_spans
        && before.negative_spans == next.negative_spans
        && bits(&before.custom_values) == bits(&next.custom_values)
        && is_gauge(before) == is_gauge(next);
    is_alike
        && (is_gauge(next)
            || next.counter_reset_hint != CounterResetHint::CounterReset
                && no_count_falls(&before.counts, &next.counts))
}

fn no_count_falls(before: &Counts, next: &Counts) -> bool {
    fn rise<T: PartialOrd>(before: &[T], next: &[T]) -> bool {
        before.iter().zip(next).all(|(before, next)| next >= before)
    }
    use Counts::{Float, Integer};
    match (before, next) {
        (
            Integer { count, zero_count, positive, negative },
            Integer { count: count_next, zero_count: zero_next, positive: positive_next, negative: negative_next },
        ) => {
            rise(&[*count, *zero_count], &[*count_next, *zero_next])
                && rise(positive, positive_next)
                && rise(negative, negative_next)
        }
        (
            Float { count, zero_count, positive, negative },
            Float { count: count_next, zero_count: zero_next, positive: positive_next, negative: negative_next },
        ) => {
            rise(&[*count, *zero_count], &[*count_next, *zero_next])
                && rise(positive, positive_next)
                && rise(negative, negative_next)
        }
        _ => false,
    }
}

/// The bytes of a chunk of one [run](run_length). Timestamps rise, and there are as many histograms.
pub fn encode(timestamps: &[Timestamp], histograms: &[Histogram]) -> Vec<u8> {
    assert_eq!(timestamps.len(), histograms.len(), "each histogram has a time");
    let first = &histograms[0];
    let flags = match first.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 0b1000_0000,
        CounterResetHint::NotCounterReset => 0b0100_0000,
        CounterResetHint::Gauge => 0b1100_0000,
    };
    let mut out = u16::try_from(timestamps.len()).expect("a run is short").to_be_bytes().to_vec();
    out.push(flags);
    let mut bits = BitWriter::after(out);
    push_layout(&mut bits, first);
    let mut writer = match first.counts {
        Counts::Integer { .. } => Writer::Integer(Deltas::default()),
        Counts::Float { .. } => Writer::Float { time: Deltas::default(), xors: Xors::default() },
    };
    for (timestamp, histogram) in timestamps.iter().zip(histograms) {
        writer.push(&mut bits, *timestamp, histogram);
    }
    bits.finish()
}

/// Which buckets there are; none of a stale marker.
fn push_layout(bits: &mut BitWriter, histogram: &Histogram) {
    if histogram.is_stale() {
        push_zero_threshold(bits, 0.0);
        return [0; 3].into_iter().for_each(|number| push_unsigned(bits, number));
    }
    push_zero_threshold(bits, histogram.zero_threshold);
    push_signed(bits, histogram.schema.into());
    push_spans(bits, &histogram.positive_spans);
    push_spans(bits, &histogram.negative_spans);
    if histogram.is_custom() {
        push_unsigned(bits, histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| push_bound(bits, *bound));
    }
}

fn push_zero_threshold(bits: &mut BitWriter, threshold: f64) {
    // The exponent of a number from 1/2 to 1 that is to be shifted by it.
    let exponent = (threshold.to_bits() >> 52) as i64 - 1022;
    let is_power = threshold.to_bits() & ((1 << 52) - 1) == 0;
    if threshold == 0.0 {
        bits.push(0, 8);
    } else if is_power && EXPONENTS.contains(&exponent) {
        bits.push((exponent + 243) as u64, 8);
    } else {
        bits.push(255, 8);
        bits.push(threshold.to_bits(), 64);
    }
}

fn push_spans(bits: &mut BitWriter, spans: &[Span]) {
    push_unsigned(bits, spans.len() as u64);
    for span in spans {
        push_unsigned(bits, span.length.into());
        push_signed(bits, span.offset.into());
    }
}

/// A bound as thousandths and one, if it is that; otherwise a zero and its bits.
fn push_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round();
    if (0.0..=THOUSANDTHS_MAX).contains(&thousandths) && whole / 1000.0 == bound {
        push_unsigned(bits, whole as u64 + 1);
    } else {
        bits.push(0, 1);
        bits.push(bound.to_bits(), 64);
    }
}

fn push_signed(bits: &mut BitWriter, number: i64) {
    let fits = |width: u32| width == 64 || (-((1 << (width - 1)) - 1)..=1 << (width - 1)).contains(&number);
    push_number(bits, number as u64, fits);
}

fn push_unsigned(bits: &mut BitWriter, number: u64) {
    push_number(bits, number, |width| number.leading_zeros() >= 64 - width);
}

/// As many ones as the place of its width says, a zero unless it is the last, and its bits; a zero alone for 0.
fn push_number(bits: &mut BitWriter, number: u64, fits: impl Fn(u32) -> bool) {
    let widths = WIDTHS.into_iter().enumerate();
    let Some((at, width)) = widths.filter(|_| number != 0).find(|(_, width)| fits(*width)) else {
        return bits.push(0, 1);
    };
    let ones = at as u32 + 1;
    match width {
        64 => bits.push(0xff, 8),
        _ => bits.push(((1 << ones) - 1) << 1, ones + 1),
    }
    bits.push(number, width);
}

/// What the histograms before say of how the next one is written.
enum Writer {
    Integer(Deltas),
    Float { time: Deltas, xors: Xors },
}

impl Writer {
    fn push(&mut self, bits: &mut BitWriter, timestamp: Timestamp, histogram: &Histogram) {
        let is_stale = histogram.is_stale();
        match (self, &histogram.counts) {
            (Writer::Integer(deltas), Counts::Integer { count, zero_count, positive, negative }) => {
                deltas.begin();
                deltas.push(bits, timestamp);
                let sum = histogram.sum;
                if is_stale {
                    deltas.push_nothing(bits);
                    deltas.push_nothing(bits);
                    return deltas.push_sum(bits, sum);
                }
                deltas.push_count(bits, *count);
                deltas.push_count(bits, *zero_count);
                deltas.push_sum(bits, sum);
                for buckets in [positive, negative] {
                    let mut before = 0;
                    for bucket in buckets {
                        deltas.push(bits, bucket.wrapping_sub(before) as i64);
                        before = *bucket;
                    }
                }
            }
            (Writer::Float { time, xors }, Counts::Float { count, zero_count, positive, negative }) => {
                time.begin();
                time.push(bits, timestamp);
                let totals = if is_stale { [0.0, 0.0] } else { [*count, *zero_count] };
                xors.at = 0;
                [totals[0], totals[1], histogram.sum].into_iter().for_each(|value| xors.push(bits, value));
                if !is_stale {
                    positive.iter().chain(negative).for_each(|bucket| xors.push(bits, *bucket));
                }
            }
            _ => unreachable!("a run has histograms of one kind"),
        }
    }
}

/// Numbers of which first the value is written, then the delta, then deltas of deltas.
#[derive(Default)]
struct Deltas {
    /// Histograms begun.
    begun: usize,
    /// The number of the histogram that is next.
    at: usize,
    /// Value and delta of each.
    before: Vec<(i64, i64)>,
    sum: Xors,
}

impl Deltas {
    fn begin(&mut self) {
        self.begun += 1;
        self.at = 0;
    }

    /// The delta, or delta of deltas, that is to be written; the value itself of the first.
    fn next(&mut self, value: i64) -> i64 {
        let at = self.at;
        self.at += 1;
        if self.begun == 1 {
            self.before.push((value, 0));
            return value;
        }
        let (value_before, delta_before) = self.before[at];
        // Sums of the reader wrap as well.
        let delta = value.wrapping_sub(value_before);
        self.before[at] = (value, delta);
        delta.wrapping_sub(delta_before)
    }

    fn push(&mut self, bits: &mut BitWriter, value: i64) {
        let number = self.next(value);
        push_signed(bits, number);
    }

    /// A count, which has a sign only as a delta.
    fn push_count(&mut self, bits: &mut BitWriter, count: u64) {
        let number = self.next(count as i64);
        match self.begun {
            1 => push_unsigned(bits, number as u64),
            _ => push_signed(bits, number),
        }
    }

    /// In the place of a number of a stale marker.
    fn push_nothing(&mut self, bits: &mut BitWriter) {
        self.at += 1;
        bits.push(0, 1);
    }

    fn push_sum(&mut self, bits: &mut BitWriter, sum: f64) {
        self.sum.at = 0;
        self.sum.push(bits, sum);
    }
}

/// Numbers of which first the bits are written, then what they differ by.
#[derive(Default)]
struct Xors {
    at: usize,
    /// Bits of each, and the window of what was written last.
    before: Vec<(u64, Window)>,
}

impl Xors {
    fn push(&mut self, bits: &mut BitWriter, value: f64) {
        let at = self.at;
        self.at += 1;
        let value = value.to_bits();
        match self.before.get_mut(at) {
            Some((before, window)) => {
                bits.push_xor(value ^ *before, window);
                *before = value;
            }
            None => {
                bits.push(value, 64);
                self.before.push((value, None));
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use bellwether_model::stale_marker;
    use proptest::prelude::*;

    use super::super::xor_chunk::tests::BitReader;
    use super::*;

    /// What a reader gets: time, sum, count, zero count and buckets as bits.
    #[derive(Debug, PartialEq)]
    pub struct Read {
        pub time: Timestamp,
        pub sum: u64,
        pub totals: [u64; 2],
        pub positive: Vec<u64>,
        pub negative: Vec<u64>,
    }

    impl Read {
        pub fn of(time: Timestamp, histogram: &Histogram) -> Read {
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect();
            let sum = histogram.sum.to_bits();
            match &histogram.counts {
                _ if histogram.is_stale() => Read { time, sum, totals: [0, 0], positive: vec![], negative: vec![] },
                Counts::Integer { count, zero_count, positive, negative } => {
                    let (positive, negative) = (positive.clone(), negative.clone());
                    Read { time, sum, totals: [*count, *zero_count], positive, negative }
                }
                Counts::Float { count, zero_count, positive, negative } => {
                    let totals = [count.to_bits(), zero_count.to_bits()];
                    Read { time, sum, totals, positive: bits(positive), negative: bits(negative) }
                }
            }
        }
    }

    /// The layout of a chunk: flags, schema, zero threshold, spans, custom bounds.
    type Layout = (u8, i32, f64, Vec<Span>, Vec<Span>, Vec<f64>);

    struct Reader<'a> {
        bits: BitReader<'a>,
    }

    impl Reader<'_> {
        fn number(&mut self) -> (u64, u32) {
            let ones = (0..8).take_while(|_| self.bits.bit() == 1).count();
            match ones {
                0 => (0, 0),
                ones => (self.bits.bits(WIDTHS[ones - 1]), WIDTHS[ones - 1]),
            }
        }

        fn unsigned(&mut self) -> u64 {
            self.number().0
        }

        fn signed(&mut self) -> i64 {
            match self.number() {
                (number, 0 | 64) => number as i64,
                (number, width) if number > 1 << (width - 1) => number as i64 - (1 << width),
                (number, _) => number as i64,
            }
        }

        fn spans(&mut self) -> Vec<Span> {
            let count = self.unsigned();
            let span = |_| {
                let length = self.unsigned() as u32;
                Span { length, offset: self.signed() as i32 }
            };
            (0..count).map(span).collect()
        }

        fn xor(&mut self, value: &mut (u64, u32, u32)) -> u64 {
            if self.bits.bit() == 1 {
                if self.bits.bit() == 1 {
                    value.1 = self.bits.bits(5) as u32;
                    let significant = self.bits.bits(6) as u32;
                    value.2 = 64 - value.1 - if significant == 0 { 64 } else { significant };
                }
                value.0 ^= self.bits.bits(64 - value.1 - value.2) << value.2;
            }
            value.0
        }
    }

    /// A chunk, decoded bit by bit.
    pub fn decode(encoding: u8, chunk: &[u8]) -> (Layout, Vec<Read>) {
        let count = usize::from(u16::from_be_bytes([chunk[0], chunk[1]]));
        let mut reader = Reader { bits: BitReader::new(&chunk[3..]) };
        let zero_threshold = match reader.bits.bits(8) {
            0 => 0.0,
            255 => f64::from_bits(reader.bits.bits(64)),
            exponent => 0.5 * 2f64.powi(exponent as i32 - 243),
        };
        let schema = reader.signed() as i32;
        let (positive, negative) = (reader.spans(), reader.spans());
        let bounds = if schema == -53 { reader.unsigned() } else { 0 };
        let bound = |_| match reader.unsigned() {
            0 => f64::from_bits(reader.bits.bits(64)),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        };
        let bounds = (0..bounds).map(bound).collect();
        let length = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
        let (positives, numbers) = (length(&positive), length(&positive) + length(&negative));
        let reads = match encoding {
            2 => integers(&mut reader, count, positives, numbers),
            _ => floats(&mut reader, count, positives, numbers),
        };
        let spare = chunk.len() * 8 - 24 - reader.bits.at();
        assert!(spare <= 8, "bytes are left over");
        ((chunk[2], schema, zero_threshold, positive, negative, bounds), reads)
    }

    fn integers(reader: &mut Reader<'_>, count: usize, positives: usize, numbers: usize) -> Vec<Read> {
        // Value and delta of time, count, zero count, and buckets as they are written.
        let mut known = vec![(0i64, 0i64); 3 + numbers];
        let mut sum = (0, 0, 0);
        (0..count)
            .map(|at| {
                let mut next = |reader: &mut Reader<'_>, place: usize| {
                    let (value, delta) = &mut known[place];
                    match at {
                        0 if place == 1 || place == 2 => *value = reader.unsigned() as i64,
                        0 => *value = reader.signed(),
                        _ => {
                            *delta = delta.wrapping_add(reader.signed());
                            *value = value.wrapping_add(*delta);
                        }
                    }
                    *value
                };
                let time = next(reader, 0);
                let totals = [next(reader, 1) as u64, next(reader, 2) as u64];
                let sum = match at {
                    0 => {
                        sum.0 = reader.bits.bits(64);
                        sum.0
                    }
                    _ => reader.xor(&mut sum),
                };
                if sum == stale_marker().to_bits() {
                    return Read { time, sum, totals: [0, 0], positive: vec![], negative: vec![] };
                }
                let mut side = |places: std::ops::Range<usize>| {
                    let mut bucket = 0i64;
                    let mut buckets = Vec::new();
                    for place in places {
                        bucket = bucket.wrapping_add(next(reader, 3 + place));
                        buckets.push(bucket as u64);
                    }
                    buckets
                };
                let (positive, negative) = (side(0..positives), side(positives..numbers));
                Read { time, sum, totals, positive, negative }
            })
            .collect()
    }

    fn floats(reader: &mut Reader<'_>, count: usize, positives: usize, numbers: usize) -> Vec<Read> {
        let (mut time, mut delta) = (0i64, 0i64);
        let mut known = vec![(0, 0, 0); 3 + numbers];
        (0..count)
            .map(|at| {
                match at {
                    0 => time = reader.signed(),
                    _ => {
                        delta = delta.wrapping_add(reader.signed());
                        time = time.wrapping_add(delta);
                    }
                }
                let mut next = |place: usize| match at {
                    0 => {
                        known[place].0 = reader.bits.bits(64);
                        known[place].0
                    }
                    _ => reader.xor(&mut known[place]),
                };
                let (totals, sum) = ([next(0), next(1)], next(2));
                if sum == stale_marker().to_bits() {
                    return Read { time, sum, totals, positive: vec![], negative: vec![] };
                }
                let positive = (0..positives).map(|place| next(3 + place)).collect();
                let negative = (positives..numbers).map(|place| next(3 + place)).collect();
                Read { time, sum, totals, positive, negative }
            })
            .collect()
    }

    /// Chunks of all, in runs; each reads back.
    fn check(timestamps: &[Timestamp], histograms: &[Histogram]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let mut at = 0;
        while at < histograms.len() {
            let run = at..at + run_length(&histograms[at..]);
            let (times, own) = (&timestamps[run.clone()], &histograms[run.clone()]);
            let chunk = encode(times, own);
            assert!(chunk.len() <= CHUNK_BYTES_MAX, "{}", chunk.len());
            let (layout, read) = decode(encoding(&own[0]), &chunk);
            let first = &own[0];
            if !first.is_stale() {
                assert_eq!((layout.1, layout.2.to_bits()), (first.schema, first.zero_threshold.to_bits()));
                assert_eq!((&layout.3, &layout.4), (&first.positive_spans, &first.negative_spans));
                let bits = |bounds: &[f64]| bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<u64>>();
                assert_eq!(bits(&layout.5), bits(&first.custom_values));
            }
            let want: Vec<Read> = times.iter().zip(own).map(|(time, histogram)| Read::of(*time, histogram)).collect();
            assert_eq!(read, want);
            chunks.push(chunk);
            at = run.end;
        }
        chunks
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const T: Timestamp = 1_795_290_240_000;

    fn integer(at: u64) -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            sum: 18.5 * at as f64 + 0.1,
            counts: Counts::Integer {
                count: 6 * at + 4,
                zero_count: at,
                positive: vec![2 * at + 3, at + 1],
                negative: vec![2 * at],
            },
            positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 1 }],
            negative_spans: vec![Span { offset: 0, length: 1 }],
            custom_values: vec![],
        }
    }

    fn float(at: u64) -> Histogram {
        let at = at as f64;
        let counts = Counts::Float {
            count: 6.0 * at + 4.5,
            zero_count: at + 0.25,
            positive: vec![2.0 * at + 3.0, at + 1.0],
            negative: vec![2.0 * at + 0.25],
        };
        Histogram { counts, ..integer(at as u64) }
    }

    fn stale(histogram: Histogram) -> Histogram {
        Histogram { sum: stale_marker(), ..histogram }
    }

    #[test]
    fn chunks_have_prometheus_s_bytes() {
        // What Prometheus 2.42 answers after it was sent these histograms; the last one is a stale marker.
        let times = [0, 15_000, 29_998, 45_000, 60_001].map(|time| T + time);
        let histograms = [integer(0), integer(1), integer(2), integer(3), stale(integer(4))];
        assert_eq!(
            check(&times[..1], &histograms[..1]).iter().map(|chunk| hex(chunk)).collect::<Vec<_>>(),
            ["000100749ca368ce317f0000d0ffd18a00507f733333333333353b00"]
        );
        assert_eq!(
            check(&times, &histograms).iter().map(|chunk| hex(chunk)).collect::<Vec<_>>(),
            [
                "000500749ca368ce317f0000d0ffd18a00507f733333333333353b3e0ea630d1c27ff8b95e5634efc055555555555c5084a000000000000b\
             98befeef33333333333c"
            ]
        );
    }

    #[test]
    fn chunks_of_floats_have_prometheus_s_bytes() {
        let times = [0, 15_000, 29_998, 45_000].map(|time| T + time);
        let histograms = [float(0), float(1), float(2), float(3)];
        assert_eq!(
            check(&times, &histograms).iter().map(|chunk| hex(chunk)).collect::<Vec<_>>(),
            [
                "000400749ca368ce317f0000d0ffd18a0020090000000000001fe80000000000001fdccccccccccccd20040000000000001ff80000000000\
             001fe80000000000007c1d4c6a1b7d424e13ffc5eb0fe12fffe13bfe9b6b1abc277ff7a77e02aaaaaaaaaaf2d80f58b3a464002425000000\
             00000350bfd61720"
            ]
        );
    }

    #[test]
    fn what_cannot_stand_in_one_chunk_begins_another() {
        let lengths = |histograms: &[Histogram]| {
            let mut lengths = Vec::new();
            let mut rest = histograms;
            while !rest.is_empty() {
                lengths.push(run_length(rest));
                rest = &rest[run_length(rest)..];
            }
            lengths
        };
        let hinted = |histogram: Histogram, counter_reset_hint| Histogram { counter_reset_hint, ..histogram };
        assert_eq!(lengths(&[integer(1), integer(2), float(3), float(4)]), [2, 2]);
        assert_eq!(lengths(&[integer(2), integer(1), integer(1)]), [1, 2]);
        assert_eq!(lengths(&[integer(1), hinted(integer(2), CounterResetHint::CounterReset)]), [1, 1]);
        let gauges = [integer(2), integer(1)].map(|one| hinted(one, CounterResetHint::Gauge));
        assert_eq!(lengths(&gauges), [2]);
        assert_eq!(lengths(&[integer(1), gauges[0].clone()]), [1, 1]);
        assert_eq!(lengths(&[integer(1), stale(integer(0)), stale(integer(0)), integer(1)]), [2, 1, 1]);
        assert_eq!(lengths(&[integer(1), Histogram { schema: 2, ..integer(1) }]), [1, 1]);
        assert_eq!(lengths(&vec![integer(1); 250]), [120, 120, 10]);
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let bound = prop_oneof![(0i64..40_000_000).prop_map(|at| at as f64 / 1000.0), -1e9..1e9f64];
        let bounds = proptest::collection::btree_set(bound.prop_map(|bound| (bound * 1e6) as i64), 1..5)
            .prop_map(|bounds| bounds.into_iter().map(|bound| bound as f64 / 1e6).collect::<Vec<f64>>());
        let threshold =
            prop_oneof![Just(0.0), Just(2f64.powi(-128)), Just(2f64.powi(10)), Just(2f64.powi(11)), Just(1e-3)];
        (any::<bool>(), any::<bool>(), 0..6u8, proptest::collection::vec(any::<u64>(), 6), bounds, threshold).prop_map(
            |(is_float, is_custom, kind, numbers, custom_values, threshold)| {
                let small = |at: usize| if kind == 5 { numbers[at] >> 3 } else { numbers[at] % 1000 };
                let mut histogram = if is_float { float(small(0) >> 8) } else { integer(small(0) >> 8) };
                match &mut histogram.counts {
                    Counts::Integer { positive, negative, .. } => (positive[0], negative[0]) = (small(1), small(2)),
                    Counts::Float { positive, negative, .. } => {
                        (positive[0], negative[0]) = (f64::from_bits(numbers[1]), small(2) as f64);
                    }
                }
                histogram.zero_threshold = threshold;
                histogram.positive_spans[1].offset = numbers[3] as i32;
                if is_custom {
                    (histogram.schema, histogram.custom_values) = (-53, custom_values);
                }
                if kind == 4 { stale(histogram) } else { histogram }
            },
        )
    }

    proptest! {
        #[test]
        fn any_histograms_read_back(
            all in proptest::collection::vec((histogram(), 1..4usize, 1i64..1 << 45), 1..20),
            first in -1i64 << 50..1 << 50,
        ) {
            let (mut time, mut times, mut histograms) = (first, Vec::new(), Vec::new());
            for (histogram, times_over, step) in all {
                for _ in 0..times_over {
                    time += step;
                    times.push(time);
                    histograms.push(histogram.clone());
                }
            }
            check(&times, &histograms);
        }
    }
}
