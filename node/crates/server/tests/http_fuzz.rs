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

const READS: [&str; 10] = [
    "query",
    "query_range",
    "series",
    "labels",
    "label/a/values",
    "metadata",
    "parse_query",
    "format_query",
    "status/tsdb",
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
