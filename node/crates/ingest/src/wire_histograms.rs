//! Native histograms off the wire: `prometheus.Histogram` and `io.prometheus.write.v2.Histogram`, whose fields are the same.
//!
//! A walk notes where a series' histograms lie and reads them once the series is known, one after the other.

use bellwether_model::limits::HISTOGRAM_BUCKETS_MAX;
use bellwether_model::{CounterResetHint, Counts, Histogram, HistogramError, Span, Timestamp};

use crate::cursor::unzigzag;
use crate::places::Places;
use crate::protobuf::{Message, WireError, bytes_field, fixed64_field, varint_field};

const COUNT_INT: u64 = varint_field(1);
const COUNT_FLOAT: u64 = fixed64_field(2);
const SUM: u64 = fixed64_field(3);
const SCHEMA: u64 = varint_field(4);
const ZERO_THRESHOLD: u64 = fixed64_field(5);
const ZERO_COUNT_INT: u64 = varint_field(6);
const ZERO_COUNT_FLOAT: u64 = fixed64_field(7);
const NEGATIVE_SPAN: u64 = bytes_field(8);
const NEGATIVE_DELTAS: u64 = bytes_field(9);
const NEGATIVE_DELTA: u64 = varint_field(9);
const NEGATIVE_COUNTS: u64 = bytes_field(10);
const NEGATIVE_COUNT: u64 = fixed64_field(10);
const POSITIVE_SPAN: u64 = bytes_field(11);
const POSITIVE_DELTAS: u64 = bytes_field(12);
const POSITIVE_DELTA: u64 = varint_field(12);
const POSITIVE_COUNTS: u64 = bytes_field(13);
const POSITIVE_COUNT: u64 = fixed64_field(13);
const RESET_HINT: u64 = varint_field(14);
const TIMESTAMP: u64 = varint_field(15);
const CUSTOM_VALUES: u64 = bytes_field(16);
const CUSTOM_VALUE: u64 = fixed64_field(16);

const SPAN_OFFSET: u64 = varint_field(1);
const SPAN_LENGTH: u64 = varint_field(2);

/// Of a request's samples a histogram counts as so many: the smallest takes two bytes of a body and fifty in memory.
pub(crate) const SAMPLES_PER_HISTOGRAM: usize = 4;
/// Items of one list that are kept: one more than is valid, so that the list is refused.
const LIST_MAX: usize = HISTOGRAM_BUCKETS_MAX + 1;

/// A series' histograms as they lie on the wire, not validated.
#[derive(Debug, Clone, Copy)]
pub struct WireHistograms<'a> {
    body: Message<'a>,
    places: &'a [(usize, usize)],
}

impl<'a> WireHistograms<'a> {
    pub(crate) fn new(body: Message<'a>, places: &'a Places) -> WireHistograms<'a> {
        WireHistograms { body, places: places.as_slice() }
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "nobody is told of none")]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Reads them; the inner error says why one cannot be stored.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Timestamp, Result<Histogram, HistogramError>), WireError>> + 'a {
        let body = self.body;
        self.places.iter().map(move |(start, end)| read(body.part(*start, *end)))
    }
}

/// What a message says before it is known whether its numbers are integers.
#[derive(Default)]
struct Fields {
    is_float: bool,
    count: u64,
    count_float: f64,
    zero_count: u64,
    zero_count_float: f64,
    positive: Buckets,
    negative: Buckets,
    timestamp: Timestamp,
}

#[derive(Default)]
struct Buckets {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

fn read(mut message: Message<'_>) -> Result<(Timestamp, Result<Histogram, HistogramError>), WireError> {
    let mut fields = Fields::default();
    let mut histogram = Histogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 0.0,
        counts: Counts::Integer { count: 0, zero_count: 0, positive: Vec::new(), negative: Vec::new() },
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
    };
    while !message.is_at_end() {
        match message.tag()? {
            // Of the kinds of a count the last one given counts.
            COUNT_INT => (fields.count, fields.is_float) = (message.varint()?, false),
            COUNT_FLOAT => (fields.count_float, fields.is_float) = (float(&mut message)?, true),
            SUM => histogram.sum = float(&mut message)?,
            SCHEMA => histogram.schema = signed_32(&mut message)?,
            ZERO_THRESHOLD => histogram.zero_threshold = float(&mut message)?,
            ZERO_COUNT_INT => fields.zero_count = message.varint()?,
            ZERO_COUNT_FLOAT => fields.zero_count_float = float(&mut message)?,
            POSITIVE_SPAN => push(&mut fields.positive.spans, span(message.message()?)?),
            NEGATIVE_SPAN => push(&mut fields.negative.spans, span(message.message()?)?),
            POSITIVE_DELTAS => all(message.message()?, &mut fields.positive.deltas, delta)?,
            POSITIVE_DELTA => push(&mut fields.positive.deltas, delta(&mut message)?),
            NEGATIVE_DELTAS => all(message.message()?, &mut fields.negative.deltas, delta)?,
            NEGATIVE_DELTA => push(&mut fields.negative.deltas, delta(&mut message)?),
            POSITIVE_COUNTS => all(message.message()?, &mut fields.positive.counts, float)?,
            POSITIVE_COUNT => push(&mut fields.positive.counts, float(&mut message)?),
            NEGATIVE_COUNTS => all(message.message()?, &mut fields.negative.counts, float)?,
            NEGATIVE_COUNT => push(&mut fields.negative.counts, float(&mut message)?),
            RESET_HINT => histogram.counter_reset_hint = hint(message.varint()?),
            TIMESTAMP => fields.timestamp = message.varint()? as i64,
            CUSTOM_VALUES => all(message.message()?, &mut histogram.custom_values, float)?,
            CUSTOM_VALUE => push(&mut histogram.custom_values, float(&mut message)?),
            // Among others the start timestamp, which no query uses yet.
            other => message.skip(other)?,
        }
    }
    let timestamp = fields.timestamp;
    Ok((timestamp, fields.complete(histogram)))
}

impl Fields {
    fn complete(self, mut histogram: Histogram) -> Result<Histogram, HistogramError> {
        histogram.counts = if self.is_float {
            let (count, zero_count) = (self.count_float, self.zero_count_float);
            Counts::Float { count, zero_count, positive: self.positive.counts, negative: self.negative.counts }
        } else {
            Counts::Integer {
                count: self.count,
                zero_count: self.zero_count,
                positive: absolute("positive bucket", &self.positive.deltas)?,
                negative: absolute("negative bucket", &self.negative.deltas)?,
            }
        };
        histogram.positive_spans = self.positive.spans;
        histogram.negative_spans = self.negative.spans;
        histogram.validate()?;
        Ok(histogram)
    }
}

/// Counts from what each is more than the one before.
fn absolute(part: &'static str, deltas: &[i64]) -> Result<Vec<u64>, HistogramError> {
    let mut count = 0i128;
    let mut counts = Vec::with_capacity(deltas.len());
    for delta in deltas {
        count += i128::from(*delta);
        let absolute = u64::try_from(count);
        counts.push(absolute.map_err(|_| HistogramError::NegativeCount { part, count: count as f64 })?);
    }
    Ok(counts)
}

fn hint(number: u64) -> CounterResetHint {
    match number {
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

fn span(mut message: Message<'_>) -> Result<Span, WireError> {
    let mut span = Span { offset: 0, length: 0 };
    while !message.is_at_end() {
        match message.tag()? {
            SPAN_OFFSET => span.offset = signed_32(&mut message)?,
            SPAN_LENGTH => {
                let start = message;
                span.length = u32::try_from(message.varint()?)
                    .map_err(|_| start.error("the length of a span does not fit 32 bits"))?;
            }
            other => message.skip(other)?,
        }
    }
    Ok(span)
}

fn signed_32(message: &mut Message<'_>) -> Result<i32, WireError> {
    let start = *message;
    i32::try_from(delta(message)?).map_err(|_| start.error("a number does not fit 32 bits"))
}

fn delta(message: &mut Message<'_>) -> Result<i64, WireError> {
    message.varint().map(unzigzag)
}

fn float(message: &mut Message<'_>) -> Result<f64, WireError> {
    message.fixed64().map(f64::from_bits)
}

fn all<'a, T>(
    mut packed: Message<'a>,
    list: &mut Vec<T>,
    read: impl Fn(&mut Message<'a>) -> Result<T, WireError>,
) -> Result<(), WireError> {
    while !packed.is_at_end() {
        push(list, read(&mut packed)?);
    }
    Ok(())
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < LIST_MAX {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf_writer::*;
    use proptest::prelude::*;

    fn read_one(bytes: &[u8]) -> Result<(Timestamp, Result<Histogram, HistogramError>), WireError> {
        read(Message::new(bytes))
    }

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    fn integer() -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::NotCounterReset,
            schema: -2,
            zero_threshold: 0.001,
            sum: -18.4,
            counts: Counts::Integer { count: 12, zero_count: 2, positive: vec![3, 1, 2], negative: vec![4] },
            positive_spans: vec![span(-2, 2), span(3, 1)],
            negative_spans: vec![span(0, 1)],
            custom_values: vec![],
        }
    }

    fn custom() -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: -53,
            zero_threshold: 0.0,
            sum: f64::from_bits(0x7ff8_dead_beef_0001),
            counts: Counts::Float { count: 3.5, zero_count: 0.0, positive: vec![1.0, 2.5], negative: vec![] },
            positive_spans: vec![span(0, 2)],
            negative_spans: vec![],
            custom_values: vec![1.0, 2.0],
        }
    }

    #[test]
    fn histograms_of_both_kinds_come_as_they_were_sent() {
        for histogram in [integer(), custom()] {
            let read = read_one(&wire_histogram(-7, &histogram)).unwrap();
            assert_eq!(read, (-7, Ok(histogram)));
        }
    }

    #[test]
    fn lists_may_be_packed_or_not_and_unknown_fields_are_skipped() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, 4);
        put_number(&mut bytes, 17, 99);
        let mut buckets = Vec::new();
        put_number(&mut buckets, 2, 2);
        put_bytes(&mut bytes, 11, &buckets);
        // 3, then 2 fewer.
        put_number(&mut bytes, 12, 6);
        put_number(&mut bytes, 12, 3);
        let (_, histogram) = read_one(&bytes).unwrap();
        let Counts::Integer { positive, .. } = histogram.unwrap().counts else { panic!("integers") };
        assert_eq!(positive, [3, 1]);
    }

    #[test]
    fn counts_below_zero_and_lists_that_are_too_long_are_refused() {
        let mut below = Vec::new();
        put_number(&mut below, 12, 1);
        let (_, refused) = read_one(&below).unwrap();
        let error = HistogramError::NegativeCount { part: "positive bucket", count: -1.0 };
        assert_eq!(refused, Err(error));
        let mut long = Vec::new();
        put_bytes(&mut long, 12, &vec![0; 3 * HISTOGRAM_BUCKETS_MAX]);
        let (_, refused) = read_one(&long).unwrap();
        assert_eq!(refused, Err(HistogramError::TooLarge { got: HISTOGRAM_BUCKETS_MAX + 1 }));
    }

    proptest! {
        #[test]
        fn mutilated_messages_never_panic(at: prop::sample::Index, bit in 0..8u32, length: prop::sample::Index) {
            for histogram in [integer(), custom()] {
                let mut bytes = wire_histogram(5, &histogram);
                let _ = read_one(&bytes[..length.index(bytes.len())]);
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                let _ = read_one(&bytes);
            }
        }
    }
}
