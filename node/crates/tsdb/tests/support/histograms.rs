//! Histograms for tests: each is made from a number, and tells which.
#![allow(dead_code, reason = "not every test uses all of it")]

use bellwether_model::{CounterResetHint, Counts, Histogram, Span};

/// Above the bits of any float of the tests.
const CODE: u64 = 0xffff_0000_0000_0000;

/// A histogram of a kind and layout that the number chooses.
pub fn histogram(number: u8) -> Histogram {
    let n = u64::from(number);
    let float = n as f64 / 2.0;
    let spans = vec![Span { offset: i32::from(number % 4) - 2, length: 2 }];
    let integer = Histogram {
        counter_reset_hint: if number.is_multiple_of(5) { CounterResetHint::Gauge } else { CounterResetHint::Unknown },
        schema: 3,
        zero_threshold: 1e-128,
        sum: f64::from(number),
        counts: Counts::Integer { count: 3 * n + 4, zero_count: 1, positive: vec![n, 2 * n + 3], negative: vec![] },
        positive_spans: spans.clone(),
        negative_spans: vec![],
        custom_values: vec![],
    };
    match number % 3 {
        0 => integer,
        1 => Histogram {
            counts: Counts::Float { count: float, zero_count: 0.5, positive: vec![float, -0.0], negative: vec![] },
            ..integer
        },
        _ => Histogram {
            schema: -53,
            zero_threshold: 0.0,
            counts: Counts::Integer { count: 2 * n, zero_count: 0, positive: vec![n, n], negative: vec![] },
            positive_spans: vec![Span { offset: 0, length: 2 }],
            custom_values: vec![f64::from(number)],
            ..integer
        },
    }
}

/// What the log carries of it.
pub fn chunk(histogram: &Histogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    bellwether_chunk::encode_histograms(
        std::slice::from_ref(histogram),
        &mut bellwether_chunk::Scratch::default(),
        &mut bytes,
    );
    bytes
}

/// A number in the place of a float's bits.
pub fn code(number: u8) -> u64 {
    CODE | u64::from(number)
}

/// The same of a histogram, which must be the one of its number.
pub fn code_of(found: &Histogram) -> u64 {
    let number = found.sum as u8;
    assert_eq!(*found, histogram(number));
    code(number)
}
