//! Remote write 1.0 (`prometheus.WriteRequest`), walked in place.
//!
//! Prometheus, and everybody who imitates it, writes a series' labels first and together. Those bytes as they stand are
//! what the cache knows the series by; labels that are scattered among other fields are gathered and give the same bytes.

use bellwether_model::{Exemplar, Labels, MetricKind, Sample, limits};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::exemplars::{
    EXEMPLAR_LABELS_KEPT_MAX, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, SAMPLES_PER_EXEMPLAR, WireExemplar,
};
use crate::key_hasher::{CacheKey, KeyHasher};
use crate::places::Places;
use crate::protobuf::{Message, WireError, bytes_field, fixed64_field, varint_field};
use crate::visitor::{BuildError, MetadataRef, RequestVisitor, WalkError, WireLabels, build_labels, metric_kind};
use crate::wire_histograms::{SAMPLES_PER_HISTOGRAM, WireHistograms};

const REQUEST_SERIES: u64 = bytes_field(1);
const REQUEST_METADATA: u64 = bytes_field(3);

const SERIES_LABEL: u64 = bytes_field(1);
const SERIES_SAMPLE: u64 = bytes_field(2);
const SERIES_EXEMPLAR: u64 = bytes_field(3);
const SERIES_HISTOGRAM: u64 = bytes_field(4);

const EXEMPLAR_LABEL: u64 = bytes_field(1);

const LABEL_NAME: u64 = bytes_field(1);
const LABEL_VALUE: u64 = bytes_field(2);

const SAMPLE_VALUE: u64 = fixed64_field(1);
const SAMPLE_TIMESTAMP: u64 = varint_field(2);

const METADATA_KIND: u64 = varint_field(1);
const METADATA_NAME: u64 = bytes_field(2);
const METADATA_HELP: u64 = bytes_field(4);
const METADATA_UNIT: u64 = bytes_field(5);

/// Labels that room is made for at first; a series may have more.
const LABELS_EXPECTED: usize = 16;

/// Samples of one request. A sample that is written as nothing at all takes two bytes of a body and twenty-four in memory;
/// one that says something takes about sixteen.
pub(crate) const SAMPLES_PER_REQUEST_MAX: usize = limits::REQUEST_DECOMPRESSED_BYTES_MAX / 16;

/// Buffers of a walk, for the next walk.
#[derive(Debug, Default)]
pub struct ScratchV1 {
    samples: Vec<Sample>,
    samples_left: usize,
    histograms: Places,
    exemplars: Places,
    scattered_labels: Vec<u8>,
}

impl ScratchV1 {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>()
            + self.histograms.bytes()
            + self.exemplars.bytes()
            + self.scattered_labels.capacity()
    }
}

/// A series' label fields with their tags.
#[derive(Debug, Clone, Copy)]
pub struct RawLabels<'a> {
    bytes: &'a [u8],
    /// Where the series begins in the body: its labels too, unless they are scattered.
    offset: usize,
}

/// Tells `visitor` what a body holds.
pub fn walk<V: RequestVisitor>(body: &[u8], scratch: &mut ScratchV1, visitor: &mut V) -> Result<(), WalkError> {
    let mut request = Message::new(body);
    scratch.samples_left = SAMPLES_PER_REQUEST_MAX;
    while !request.is_at_end() {
        match request.tag()? {
            REQUEST_SERIES => walk_series(request.message()?, scratch, visitor)?,
            REQUEST_METADATA => visitor.metadata(metadata(request.message()?)?),
            other => request.skip(other)?,
        }
    }
    Ok(())
}

#[inline]
fn walk_series<V: RequestVisitor>(
    mut series: Message<'_>,
    scratch: &mut ScratchV1,
    visitor: &mut V,
) -> Result<(), WalkError> {
    let offset = series.offset();
    // Bytes that the visitor recognises were walked before: they are whole label fields.
    let predicted = visitor.predict(series.rest(), SERIES_SAMPLE as u8);
    match predicted {
        Some(length) => series.advance(length),
        None => skip_labels(&mut series)?,
    }
    let labels = series.between(offset, series.offset());
    scratch.samples.clear();
    scratch.histograms.clear();
    scratch.exemplars.clear();
    scratch.scattered_labels.clear();
    while !series.is_at_end() {
        let start = series.offset();
        match series.tag()? {
            SERIES_SAMPLE => push_sample(&mut series, &mut scratch.samples, &mut scratch.samples_left)?,
            SERIES_LABEL => {
                series.message()?;
                scratch.scattered_labels.extend_from_slice(series.between(start, series.offset()));
            }
            SERIES_EXEMPLAR => {
                scratch.exemplars.push(&mut series, SAMPLES_PER_EXEMPLAR, &mut scratch.samples_left)?;
            }
            SERIES_HISTOGRAM => {
                scratch.histograms.push(&mut series, SAMPLES_PER_HISTOGRAM, &mut scratch.samples_left)?;
            }
            other => series.skip(other)?,
        }
    }
    let is_scattered = !scratch.scattered_labels.is_empty();
    if is_scattered {
        scratch.scattered_labels.splice(0..0, labels.iter().copied());
    }
    let labels = RawLabels { bytes: if is_scattered { &scratch.scattered_labels } else { labels }, offset };
    if !scratch.samples.is_empty() {
        match predicted {
            Some(_) if !is_scattered => visitor.predicted_series(&scratch.samples),
            _ => visitor.series(&labels, &scratch.samples)?,
        }
    }
    if !scratch.histograms.is_empty() {
        visitor.histograms(&labels, WireHistograms::new(series, &scratch.histograms))?;
    }
    if !scratch.exemplars.is_empty() {
        visitor.exemplars(&labels, scratch.exemplars.messages(series).map(read_exemplar))?;
    }
    Ok(())
}

fn read_exemplar(mut message: Message<'_>) -> WireExemplar {
    let mut pairs = Vec::new();
    let (mut value, mut timestamp) = (0.0, 0);
    while !message.is_at_end() {
        match message.tag()? {
            EXEMPLAR_LABEL => {
                let pair = read_label(message.message()?)?;
                if pairs.len() < EXEMPLAR_LABELS_KEPT_MAX {
                    pairs.push(pair);
                }
            }
            EXEMPLAR_VALUE => value = f64::from_bits(message.fixed64()?),
            EXEMPLAR_TIMESTAMP => timestamp = message.varint()? as i64,
            other => message.skip(other)?,
        }
    }
    let labels = Exemplar::labels_of(pairs.into_iter()).map_err(|error| error.to_string());
    Ok(labels.map(|labels| Exemplar { labels, value, timestamp }))
}

/// Steps over the label fields that the series begins with.
#[inline(never)]
fn skip_labels(series: &mut Message<'_>) -> Result<(), WireError> {
    while series.rest().first() == Some(&(SERIES_LABEL as u8)) {
        series.tag()?;
        series.message()?;
    }
    Ok(())
}

/// Reads a field that holds a sample, if the request may have another.
#[inline]
pub(crate) fn push_sample(
    series: &mut Message<'_>,
    samples: &mut Vec<Sample>,
    samples_left: &mut usize,
) -> Result<(), WireError> {
    let Some(left) = samples_left.checked_sub(1) else {
        return Err(series.error("the request has too many samples"));
    };
    *samples_left = left;
    samples.push(read_sample(series.message()?)?);
    Ok(())
}

/// A `Sample`, which both versions lay out alike.
#[inline]
fn read_sample(mut message: Message<'_>) -> Result<Sample, WireError> {
    let mut sample = Sample { timestamp: 0, value: 0.0 };
    while !message.is_at_end() {
        match message.tag()? {
            SAMPLE_VALUE => sample.value = f64::from_bits(message.fixed64()?),
            SAMPLE_TIMESTAMP => sample.timestamp = message.varint()? as i64,
            other => message.skip(other)?,
        }
    }
    Ok(sample)
}

fn metadata<'a>(mut message: Message<'a>) -> Result<MetadataRef<'a>, WireError> {
    let fingerprint = xxh3_64_with_seed(message.rest(), 1);
    let mut metadata = MetadataRef { kind: MetricKind::Unknown, name: &[], help: &[], unit: &[], fingerprint };
    while !message.is_at_end() {
        match message.tag()? {
            METADATA_KIND => metadata.kind = metric_kind(message.varint()?),
            METADATA_NAME => metadata.name = message.message()?.rest(),
            METADATA_HELP => metadata.help = message.message()?.rest(),
            METADATA_UNIT => metadata.unit = message.message()?.rest(),
            other => message.skip(other)?,
        }
    }
    Ok(metadata)
}

impl WireLabels for RawLabels<'_> {
    #[inline]
    fn key(&self, hasher: &KeyHasher) -> Option<CacheKey> {
        Some(hasher.raw_labels(self.bytes))
    }

    fn build(&self) -> Result<Labels, BuildError> {
        let mut pairs = Vec::with_capacity(LABELS_EXPECTED);
        let mut count = 0;
        let in_body = |error: WireError| WireError { offset: self.offset + error.offset, ..error };
        let mut fields = Message::new(self.bytes);
        while !fields.is_at_end() {
            let pair = next_label(&mut fields).map_err(in_body)?;
            count += 1;
            if count <= limits::LABELS_PER_SERIES_MAX {
                pairs.push(pair);
            }
        }
        build_labels(&pairs, count)
    }
}

fn next_label<'a>(fields: &mut Message<'a>) -> Result<(&'a [u8], &'a [u8]), WireError> {
    fields.tag()?;
    read_label(fields.message()?)
}

fn read_label(mut label: Message<'_>) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !label.is_at_end() {
        match label.tag()? {
            LABEL_NAME => name = label.message()?.rest(),
            LABEL_VALUE => value = label.message()?.rest(),
            other => label.skip(other)?,
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf_writer::*;
    use crate::visitor::tests::{Heard, Listener};
    use expect_test::{Expect, expect};

    fn check(body: &[u8], expected: Expect) {
        let mut listener = Listener::default();
        let result = walk(body, &mut ScratchV1::default(), &mut listener);
        expected.assert_eq(&listener.text(result));
    }

    #[test]
    fn series_metadata_and_what_cannot_be_stored_are_told_in_order() {
        let mut histogram = series_v1(&labels_v1(&[("__name__", "h")]), &[]);
        put_bytes(&mut histogram, 4, b"");
        let mut exemplar = series_v1(&labels_v1(&[("__name__", "e")]), &[(3, 1.0)]);
        put_bytes(&mut exemplar, 3, b"");
        put_bytes(&mut exemplar, 3, &wire_exemplar_v1(&[("trace_id", "a7"), ("span", "")], 0.5, 4));
        put_bytes(&mut exemplar, 3, &wire_exemplar_v1(&[("t", &"x".repeat(128))], 0.5, 4));
        let up = series_v1(&labels_v1(&[("__name__", "up"), ("job", "node")]), &[(1_790_000_000_000, 1.5), (-1, 0.0)]);
        let mut body = request_v1(&[up, histogram, exemplar]);
        put_metadata_v1(&mut body, 1, "up", "Is it up?", "bool");
        put_metadata_v1(&mut body, 99, "later", "", "");
        check(
            &body,
            expect![[r#"
                up{job="node"} 1.5@1790000000000 0@-1
                h histogram of Integer { count: 0, zero_count: 0, positive: [], negative: [] }@0
                e 1@3
                e exemplar {} 0@0
                e exemplar {trace_id="a7"} 0.5@4
                refused: e: label length for exemplar exceeds maximum of 128 UTF-8 characters
                metadata: counter up "Is it up?" "bool"
                metadata: unknown later "" ""
            "#]],
        );
    }

    #[test]
    fn unknown_fields_are_skipped_wherever_they_stand() {
        let mut sample = sample(5, 2.5);
        put_number(&mut sample, 3, 77);
        let mut series = Vec::new();
        put_number(&mut series, 9, 1 << 60);
        series.extend(labels_v1(&[("__name__", "up")]));
        put_double(&mut series, 500, 1.0);
        put_bytes(&mut series, 2, &sample);
        series.extend([13 << 3 | 5, 1, 2, 3, 4]);
        let mut body = Vec::new();
        put_bytes(&mut body, 2, b"reserved");
        put_bytes(&mut body, 1, &series);
        check(
            &body,
            expect![[r#"
            up 2.5@5
        "#]],
        );
    }

    #[test]
    fn scattered_labels_have_the_key_of_labels_that_stand_together() {
        let labels = labels_v1(&[("__name__", "up"), ("job", "node")]);
        let (name, job) = (labels_v1(&[("__name__", "up")]), labels_v1(&[("job", "node")]));
        let scattered = [series_v1(&name, &[(1, 2.0)]), job].concat();
        let mut heard = Listener::default();
        let body = request_v1(&[series_v1(&labels, &[(1, 2.0)]), scattered]);
        walk(&body, &mut ScratchV1::default(), &mut heard).unwrap();
        let keys: Vec<CacheKey> = heard.keys().collect();
        assert_eq!(keys[0], keys[1]);
        assert!(matches!(&heard.heard[..], [Heard::Series { .. }, Heard::Series { .. }]));
    }

    #[test]
    fn malformed_bodies_name_the_offset() {
        let up = series_v1(&labels_v1(&[("__name__", "up")]), &[(1, 2.0)]);
        let body = request_v1(&[up.clone(), up]);
        let first_end = body.len() / 2;
        check(
            &body[..body.len() - 1],
            expect![[r#"
            up 2@1
            malformed protobuf at byte 32: a length reaches beyond its message
        "#]],
        );
        assert_eq!(first_end + 1, 32);
        let mut nested = body.clone();
        // The label's name claims more bytes than the label has.
        nested[5] = 0x7f;
        check(
            &nested,
            expect![[r#"
            malformed protobuf at byte 5: a length reaches beyond its message
        "#]],
        );
        check(
            &[0x0b],
            expect![[r#"
            malformed protobuf at byte 1: groups are not supported
        "#]],
        );
    }

    #[test]
    fn ten_thousand_labels_are_counted_and_refused() {
        let labels = labels_v1(&[("a", "b")]).repeat(10_000);
        check(
            &request_v1(&[series_v1(&labels, &[(1, 2.0)])]),
            expect![[r#"
            refused: the series has 10000 labels, the limit is 128
        "#]],
        );
    }

    #[test]
    fn more_samples_than_a_request_may_have_are_an_error() {
        let mut series = labels_v1(&[("__name__", "up")]);
        series.extend([0x12, 0x00].repeat(SAMPLES_PER_REQUEST_MAX / 2));
        let mut body = request_v1(&[series.clone(), series.clone()]);
        let mut scratch = ScratchV1::default();
        walk(&body, &mut scratch, &mut Listener::default()).unwrap();
        body.extend(request_v1(&[series_v1(&[], &[(1, 2.0)])]));
        let error = walk(&body, &mut scratch, &mut Listener::default()).unwrap_err();
        assert!(error.to_string().ends_with("the request has too many samples"), "{error}");
    }

    #[test]
    fn refused_labels_say_why() {
        let one = |labels: &[(&str, &str)]| request_v1(&[series_v1(&labels_v1(labels), &[(1, 2.0)])]);
        check(
            &one(&[("job", "node")]),
            expect![[r#"
            refused: the series has no metric name (label __name__): {job="node"}
        "#]],
        );
        check(
            &one(&[("job", "node"), ("__name__", "up")]),
            expect![[r#"
            up{job="node"} 2@1
        "#]],
        );
        check(
            &one(&[("__name__", "up"), ("a", "1"), ("a", "1")]),
            expect![[r#"
            refused: label "a" occurs more than once
        "#]],
        );
        check(
            &one(&[("__name__", "up"), ("", "1")]),
            expect![[r#"
            refused: label 1 has an empty name (value "1")
        "#]],
        );
        let mut bytes = one(&[("__name__", "up"), ("a", "x")]);
        let at = bytes.iter().position(|byte| *byte == b'x').unwrap();
        bytes[at] = 0xff;
        check(
            &bytes,
            expect![[r#"
            refused: label 1 ("a"): value is not valid UTF-8
        "#]],
        );
    }
}
