//! Who may import whom, as one table. A crate that needs more than its row says is either in the wrong place or changes the
//! table, where a reader sees it.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// A crate of the workspace, and the crates of the workspace that it may depend on (tests and benchmarks excepted).
const WORKSPACE: &[(&str, &[&str])] = &[
    ("bellwether-model", &[]),
    ("bellwether-chunk", &["bellwether-model"]),
    ("bellwether-probe", &[]),
    ("bellwether-kv", &["bellwether-probe"]),
    ("bellwether-kv-rocksdb", &["bellwether-kv"]),
    // For tests alone: nothing but tests may depend on it.
    ("bellwether-kv-rocksdb-faults", &["bellwether-kv-rocksdb"]),
    ("bellwether-placement", &["bellwether-model"]),
    ("bellwether-promql", &["bellwether-model"]),
    ("bellwether-alert", &["bellwether-model", "bellwether-probe", "bellwether-promql"]),
    ("bellwether-ingest", &["bellwether-chunk", "bellwether-model", "bellwether-probe"]),
    ("bellwether-tsdb", &["bellwether-chunk", "bellwether-kv", "bellwether-model", "bellwether-probe"]),
    ("bellwether-raft", &["bellwether-kv", "bellwether-probe"]),
    ("bellwether-proto", &["bellwether-model"]),
    // The library needs proto alone; bwctl checks and tests rule files where they are written, without a node.
    ("bellwether-client", &["bellwether-alert", "bellwether-proto"]),
    (
        "bellwether-server",
        &[
            "bellwether-alert",
            "bellwether-chunk",
            "bellwether-ingest",
            "bellwether-kv",
            "bellwether-model",
            "bellwether-placement",
            "bellwether-probe",
            "bellwether-promql",
            "bellwether-proto",
            "bellwether-raft",
            "bellwether-tsdb",
        ],
    ),
    ("bellwether", &["bellwether-kv", "bellwether-kv-rocksdb", "bellwether-model", "bellwether-server"]),
    (
        "bellwether-sim",
        &[
            "bellwether-client",
            "bellwether-kv",
            "bellwether-model",
            "bellwether-placement",
            "bellwether-probe",
            "bellwether-promql",
            "bellwether-proto",
            "bellwether-raft",
            "bellwether-server",
            "bellwether-tsdb",
        ],
    ),
];

/// A crate from outside (with `*`, all that begin so), and the only crates that may name it.
const OUTSIDE: &[(&str, &[&str])] = &[
    // The second gives RocksDB, in tests, a file system that loses power: RocksDB's own types and headers are what it is made of.
    ("rocksdb", &["bellwether-kv-rocksdb", "bellwether-kv-rocksdb-faults"]),
    ("librocksdb-sys", &["bellwether-kv-rocksdb-faults"]),
    ("openraft*", &["bellwether-raft"]),
    ("tonic*", &["bellwether-client", "bellwether-proto", "bellwether-server"]),
    ("prost*", &["bellwether-client", "bellwether-proto", "bellwether-server"]),
    ("protox", &["bellwether-proto"]),
    ("turmoil", &["bellwether-sim"]),
    ("object_store", &["bellwether"]),
    ("reqwest", &["bellwether"]),
    ("hashring", &["bellwether-placement"]),
    ("rustls*", &["bellwether", "bellwether-client", "bellwether-server"]),
    ("tokio-rustls", &["bellwether-client", "bellwether-server"]),
    ("x509-parser", &["bellwether-server"]),
    ("rcgen", &["bellwether-client"]),
    ("lettre", &["bellwether-server"]),
    ("md-5", &["bellwether-server"]),
    ("url", &["bellwether-server"]),
    ("glob", &["bellwether-client"]),
    ("saphyr*", &["bellwether-alert"]),
    ("jiff*", &["bellwether-alert"]),
    // Core types carry no serde derives: configuration, HTTP bodies and what bwctl prints alone do.
    ("serde*", &["bellwether", "bellwether-client", "bellwether-server", "bellwether-sim"]),
    ("axum", &["bellwether-server"]),
    ("clap*", &["bellwether", "bellwether-client", "bellwether-sim"]),
    ("anyhow", &["bellwether", "bellwether-sim"]),
    // Pure crates and storage have no async fn.
    ("tokio*", &["bellwether", "bellwether-client", "bellwether-raft", "bellwether-server", "bellwether-sim"]),
    ("futures*", &["bellwether", "bellwether-client", "bellwether-raft", "bellwether-server"]),
];

/// Test code may build protocol buffers, parse JSON and compare with other engines: only these are forbidden there too.
const OUTSIDE_EVEN_IN_TESTS: &[&str] = &["rocksdb", "librocksdb-sys", "openraft*", "turmoil", "hashring"];

struct Package {
    name: String,
    /// Normal and build dependencies.
    needs: BTreeSet<String>,
    tests_need: BTreeSet<String>,
    /// Those that a feature turns on.
    optional: BTreeSet<String>,
}

fn workspace() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let mut needs = BTreeSet::new();
            let mut tests_need = BTreeSet::new();
            let mut optional = BTreeSet::new();
            for dependency in package["dependencies"].as_array().unwrap() {
                let name = dependency["name"].as_str().unwrap().to_owned();
                if dependency["optional"] == true {
                    optional.insert(name.clone());
                }
                match dependency["kind"].as_str() {
                    Some("dev") => tests_need.insert(name),
                    _ => needs.insert(name),
                };
            }
            Package { name: package["name"].as_str().unwrap().to_owned(), needs, tests_need, optional }
        })
        .collect()
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

#[test]
fn every_crate_has_a_row() {
    let found: BTreeSet<String> = workspace().into_iter().map(|package| package.name).collect();
    let rows: BTreeSet<String> = WORKSPACE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, rows, "crates of the workspace (left) and rows of the table (right)");
}

#[test]
fn crates_import_only_what_their_row_allows() {
    let rows: BTreeMap<&str, &[&str]> = WORKSPACE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in workspace() {
        let allowed = rows.get(package.name.as_str()).copied().unwrap_or_default();
        for needed in package.needs.iter().filter(|needed| rows.contains_key(needed.as_str())) {
            if !allowed.contains(&needed.as_str()) {
                wrong.push(format!("{} must not depend on {needed}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rows_allow_no_circle() {
    let rows: BTreeMap<&str, &[&str]> = WORKSPACE.iter().copied().collect();
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < rows.len() {
        let next = rows
            .iter()
            .find(|(name, needs)| !settled.contains(*name) && needs.iter().all(|need| settled.contains(need)));
        let (name, _) = next.unwrap_or_else(|| panic!("a circle among the crates that are not in {settled:?}"));
        settled.insert(name);
    }
}

/// What bwctl needs and the library does not: there only with the feature of the command line tool.
const CLIENT_OPTIONAL: &[&str] = &["bellwether-alert", "glob", "regex"];

#[test]
fn programs_that_use_the_client_do_not_get_what_bwctl_needs() {
    let packages = workspace();
    let client = packages.iter().find(|package| package.name == "bellwether-client").unwrap();
    for name in CLIENT_OPTIONAL {
        assert!(client.needs.contains(*name) && client.optional.contains(*name), "{name} is not optional");
    }
}

#[test]
fn crates_from_outside_are_named_only_where_they_belong() {
    let mut wrong = Vec::new();
    for package in workspace() {
        for (pattern, owners) in OUTSIDE.iter().filter(|(_, owners)| !owners.contains(&package.name.as_str())) {
            let in_tests = package.tests_need.iter().filter(|_| OUTSIDE_EVEN_IN_TESTS.contains(pattern));
            for name in package.needs.iter().chain(in_tests).filter(|name| fits(pattern, name)) {
                wrong.push(format!("{} names {name}, which belongs to {}", package.name, owners.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
