//! Remote write 2.0 (`io.prometheus.write.v2.Request`), walked in place.
//!
//! Texts stand once in a symbol table, series refer to them by number. The table may in principle come after the series
//! that use it, so it is collected first; stepping over the series costs a few instructions each.

use bellwether_model::{Exemplar, Labels, METRIC_NAME, Sample, limits};

use crate::exemplars::{
    EXEMPLAR_LABELS_KEPT_MAX, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, SAMPLES_PER_EXEMPLAR, WireExemplar,
};
use crate::key_hasher::{CacheKey, KeyHash, KeyHasher};
use crate::places::Places;
use crate::protobuf::{Message, WireError, bytes_field, varint_field};
use crate::remote_write_v1::{SAMPLES_PER_REQUEST_MAX, push_sample};
use crate::visitor::{BuildError, MetadataRef, RequestVisitor, WalkError, WireLabels, build_labels, metric_kind};
use crate::wire_histograms::{SAMPLES_PER_HISTOGRAM, WireHistograms};

const REQUEST_SYMBOL: u64 = bytes_field(4);
const REQUEST_SERIES: u64 = bytes_field(5);

const SERIES_LABEL_REFS: u64 = bytes_field(1);
const SERIES_LABEL_REF: u64 = varint_field(1);
const SERIES_SAMPLE: u64 = bytes_field(2);
const SERIES_HISTOGRAM: u64 = bytes_field(3);
const SERIES_EXEMPLAR: u64 = bytes_field(4);
const SERIES_METADATA: u64 = bytes_field(5);

const EXEMPLAR_LABEL_REFS: u64 = bytes_field(1);
const EXEMPLAR_LABEL_REF: u64 = varint_field(1);

const METADATA_KIND: u64 = varint_field(1);
const METADATA_HELP_REF: u64 = varint_field(3);
const METADATA_UNIT_REF: u64 = varint_field(4);

/// Symbols of one request: an empty one takes two bytes and becomes twenty-four.
const SYMBOLS_MAX: usize = 1 << 22;

/// As many references as a series may have, and one more pair.
const LABEL_REFS_KEPT_MAX: usize = 2 * (limits::LABELS_PER_SERIES_MAX + 1);

const REFERENCE_TOO_LARGE: &str = "a symbol reference does not fit 32 bits";

/// Buffers of a walk, for the next walk.
#[derive(Debug, Default)]
pub struct ScratchV2 {
    spans: Vec<Span>,
    hashes: Vec<KeyHash>,
    label_refs: Vec<u32>,
    samples: Vec<Sample>,
    samples_left: usize,
    beside: BesideSamples,
}

impl ScratchV2 {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
            + self.hashes.capacity() * size_of::<KeyHash>()
            + self.label_refs.capacity() * size_of::<u32>()
            + self.samples.capacity() * size_of::<Sample>()
            + self.beside.histograms.bytes()
            + self.beside.exemplars.bytes()
    }
}

/// Where what a series has beside samples lies in the body.
#[derive(Debug, Default)]
struct BesideSamples {
    histograms: Places,
    exemplars: Places,
}

/// Where a symbol lies in the body.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

/// A series' label references and what they refer to.
#[derive(Debug, Clone, Copy)]
pub struct RefLabels<'a> {
    /// All of them, unless there are more than a series may have.
    refs: &'a [u32],
    /// How many there are.
    count: usize,
    symbols: Symbols<'a>,
}

/// A request's symbol table.
#[derive(Debug, Clone, Copy)]
struct Symbols<'a> {
    body: &'a [u8],
    spans: &'a [Span],
    hashes: &'a [KeyHash],
}

/// Tells `visitor` what a body holds. The hasher makes the symbols' hashes, and must be the one that keys are asked with.
pub fn walk<V: RequestVisitor>(
    body: &[u8],
    hasher: &KeyHasher,
    scratch: &mut ScratchV2,
    visitor: &mut V,
) -> Result<(), WalkError> {
    let ScratchV2 { spans, hashes, label_refs, samples, samples_left, beside } = scratch;
    *samples_left = SAMPLES_PER_REQUEST_MAX;
    collect_symbols(body, hasher, spans, hashes)?;
    let symbols = Symbols { body, spans, hashes };
    let metric_name = (0..spans.len() as u32).find(|at| symbols.get(*at) == Some(METRIC_NAME.as_bytes()));
    let mut metadata_filter = LastMetadata { metric_name, said: None };
    let mut request = Message::new(body);
    while !request.is_at_end() {
        match request.tag()? {
            REQUEST_SERIES => {
                let series = request.message()?;
                let found = (&mut *label_refs, &mut *samples, &mut *beside);
                walk_series(series, symbols, found, samples_left, &mut metadata_filter, visitor)?;
            }
            other => request.skip(other)?,
        }
    }
    Ok(())
}

fn collect_symbols(
    body: &[u8],
    hasher: &KeyHasher,
    spans: &mut Vec<Span>,
    hashes: &mut Vec<KeyHash>,
) -> Result<(), WireError> {
    spans.clear();
    hashes.clear();
    let mut request = Message::new(body);
    if u32::try_from(body.len()).is_err() {
        return Err(request.error("the body has 4 GiB or more"));
    }
    while !request.is_at_end() {
        match request.tag()? {
            REQUEST_SYMBOL => {
                let symbol = request.message()?;
                // The protocol's word for "not given", in metadata above all.
                if spans.is_empty() && !symbol.rest().is_empty() {
                    return Err(symbol.error("the first symbol is not the empty string"));
                }
                if spans.len() == SYMBOLS_MAX {
                    return Err(symbol.error("the request has too many symbols"));
                }
                spans.push(Span { start: symbol.offset() as u32, length: symbol.rest().len() as u32 });
                hashes.push(hasher.symbol(symbol.rest()));
            }
            REQUEST_SERIES => drop(request.message()?),
            other => request.skip(other)?,
        }
    }
    Ok(())
}

#[inline]
fn walk_series<'a, V: RequestVisitor>(
    mut series: Message<'a>,
    symbols: Symbols<'a>,
    (refs, samples, beside): (&mut Vec<u32>, &mut Vec<Sample>, &mut BesideSamples),
    samples_left: &mut usize,
    last_metadata: &mut LastMetadata<'a>,
    visitor: &mut V,
) -> Result<(), WalkError> {
    refs.clear();
    samples.clear();
    beside.histograms.clear();
    beside.exemplars.clear();
    let mut ref_count = 0;
    let mut metadata = None;
    while !series.is_at_end() {
        match series.tag()? {
            SERIES_LABEL_REFS => {
                ref_count += series.message()?.unpack_u32(refs, LABEL_REFS_KEPT_MAX, REFERENCE_TOO_LARGE)?;
            }
            SERIES_LABEL_REF => {
                let reference = reference(&mut series)?;
                ref_count += 1;
                if refs.len() < LABEL_REFS_KEPT_MAX {
                    refs.push(reference);
                }
            }
            SERIES_SAMPLE => push_sample(&mut series, samples, samples_left)?,
            SERIES_HISTOGRAM => beside.histograms.push(&mut series, SAMPLES_PER_HISTOGRAM, samples_left)?,
            SERIES_EXEMPLAR => beside.exemplars.push(&mut series, SAMPLES_PER_EXEMPLAR, samples_left)?,
            SERIES_METADATA => metadata = Some(series.message()?),
            // Among others the created timestamp, which no query uses yet.
            other => series.skip(other)?,
        }
    }
    if let Some(metadata) = metadata {
        match last_metadata.read(metadata, symbols, refs)? {
            Said::Nothing => {}
            Said::Metadata(metadata) => visitor.metadata(metadata),
            Said::Invalid(why) => visitor.invalid_metadata(why),
        }
    }
    let labels = RefLabels { refs, count: ref_count, symbols };
    if !samples.is_empty() {
        visitor.series(&labels, samples)?;
    }
    if !beside.histograms.is_empty() {
        visitor.histograms(&labels, WireHistograms::new(series, &beside.histograms))?;
    }
    if !beside.exemplars.is_empty() {
        let read = |message| read_exemplar(message, symbols);
        visitor.exemplars(&labels, beside.exemplars.messages(series).map(read))?;
    }
    Ok(())
}

fn read_exemplar<'a>(mut message: Message<'a>, symbols: Symbols<'a>) -> WireExemplar {
    const KEPT_MAX: usize = 2 * EXEMPLAR_LABELS_KEPT_MAX;
    let (mut refs, mut count) = (Vec::new(), 0);
    let (mut value, mut timestamp) = (0.0, 0);
    while !message.is_at_end() {
        match message.tag()? {
            EXEMPLAR_LABEL_REFS => {
                count += message.message()?.unpack_u32(&mut refs, KEPT_MAX, REFERENCE_TOO_LARGE)?;
            }
            EXEMPLAR_LABEL_REF => {
                let reference = reference(&mut message)?;
                count += 1;
                if refs.len() < KEPT_MAX {
                    refs.push(reference);
                }
            }
            EXEMPLAR_VALUE => value = f64::from_bits(message.fixed64()?),
            EXEMPLAR_TIMESTAMP => timestamp = message.varint()? as i64,
            other => message.skip(other)?,
        }
    }
    let pairs = RefLabels { refs: &refs, count, symbols }.pairs().map_err(|error| error.to_string());
    let labels = pairs.and_then(|pairs| Exemplar::labels_of(pairs.into_iter()).map_err(|error| error.to_string()));
    Ok(labels.map(|labels| Exemplar { labels, value, timestamp }))
}

#[inline]
fn reference(message: &mut Message<'_>) -> Result<u32, WireError> {
    let start = *message;
    // Protobuf cuts a number that is too large for its field; an error is kinder than a wrong label.
    u32::try_from(message.varint()?).map_err(|_| start.error(REFERENCE_TOO_LARGE))
}

/// Reads series' metadata and leaves out what the series before it has just said: neighbours are of one metric.
struct LastMetadata<'a> {
    /// The number of the symbol `__name__`.
    metric_name: Option<u32>,
    /// The metadata's bytes and the number of the metric's name.
    said: Option<(&'a [u8], u32)>,
}

/// What a series says about its metric.
enum Said<'a> {
    /// Nothing, or what its neighbour has just said.
    Nothing,
    Metadata(MetadataRef<'a>),
    /// What cannot be understood, and why.
    Invalid(String),
}

impl<'a> LastMetadata<'a> {
    fn read(
        &mut self,
        mut message: Message<'a>,
        symbols: Symbols<'a>,
        label_refs: &[u32],
    ) -> Result<Said<'a>, WireError> {
        let name = label_refs.chunks_exact(2).find(|pair| Some(pair[0]) == self.metric_name).map(|pair| pair[1]);
        let Some(name) = name else {
            return Ok(Said::Nothing);
        };
        let saying = Some((message.rest(), name));
        if self.said == saying {
            return Ok(Said::Nothing);
        }
        let (mut kind, mut help, mut unit) = (0, 0, 0);
        while !message.is_at_end() {
            match message.tag()? {
                METADATA_KIND => kind = message.varint()?,
                METADATA_HELP_REF => help = message.varint()?,
                METADATA_UNIT_REF => unit = message.varint()?,
                other => message.skip(other)?,
            }
        }
        self.said = saying;
        if kind == 0 && help == 0 && unit == 0 {
            return Ok(Said::Nothing);
        }
        let symbol = |reference: u64| {
            let at = u32::try_from(reference).ok()?;
            Some((symbols.hashes.get(at as usize)?, symbols.get(at)?))
        };
        let beyond = |field: &str, reference: u64| {
            let symbols = symbols.spans.len();
            Said::Invalid(format!("metadata {field} {reference} is beyond the request's {symbols} symbols"))
        };
        // A name that is beyond them is the series' own mistake, and refused with it.
        let Some((name_hash, name)) = symbol(u64::from(name)) else { return Ok(Said::Nothing) };
        let Some((help_hash, help)) = symbol(help) else { return Ok(beyond("help_ref", help)) };
        let Some((unit_hash, unit)) = symbol(unit) else { return Ok(beyond("unit_ref", unit)) };
        let fingerprint = name_hash.low ^ help_hash.high.rotate_left(1) ^ unit_hash.high.rotate_left(2) ^ kind;
        Ok(Said::Metadata(MetadataRef { kind: metric_kind(kind), name, help, unit, fingerprint }))
    }
}

impl<'a> Symbols<'a> {
    fn get(&self, at: u32) -> Option<&'a [u8]> {
        let span = self.spans.get(at as usize)?;
        Some(&self.body[span.start as usize..][..span.length as usize])
    }
}

impl WireLabels for RefLabels<'_> {
    #[inline]
    fn key(&self, hasher: &KeyHasher) -> Option<CacheKey> {
        if !self.count.is_multiple_of(2) || self.refs.len() < self.count {
            return None;
        }
        let mut all_found = true;
        let key = hasher.symbols(self.refs.iter().map(|reference| {
            let hash = self.symbols.hashes.get(*reference as usize);
            all_found &= hash.is_some();
            hash.copied().unwrap_or(KeyHash { low: 0, high: 0 })
        }));
        all_found.then_some(key)
    }

    fn build(&self) -> Result<Labels, BuildError> {
        build_labels(&self.pairs()?, self.count / 2)
    }
}

impl<'a> RefLabels<'a> {
    /// Names and values, those that are kept.
    fn pairs(&self) -> Result<Vec<(&'a [u8], &'a [u8])>, BuildError> {
        if !self.count.is_multiple_of(2) {
            return Err(BuildError::OddReferences { count: self.count });
        }
        let symbol = |reference: u32| {
            let symbols = self.symbols.spans.len();
            self.symbols.get(reference).ok_or(BuildError::NoSuchSymbol { reference, symbols })
        };
        let pair = |refs: &[u32]| Ok::<_, BuildError>((symbol(refs[0])?, symbol(refs[1])?));
        self.refs.chunks_exact(2).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf_writer::*;
    use crate::visitor::tests::Listener;
    use expect_test::{Expect, expect};

    fn listen(body: &[u8]) -> (Listener, Result<(), WalkError>) {
        let mut listener = Listener::default();
        let result = walk(body, &Listener::hasher(), &mut ScratchV2::default(), &mut listener);
        (listener, result)
    }

    fn check(body: &[u8], expected: Expect) {
        let (listener, result) = listen(body);
        expected.assert_eq(&listener.text(result));
    }

    #[test]
    fn series_and_metadata_are_told_in_order() {
        let mut request = RequestV2::default();
        let metadata = request.metadata(2, "Is it up?", "bool");
        for instance in ["a", "b"] {
            let series = request.push(&[("__name__", "up"), ("instance", instance)], &[(1, 2.5), (2, f64::INFINITY)]);
            put_bytes(series, 5, &metadata);
            put_number(series, 6, 1_700_000_000_000);
        }
        let series = request.push(&[("__name__", "h")], &[]);
        put_bytes(series, 3, b"");
        put_bytes(series, 4, b"");
        put_bytes(series, 5, b"");
        check(
            &request.body(),
            expect![[r#"
                metadata: gauge up "Is it up?" "bool"
                up{instance="a"} 2.5@1 inf@2
                up{instance="b"} 2.5@1 inf@2
                h histogram of Integer { count: 0, zero_count: 0, positive: [], negative: [] }@0
                h exemplar {} 0@0
            "#]],
        );
    }

    #[test]
    fn references_may_be_packed_or_not_and_symbols_may_come_last() {
        let mut request = RequestV2::default();
        request.push(&[("__name__", "up"), ("job", "node")], &[(1, 2.0)]);
        let refs = request.label_refs(&[("__name__", "up"), ("job", "node")]);
        let mut unpacked = Vec::new();
        refs.iter().for_each(|reference| put_number(&mut unpacked, 1, *reference));
        put_bytes(&mut unpacked, 2, &sample(3, 4.0));
        request.series.push(unpacked);
        let mut body = Vec::new();
        request.series.iter().for_each(|series| put_bytes(&mut body, 5, series));
        request.symbols.iter().for_each(|symbol| put_bytes(&mut body, 4, symbol.as_bytes()));
        let (listener, result) = listen(&body);
        assert_eq!(listener.text(result), "up{job=\"node\"} 2@1\nup{job=\"node\"} 4@3\n");
        let keys: Vec<CacheKey> = listener.keys().collect();
        assert_eq!(keys[0], keys[1]);
    }

    #[test]
    fn keys_depend_on_texts_and_not_on_their_numbers() {
        let labels = [("__name__", "up"), ("job", "node")];
        let mut first = RequestV2::default();
        first.push(&labels, &[(1, 2.0)]);
        let mut second = RequestV2::default();
        second.push(&[("__name__", "other"), ("node", "job")], &[(1, 2.0)]);
        second.push(&labels, &[(1, 2.0)]);
        let first: Vec<CacheKey> = listen(&first.body()).0.keys().collect();
        let second: Vec<CacheKey> = listen(&second.body()).0.keys().collect();
        assert_eq!(first[0], second[1]);
        assert_ne!(second[0], second[1]);
    }

    #[test]
    fn bad_references_refuse_their_series_only() {
        let mut request = RequestV2::default();
        request.push_refs(&[1, 99], &[(1, 2.0)]);
        request.push_refs(&[1, 2, 1], &[(1, 2.0)]);
        request.push(&[("__name__", "up")], &[(1, 2.0)]);
        check(
            &request.body(),
            expect![[r#"
            refused: label reference 99 is beyond the request's 3 symbols
            refused: the series has 3 label references, which is not an even number
            up 2@1
        "#]],
        );
    }

    #[test]
    fn bad_metadata_references_cost_the_metadata_and_no_samples() {
        let mut request = RequestV2::default();
        for (field, reference) in [(3, 9), (4, u64::from(u32::MAX) + 1)] {
            let mut metadata = Vec::new();
            put_number(&mut metadata, 1, 2);
            put_number(&mut metadata, field, reference);
            put_bytes(request.push(&[("__name__", "up")], &[(1, 2.0)]), 5, &metadata);
        }
        let good = request.metadata(2, "Is it up?", "");
        put_bytes(request.push(&[("__name__", "up")], &[(2, 2.0)]), 5, &good);
        check(
            &request.body(),
            expect![[r#"
            invalid metadata: metadata help_ref 9 is beyond the request's 4 symbols
            up 2@1
            invalid metadata: metadata unit_ref 4294967296 is beyond the request's 4 symbols
            up 2@1
            metadata: gauge up "Is it up?" ""
            up 2@2
        "#]],
        );
    }

    #[test]
    fn the_first_symbol_must_be_empty() {
        let mut request = RequestV2 { symbols: vec!["__name__".into()], ..RequestV2::default() };
        request.push(&[("__name__", "up")], &[(1, 2.0)]);
        check(
            &request.body(),
            expect![[r#"
            malformed protobuf at byte 2: the first symbol is not the empty string
        "#]],
        );
    }

    #[test]
    fn ten_thousand_labels_are_counted_and_refused() {
        let mut request = RequestV2::default();
        request.push_refs(&[0; 20_000], &[(1, 2.0)]);
        check(
            &request.body(),
            expect![[r#"
            refused: the series has 10000 labels, the limit is 128
        "#]],
        );
    }

    #[test]
    fn malformed_bodies_name_the_offset() {
        let mut request = RequestV2::default();
        request.push(&[("__name__", "up")], &[(1, 2.0)]);
        let body = request.body();
        check(
            &body[..body.len() - 1],
            expect![[r#"
            malformed protobuf at byte 17: a length reaches beyond its message
        "#]],
        );
        request.push_refs(&[1 << 32], &[]);
        check(
            &request.body(),
            expect![[r#"
            up 2@1
            malformed protobuf at byte 39: a symbol reference does not fit 32 bits
        "#]],
        );
    }
}
