//! Measures the codecs as storage uses them: chunks of neighbouring series, packed up to 64 KB, through ZSTD level 3.
//!
//! `cargo run --release -p bellwether-chunk --example codec_lab [RECORDING]`, where RECORDING is text with one
//! `series value` per line and a line `#T ...` before each scrape (a page of /metrics per scrape, say).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use bellwether_chunk::{Effort, Scratch, ValueCodec, decode_values, encode_values};

const PACK_BYTES: usize = 64 * 1024;
const CHUNKS: usize = 2_000;
const VALUES_PER_CHUNK: usize = 120;
const VALUES_PER_RECORDED_CHUNK: usize = 480;
const ROUNDS: u32 = 10;

fn main() {
    println!(
        "{:<22} {:>12} {:>12} {:>12} {:>8} {:>8}",
        "kind", "fast B/value", "best B/value", "unpacked B", "enc ns", "dec ns"
    );
    let mut noise = Noise(42);
    let mut devops = 0.0;
    let mut kind = |name: &str, share: f64, next: &mut dyn FnMut(&mut Noise, &mut f64) -> f64| {
        let chunks: Vec<Vec<f64>> = (0..CHUNKS)
            .map(|_| {
                let mut state = (noise.unit() * 1e6).floor();
                (0..VALUES_PER_CHUNK).map(|_| next(&mut noise, &mut state)).collect()
            })
            .collect();
        devops += share * report(name, &chunks);
    };
    for rate in [0.0, 1.0, 10.0, 500.0, 20_000.0] {
        kind(&format!("counter, rate {rate}"), 0.08, &mut |noise, state| {
            *state += noise.poisson(rate);
            *state
        });
    }
    kind("walk, 2 decimals", 0.25, &mut |noise, state| {
        *state += (noise.normal() * 100.0).round();
        *state / 100.0
    });
    kind("gauge +-3", 0.20, &mut |noise, state| *state + (noise.unit() * 7.0).floor() - 3.0);
    kind("constant", 0.10, &mut |_, state| *state);
    kind("noise * 100", 0.05, &mut |noise, _| noise.unit() * 100.0);
    for share in [0.02, 0.1, 0.3] {
        kind(&format!("rare events, {share}"), 0.0, &mut |noise, state| {
            *state += f64::from(u8::from(noise.unit() < share));
            *state
        });
    }
    kind("rare bursts", 0.0, &mut |noise, state| {
        *state += if noise.unit() < 0.05 { (noise.unit() * 1e4).floor() } else { 0.0 };
        *state
    });
    kind("up to 1 in 100 down", 0.0, &mut |noise, _| f64::from(u8::from(noise.unit() > 0.01)));
    kind("sawtooth", 0.0, &mut |noise, state| {
        *state = (*state + (noise.unit() * 1.01).floor() + 1.0) % 7.0;
        *state * 1000.0
    });
    kind("heavy tail, ns", 0.0, &mut |noise, _| ((noise.normal() * 1.5).exp() * 1e5).round() / 1e9);
    kind("percent, 1 decimal", 0.0, &mut |noise, _| (noise.unit() * 30.0).round() / 10.0);
    kind("milliseconds * 0.001", 0.0, &mut |noise, state| {
        *state += noise.poisson(50.0);
        *state * 0.001
    });
    kind("counter with resets", 0.0, &mut |noise, state| {
        *state = if noise.unit() < 0.01 { 0.0 } else { *state + noise.poisson(10.0) };
        *state
    });
    kind("walk with stale", 0.0, &mut |noise, state| {
        *state += (noise.normal() * 100.0).round();
        if noise.unit() < 0.005 { f64::from_bits(0x7ff0_0000_0000_0002) } else { *state / 100.0 }
    });
    kind("sum of seconds", 0.0, &mut |noise, state| {
        *state += -noise.unit().ln() * 0.3;
        *state
    });
    kind("f32 temperature", 0.0, &mut |noise, state| {
        *state += (noise.normal() * 2.0).round();
        f64::from((40.0 + *state as f32 % 100.0) / 10.0)
    });
    kind("average of 3", 0.0, &mut |noise, _| (noise.unit() * 300.0).floor() / 3.0);
    kind("ratio", 0.0, &mut |noise, _| (noise.unit() * 30.0).floor() / 29.0);
    println!("{:<22} {:>12} {devops:>12.4}", "devops mix", "");
    if let Some(path) = std::env::args().nth(1) {
        let chunks = recorded(&std::fs::read_to_string(path).expect("a readable recording"));
        report("recording", &chunks);
    }
}

/// Prints a row and answers the bytes per value at [`Effort::Best`].
fn report(name: &str, chunks: &[Vec<f64>]) -> f64 {
    let values: usize = chunks.iter().map(Vec::len).sum();
    let [fast, best] = [Effort::Fast, Effort::Best].map(|effort| {
        let (encoded, _) = encode_all(chunks, effort);
        let compressed: usize = packs(&encoded).iter().map(|pack| compressed_len(pack)).sum();
        compressed as f64 / values as f64
    });
    let per_value = |nanos: u128| nanos as f64 / values as f64;
    let encode_nanos = per_value(fastest(|| {
        black_box(encode_all(chunks, Effort::Best));
    }));
    let (encoded, codecs) = encode_all(chunks, Effort::Best);
    let mut out = Vec::new();
    let decode_nanos = per_value(fastest(|| {
        for ((bytes, &codec), chunk) in encoded.iter().zip(&codecs).zip(chunks) {
            out.clear();
            decode_values(codec, bytes, chunk.len(), &mut out).expect("our own bytes decode");
            black_box(&out);
        }
    }));
    let unpacked = encoded.iter().map(Vec::len).sum::<usize>() as f64 / values as f64;
    println!("{name:<22} {fast:>12.4} {best:>12.4} {unpacked:>12.4} {encode_nanos:>8.2} {decode_nanos:>8.2}");
    best
}

fn encode_all(chunks: &[Vec<f64>], effort: Effort) -> (Vec<Vec<u8>>, Vec<ValueCodec>) {
    let mut scratch = Scratch::default();
    let mut encode = |chunk: &Vec<f64>| {
        let mut out = Vec::with_capacity(8 * chunk.len());
        let codec = encode_values(chunk, effort, &mut scratch, &mut out);
        (out, codec)
    };
    chunks.iter().map(&mut encode).unzip()
}

fn packs(encoded: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packs = vec![Vec::new()];
    for bytes in encoded {
        if packs.last().is_some_and(|pack| pack.len() + bytes.len() > PACK_BYTES) {
            packs.push(Vec::new());
        }
        packs.last_mut().expect("one pack at least").extend_from_slice(bytes);
    }
    packs
}

fn compressed_len(pack: &[u8]) -> usize {
    zstd::bulk::compress(pack, 3).expect("memory for ZSTD").len()
}

/// All series in the order of their names, one span of time after another.
fn recorded(text: &str) -> Vec<Vec<f64>> {
    let mut series: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        series.entry(name).or_default().push(value.parse().expect("a float"));
    }
    let spans = series.values().map(|values| values.len().div_ceil(VALUES_PER_RECORDED_CHUNK)).max().unwrap_or(0);
    (0..spans)
        .flat_map(|span| series.values().filter_map(move |values| values.chunks(VALUES_PER_RECORDED_CHUNK).nth(span)))
        .map(<[f64]>::to_vec)
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds of the fastest round: the others were disturbed.
fn fastest(mut round: impl FnMut()) -> u128 {
    let timed = |_| {
        let start = now();
        round();
        start.elapsed().as_nanos()
    };
    (0..ROUNDS).map(timed).min().unwrap_or(0)
}

struct Noise(u64);

impl Noise {
    /// Uniform in (0, 1), 53 bits.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 * 2_f64.powi(-53) + 2_f64.powi(-54)
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn poisson(&mut self, rate: f64) -> f64 {
        if rate > 100.0 {
            return (rate + rate.sqrt() * self.normal()).round();
        }
        let (limit, mut product, mut count) = ((-rate).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}
