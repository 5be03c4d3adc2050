//! Hostile request bodies: whatever the bytes, an answer or an error, and no more memory than the limit.

use bellwether_ingest::{
    Distributor, DistributorScratch, Encoding, GroupTable, MetadataFilter, RefScope, SeriesCache, decompress,
};
use bellwether_model::{CounterResetHint, Counts, HashRange, Histogram, RefEpoch, Span, Tenant};

#[path = "support/mutation.rs"]
mod mutation;
#[path = "support/protobuf_writer.rs"]
mod protobuf_writer;

use mutation::mutated;
use protobuf_writer::*;

const LIMIT: usize = 1 << 20;

fn histogram() -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 1e-128,
        sum: 18.5,
        counts: Counts::Integer { count: 12, zero_count: 2, positive: vec![1, 3], negative: vec![6] },
        positive_spans: vec![Span { offset: -2, length: 2 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        custom_values: vec![],
    }
}

fn valid_v1() -> Vec<u8> {
    let labels = labels_v1(&[("__name__", "up"), ("instance", "a:9100"), ("job", "node")]);
    let mut with_exemplar = series_v1(&labels, &[(1, 2.0)]);
    put_bytes(&mut with_exemplar, 3, &wire_exemplar_v1(&[("trace_id", "a7"), ("span", "1")], 0.5, 4));
    let mut body = request_v1(&[series_v1(&labels, &[(1_790_000_000_000, 1.5), (2, -0.0)]), with_exemplar]);
    put_metadata_v1(&mut body, 1, "up", "Is it up?", "bool");
    let mut with_histogram = labels;
    put_bytes(&mut with_histogram, 4, &wire_histogram(3, &histogram()));
    put_bytes(&mut body, 1, &with_histogram);
    body
}

fn valid_v2() -> Vec<u8> {
    let mut request = RequestV2::default();
    let metadata = request.metadata(2, "Is it up?", "bool");
    for job in ["a", "b"] {
        let exemplar = request.label_refs(&[("trace_id", "a7")]);
        let series = request.push(&[("__name__", "up"), ("job", job)], &[(1_790_000_000_000, 1.5)]);
        put_bytes(series, 4, &wire_exemplar_v2(&exemplar, 0.5, 4));
        put_bytes(series, 5, &metadata);
        put_bytes(series, 3, &wire_histogram(3, &histogram()));
    }
    request.body()
}

/// Distributes a body twice, the second time with a cache that knows its series.
fn distribute(version: u32, body: &[u8]) {
    let tenant = Tenant::default_tenant();
    let cache = SeriesCache::new(1, 1 << 16);
    let scope = RefScope { epoch: RefEpoch(1), range_generation: 0 };
    cache.set_scope(0, scope);
    let metadata = MetadataFilter::default();
    let groups = GroupTable::new(vec![(HashRange::ALL, 0)]).expect("one range");
    let distributor = Distributor::new(&tenant, &cache, &metadata, &groups);
    let mut scratch = DistributorScratch::default();
    for _ in 0..2 {
        let distributed = match version {
            1 => distributor.distribute_v1(body, &mut scratch),
            _ => distributor.distribute_v2(body, &mut scratch),
        };
        let Ok(distributed) = distributed else { return };
        let entries: Vec<_> = (0..)
            .zip(&distributed.misses)
            .map(|(number, miss)| bellwether_ingest::CacheEntry {
                key: miss.key,
                group: miss.group,
                scope,
                series_ref: bellwether_model::SeriesRef(number),
            })
            .collect();
        cache.insert(distributor.tenant_key(), &entries);
        scratch.recycle(distributed);
    }
}

#[test]
fn fuzz_remote_write_v1() {
    let valid = valid_v1();
    bolero::check!().for_each(|input: &[u8]| {
        distribute(1, input);
        distribute(1, &mutated(&valid, input));
    });
}

#[test]
fn fuzz_remote_write_v2() {
    let valid = valid_v2();
    bolero::check!().for_each(|input: &[u8]| {
        distribute(2, input);
        distribute(2, &mutated(&valid, input));
    });
}

#[test]
fn fuzz_compressed_bodies() {
    let plain: Vec<u8> = valid_v1().repeat(50);
    let snappy = snap::raw::Encoder::new().compress_vec(&plain).expect("a body is small enough");
    let zstd = zstd::bulk::compress(&plain, 1).expect("a body is small enough");
    let mut out = Vec::new();
    bolero::check!().for_each(|input: &[u8]| {
        for (encoding, valid) in [(Encoding::Snappy, &snappy), (Encoding::Zstd, &zstd), (Encoding::Identity, &plain)] {
            for body in [input, &mutated(valid, input)] {
                if decompress(encoding, body, LIMIT, &mut out).is_ok() {
                    assert!(out.len() <= LIMIT);
                }
            }
        }
    });
}
