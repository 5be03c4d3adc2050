//! Every read endpoint: its parameters, its answer to the byte, its errors in Prometheus's words.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use bellwether_model::stale_marker;
use bellwether_server::env::ExecutorHandle;
use expect_test::{Expect, expect};
use http_support::{InlineExecutor, NOW_MS, Node, ThreadExecutor, series};

const NOW: &str = "1795161600";

/// Two hosts with a counter each, a gauge with odd labels, a series that ended.
async fn node() -> Node {
    let node = Node::start().await;
    let counter =
        |step: f64| -> Vec<(i64, f64)> { (0..=40).map(|at| (NOW_MS - (40 - at) * 15_000, at as f64 * step)).collect() };
    let mut odd = series("odd", &[(NOW_MS, f64::NAN)]);
    odd.labels.insert(0, ("ключ.1".into(), "va\"l\\ue\n".into()));
    odd.labels.sort();
    node.load(&[
        series("requests_total{host=a,job=web}", &counter(15.0)),
        series("requests_total{host=b,job=web}", &counter(30.0)),
        odd,
        series("gone{host=a}", &[(NOW_MS - 60_000, 1.0), (NOW_MS - 30_000, stale_marker())]),
    ])
    .await;
    node
}

async fn check(path: &str, want: Expect) {
    want.assert_eq(&node().await.get(path).await.shown());
}

#[tokio::test]
async fn instant_queries() {
    let node = node().await;
    for (query, want) in [
        (
            "requests_total",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","host":"a","job":"web"},"value":[1795161600,"600"]},{"metric":{"__name__":"requests_total","host":"b","job":"web"},"value":[1795161600,"1200"]}]}}"#
            ]],
        ),
        (
            "sum(rate(requests_total[5m]))",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1795161600,"2.9999999999999996"]}]}}"#
            ]],
        ),
        (
            "requests_total{host=\"a\"}[30s]",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"requests_total","host":"a","job":"web"},"values":[[1795161585,"585"],[1795161600,"600"]]}]}}"#
            ]],
        ),
        (
            "odd",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"odd","ключ.1":"va\"l\\ue\n"},"value":[1795161600,"NaN"]}]}}"#
            ]],
        ),
        ("gone", expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[]}}"#]]),
        (
            "gone offset 45s",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"gone","host":"a"},"value":[1795161600,"1"]}]}}"#
            ]],
        ),
        ("1 / 0", expect![[r#"200 {"status":"success","data":{"resultType":"scalar","result":[1795161600,"+Inf"]}}"#]]),
        (
            "\"te\\\"xt\"",
            expect![[r#"200 {"status":"success","data":{"resultType":"string","result":[1795161600,"te\"xt"]}}"#]],
        ),
        (
            "time()",
            expect![[r#"200 {"status":"success","data":{"resultType":"scalar","result":[1795161600,"1795161600"]}}"#]],
        ),
        (
            "absent(nothing{a=\"b\"})",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1795161600,"1"]}]}}"#
            ]],
        ),
        (
            "topk(1, requests_total)",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","host":"b","job":"web"},"value":[1795161600,"1200"]}]}}"#
            ]],
        ),
    ] {
        let posted = node.instant(query, NOW).await;
        let asked = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let got = node.get(&format!("/api/v1/query?{asked}&time={NOW}")).await;
        assert_eq!(got.shown(), posted.shown());
        assert_eq!(got.header("content-type"), Some("application/json"));
        want.assert_eq(&got.shown());
    }
}

#[tokio::test]
async fn range_queries() {
    let node = node().await;
    for (query, start, end, step, want) in [
        (
            "requests_total",
            "1795161570",
            "1795161600.5",
            "15",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"requests_total","host":"a","job":"web"},"values":[[1795161570,"570"],[1795161585,"585"],[1795161600,"600"]]},{"metric":{"__name__":"requests_total","host":"b","job":"web"},"values":[[1795161570,"1140"],[1795161585,"1170"],[1795161600,"1200"]]}]}}"#
            ]],
        ),
        (
            "rate(requests_total[1m])",
            "2026-11-20T07:59:30Z",
            "2026-11-20T08:00:00Z",
            "30s",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"host":"a","job":"web"},"values":[[1795161570,"0.9999999999999999"],[1795161600,"0.9999999999999999"]]},{"metric":{"host":"b","job":"web"},"values":[[1795161570,"1.9999999999999998"],[1795161600,"1.9999999999999998"]]}]}}"#
            ]],
        ),
        (
            "1.5",
            "0",
            "1",
            "0.5",
            expect![[
                r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1.5"],[0.500,"1.5"],[1,"1.5"]]}]}}"#
            ]],
        ),
        (
            "nothing",
            "0",
            "10",
            "1",
            expect![[r#"200 {"status":"success","data":{"resultType":"matrix","result":[]}}"#]],
        ),
    ] {
        want.assert_eq(&node.range(query, start, end, step).await.shown());
    }
}

#[tokio::test]
async fn series_and_labels() {
    check("/api/v1/series?match[]=requests_total&match[]={host=\"a\"}", expect![[r#"200 {"status":"success","data":[{"__name__":"gone","host":"a"},{"__name__":"requests_total","host":"a","job":"web"},{"__name__":"requests_total","host":"b","job":"web"}]}"#]]).await;
    check("/api/v1/series?match[]=requests_total&limit=1", expect![[r#"200 {"status":"success","data":[{"__name__":"requests_total","host":"a","job":"web"}],"warnings":["results truncated due to limit"]}"#]]).await;
    check("/api/v1/series?match[]=requests_total&start=1&end=2", expect![[r#"200 {"status":"success","data":[]}"#]])
        .await;
    check("/api/v1/labels", expect![[r#"200 {"status":"success","data":["__name__","host","job","ключ.1"]}"#]]).await;
    check(
        "/api/v1/labels?match[]=gone&match[]=nothing",
        expect![[r#"200 {"status":"success","data":["__name__","host"]}"#]],
    )
    .await;
    check(
        "/api/v1/labels?limit=2",
        expect![[
            r#"200 {"status":"success","data":["__name__","host"],"warnings":["results truncated due to limit"]}"#
        ]],
    )
    .await;
    check("/api/v1/label/host/values", expect![[r#"200 {"status":"success","data":["a","b"]}"#]]).await;
    check("/api/v1/label/host/values?match[]=gone", expect![[r#"200 {"status":"success","data":["a"]}"#]]).await;
    check(
        "/api/v1/label/U___43a__43b__44e__447__2e_1/values",
        expect![[r#"200 {"status":"success","data":["va\"l\\ue\n"]}"#]],
    )
    .await;
    check(
        "/api/v1/label/%D0%BA%D0%BB%D1%8E%D1%87.1/values",
        expect![[r#"200 {"status":"success","data":["va\"l\\ue\n"]}"#]],
    )
    .await;
    check("/api/v1/label/nothing/values", expect![[r#"200 {"status":"success","data":[]}"#]]).await;
}

#[tokio::test]
async fn series_take_a_form_too() {
    let node = node().await;
    let fields = [("match[]", "gone"), ("match[]", "odd"), ("start", "1795161000")];
    assert_eq!(node.form("/api/v1/series", &fields).await.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(node.form("/api/v1/labels", &[("match[]", "gone")]).await.json()["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_parameter_that_makes_no_sense_is_named() {
    for (path, want) in [
        (
            "/api/v1/query",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": unknown position: parse error: no expression found in input"}"#
            ]],
        ),
        (
            "/api/v1/query?query=up&time=abc",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": Invalid time value for 'time': cannot parse \"abc\" to a valid timestamp"}"#
            ]],
        ),
        (
            "/api/v1/query?query=up&timeout=abc",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"timeout\": cannot parse \"abc\" to a valid duration"}"#
            ]],
        ),
        (
            "/api/v1/query?query=up&limit=-1",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": limit must be non-negative"}"#
            ]],
        ),
        (
            "/api/v1/query?query=up&lookback_delta=x",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"error parsing lookback delta duration: cannot parse \"x\" to a valid duration"}"#
            ]],
        ),
        (
            "/api/v1/query?query=sum(up",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:7: parse error: unclosed left parenthesis"}"#
            ]],
        ),
        (
            "/api/v1/query?query=up%20and%0A%20%20foo(1)",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 2:3: parse error: unknown function with name \"foo\""}"#
            ]],
        ),
        (
            "/api/v1/query?query={}",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:1: parse error: vector selector must contain at least one non-empty matcher"}"#
            ]],
        ),
        (
            "/api/v1/query?query=up{a=~\"(\"}",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: error parsing regexp: unclosed group: \"(\""}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": cannot parse \"\" to a valid timestamp"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up&start=1",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": cannot parse \"\" to a valid timestamp"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up&start=1&end=2&step=0",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up&start=1&end=2&step=x",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": cannot parse \"x\" to a valid duration"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up&start=1&end=2&step=1e300",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": cannot parse \"1e300\" to a valid duration. It overflows int64"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=11001&step=1",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#
            ]],
        ),
        (
            "/api/v1/query_range?query=up[1m]&start=0&end=1&step=1",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"}"#
            ]],
        ),
        (
            "/api/v1/series",
            expect![[r#"400 {"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#]],
        ),
        (
            "/api/v1/series?match[]={a=\"\"}",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": 1:1: parse error: vector selector must contain at least one non-empty matcher"}"#
            ]],
        ),
        (
            "/api/v1/series?match[]=rate(a[1m])",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": 1:1: parse error: expected a vector selector"}"#
            ]],
        ),
        (
            "/api/v1/series?match[]=a&start=x",
            expect![[
                r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": Invalid time value for 'start': cannot parse \"x\" to a valid timestamp"}"#
            ]],
        ),
        (
            "/api/v1/label/U__/values",
            expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid label name: \"\""}"#]],
        ),
        (
            "/api/v1/nothing",
            expect![[
                r#"404 {"status":"error","errorType":"not_found","error":"there is nothing at /api/v1/nothing"}"#
            ]],
        ),
    ] {
        check(path, want).await;
    }
}

#[tokio::test]
async fn a_query_that_fails_on_its_data_is_422() {
    let node = node().await;
    let answer = node.instant("requests_total + ignoring (host) requests_total", NOW).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["errorType"], "execution");
    let answer = node.instant("label_replace(requests_total, \"host\", \"x\", \"\", \"\")", NOW).await;
    expect![[r#"422 {"status":"error","errorType":"execution","error":"vector cannot contain metrics with the same labelset"}"#]].assert_eq(&answer.shown());
}

#[tokio::test]
async fn a_limit_cuts_the_result_and_warns() {
    let node = node().await;
    let answer = node.form("/api/v1/query", &[("query", "requests_total"), ("time", NOW), ("limit", "1")]).await.json();
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"][0], "results truncated due to limit");
}

#[tokio::test]
async fn lookback_and_stats_are_taken() {
    let node = node().await;
    let late = "1795161700";
    let ask = |lookback| {
        let fields = [("query", "requests_total"), ("time", late), ("lookback_delta", lookback), ("nocache", "1")];
        let node = &node;
        async move { node.form("/api/v1/query", &fields).await.json()["data"]["result"].as_array().unwrap().len() }
    };
    assert_eq!((ask("5m").await, ask("60").await, ask("0").await), (2, 0, 2));
    // A vector needs the newest sample of each series alone.
    for (query, samples) in [("requests_total", 2), ("rate(requests_total[5m])", 40)] {
        let answer = node.form("/api/v1/query", &[("query", query), ("time", NOW), ("stats", "all")]).await;
        let stats = &answer.json()["data"]["stats"]["samples"];
        assert_eq!(stats["totalQueryableSamples"], samples, "{query}");
        assert_eq!(stats["totalQueryableSamplesPerStep"], serde_json::json!([[1_795_161_600, samples]]), "{query}");
    }
}

#[tokio::test]
async fn statistics_tell_of_each_step_if_all_are_asked_for() {
    let node = node().await;
    let ask = |query, stats| {
        let times = [("start", "1795161585.5"), ("end", "1795161645.5"), ("step", "30")];
        let fields = [&[("query", query), ("stats", stats)][..], &times[..]].concat();
        let node = &node;
        async move { node.form("/api/v1/query_range", &fields).await.json()["data"]["stats"]["samples"].clone() }
    };
    // Computed where the query runs, and where the series are.
    for query in ["rate(requests_total[1m])", "sum(rate(requests_total[1m]))"] {
        let per_step = serde_json::json!([[1_795_161_585.5, 8], [1_795_161_615.5, 6], [1_795_161_645.5, 2]]);
        let all = ask(query, "all").await;
        assert_eq!((&all["totalQueryableSamplesPerStep"], &all["totalQueryableSamples"]), (&per_step, &16.into()));
        let some = ask(query, "true").await;
        assert!(some.get("totalQueryableSamplesPerStep").is_none(), "{some}");
        assert_eq!(some["totalQueryableSamples"], 16);
    }
    assert!(ask("requests_total", "").await.is_null());
}

#[tokio::test]
async fn what_concerns_the_text_alone() {
    check(
        "/api/v1/format_query?query=sum%20by(a)(rate(up[5m]))",
        expect![[r#"200 {"status":"success","data":"sum by (a) (rate(up[5m]))"}"#]],
    )
    .await;
    // What is longer than a line is spread over several.
    let (a, b) = ("a".repeat(60), "b".repeat(60));
    let long = node().await.get(&format!("/api/v1/format_query?query={a}*{b}")).await;
    assert_eq!(long.json()["data"], format!("  {a}\n*\n  {b}"));
    check("/api/v1/parse_query?query=up*2", expect![[r#"200 {"status":"success","data":{"bool":false,"lhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":null,"op":"*","rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"}}"#]]).await;
    check("/api/v1/query_exemplars?query=up&start=1&end=2", expect![[r#"200 {"status":"success","data":[]}"#]]).await;
}

#[tokio::test]
async fn what_is_always_empty_has_prometheus_shape() {
    for (path, want) in [
        ("/api/v1/rules", expect![[r#"200 {"status":"success","data":{"groups":[]}}"#]]),
        ("/api/v1/alerts", expect![[r#"200 {"status":"success","data":{"alerts":[]},"alerts":[]}"#]]),
        (
            "/api/v1/alertmanagers",
            expect![[r#"200 {"status":"success","data":{"activeAlertmanagers":[],"droppedAlertmanagers":[]}}"#]],
        ),
        (
            "/api/v1/targets",
            expect![[
                r#"200 {"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}}"#
            ]],
        ),
        ("/api/v1/targets/metadata", expect![[r#"200 {"status":"success","data":[]}"#]]),
        ("/api/v1/scrape_pools", expect![[r#"200 {"status":"success","data":{"scrapePools":[]}}"#]]),
        ("/api/v1/status/walreplay", expect![[r#"200 {"status":"success","data":{"min":0,"max":0,"current":0}}"#]]),
        ("/api/v1/status/active_queries", expect![[r#"200 {"status":"success","data":[]}"#]]),
    ] {
        check(path, want).await;
    }
}

#[tokio::test]
async fn the_status_says_what_this_is() {
    check("/api/v1/status/buildinfo", expect![[r#"200 {"status":"success","data":{"version":"3.5.0","revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"","application":"Bellwether","applicationVersion":"0.1.0"}}"#]]).await;
    check("/api/v1/status/tsdb?limit=1", expect![[r#"200 {"status":"success","data":{"headStats":{"numSeries":4,"numLabelPairs":7,"chunkCount":0,"minTime":1795154400000,"maxTime":1795161600000},"seriesCountByMetricName":[{"name":"requests_total","value":2}],"labelValueCountByLabelName":[{"name":"__name__","value":3}],"memoryInBytesByLabelName":[{"name":"__name__","value":35}],"seriesCountByLabelValuePair":[{"name":"__name__=requests_total","value":2}]}}"#]]).await;
    let node = node().await;
    let runtime = node.get("/api/v1/status/runtimeinfo").await.json();
    assert_eq!(runtime["data"]["startTime"], "2026-11-20T08:00:00.000Z");
    assert_eq!(runtime["data"]["activeSeries"], 4);
    let flags = node.get("/api/v1/status/flags").await.json();
    assert_eq!(flags["data"]["query.lookback-delta"], "5m");
    let config = node.get("/api/v1/status/config").await.json();
    assert!(config["data"]["yaml"].as_str().unwrap().contains("self_collect.enabled: \"true\"\n"), "{config}");
}

#[tokio::test]
async fn names_may_be_dropped_when_the_query_ends() {
    let data = |name: &str| series(&format!("{name}{{host=a}}"), &[(NOW_MS - 15_000, 1.0), (NOW_MS, 16.0)]);
    for delayed in [false, true] {
        let node =
            Node::with(|config| config.query.delayed_name_removal = delayed, ExecutorHandle::new(InlineExecutor, 1))
                .await;
        node.load(&[data("a_total"), data("b_total")]).await;
        // Computed where the series are, and where the query runs.
        let names = node
            .instant("label_replace(sum by (__name__) (-{host=\"a\"}), \"of\", \"$1\", \"__name__\", \"(.)_.*\")", NOW);
        let (names, count) = (names.await, node.instant("count(-{host=\"a\"})", NOW).await);
        let flags = node.get("/api/v1/status/flags").await.json();
        if delayed {
            expect![[
                r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"of":"a"},"value":[1795161600,"-16"]},{"metric":{"of":"b"},"value":[1795161600,"-16"]}]}}"#
            ]]
            .assert_eq(&names.shown());
            assert_eq!(count.json()["data"]["result"][0]["value"][1], "2");
            assert_eq!(flags["data"]["enable-feature"], "promql-delayed-name-removal");
        } else {
            let error = "vector cannot contain metrics with the same labelset";
            assert_eq!((&names.json()["error"], &count.json()["error"]), (&error.into(), &error.into()));
            assert_eq!(flags["data"]["enable-feature"], "");
        }
    }
}

#[tokio::test]
async fn deleted_series_are_gone() {
    let node = node().await;
    let delete = |selector: &str| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("match[]", selector).finish();
        let node = &node;
        async move { node.post(&format!("/api/v1/admin/tsdb/delete_series?{query}")).await }
    };
    assert_eq!(delete("requests_total{host=\"a\"}").await.shown(), "204 ");
    let left = node.instant("requests_total", NOW).await.json();
    assert_eq!(left["data"]["result"].as_array().unwrap().len(), 1);
    expect![[r#"400 {"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#]]
        .assert_eq(&node.post("/api/v1/admin/tsdb/delete_series").await.shown());
    assert_eq!(node.post("/api/v1/admin/tsdb/clean_tombstones").await.shown(), "204 ");
    let left = node.instant("requests_total", NOW).await.json();
    assert_eq!(left["data"]["result"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn flush_and_seal_answer_when_done_and_lose_nothing() {
    let node = node().await;
    let before = node.range("{__name__=~\".+\"}", "1795161000", NOW, "15").await;
    for path in ["/api/v1/admin/flush", "/api/v1/admin/seal"] {
        let answer = node.post(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.json()["data"]["seconds"].is_number());
        assert_eq!(node.get(path).await.status, 405);
        assert_eq!(node.range("{__name__=~\".+\"}", "1795161000", NOW, "15").await.shown(), before.shown());
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_read_but_not_administrate() {
    let node = node().await;
    let from_page = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header(header::ORIGIN, "https://example.org");
        request.header(header::HOST, "127.0.0.1:9480").body(Body::empty()).unwrap()
    };
    let answer = node.send(from_page("GET", "/api/v1/labels")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let answer = node.send(from_page("OPTIONS", "/api/v1/query")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    let answer = node.send(from_page("POST", "/api/v1/admin/tsdb/delete_series?match[]=gone")).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn long_answers_are_compressed_on_request() {
    let node = node().await;
    let ask = |encoding: Option<&str>| {
        let mut request = Request::get(format!("/api/v1/query_range?query=time()&start=0&end={NOW}&step=200000"));
        if let Some(encoding) = encoding {
            request = request.header(header::ACCEPT_ENCODING, encoding);
        }
        node.send(request.body(Body::empty()).unwrap())
    };
    let plain = ask(None).await;
    assert_eq!(plain.header("content-encoding"), None);
    let gzip = ask(Some("gzip")).await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip.body[..]), &mut back).unwrap();
    assert_eq!(back, plain.body);
    assert!(gzip.body.len() * 2 < plain.body.len());
}

#[tokio::test]
async fn pages_say_what_this_is() {
    let node = node().await;
    let index = node.get("/").await;
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    for link in index.text().split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(node.get(link).await.status, 200, "{link}");
    }
    node.get("/api/v1/labels").await;
    let metrics = node.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    let count = r#"bellwether_http_requests_total{code="200",handler="/api/v1/labels"} 1"#;
    assert!(metrics.text().contains(count), "{}", metrics.text());
}

/// A query that would take minutes, however many samples it may use.
const ENDLESS: &str = "sum_over_time(sum_over_time(vector(time())[1d:1s])[1d:1s])";

async fn unlimited(executor: ThreadExecutor) -> Node {
    let unlimited = |config: &mut bellwether_server::Config| {
        config.query.max_samples = u64::MAX;
        config.query.max_bytes = bellwether_server::config::ByteSize(u64::MAX);
        config.query.max_concurrent = 1;
    };
    Node::with(unlimited, ExecutorHandle::new(executor, 2)).await
}

async fn until(condition: impl Fn() -> bool) {
    let polls = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polls).await.expect("the condition comes true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_runs_too_long_is_stopped_for_real() {
    let executor = ThreadExecutor::default();
    let node = unlimited(executor.clone()).await;
    let answer = node.form("/api/v1/query", &[("query", ENDLESS), ("timeout", "50ms")]).await;
    expect![[r#"503 {"status":"error","errorType":"timeout","error":"query timed out in expression evaluation after 50ms (parameter timeout, or query.timeout)"}"#]].assert_eq(&answer.shown());
    until(|| executor.running() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_client_goes_away_is_stopped() {
    let executor = ThreadExecutor::default();
    let node = unlimited(executor.clone()).await;
    let queries = node.queries.clone();
    let asking = tokio::spawn(async move { node.instant(ENDLESS, "0").await });
    until(|| executor.running() > 0 && queries.active().len() == 1).await;
    assert_eq!(&*queries.active()[0].text, ENDLESS);
    asking.abort();
    until(|| executor.running() == 0 && queries.active().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_waits_for_its_place_only_as_long_as_it_may_run() {
    let executor = ThreadExecutor::default();
    let node = std::sync::Arc::new(unlimited(executor.clone()).await);
    let first = tokio::spawn({
        let node = node.clone();
        async move { node.instant(ENDLESS, "0").await }
    });
    until(|| executor.running() > 0).await;
    let answer = node.form("/api/v1/query", &[("query", "1"), ("timeout", "10ms")]).await;
    expect![[r#"503 {"status":"error","errorType":"timeout","error":"query timed out in query queue after 10ms: 1 queries run already (query.max_concurrent)"}"#]].assert_eq(&answer.shown());
    first.abort();
}

#[tokio::test]
async fn a_query_that_touches_too_much_names_the_limit() {
    for (key, query, want) in [
        (
            "query.max_series",
            "requests_total",
            expect![[
                r#"422 {"status":"error","errorType":"execution","error":"the query touches more than 1 series, which is the limit query.max_series"}"#
            ]],
        ),
        (
            "query.max_samples",
            "requests_total{host=\"a\"}[10m]",
            expect![[
                r#"422 {"status":"error","errorType":"execution","error":"the query touches more than 10 samples, which is the limit query.max_samples"}"#
            ]],
        ),
        (
            "query.max_samples",
            "sum_over_time(vector(1)[10m:1s])",
            expect![[
                r#"422 {"status":"error","errorType":"execution","error":"the query touches more than 10 samples, which is the limit query.max_samples"}"#
            ]],
        ),
        (
            "query.max_series",
            "requests_total{host=\"a\"} + on () requests_total{host=\"b\"}",
            expect![[
                r#"422 {"status":"error","errorType":"execution","error":"the query touches more than 1 series, which is the limit query.max_series"}"#
            ]],
        ),
    ] {
        let limited = |config: &mut bellwether_server::Config| match key {
            "query.max_series" => config.query.max_series = 1,
            _ => config.query.max_samples = 10,
        };
        let node = Node::with(limited, ExecutorHandle::new(InlineExecutor, 1)).await;
        let samples: Vec<(i64, f64)> = (0..40).map(|at| (NOW_MS - at * 15_000, 1.0)).collect();
        node.load(&[series("requests_total{host=a}", &samples), series("requests_total{host=b}", &samples)]).await;
        want.assert_eq(&node.instant(query, NOW).await.shown());
    }
}

async fn limited(configure: impl FnOnce(&mut bellwether_server::Config)) -> Node {
    Node::with(configure, ExecutorHandle::new(InlineExecutor, 1)).await
}

/// More than an answer of one piece.
async fn load_many(node: &Node) {
    let many: Vec<_> =
        (0..5000).map(|at| series(&format!("m{{host=host-{at},pod=p{at}}}"), &[(NOW_MS, 1.0)])).collect();
    node.load(&many).await;
}

#[tokio::test]
async fn memory_is_bounded_for_a_query_and_for_all_together() {
    let node = limited(|config| config.query.max_bytes = bellwether_server::config::ByteSize(100_000)).await;
    load_many(&node).await;
    expect![[r#"422 {"status":"error","errorType":"execution","error":"the query touches more than 100000 bytes of memory, which is the limit query.max_bytes"}"#]]
        .assert_eq(&node.instant("m", NOW).await.shown());
    let node = limited(|config| config.query.max_total_bytes = bellwether_server::config::ByteSize(100_000)).await;
    load_many(&node).await;
    let answer = node.instant("count(m)", NOW).await;
    expect![[r#"503 {"status":"error","errorType":"unavailable","error":"all queries together would hold more than 100000 bytes, which is the limit query.max_total_bytes; try later"}"#]]
        .assert_eq(&answer.shown());
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = node.get("/api/v1/series?match[]=m").await;
    assert!(
        answer.shown().starts_with("503 ") && answer.text().contains("query.max_total_bytes"),
        "{}",
        answer.shown()
    );
    // What failed has given everything back.
    assert!(node.instant("count(m{host=\"host-1\"})", NOW).await.shown().starts_with("200 "));
    let metrics = node.get("/metrics").await;
    assert!(metrics.text().contains("\nbellwether_query_memory_bytes 0\n"), "{}", metrics.text());
}

#[tokio::test]
async fn an_answer_keeps_its_place_until_it_is_sent() {
    let node = limited(|config| config.query.max_concurrent = 1).await;
    load_many(&node).await;
    for path in [format!("/api/v1/query?query=m&time={NOW}"), "/api/v1/series?match[]=m".to_owned()] {
        let unread = node.begin(Request::get(path.as_str()).body(Body::empty()).unwrap()).await;
        assert_eq!(node.queries.active().len(), 1);
        let answer = node.form("/api/v1/query", &[("query", "1"), ("timeout", "10ms")]).await;
        assert!(answer.text().contains("query.max_concurrent"), "{}", answer.shown());
        drop(unread);
        until(|| node.queries.active().is_empty()).await;
        assert!(node.instant("1", "0").await.shown().starts_with("200 "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let node = limited(|config| config.query.send_timeout = Duration::from_secs(20)).await;
    load_many(&node).await;
    let unread =
        node.begin(Request::get(format!("/api/v1/query?query=m&time={NOW}")).body(Body::empty()).unwrap()).await;
    assert_eq!(node.queries.active().len(), 1);
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert!(node.queries.active().is_empty(), "its place is free although the client is still there");
    let error = axum::body::to_bytes(unread.into_body(), usize::MAX).await.unwrap_err();
    assert!(error.to_string().contains("too slow"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_query_can_be_killed_by_its_tenant() {
    let executor = ThreadExecutor::default();
    let node = std::sync::Arc::new(unlimited(executor.clone()).await);
    let asking = tokio::spawn({
        let node = node.clone();
        async move { node.instant(ENDLESS, "0").await }
    });
    until(|| executor.running() > 0 && node.queries.active().len() == 1).await;
    let waiting = tokio::spawn({
        let node = node.clone();
        async move { node.instant("1", "0").await }
    });
    until(|| node.queries.active().len() == 2).await;
    let ids: Vec<u64> = node.queries.active().iter().map(|query| query.id).collect();
    let path = format!("/api/v1/admin/kill_query?id={}", ids[0]);
    let other = Request::post(path.as_str()).header("X-Scope-OrgID", "other").body(Body::empty()).unwrap();
    let answer = node.send(other).await;
    assert!(answer.shown().starts_with("404 ") && answer.text().contains("is active"), "{}", answer.shown());
    assert_eq!(node.post(&format!("/api/v1/admin/kill_query?id={}", ids[1])).await.shown(), "204 ");
    expect![[r#"499 {"status":"error","errorType":"canceled","error":"the query was killed"}"#]]
        .assert_eq(&waiting.await.unwrap().shown());
    assert_eq!(node.post(&path).await.shown(), "204 ");
    expect![[r#"499 {"status":"error","errorType":"canceled","error":"the query was killed"}"#]]
        .assert_eq(&asking.await.unwrap().shown());
    until(|| executor.running() == 0).await;
    assert!(node.post(&path).await.shown().starts_with("404 "));
    assert!(node.post("/api/v1/admin/kill_query?id=x").await.shown().starts_with("400 "));
}

#[tokio::test]
async fn a_killed_query_s_answer_is_cut_off() {
    let node = Node::start().await;
    load_many(&node).await;
    let path = format!("/api/v1/query?query=m&time={NOW}");
    let unread = node.begin(Request::get(path.as_str()).body(Body::empty()).unwrap()).await;
    let id = node.queries.active()[0].id;
    assert_eq!(node.post(&format!("/api/v1/admin/kill_query?id={id}")).await.shown(), "204 ");
    let error = axum::body::to_bytes(unread.into_body(), usize::MAX).await.unwrap_err();
    assert!(error.to_string().contains("killed"), "{error}");
}

#[tokio::test]
async fn a_limit_holds_for_all_selectors_together() {
    let node = node().await;
    let path = "/api/v1/series?match[]=requests_total&match[]={job=\"web\"}&match[]={host=\"a\"}";
    let all = node.get(path).await.json();
    assert_eq!(all["data"].as_array().unwrap().len(), 3, "{all}");
    assert!(all.get("warnings").is_none());
    let three = node.get(&format!("{path}&limit=3")).await.json();
    assert_eq!(three, all);
    let two = node.get(&format!("{path}&limit=2")).await.json();
    assert_eq!(two["data"].as_array().unwrap().len(), 2);
    assert_eq!(two["warnings"][0], "results truncated due to limit");
    let values = node.get("/api/v1/label/host/values?match[]=requests_total&match[]=gone&limit=2").await.json();
    assert_eq!(values, serde_json::json!({"status": "success", "data": ["a", "b"]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_text_is_refused_with_its_place() {
    let executor = ThreadExecutor::default();
    let node = Node::with(|_| {}, ExecutorHandle::new(executor, 1)).await;
    let regexes: Vec<String> = (0..4000).map(|at| format!("x{{a=~\"({at}|[a-z]b){{50}}.+\"}}")).collect();
    let answer = node.instant(&regexes.join(" or "), NOW).await;
    assert!(answer.shown().starts_with("400 "), "{}", answer.shown());
    let names = |count: usize| (0..count).map(|at| format!("x{at}")).collect::<Vec<_>>();
    // A chain is too deep before it has too many selectors; pairs in parentheses are neither.
    let mut terms = names(1500);
    while terms.len() > 1 {
        terms = terms.chunks(2).map(|pair| format!("({})", pair.join("+"))).collect();
    }
    let answer = node.instant(&terms[0], NOW).await;
    assert!(answer.shown().starts_with("400 ") && answer.text().contains("different selectors"), "{}", answer.shown());
    let matches: Vec<(&str, &str)> = regexes.iter().map(|text| ("match[]", text.as_str())).collect();
    for path in ["/api/v1/series", "/api/v1/labels", "/api/v1/admin/tsdb/delete_series"] {
        let answer = node.form(path, &matches).await;
        assert!(answer.shown().starts_with("400 ") && answer.text().contains("match[]"), "{}", answer.shown());
    }
}
