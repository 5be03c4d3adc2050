//! Native histograms: written by both versions of remote write, read back as they came, whatever became of them in between.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::body::Body;
use axum::http::{Request, header};
use bellwether_model::limits::WINDOW_MS;
use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Span};
use bellwether_server::write::own_body::put_histograms;
use bellwether_server::write::wire_histogram::{encode, put_bytes};
use http_support::remote_read::{ChunkedReadResponse, ReadResponse, frames, request};
use http_support::{Answer, NOW_MS, Node, series, snappy};
use prost::Message;

const V2_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];

fn integer(at: u64) -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 1e-128,
        sum: 18.5 * at as f64,
        counts: Counts::Integer { count: 6 * at, zero_count: at, positive: vec![2 * at, at], negative: vec![2 * at] },
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        custom_values: vec![],
    }
}

fn custom() -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: -53,
        zero_threshold: 0.0,
        sum: f64::from_bits(0x7ff8_0000_0000_1234),
        counts: Counts::Float { count: 2.5, zero_count: 0.0, positive: vec![1.0, 1.5], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        custom_values: vec![0.5],
    }
}

fn v1(name: &str, rows: &[(i64, Histogram)]) -> Vec<u8> {
    let (times, histograms): (Vec<i64>, Vec<Histogram>) = rows.iter().cloned().unzip();
    let mut body = Vec::new();
    put_histograms(&mut body, &Labels::of(&[("__name__", name)]), &times, &histograms);
    body
}

fn v2(name: &str, rows: &[(i64, Histogram)]) -> Vec<u8> {
    let mut series = Vec::new();
    put_bytes(&mut series, 1, &[1, 2]);
    rows.iter().for_each(|(at, histogram)| put_bytes(&mut series, 3, &encode(*at, histogram)));
    let mut body = Vec::new();
    ["", "__name__", name].iter().for_each(|symbol| put_bytes(&mut body, 4, symbol.as_bytes()));
    put_bytes(&mut body, 5, &series);
    body
}

async fn write_v2(node: &Node, name: &str, rows: &[(i64, Histogram)]) -> Answer {
    node.write_with(&V2_HEADERS, snappy(&v2(name, rows))).await
}

/// All samples of a metric in the first of these forms.
async fn remote_read(node: &Node, name: &str, accepted: &[i32]) -> Answer {
    let body = request(&[(0, i64::MAX, &[(0, "__name__", name)])], accepted);
    let request = Request::post("/api/v1/read")
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy");
    let answer = node.send(request.body(Body::from(snappy(&body))).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.shown());
    answer
}

/// All samples of a metric: floats, and histograms as they lie on the wire.
async fn read(node: &Node, name: &str) -> (Vec<(i64, f64)>, Vec<Vec<u8>>) {
    let answer = remote_read(node, name, &[0]).await;
    let body = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap();
    let mut response = ReadResponse::decode(&body[..]).unwrap();
    let mut found = response.results.remove(0).timeseries;
    assert!(found.len() <= 1);
    found.pop().map_or_else(Default::default, |found| {
        (found.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect(), found.histograms)
    })
}

fn wire(rows: &[(i64, Histogram)]) -> Vec<Vec<u8>> {
    rows.iter().map(|(at, histogram)| encode(*at, histogram)).collect()
}

#[tokio::test]
async fn histograms_of_both_versions_come_back_before_and_after_flush_and_seal() {
    let node = Node::start().await;
    let begin = NOW_MS - 2 * WINDOW_MS;
    let rows: Vec<(i64, Histogram)> = (1..200).map(|at| (begin + at * 15_000, integer(at as u64))).collect();
    let answer = node.write_bytes(snappy(&v1("one", &rows))).await;
    assert_eq!(answer.shown(), "204 ");
    let mut mixed = rows[..50].to_vec();
    mixed.push((begin + 9_000_000, custom()));
    let answer = write_v2(&node, "two", &mixed).await;
    assert_eq!(answer.shown(), "204 ");
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("51"));
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("0"));
    node.load(&[series("two", &[(begin + 1, 7.0)])]).await;
    for step in ["/api/v1/admin/flush", "/api/v1/admin/seal", "/api/v1/admin/seal"] {
        assert_eq!(read(&node, "one").await, (vec![], wire(&rows)), "before {step}");
        assert_eq!(read(&node, "two").await, (vec![(begin + 1, 7.0)], wire(&mixed)), "before {step}");
        assert_eq!(node.post(step).await.status, 200);
    }
    assert_eq!(read(&node, "one").await, (vec![], wire(&rows)));
}

#[tokio::test]
async fn streamed_chunks_are_of_floats_and_of_histograms_by_time() {
    let node = Node::start().await;
    let at = |row: u64| NOW_MS - 1_000_000 + row as i64 * 1_000;
    let rows: Vec<(i64, Histogram)> = (1..200).filter(|row| *row != 150).map(|row| (at(row), integer(row))).collect();
    write_v2(&node, "two", &rows).await;
    write_v2(&node, "two", &[(at(300), custom())]).await;
    node.load(&[series("two", &[(at(150), 7.0)])]).await;
    let mut found = Vec::new();
    for (_, frame) in frames(&remote_read(&node, "two", &[1]).await.body) {
        for series in ChunkedReadResponse::decode(&frame[..]).unwrap().chunked_series {
            let count = |data: &[u8]| u16::from_be_bytes([data[0], data[1]]);
            let place = |time: i64| (time - at(0)) / 1_000;
            let chunks = series.chunks.into_iter();
            found.extend(
                chunks.map(|chunk| {
                    (chunk.encoding, count(&chunk.data), place(chunk.min_time_ms), place(chunk.max_time_ms))
                }),
            );
        }
    }
    let (xor, integer, float) = (1, 2, 3);
    let expected = [
        (integer, 120, 1, 120),
        (integer, 29, 121, 149),
        (xor, 1, 150, 150),
        (integer, 49, 151, 199),
        (float, 1, 300, 300),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn late_repeated_and_replaced_histograms_end_as_the_last_write_says() {
    let node = Node::start().await;
    let at = |row: i64| NOW_MS - 1_000_000 + row * 1_000;
    for flushes in [false, true] {
        let name = if flushes { "flushed" } else { "open" };
        let pause = || async {
            if flushes {
                assert_eq!(node.post("/api/v1/admin/flush").await.status, 200);
            }
        };
        write_v2(&node, name, &[(at(5), integer(5)), (at(7), integer(7))]).await;
        pause().await;
        // Late, the same again, another one, and a float in the place of a histogram.
        let answer = write_v2(&node, name, &[(at(3), integer(3)), (at(5), integer(5)), (at(7), custom())]).await;
        assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("3"));
        pause().await;
        node.load(&[series(name, &[(at(5), 1.5), (at(6), 2.5)])]).await;
        pause().await;
        write_v2(&node, name, &[(at(6), integer(6))]).await;
        let expected = wire(&[(at(3), integer(3)), (at(6), integer(6)), (at(7), custom())]);
        assert_eq!(read(&node, name).await, (vec![(at(5), 1.5)], expected));
    }
}

#[tokio::test]
async fn invalid_histograms_are_refused_with_reason_and_the_rest_is_stored() {
    let node = Node::start().await;
    let invalid = Histogram { schema: 9, ..integer(1) };
    let answer = write_v2(&node, "h", &[(NOW_MS, integer(1)), (NOW_MS + 1, invalid)]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("1"));
    let text = "1 refused: 1 are invalid native histograms (h at 1795161600001 ms: histogram has schema 9, ";
    assert!(answer.text().starts_with(text), "{}", answer.text());
    assert_eq!(read(&node, "h").await, (vec![], wire(&[(NOW_MS, integer(1))])));
    let answer = write_v2(&node, "h", &[(NOW_MS + 3_600_000, integer(2))]).await;
    assert!(answer.text().starts_with("1 refused: 1 too far in the future"), "{}", answer.text());
}

#[tokio::test]
async fn queries_see_histograms_wherever_they_are_stored() {
    let node = Node::start().await;
    let begin = NOW_MS - 2 * WINDOW_MS;
    let rows: Vec<(i64, Histogram)> = (0..9).map(|at| (begin + at * 60_000, integer(at as u64 + 1))).collect();
    // The last ones first.
    assert_eq!(write_v2(&node, "h", &rows[5..]).await.shown(), "204 ");
    assert_eq!(node.write_bytes(snappy(&v1("h", &rows[..5]))).await.shown(), "204 ");
    let at = ((begin + 8 * 60_000) / 1000).to_string();
    let value = |answer: Answer| answer.json()["data"]["result"][0]["value"][1].clone();
    for step in ["/api/v1/admin/flush", "/api/v1/admin/seal", "/api/v1/admin/seal"] {
        assert_eq!(value(node.instant("histogram_count(h)", &at).await), "54", "before {step}");
        assert_eq!(value(node.instant("histogram_sum(h offset 5m)", &at).await), "74", "before {step}");
        assert_eq!(value(node.instant("count_over_time(h[20m])", &at).await), "9", "before {step}");
        // Six more each minute.
        assert_eq!(value(node.instant("histogram_count(rate(h[5m])) * 60", &at).await), "6", "before {step}");
        let answer = node.instant("h", &at).await.json();
        let found = &answer["data"]["result"][0]["histogram"][1];
        assert_eq!((found["count"].as_str(), found["sum"].as_str()), (Some("54"), Some("166.5")), "before {step}");
        assert_eq!(node.post(step).await.status, 200);
    }
}
