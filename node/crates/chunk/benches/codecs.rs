//! Cost per chunk of 120 values. `cargo bench -p bellwether-chunk`

use bellwether_chunk::{
    Effort, HeadChunk, Scratch, decode_timestamps, decode_values, encode_timestamps, encode_values,
};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const VALUES: usize = 120;
const KINDS: [&str; 6] = ["gauge", "slow_counter", "fast_counter", "walk", "noise", "sum"];

fn main() {
    divan::main();
}

fn noise(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 32
}

fn values(kind: &str) -> Vec<f64> {
    let mut state = 7;
    let mut sum = 1e6;
    (0..VALUES)
        .map(|_| {
            let random = noise(&mut state);
            match kind {
                "gauge" => 50.0 + (random % 7) as f64,
                "slow_counter" => {
                    sum += (random % 4) as f64;
                    sum
                }
                "fast_counter" => {
                    sum += 20_000.0 + (random % 500) as f64;
                    sum
                }
                "walk" => {
                    sum += (random % 401) as f64 - 200.0;
                    sum / 100.0
                }
                "sum" => {
                    sum += random as f64 / 1e9;
                    sum
                }
                _ => random as f64 / 42.0,
            }
        })
        .collect()
}

#[divan::bench(args = KINDS)]
fn encode_best(bencher: Bencher, kind: &str) {
    encode(bencher, kind, Effort::Best);
}

#[divan::bench(args = KINDS)]
fn encode_fast(bencher: Bencher, kind: &str) {
    encode(bencher, kind, Effort::Fast);
}

fn encode(bencher: Bencher, kind: &str, effort: Effort) {
    let values = values(kind);
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        out.clear();
        encode_values(black_box(&values), effort, &mut scratch, &mut out)
    });
}

#[divan::bench(args = KINDS)]
fn decode(bencher: Bencher, kind: &str) {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    let codec = encode_values(&values(kind), Effort::Best, &mut Scratch::default(), &mut bytes);
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        out.clear();
        decode_values(codec, black_box(&bytes), VALUES, &mut out).expect("our own bytes decode");
    });
}

#[divan::bench(args = KINDS)]
fn head_append(bencher: Bencher, kind: &str) {
    let values = values(kind);
    let mut words = Vec::new();
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        words.clear();
        let mut chunk = HeadChunk::new();
        for (index, &value) in black_box(&values).iter().enumerate() {
            chunk.append(index as i64 * 15_000, value, &mut |word| words.push(word));
        }
        chunk
    });
}

#[divan::bench(args = KINDS)]
fn head_decode(bencher: Bencher, kind: &str) {
    let (mut words, mut chunk) = (Vec::new(), HeadChunk::new());
    for (index, &value) in values(kind).iter().enumerate() {
        chunk.append(index as i64 * 15_000, value, &mut |word| words.push(word));
    }
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        timestamps.clear();
        values.clear();
        chunk.decode(black_box(&words).iter().copied(), &mut timestamps, &mut values);
    });
}

fn jittered() -> Vec<i64> {
    let mut state = 3;
    (0..VALUES as i64).map(|index| 1_790_000_000_000 + index * 15_000 + noise(&mut state) as i64 % 41).collect()
}

#[divan::bench]
fn encode_jittered_timestamps(bencher: Bencher) {
    let timestamps = jittered();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        out.clear();
        encode_timestamps(black_box(&timestamps), &mut out);
    });
}

#[divan::bench]
fn decode_jittered_timestamps(bencher: Bencher) {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    encode_timestamps(&jittered(), &mut bytes);
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        out.clear();
        decode_timestamps(black_box(&bytes), VALUES, &mut out).expect("our own bytes decode");
    });
}
