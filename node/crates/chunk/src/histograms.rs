//! The stored format of a column of native histograms, bit-exact in every field.
//!
//! Neighbours in time mostly have the same buckets. So the column is cut into *runs* of histograms that are alike in everything but
//! their numbers; that layout is stored once, and each number (the sum, the counts, each bucket) is a column over the run. Columns of
//! integers begin with what they differ by from the column before: neighbouring buckets hold about as much.

use bellwether_model::limits::HISTOGRAM_BUCKETS_MAX;
use bellwether_model::{CounterResetHint, Counts, Histogram, Span};

use crate::column::{Predictor, decode_column, encode_column};
use crate::varint::{read_bytes, read_i64, read_u8, read_u64, read_u64_le, write_i64, write_u64};
use crate::{DecodeError, Effort, Scratch, ValueCodec, decode_values, encode_values};

/// Most histograms in one chunk.
pub const HISTOGRAMS_PER_CHUNK_MAX: usize = 1024;
/// Most buckets, spans and bounds of all histograms of a chunk together: bounds what hostile bytes make a decoder allocate.
const PARTS_PER_CHUNK_MAX: usize = 1 << 18;
const _: () = assert!(HISTOGRAM_BUCKETS_MAX <= PARTS_PER_CHUNK_MAX);

const PREDICTORS: [Predictor; 3] = [Predictor::Delta, Predictor::Plain, Predictor::DeltaOfDelta];

/// Shape: the counts are floats.
const FLOAT_COUNTS: u8 = 1;
/// Shape: the zero threshold is stored; otherwise its bits are zero.
const HAS_THRESHOLD: u8 = 2;
/// Shape: a byte for each histogram's hint follows; otherwise the hint of all is in the shape.
const OWN_HINTS: u8 = 4;
const HINT_SHIFT: u32 = 3;
const SHAPE_MASK: u8 = 0x1f;

const HINTS: [CounterResetHint; 4] = [
    CounterResetHint::Unknown,
    CounterResetHint::CounterReset,
    CounterResetHint::NotCounterReset,
    CounterResetHint::Gauge,
];

/// How many of the first histograms fit into one chunk: at least one, if there is one.
pub fn histograms_that_fit(histograms: &[Histogram]) -> usize {
    let mut left = PARTS_PER_CHUNK_MAX;
    let fits = |histogram: &&Histogram| {
        let rest = left.checked_sub(histogram.parts());
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    histograms.iter().take(HISTOGRAMS_PER_CHUNK_MAX).take_while(fits).count()
}

/// Appends histograms to `out`. The count is not stored.
///
/// # Panics
/// When there are more than [fit](histograms_that_fit), or one of them is larger than valid ones are.
pub fn encode_histograms(mut histograms: &[Histogram], scratch: &mut Scratch, out: &mut Vec<u8>) {
    assert_eq!(histograms_that_fit(histograms), histograms.len(), "too many histograms for a chunk");
    while let Some(first) = histograms.first() {
        assert!(first.parts() <= HISTOGRAM_BUCKETS_MAX, "histograms are validated before they are stored");
        let alike = histograms.iter().take_while(|other| has_layout_of(first, other)).count();
        let (run, rest) = histograms.split_at(alike);
        encode_run(run, scratch, out);
        histograms = rest;
    }
}

fn has_layout_of(one: &Histogram, other: &Histogram) -> bool {
    let bits_of = |bounds: &[f64]| bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
    one.schema == other.schema
        && one.zero_threshold.to_bits() == other.zero_threshold.to_bits()
        && one.positive_spans == other.positive_spans
        && one.negative_spans == other.negative_spans
        && shape_of(&one.counts) == shape_of(&other.counts)
        && one.custom_values.len() == other.custom_values.len()
        && (one.custom_values.is_empty() || bits_of(&one.custom_values) == bits_of(&other.custom_values))
}

/// Whether counts are floats, and how many there are of positive and negative buckets.
fn shape_of(counts: &Counts) -> (bool, usize, usize) {
    match counts {
        Counts::Integer { positive, negative, .. } => (false, positive.len(), negative.len()),
        Counts::Float { positive, negative, .. } => (true, positive.len(), negative.len()),
    }
}

fn encode_run(run: &[Histogram], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let first = &run[0];
    let (is_float, positive, negative) = shape_of(&first.counts);
    let has_own_hints = run.iter().any(|other| other.counter_reset_hint != first.counter_reset_hint);
    let has_threshold = first.zero_threshold.to_bits() != 0;
    let hint = if has_own_hints { 0 } else { hint_code(first.counter_reset_hint) };
    write_u64(out, run.len() as u64);
    let flags = [(is_float, FLOAT_COUNTS), (has_threshold, HAS_THRESHOLD), (has_own_hints, OWN_HINTS)];
    out.push(flags.iter().filter(|(is_set, _)| *is_set).fold(hint << HINT_SHIFT, |shape, (_, flag)| shape | flag));
    write_i64(out, i64::from(first.schema));
    if has_threshold {
        out.extend_from_slice(&first.zero_threshold.to_bits().to_le_bytes());
    }
    for spans in [&first.positive_spans, &first.negative_spans] {
        write_u64(out, spans.len() as u64);
        for span in spans {
            write_i64(out, i64::from(span.offset));
            write_u64(out, u64::from(span.length));
        }
    }
    write_u64(out, first.custom_values.len() as u64);
    out.extend(first.custom_values.iter().flat_map(|bound| bound.to_bits().to_le_bytes()));
    write_u64(out, positive as u64);
    write_u64(out, negative as u64);
    if has_own_hints {
        out.extend(run.iter().map(|histogram| hint_code(histogram.counter_reset_hint)));
    }
    let mut floats = Vec::with_capacity(run.len());
    encode_floats(run, |histogram| histogram.sum, &mut floats, scratch, out);
    if is_float {
        for column in 0..2 + positive + negative {
            encode_floats(run, |histogram| float_count(histogram, column), &mut floats, scratch, out);
        }
    } else {
        let (mut integers, mut residuals) = (Vec::with_capacity(run.len()), Vec::new());
        let mut before = 0;
        for column in 0..2 + positive + negative {
            integers.clear();
            integers.extend(run.iter().map(|histogram| integer_count(histogram, column) as i64));
            write_i64(out, integers[0].wrapping_sub(before));
            before = integers[0];
            if integers.len() > 1 {
                encode_column(&integers, &PREDICTORS, &mut residuals, out);
            }
        }
    }
}

fn hint_code(hint: CounterResetHint) -> u8 {
    HINTS.iter().position(|known| *known == hint).expect("HINTS has every hint") as u8
}

/// Columns of counts: the total, the zero bucket, positive buckets, negative ones.
fn integer_count(histogram: &Histogram, column: usize) -> u64 {
    match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            of_column(column, [count, zero_count], positive, negative)
        }
        Counts::Float { .. } => unreachable!("all of a run have counts of one kind"),
    }
}

fn float_count(histogram: &Histogram, column: usize) -> f64 {
    match &histogram.counts {
        Counts::Float { count, zero_count, positive, negative } => {
            of_column(column, [count, zero_count], positive, negative)
        }
        Counts::Integer { .. } => unreachable!("all of a run have counts of one kind"),
    }
}

fn of_column<T: Copy>(column: usize, [count, zero_count]: [&T; 2], positive: &[T], negative: &[T]) -> T {
    match column {
        0 => *count,
        1 => *zero_count,
        bucket if bucket - 2 < positive.len() => positive[bucket - 2],
        bucket => negative[bucket - 2 - positive.len()],
    }
}

fn encode_floats(
    run: &[Histogram],
    value: impl Fn(&Histogram) -> f64,
    floats: &mut Vec<f64>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    floats.clear();
    floats.extend(run.iter().map(value));
    let mut bytes = Vec::with_capacity(floats.len());
    let codec = encode_values(floats, Effort::Best, scratch, &mut bytes);
    out.push(codec as u8);
    write_u64(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

/// Appends exactly `count` histograms to `out`, or leaves it as it was and says why. What comes out need not be valid histograms, if what
/// was encoded were none.
pub fn decode_histograms(mut bytes: &[u8], count: usize, out: &mut Vec<Histogram>) -> Result<(), DecodeError> {
    if count > HISTOGRAMS_PER_CHUNK_MAX {
        return Err(DecodeError::Invalid { what: "number of histograms", got: count as u64 });
    }
    let start = out.len();
    let (mut left, mut parts_left) = (count, PARTS_PER_CHUNK_MAX);
    let mut result = Ok(());
    while left > 0 && result.is_ok() {
        result = decode_run(&mut bytes, &mut left, &mut parts_left, out);
    }
    if result.is_ok() && !bytes.is_empty() {
        result = Err(DecodeError::TrailingBytes { excess: bytes.len() });
    }
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn decode_run(
    input: &mut &[u8],
    left: &mut usize,
    parts_left: &mut usize,
    out: &mut Vec<Histogram>,
) -> Result<(), DecodeError> {
    let rows = read_u64(input)?;
    if rows == 0 || rows > *left as u64 {
        return Err(DecodeError::Invalid { what: "length of a run of histograms", got: rows });
    }
    let rows = rows as usize;
    *left -= rows;
    let shape = read_u8(input, "a run's shape")?;
    let has_own_hints = shape & OWN_HINTS != 0;
    if shape & !SHAPE_MASK != 0 || has_own_hints && shape >> HINT_SHIFT != 0 {
        return Err(DecodeError::Invalid { what: "shape of a run of histograms", got: shape.into() });
    }
    let schema = narrow(read_i64(input)?, "schema")?;
    let zero_threshold = match shape & HAS_THRESHOLD {
        0 => 0.0,
        _ => f64::from_bits(read_u64_le(input, "a zero threshold")?),
    };
    let positive_spans = read_spans(input)?;
    let negative_spans = read_spans(input)?;
    let bounds = read_length(input, "number of custom bounds")?;
    let bounds = read_bytes(input, 8 * bounds, "custom bounds")?.as_chunks().0;
    let custom_values: Vec<f64> = bounds.iter().map(|bits| f64::from_bits(u64::from_le_bytes(*bits))).collect();
    let positive = read_length(input, "number of buckets")?;
    let negative = read_length(input, "number of buckets")?;
    let parts = positive + negative + positive_spans.len() + negative_spans.len() + custom_values.len();
    let rest = parts_left.checked_sub(parts.saturating_mul(rows)).filter(|_| parts <= HISTOGRAM_BUCKETS_MAX);
    *parts_left = rest.ok_or(DecodeError::Invalid { what: "size of histograms", got: parts as u64 })?;
    let hints = match has_own_hints {
        true => read_bytes(input, rows, "hints")?,
        false => &[shape >> HINT_SHIFT],
    };
    let hint = |row: usize| {
        let code = hints[if has_own_hints { row } else { 0 }];
        HINTS.get(usize::from(code)).copied().ok_or(DecodeError::Invalid { what: "hint", got: code.into() })
    };
    let mut floats = Vec::new();
    decode_floats(input, rows, &mut floats)?;
    let first = out.len();
    for (row, sum) in floats.iter().enumerate() {
        let counts = match shape & FLOAT_COUNTS {
            0 => Counts::Integer { count: 0, zero_count: 0, positive: vec![0; positive], negative: vec![0; negative] },
            _ => Counts::Float {
                count: 0.0,
                zero_count: 0.0,
                positive: vec![0.0; positive],
                negative: vec![0.0; negative],
            },
        };
        out.push(Histogram {
            counter_reset_hint: hint(row)?,
            schema,
            zero_threshold,
            sum: *sum,
            counts,
            positive_spans: positive_spans.clone(),
            negative_spans: negative_spans.clone(),
            custom_values: custom_values.clone(),
        });
    }
    let run = &mut out[first..];
    let mut integers = vec![0_i64; rows];
    let mut before = 0i64;
    for column in 0..2 + positive + negative {
        if shape & FLOAT_COUNTS != 0 {
            floats.clear();
            decode_floats(input, rows, &mut floats)?;
            run.iter_mut().zip(&floats).for_each(|(histogram, value)| set_count(histogram, column, value.to_bits()));
        } else {
            before = before.wrapping_add(read_i64(input)?);
            decode_column(input, before, &mut integers)?;
            run.iter_mut().zip(&integers).for_each(|(histogram, value)| set_count(histogram, column, *value as u64));
        }
    }
    Ok(())
}

/// Sets a count: a number, or the bits of one.
fn set_count(histogram: &mut Histogram, column: usize, bits: u64) {
    match &mut histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => match column {
            0 => *count = bits,
            1 => *zero_count = bits,
            bucket if bucket - 2 < positive.len() => positive[bucket - 2] = bits,
            bucket => negative[bucket - 2 - positive.len()] = bits,
        },
        Counts::Float { count, zero_count, positive, negative } => {
            let value = f64::from_bits(bits);
            match column {
                0 => *count = value,
                1 => *zero_count = value,
                bucket if bucket - 2 < positive.len() => positive[bucket - 2] = value,
                bucket => negative[bucket - 2 - positive.len()] = value,
            }
        }
    }
}

fn decode_floats(input: &mut &[u8], rows: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    let codec = ValueCodec::try_from(read_u8(input, "value codec")?)?;
    let length = read_u64(input)?;
    let bytes = read_bytes(input, usize::try_from(length).unwrap_or(usize::MAX), "values")?;
    decode_values(codec, bytes, rows, out)
}

fn read_spans(input: &mut &[u8]) -> Result<Vec<Span>, DecodeError> {
    let count = read_length(input, "number of spans")?;
    if count > input.len() / 2 {
        return Err(DecodeError::Truncated { what: "spans" });
    }
    (0..count)
        .map(|_| {
            let offset = narrow(read_i64(input)?, "offset of a span")?;
            let length = read_u64(input)?;
            let length =
                u32::try_from(length).map_err(|_| DecodeError::Invalid { what: "length of a span", got: length })?;
            Ok(Span { offset, length })
        })
        .collect()
}

fn read_length(input: &mut &[u8], what: &'static str) -> Result<usize, DecodeError> {
    let length = read_u64(input)?;
    if length > HISTOGRAM_BUCKETS_MAX as u64 {
        return Err(DecodeError::Invalid { what, got: length });
    }
    Ok(length as usize)
}

fn narrow(number: i64, what: &'static str) -> Result<i32, DecodeError> {
    i32::try_from(number).map_err(|_| DecodeError::Invalid { what, got: number as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(histograms: &[Histogram]) -> String {
        let mut bytes = Vec::new();
        encode_histograms(histograms, &mut Scratch::default(), &mut bytes);
        let mut out = Vec::new();
        decode_histograms(&bytes, histograms.len(), &mut out).expect("our own bytes decode");
        assert_eq!(out, histograms);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn counter(at: u64) -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 3,
            zero_threshold: 1e-128,
            sum: 18.5 * at as f64,
            counts: Counts::Integer {
                count: 12 * at,
                zero_count: at,
                positive: vec![3 * at, 4 * at, 2 * at],
                negative: vec![2 * at],
            },
            positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
            negative_spans: vec![Span { offset: 0, length: 1 }],
            custom_values: vec![],
        }
    }

    fn custom() -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: -53,
            zero_threshold: 0.0,
            sum: f64::from_bits(0x7ff0_0000_0000_0002),
            counts: Counts::Float { count: 2.5, zero_count: 0.0, positive: vec![1.0, 1.5], negative: vec![] },
            positive_spans: vec![Span { offset: 0, length: 2 }],
            negative_spans: vec![],
            custom_values: vec![0.5],
        }
    }

    // Stored formats: when one of these changes, data on disk cannot be read any more.

    #[test]
    fn golden_counters() {
        let run: Vec<Histogram> = (1..5).map(counter).collect();
        expect_test::expect![
            "0402069d978ccf08ba5b250203020601010001000301020721f202b9014002184018154002044006024008034004004004"
        ]
        .assert_eq(&hex(&run));
        let reset = Histogram { counter_reset_hint: CounterResetHint::CounterReset, ..counter(1) };
        expect_test::expect!["0206069d978ccf08ba5b2502030206010100010003010001020721821ac80b4001d80140bf01c501400f24402f12403f23401f00401f"].assert_eq(&hex(&[counter(9), reset]));
    }

    #[test]
    fn golden_custom_buckets_after_a_counter() {
        expect_test::expect!["0102069d978ccf08ba5b250203020601010001000301010800000000008032401815040203000119690100020001000000000000e03f02000108020000000000f07f01080000000000000440010800000000000000000108000000000000f03f0108000000000000f83f"].assert_eq(&hex(&[counter(1), custom()]));
    }

    #[test]
    fn two_hours_of_a_steady_counter_take_few_bytes_each() {
        let run: Vec<Histogram> = (1..481).map(counter).collect();
        let bytes = hex(&run).len() / 2;
        assert!(bytes < 480, "{bytes} bytes for 480 histograms");
    }

    #[test]
    fn a_chunk_takes_as_many_as_fit() {
        let large = Histogram { custom_values: vec![1.0; HISTOGRAM_BUCKETS_MAX - 3], ..custom() };
        assert_eq!(histograms_that_fit(&vec![large; 20]), PARTS_PER_CHUNK_MAX / HISTOGRAM_BUCKETS_MAX);
        assert_eq!(histograms_that_fit(&vec![custom(); 2000]), HISTOGRAMS_PER_CHUNK_MAX);
        assert_eq!(histograms_that_fit(&[]), 0);
    }
}
