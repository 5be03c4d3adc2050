//! Input that is wrong, hostile or odd: refused with what is wrong and where, or kept bit by bit; never a crash, and never
//! at the cost of what is right in the same request.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::body::Body;
use axum::http::{Request, header};
use bellwether_model::{limits, stale_marker};
use bellwether_server::config::ByteSize;
use bellwether_server::env::ExecutorHandle;
use expect_test::{Expect, expect};
use http_support::{InlineExecutor, NOW_MS, Node, Series, series, snappy, v1};

const NOW: &str = "1795161600";

fn raw(labels: &[(&[u8], &[u8])]) -> Series {
    let labels = labels.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    Series { labels, samples: vec![(NOW_MS, 1.0)] }
}

/// Writes a bad series beside a good one: the answer says what is wrong, and the good one is stored.
async fn check(bad: Series, want: Expect) {
    let node = Node::start().await;
    let answer = node.write(&[series("good", &[(NOW_MS, 1.0)]), bad]).await;
    want.assert_eq(&answer.shown());
    let good = node.instant("good", NOW).await.json();
    assert_eq!(good["data"]["result"].as_array().unwrap().len(), 1, "the good series is stored");
    let all = node.instant("count({__name__=~\".*\", x=~\".*\", __name__!=\"\"})", NOW).await.json();
    assert_eq!(all["data"]["result"][0]["value"][1], "1", "nothing else is");
}

#[tokio::test]
async fn labels_that_are_wrong_are_refused_and_named() {
    let name: (&[u8], &[u8]) = (b"__name__", b"bad");
    check(raw(&[(b"job", b"x")]), expect![[r#"
        400 1 refused: 1 with invalid labels (the series has no metric name (label __name__): {job="x"}); stored: 1 samples
    "#]]).await;
    check(
        raw(&[]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (the series has no metric name (label __name__): {}); stored: 1 samples
    "#]],
    )
    .await;
    check(
        raw(&[(b"__name__", b"")]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (the series has no metric name (label __name__): {}); stored: 1 samples
    "#]],
    )
    .await;
    check(
        raw(&[name, (b"", b"x")]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (label 1 has an empty name (value "x")); stored: 1 samples
    "#]],
    )
    .await;
    check(
        raw(&[name, (b"a", b"1"), (b"a", b"2")]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (label "a" occurs more than once); stored: 1 samples
    "#]],
    )
    .await;
    check(
        raw(&[name, (b"a", b"1"), (b"b", b"2"), (b"a", b"1")]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (label "a" occurs more than once); stored: 1 samples
    "#]],
    )
    .await;
    check(
        raw(&[name, (b"a", b"\xff\xfe")]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (label 1 ("a"): value is not valid UTF-8); stored: 1 samples
    "#]],
    )
    .await;
    check(
        raw(&[name, (b"\xc3\x28", b"x")]),
        expect![[r#"
        400 1 refused: 1 with invalid labels (label 1 ("�("): name is not valid UTF-8); stored: 1 samples
    "#]],
    )
    .await;
    let long = vec![b'n'; limits::LABEL_NAME_BYTES_MAX + 1];
    check(raw(&[name, (&long, b"x")]), expect![[r#"
        400 1 refused: 1 with invalid labels (label name "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"... has 1025 bytes, the limit is 1024); stored: 1 samples
    "#]]).await;
    let long = vec![b'v'; limits::LABEL_VALUE_BYTES_MAX + 1];
    check(raw(&[name, (b"a", &long)]), expect![[r#"
        400 1 refused: 1 with invalid labels (the value of label "a" has 4097 bytes, the limit is 4096); stored: 1 samples
    "#]]).await;
}

#[tokio::test]
async fn ten_thousand_labels_are_too_many() {
    let mut labels: Vec<(Vec<u8>, Vec<u8>)> =
        (0..10_000).map(|at| (format!("l{at:05}").into_bytes(), b"x".to_vec())).collect();
    labels.insert(0, (b"__name__".to_vec(), b"bad".to_vec()));
    check(
        Series { labels, samples: vec![(NOW_MS, 1.0)] },
        expect![[r#"
        400 1 refused: 1 with invalid labels (the series has 10001 labels, the limit is 128); stored: 1 samples
    "#]],
    )
    .await;
}

#[tokio::test]
async fn labels_out_of_order_are_the_same_series() {
    let node = Node::start().await;
    let sorted = raw(&[(b"__name__", b"m"), (b"a", b"1"), (b"b", b"2")]);
    let mut unsorted = raw(&[(b"b", b"2"), (b"__name__", b"m"), (b"a", b"1")]);
    unsorted.samples = vec![(NOW_MS - 1000, 7.0)];
    node.load(&[sorted, unsorted]).await;
    let answer = node.instant("m[1m]", NOW).await;
    expect![[r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"m","a":"1","b":"2"},"values":[[1795161599,"7"],[1795161600,"1"]]}]}}"#]].assert_eq(answer.text());
}

#[tokio::test]
async fn an_empty_value_means_no_label() {
    let node = Node::start().await;
    node.load(&[raw(&[(b"__name__", b"m"), (b"a", b""), (b"b", b"2")])]).await;
    expect![[r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"m","b":"2"},"value":[1795161600,"1"]}]}}"#]].assert_eq(node.instant("m", NOW).await.text());
}

#[tokio::test]
async fn times_outside_what_is_kept_are_refused() {
    check(
        series("old", &[(0, 1.0)]),
        expect![[r#"
        400 1 refused: 1 older than retention allows (retention is 395d); stored: 1 samples
    "#]],
    )
    .await;
    check(
        series("older", &[(i64::MIN, 1.0)]),
        expect![[r#"
        400 1 refused: 1 older than retention allows (retention is 395d); stored: 1 samples
    "#]],
    )
    .await;
    check(series("ahead", &[(NOW_MS + limits::FUTURE_SAMPLE_MS_MAX + 1, 1.0)]), expect![[r#"
        400 1 refused: 1 too far in the future (more than 10m ahead of the clock, which says 1795161600000 ms); stored: 1 samples
    "#]]).await;
    check(series("furthest", &[(i64::MAX, 1.0)]), expect![[r#"
        400 1 refused: 1 too far in the future (more than 10m ahead of the clock, which says 1795161600000 ms); stored: 1 samples
    "#]]).await;
    let node = Node::start().await;
    let edges = [(NOW_MS - limits::RETENTION_MS_DEFAULT + 60_000, 1.0), (NOW_MS + limits::FUTURE_SAMPLE_MS_MAX, 2.0)];
    node.load(&[series("edges", &edges)]).await;
}

#[tokio::test]
async fn part_of_a_series_may_be_too_old() {
    let node = Node::start().await;
    let answer = node.write(&[series("m", &[(1, 1.0), (2, 1.0), (NOW_MS, 3.0)])]).await;
    expect![[r#"
        400 2 refused: 2 older than retention allows (retention is 395d); stored: 1 samples
    "#]]
    .assert_eq(&answer.shown());
    assert_eq!(node.instant("m", NOW).await.json()["data"]["result"][0]["value"][1], "3");
}

#[tokio::test]
async fn every_bit_pattern_of_a_value_is_kept() {
    let node = Node::start().await;
    let odd = [
        f64::from_bits(0x7ff8_0000_dead_beef),
        f64::from_bits(0xfff0_0000_0000_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        5e-324,
        f64::MAX,
    ];
    let samples: Vec<(i64, f64)> = odd.iter().zip(0..).map(|(value, at)| (NOW_MS - 1000 * at, *value)).collect();
    node.load(&[series("odd", &samples), series("ended", &[(NOW_MS - 1, 1.0), (NOW_MS, stale_marker())])]).await;
    expect![[r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"odd"},"values":[[1795161594,"1.7976931348623157e+308"],[1795161595,"5e-324"],[1795161596,"-0"],[1795161597,"-Inf"],[1795161598,"+Inf"],[1795161599,"NaN"],[1795161600,"NaN"]]}]}}"#]].assert_eq(node.instant("odd[1m]", NOW).await.text());
    assert_eq!(node.instant("ended", NOW).await.json()["data"]["result"].to_string(), "[]");
    assert_eq!(
        node.instant("ended[1m]", NOW).await.json()["data"]["result"][0]["values"].to_string(),
        "[[1795161599.999,\"1\"]]"
    );
}

#[tokio::test]
async fn a_sample_twice_is_one_and_a_new_value_wins() {
    let node = Node::start().await;
    let one = [series("m", &[(NOW_MS, 1.0)])];
    node.load(&one).await;
    node.load(&one).await;
    node.load(&[series("m", &[(NOW_MS, 1.0), (NOW_MS, 1.0)])]).await;
    assert_eq!(node.instant("count_over_time(m[1m])", NOW).await.json()["data"]["result"][0]["value"][1], "1");
    node.load(&[series("m", &[(NOW_MS, 2.0)])]).await;
    node.load(&[series("m", &[(NOW_MS - 5, 9.0)])]).await;
    assert_eq!(
        node.instant("m[1m]", NOW).await.json()["data"]["result"][0]["values"].to_string(),
        "[[1795161599.995,\"9\"],[1795161600,\"2\"]]"
    );
}

#[tokio::test]
async fn a_body_that_is_damaged_is_400_and_says_where() {
    let node = Node::start().await;
    let whole = snappy(&v1(&[series("m{a=1}", &[(NOW_MS, 1.0)])]));
    for (body, want) in [
        (
            Vec::new(),
            expect![[r#"
            400 the snappy body is empty
        "#]],
        ),
        (
            whole[..whole.len() / 2].to_vec(),
            expect![[r#"
            400 the snappy body is truncated after 22 bytes: snappy: corrupt input (expected literal read of length 43; remaining src: 20; remaining dst: 43)
        "#]],
        ),
        (
            vec![0xff; 100],
            expect![[r#"
            400 the snappy body is truncated after 100 bytes: snappy: corrupt input (invalid header)
        "#]],
        ),
        (
            snappy(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            expect![[r#"
            400 malformed protobuf at byte 1: a length reaches beyond its message
        "#]],
        ),
        (
            snappy(&v1(&[series("m{a=1}", &[(NOW_MS, 1.0)])])[..10]),
            expect![[r#"
            400 malformed protobuf at byte 1: a length reaches beyond its message
        "#]],
        ),
        (
            snappy(b"not a protobuf at all"),
            expect![[r#"
            400 malformed protobuf at byte 1: unknown wire type
        "#]],
        ),
    ] {
        want.assert_eq(&node.write_bytes(body).await.shown());
    }
}

#[tokio::test]
async fn no_damage_of_a_body_breaks_the_node() {
    let node = Node::start().await;
    let whole = snappy(&v1(&[series("m{a=1,b=2}", &[(NOW_MS, 1.0), (NOW_MS - 15_000, 2.0)])]));
    for length in 0..whole.len() {
        let answer = node.write_bytes(whole[..length].to_vec()).await;
        assert_eq!(answer.status, 400, "cut to {length}: {}", answer.text());
    }
    for bit in 0..whole.len() * 8 {
        let mut body = whole.clone();
        body[bit / 8] ^= 1 << (bit % 8);
        let status = node.write_bytes(body).await.status.as_u16();
        assert!([204, 400, 413].contains(&status), "bit {bit}: {status}");
    }
    assert_eq!(node.write_bytes(whole).await.shown(), "204 ");
}

#[tokio::test]
async fn a_body_beyond_a_limit_is_413_and_names_it() {
    let small = |config: &mut bellwether_server::Config| {
        config.ingest.max_body_bytes = ByteSize(1000);
        config.ingest.max_decompressed_bytes = ByteSize(10_000);
    };
    let node = Node::with(small, ExecutorHandle::new(InlineExecutor, 1)).await;
    expect![[r#"
        413 the request's body has 1001 bytes or more, the limit is 1000
    "#]]
    .assert_eq(&node.write_bytes(vec![0; 1001]).await.shown());
    let bomb = snappy(&vec![0; 20_000]);
    assert!(bomb.len() < 1000);
    expect![[r#"
        413 the decompressed body has 20000 bytes, the limit is 10000
    "#]]
    .assert_eq(&node.write_bytes(bomb).await.shown());
    let zstd_bomb = zstd::bulk::compress(&vec![0; 20_000], 1).unwrap();
    let answer = node.write_with(&[("Content-Encoding", "zstd")], zstd_bomb).await;
    expect![[r#"
        413 the decompressed body has 20000 bytes, the limit is 10000
    "#]]
    .assert_eq(&answer.shown());
    // Without an announced length the body is counted as it comes.
    let pieces = futures::stream::iter((0..20).map(|_| Ok::<_, std::convert::Infallible>(vec![0_u8; 100])));
    expect![[r#"
        413 the request's body has 1100 bytes or more, the limit is 1000
    "#]]
    .assert_eq(&node.write_bytes(Body::from_stream(pieces)).await.shown());
}

#[tokio::test]
async fn queries_that_are_no_queries_say_where_they_go_wrong() {
    let node = Node::start().await;
    for (query, want) in [
        ("", expect![[r#"invalid parameter "query": unknown position: parse error: no expression found in input"#]]),
        ("up{", expect![[r#"invalid parameter "query": 1:4: parse error: unexpected end of input inside braces"#]]),
        ("up{job=\"a}", expect![[r#"invalid parameter "query": 1:8: parse error: unterminated quoted string"#]]),
        ("sum by (up", expect![[r#"invalid parameter "query": 1:11: parse error: unclosed left parenthesis"#]]),
        ("1 +", expect![[r#"invalid parameter "query": 1:4: parse error: unexpected end of input"#]]),
        (
            "rate(up)",
            expect![[
                r#"invalid parameter "query": 1:6: parse error: expected type range vector in call to function "rate", got instant vector"#
            ]],
        ),
        ("up[5x]", expect![[r#"invalid parameter "query": 1:4: parse error: bad number or duration syntax: "5""#]]),
        ("\u{0}", expect![[r#"invalid parameter "query": 1:1: parse error: unexpected character: '\0'"#]]),
        ("up ünï", expect![[r#"invalid parameter "query": 1:4: parse error: unexpected character: 'ü'"#]]),
    ] {
        let answer = node.instant(query, NOW).await;
        assert_eq!(answer.status, 400);
        want.assert_eq(answer.json()["error"].as_str().unwrap());
    }
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    expect![[r#"invalid parameter "query": 1:257: parse error: the expression is nested more than 256 levels deep"#]]
        .assert_eq(node.instant(&deep, NOW).await.json()["error"].as_str().unwrap());
    let long = "1+".repeat(200_000) + "1";
    expect![[r#"invalid parameter "query": 1:1: parse error: the query has 400001 bytes, the limit is 262144"#]]
        .assert_eq(node.instant(&long, NOW).await.json()["error"].as_str().unwrap());
}

#[tokio::test]
async fn a_form_that_is_too_large_is_413() {
    let node = Node::start().await;
    let request = Request::post("/api/v1/query").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = node.send(request.body(Body::from(vec![b'a'; (10 << 20) + 1])).unwrap()).await;
    expect![[r#"413 {"status":"error","errorType":"bad_data","error":"the request's body has 10485761 bytes or more, the limit is 10485760"}"#]].assert_eq(&answer.shown());
}

#[tokio::test]
async fn a_form_of_a_million_parameters_is_refused() {
    let node = Node::start().await;
    let request = Request::post("/api/v1/query").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = node.send(request.body(Body::from("a&".repeat(1_000_000))).unwrap()).await;
    expect![[r#"400 {"status":"error","errorType":"bad_data","error":"the request has more than 10000 parameters"}"#]]
        .assert_eq(&answer.shown());
}

#[tokio::test]
async fn a_page_that_calls_the_node_by_a_name_of_its_own_gets_nothing() {
    let configure = |config: &mut bellwether_server::Config| config.hosts.0.push("metrics.example".to_owned());
    let node = Node::with(configure, ExecutorHandle::new(InlineExecutor, 1)).await;
    let ask = async |path: &str, host: &str| {
        let method = if path.ends_with("write") { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(path).header(header::HOST, host);
        node.send(request.body(Body::empty()).unwrap()).await
    };
    for path in ["/", "/metrics", "/api/v1/query?query=1", "/api/v1/write", "/-/healthy", "/nothing"] {
        let refused = ask(path, "rebound.example:9480").await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.json()["error"].as_str().unwrap().starts_with("host \"rebound.example:9480\" is not one"));
    }
    for host in ["localhost:9480", "127.0.0.1:9480", "[::1]:9480", "metrics.example"] {
        assert_eq!(ask("/api/v1/query?query=1", host).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn extreme_times_are_harmless() {
    let node = Node::start().await;
    node.load(&[series("m", &[(NOW_MS, 1.0)])]).await;
    for time in ["-9223372036854775808", "9223372036854775807", "1e300", "-1e300", "0"] {
        assert_eq!(node.instant("m offset 1y", time).await.status, 200, "{time}");
        assert_eq!(node.instant("rate(m[100y] offset -100y)", time).await.status, 200, "{time}");
        assert_eq!(node.get(&format!("/api/v1/series?match[]=m&start={time}")).await.status, 200, "{time}");
    }
    assert_eq!(node.range("m", "-1e300", "1e300", "1e9").await.status, 400);
    assert_eq!(node.range("m", "-1e300", "1e300", "9e9").await.status, 400);
}

#[tokio::test]
async fn a_text_that_can_be_no_query_does_not_wait_for_a_place() {
    let none = |config: &mut bellwether_server::config::Config| config.query.max_concurrent = 0;
    let node = Node::with(none, ExecutorHandle::new(InlineExecutor, 1)).await;
    let long = "a".repeat(300_000);
    let query = node.form("/api/v1/query", &[("query", &long), ("timeout", "10ms")]).await;
    assert_eq!(query.status, 400, "{}", query.text());
    let labels = node.form("/api/v1/labels", &[("match[]", &long), ("timeout", "10ms")]).await;
    assert_eq!(labels.status, 400, "{}", labels.text());
    assert_eq!(node.form("/api/v1/query", &[("query", "a"), ("timeout", "10ms")]).await.status, 503);
}

#[tokio::test]
async fn forms_are_bounded_together() {
    let node = std::sync::Arc::new(Node::start().await);
    let mut under_way = Vec::new();
    for _ in 0..6 {
        let node = node.clone();
        under_way.push(tokio::spawn(async move {
            let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
            let request =
                Request::post("/api/v1/query").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            node.send(request.body(Body::from_stream(never)).unwrap()).await
        }));
        tokio::task::yield_now().await;
    }
    let announced = |length: usize| {
        let request = Request::post("/api/v1/query")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::CONTENT_LENGTH, length);
        node.send(request.body(Body::from(format!("query=1&x={}", "x".repeat(length - 10)))).unwrap())
    };
    let refused = announced(8 << 20).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    assert_eq!(announced(1000).await.status, 200, "a small one has room");
    under_way.iter().for_each(|request| request.abort());
    for request in under_way {
        assert!(request.await.is_err());
    }
    assert_eq!(announced(8 << 20).await.status, 200);
}
