//! What one sample costs on its way from a remote-write body to a frame.
//!
//! `cargo bench -p bellwether-ingest`: times are per iteration, `item/s` counts samples.

use bellwether_ingest::{
    Compression, Encoding, EntryBuilder, EntryCompressor, EntryLimits, FrameReader, RowColumns, ShardBatch, decompress,
};
use bellwether_model::{SeriesRef, Tenant, limits};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

#[path = "../tests/support/protobuf_writer.rs"]
mod protobuf_writer;
#[path = "../tests/support/workload.rs"]
mod workload;

use workload::{Gateway, SCOPE, body_v1, body_v2, value};

/// What a node has by default.
const GROUPS: u16 = 8;

fn main() {
    divan::main();
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).expect("a body is small enough")
}

/// A gateway that knows `series` series, and all bodies of two rounds after the first.
fn known(series: usize, per_body: usize) -> (Gateway, Vec<Vec<u8>>) {
    let mut gateway = Gateway::new(GROUPS, 64 << 20);
    let mut bodies = Vec::new();
    for first in (0..series).step_by(per_body) {
        let body = body_v1(first..(first + per_body).min(series), 0);
        let distributed = gateway.write_v1(&body);
        gateway.resolve(&distributed);
        bodies.push(snappy(&body));
    }
    (gateway, bodies)
}

fn write_all(bencher: Bencher<'_, '_>, series: usize, per_body: usize, encode: bool) {
    let (mut gateway, bodies) = known(series, per_body);
    let mut buffer = Vec::new();
    bencher.counter(ItemsCount::new(series)).bench_local(|| {
        for body in &bodies {
            let limit = limits::REQUEST_DECOMPRESSED_BYTES_MAX;
            decompress(Encoding::Snappy, body, limit, &mut buffer).expect("the body is well-formed");
            let mut distributed = gateway.write_v1(&buffer);
            assert!(distributed.misses.is_empty());
            if encode {
                for (_, batch) in &mut distributed.batches {
                    black_box(batch.encode(&gateway.tenant));
                }
            }
            gateway.scratch.recycle(distributed);
        }
    });
}

/// Decompress and distribute all series once, in bodies of 5,000.
#[divan::bench(args = [100_000, 1_000_000], max_time = 3)]
fn v1_bodies_of_5000(bencher: Bencher<'_, '_>, series: usize) {
    write_all(bencher, series, 5000, false);
}

/// The same, with the frames written.
#[divan::bench(args = [100_000], max_time = 3)]
fn v1_bodies_of_5000_to_frames(bencher: Bencher<'_, '_>, series: usize) {
    write_all(bencher, series, 5000, true);
}

/// The same in bodies of 500.
#[divan::bench(args = [100_000], max_time = 3)]
fn v1_bodies_of_500_to_frames(bencher: Bencher<'_, '_>, series: usize) {
    write_all(bencher, series, 500, true);
}

#[divan::bench(max_time = 1)]
fn snappy_alone(bencher: Bencher<'_, '_>) {
    let body = snappy(&body_v1(0..5000, 1));
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(5000usize)).bench_local(|| {
        decompress(Encoding::Snappy, black_box(&body), 1 << 30, &mut out).expect("the body is well-formed");
    });
}

#[divan::bench(max_time = 1)]
fn v1_walk_and_look_up_alone(bencher: Bencher<'_, '_>) {
    let (mut gateway, _) = known(5000, 5000);
    let body = body_v1(0..5000, 1);
    bencher.counter(ItemsCount::new(5000usize)).bench_local(|| {
        let distributed = gateway.write_v1(&body);
        gateway.scratch.recycle(distributed);
    });
}

/// Version 2.0, without decompression.
#[divan::bench(max_time = 1)]
fn v2_walk_and_look_up_alone(bencher: Bencher<'_, '_>) {
    let mut gateway = Gateway::new(GROUPS, 64 << 20);
    let distributed = gateway.write_v2(&body_v2(0..5000, 0));
    gateway.resolve(&distributed);
    let body = body_v2(0..5000, 1);
    bencher.counter(ItemsCount::new(5000usize)).bench_local(|| {
        let distributed = gateway.write_v2(&body);
        assert!(distributed.misses.is_empty());
        gateway.scratch.recycle(distributed);
    });
}

/// Labels built, validated and hashed, nothing known.
#[divan::bench(max_time = 1)]
fn v1_all_unknown(bencher: Bencher<'_, '_>) {
    let mut gateway = Gateway::new(GROUPS, 64 << 20);
    let body = body_v1(0..5000, 1);
    bencher.counter(ItemsCount::new(5000usize)).bench_local(|| {
        let distributed = gateway.write_v1(&body);
        assert_eq!(distributed.misses.len(), 5000);
        gateway.scratch.recycle(distributed);
    });
}

/// Rows of every `GROUPS`th series, some of two scrapes when `jitter` is set.
fn fill(batch: &mut ShardBatch, rows: usize, jitter: bool) {
    batch.reset(SCOPE);
    for row in 0..rows {
        let timestamp = 1_790_000_000_000 + if jitter { (row / 100 % 20) as i64 } else { 0 };
        batch.push(SeriesRef(row as u32 * 2), timestamp, value(row * 7, 9));
    }
}

#[divan::bench(args = [60, 600, 10_000], max_time = 1)]
fn frame_encode(bencher: Bencher<'_, '_>, rows: usize) {
    let mut batch = ShardBatch::new(SCOPE);
    fill(&mut batch, rows, false);
    let tenant = Tenant::default_tenant();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| black_box(batch.encode(&tenant)));
}

#[divan::bench(args = [60, 600, 10_000], max_time = 1)]
fn frame_encode_own_timestamps(bencher: Bencher<'_, '_>, rows: usize) {
    let mut batch = ShardBatch::new(SCOPE);
    fill(&mut batch, rows, true);
    let tenant = Tenant::default_tenant();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| black_box(batch.encode(&tenant)));
}

#[divan::bench(args = [60, 600, 10_000], max_time = 1)]
fn frame_decode(bencher: Bencher<'_, '_>, rows: usize) {
    let mut batch = ShardBatch::new(SCOPE);
    fill(&mut batch, rows, false);
    let frames = batch.encode(&Tenant::default_tenant());
    let mut columns = RowColumns::default();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| {
        let frame = FrameReader::new(black_box(&frames[0].bytes)).expect("the frame is well-formed");
        frame.read_rows(&mut columns).expect("the frame is well-formed");
        black_box(&columns);
    });
}

fn entry(rows: usize, compression: Compression<'_>) -> Vec<u8> {
    let mut batch = ShardBatch::new(SCOPE);
    fill(&mut batch, rows, false);
    let mut builder = EntryBuilder::default();
    for frame in batch.encode(&Tenant::default_tenant()) {
        assert!(builder.push(&frame.bytes));
    }
    let stamped = EntryLimits { version: 1, oldest: 0, newest: i64::MAX, tenant_series_max: u32::MAX };
    builder.finish(0, stamped, compression)
}

/// What compression adds to an entry with one frame; the bytes per sample are printed first.
#[divan::bench(args = [60, 600, 10_000], max_time = 1)]
fn entry_compress(bencher: Bencher<'_, '_>, rows: usize) {
    let mut compressor = EntryCompressor::default();
    let per_row = |bytes: Vec<u8>| bytes.len() as f64 / rows as f64;
    let plain = per_row(entry(rows, Compression::Never));
    let zstd = per_row(entry(rows, Compression::WhenItPays(&mut compressor)));
    eprintln!("{rows} rows: {plain:.2} bytes/sample plain, {zstd:.2} with zstd");
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| black_box(entry(rows, Compression::WhenItPays(&mut compressor))));
}
