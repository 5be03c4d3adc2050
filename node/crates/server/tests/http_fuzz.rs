//! Whatever stands in a URL, a form or a write's body: the node answers, and never with a fault of its own.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use std::ops::Deref;
use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::http::{Request, header};
use http_support::remote_read::request;
use http_support::{NOW_MS, Node, series, snappy};
use tokio::runtime::Runtime;

const READS: [&str; 15] = [
    "query",
    "query_range",
    "series",
    "labels",
    "label/a/values",
    "metadata",
    "parse_query",
    "format_query",
    "status/tsdb",
    "rules",
    "alerts",
    "v2/alerts",
    "v2/alerts/groups",
    "v2/silences",
    "federate",
];

/// Parameters that most requests need to get past their first check.
const PREFIX: &str = "query=up&start=1&end=2&step=1&match[]=up&";

/// A node and what runs it. After a panic the test is over, whatever state they are in.
fn node() -> AssertUnwindSafe<(Runtime, Node)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let node = runtime.block_on(async {
        let node = Node::start().await;
        node.load(&[series("up{a=1}", &[(NOW_MS, 1.0)])]).await;
        node
    });
    AssertUnwindSafe((runtime, node))
}

#[test]
fn no_parameters_break_a_read() {
    let shared = node();
    bolero::check!().with_type::<(u8, bool, bool, Vec<u8>)>().for_each(|(path, prefixed, form, bytes)| {
        let (runtime, node) = shared.deref();
        let path = match READS[usize::from(*path) % READS.len()] {
            "federate" => "/federate".to_owned(),
            path if path.starts_with("v2/") => format!("/api/{path}"),
            path => format!("/api/v1/{path}"),
        };
        let parameters: String = form_urlencoded::byte_serialize(bytes).collect();
        // Separators must sometimes separate.
        let parameters = parameters.replace("%3D", "=").replace("%26", "&");
        let parameters = if *prefixed { format!("{PREFIX}{parameters}") } else { parameters };
        let request = if *form {
            Request::post(path.clone())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(parameters))
        } else {
            Request::get(format!("{path}?{}", parameters.replace(['[', ']'], "%5B"))).body(Body::empty())
        };
        let answer = runtime.block_on(node.send(request.unwrap()));
        assert!(answer.status.as_u16() < 500, "{path} {bytes:?}: {}", answer.shown());
    });
}

#[test]
fn no_query_breaks_an_evaluation() {
    let shared = node();
    bolero::check!().with_type::<String>().for_each(|query| {
        let (runtime, node) = shared.deref();
        let answer = runtime.block_on(node.instant(query, "1795161600"));
        assert!(answer.status.as_u16() < 500, "{query:?}: {}", answer.shown());
    });
}

#[test]
fn no_body_breaks_a_remote_read() {
    let shared = node();
    // Cut short or overwritten in one place, a good request is bad in more interesting ways than noise.
    let good = request(&[(0, i64::MAX, &[(0, "__name__", "up"), (2, "a", "1|2")])], &[1, 0]);
    bolero::check!().with_type::<(Option<(u16, Option<u8>)>, bool, Vec<u8>)>().for_each(|(edit, compressed, bytes)| {
        let (runtime, node) = shared.deref();
        let message = match edit {
            None => bytes.clone(),
            Some((at, None)) => good[..usize::from(*at) % good.len()].to_vec(),
            Some((at, Some(byte))) => {
                let mut edited = good.clone();
                edited[usize::from(*at) % good.len()] = *byte;
                edited
            }
        };
        let body = if *compressed { snappy(&message) } else { message };
        let answer = runtime.block_on(node.send(Request::post("/api/v1/read").body(Body::from(body)).unwrap()));
        assert!(answer.status.as_u16() < 500, "{edit:?} {bytes:?}: {}", answer.shown());
    });
}

#[test]
fn no_body_breaks_a_write() {
    let shared = node();
    bolero::check!().with_type::<(bool, Vec<u8>)>().for_each(|(compressed, bytes)| {
        let (runtime, node) = shared.deref();
        let body = if *compressed { snappy(bytes) } else { bytes.clone() };
        let answer = runtime.block_on(node.write_bytes(body));
        assert!(answer.status.as_u16() < 500, "{bytes:?}: {}", answer.shown());
    });
}

#[test]
fn no_body_breaks_what_alerting_takes() {
    const BODIES: [(&str, &str, &str); 6] = [
        (
            "POST",
            "/api/v1/rules/n",
            "name: g\nlabels: {a: b}\nrules:\n- {alert: A, expr: up == 0, for: 5m, annotations: {x: '{{ $value }}'}}\n",
        ),
        (
            "POST",
            "/v1/alerts",
            "{\"name\":\"n\",\"query\":\"avg(last_5m):sum:a{b:c} > 1\",\"thresholds\":{\"warning\":0.5},\"notify\":[\"a\"]}",
        ),
        ("PUT", "/api/v1/alertmanager/config", "template_files: {a: x}\nalertmanager_config: 'route: {receiver: a}'\n"),
        ("POST", "/api/v2/alerts", "[{\"labels\":{\"a\":\"b\"},\"startsAt\":\"2026-11-20T08:00:00Z\"}]"),
        (
            "POST",
            "/api/v2/silences",
            "{\"matchers\":[{\"name\":\"a\",\"value\":\"b\",\"isRegex\":true}],\"startsAt\":\"2026-11-20T08:00:00Z\",\"endsAt\":\"2026-11-20T09:00:00Z\",\"createdBy\":\"\",\"comment\":\"\"}",
        ),
        ("DELETE", "/api/v1/rules/n/g", ""),
    ];
    let shared = node();
    bolero::check!().with_type::<(u8, bool, Vec<u8>)>().for_each(|(which, is_damaged, bytes)| {
        let (runtime, node) = shared.deref();
        let (method, path, good) = BODIES[usize::from(*which) % BODIES.len()];
        let body = match is_damaged {
            false => bytes.clone(),
            true => {
                let mut body = good.as_bytes().to_vec();
                for change in bytes.chunks_exact(2).filter(|_| !good.is_empty()) {
                    let at = usize::from(change[0]) % body.len();
                    body[at] = change[1];
                }
                body
            }
        };
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        let answer = runtime.block_on(node.send(request));
        assert!(!answer.status.is_server_error(), "{method} {path}: {}", answer.shown());
    });
}
