//! Tests of the configuration.

use super::*;

fn flag() -> Source {
    Source::Flag("--test".to_owned())
}

fn toml(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.set_from_toml(text, PathBuf::from("b.toml"))?;
    config.validate()?;
    Ok(config)
}

#[test]
fn every_default_is_written_as_it_is_read() {
    let default = Config::default();
    let mut copy = Config::default();
    for key in keys() {
        copy.set(key.name, &key.value(&default), flag()).unwrap();
    }
    assert_eq!(copy, default);
    assert_eq!(default.validate(), Ok(()));
}

#[test]
fn a_file_sets_keys_of_sections() {
    let config = toml("shard_groups = 3\njoin = []\n[query]\ntimeout = \"1m30s\"\n[ingest]\nmax_series = 5\n").unwrap();
    assert_eq!(config.shard_groups, 3);
    assert_eq!(config.query.timeout, Duration::from_secs(90));
    assert_eq!(config.ingest.max_series, 5);
}

#[test]
fn errors_name_key_and_source() {
    let check = |text: &str, message: &str| assert_eq!(toml(text).unwrap_err().to_string(), message);
    check(
        "[query]\ntimeout = \"soon\"",
        "configuration key \"query.timeout\" from file b.toml: \"soon\" is not a duration such as 30s, 1h30m or 395d",
    );
    check(
        "[quary]\ntimeout = \"1s\"",
        "unknown configuration key \"quary.timeout\" in file b.toml; did you mean \"query.timeout\"?",
    );
    check("shard_groups = 0", "configuration key \"shard_groups\": 0 is outside 1 to 256");
    check(
        "join = [\"a\"]",
        "configuration key \"join\" from file b.toml: \"a\" has an entry that is not host:port: \"a\"",
    );
    check(
        "join = [\"a:1\"]\ngrpc = \"0.0.0.0:1\"\ninsecure_listen = true",
        "configuration key \"cluster.advertise_grpc\": is needed: other nodes cannot reach 0.0.0.0:1",
    );
    check(
        "[cluster]\nadvertise_http = \"node-1\"",
        "configuration key \"cluster.advertise_http\": \"node-1\" is not host:port",
    );
    let mut config = Config::default();
    let error = config.set_from_environment([("BELLWETHER_HTTP".to_owned(), "x".to_owned())].into_iter()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration key \"http\" from environment variable BELLWETHER_HTTP: \"x\" is not an address such as 127.0.0.1:9480"
    );
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_place() {
    let message = toml("a = [").unwrap_err().to_string();
    assert!(message.starts_with("configuration file b.toml: TOML parse error at line 1"), "{message}");
}

#[test]
fn the_environment_overrides_and_unknown_variables_are_reported() {
    let mut config = Config::default();
    let variables = [("BELLWETHER_QUERY_MAX_SERIES", "7"), ("BELLWETHER_CMD", "x"), ("HOME", "/")];
    let unknown =
        config.set_from_environment(variables.map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter()).unwrap();
    assert_eq!((config.query.max_series, unknown), (7, vec!["BELLWETHER_CMD".to_owned()]));
}

#[test]
fn other_addresses_than_loopback_need_consent() {
    let error = toml("http = \"0.0.0.0:9480\"").unwrap_err().to_string();
    assert!(error.starts_with("configuration key \"http\": 0.0.0.0:9480 is not a loopback address"), "{error}");
    assert!(toml("http = \"0.0.0.0:9480\"\ninsecure_listen = true").is_ok());
    assert!(toml("grpc = \"[::1]:1\"").is_ok());
}

#[test]
fn nodes_that_others_reach_must_prove_who_they_are() {
    let check = |text: &str, message: &str| assert_eq!(toml(text).unwrap_err().to_string(), message);
    let makes = "`bwctl tls ca` and `bwctl tls node` make the files";
    check(
        "grpc = \"10.0.0.1:9481\"\ninsecure_listen = true",
        &format!(
            "configuration key \"grpc\": 10.0.0.1:9481 is not a loopback address, so nodes must prove who they are: set \
             tls.ca, tls.cert and tls.key; {makes}"
        ),
    );
    check(
        "[cluster]\nadvertise_grpc = \"node-1:9481\"",
        &format!(
            "configuration key \"cluster.advertise_grpc\": node-1:9481 is not a loopback address, so nodes must prove who \
             they are: set tls.ca, tls.cert and tls.key; {makes}"
        ),
    );
    check(
        "http = \"10.0.0.1:9480\"",
        &format!(
            "configuration key \"http\": 10.0.0.1:9480 is not a loopback address: set tls.ca, tls.cert and tls.key \
             ({makes}), or insecure_listen (--insecure-listen) to let anybody who reaches it read and write in plain text"
        ),
    );
    check(
        "[tls]\nca = \"ca.pem\"\ncert = \"cert.pem\"",
        &format!("configuration key \"tls.key\": is needed where tls.ca is set; {makes}"),
    );
    check(
        "join = [\"10.0.0.2:9481\"]",
        "configuration key \"cluster.advertise_grpc\": 127.0.0.1 can be reached from this machine alone, but the cluster \
         to join is elsewhere, at 10.0.0.2:9481: set grpc, or cluster.advertise_grpc, to an address that the other nodes \
         can reach",
    );
    let files = "[tls]\nca = \"a\"\ncert = \"b\"\nkey = \"c\"";
    let config = toml(&format!("grpc = \"10.0.0.1:9481\"\nhttp = \"10.0.0.1:9480\"\n{files}")).unwrap();
    assert_eq!((config.grpc_host().as_str(), config.http_is_plain()), ("10.0.0.1", false));
    let text = format!("grpc = \"0.0.0.0:1\"\ninsecure_listen = true\n[cluster]\nadvertise_grpc = \"b:1\"\n{files}");
    let config = toml(&text).unwrap();
    assert_eq!((config.grpc_host().as_str(), config.http_is_plain()), ("b", true));
}

#[test]
fn limits_of_writes_fit_into_each_other() {
    let check = |text: &str, message: &str| assert_eq!(toml(text).unwrap_err().to_string(), message);
    check(
        "[ingest]\nmax_body_bytes = \"300MB\"",
        "configuration key \"ingest.max_body_bytes\": 300MB is more than ingest.max_inflight_bytes, 256MB: a large body \
         could never be taken",
    );
    check(
        "[ingest]\nmax_inflight_bytes = \"128MB\"",
        "configuration key \"ingest.max_inflight_bytes\": 128MB is less than ingest.max_decompressed_bytes, 128MB, and \
         the 64MB that a request's new series may take: a large body could never be taken",
    );
    check(
        "[ingest]\nmax_tenant_inflight_bytes = \"1MB\"",
        "configuration key \"ingest.max_tenant_inflight_bytes\": 1MB is less than ingest.max_decompressed_bytes, 128MB, \
         and the 64MB that a request's new series may take: a large body could never be taken",
    );
    check(
        "[ingest]\nmax_decompressed_bytes = \"1GB\"",
        "configuration key \"ingest.max_decompressed_bytes\": is above the limit of 128MB",
    );
    check("[ingest]\nmax_body_bytes = 0", "configuration key \"ingest.max_body_bytes\": may not be zero");
}

#[test]
fn hosts_are_names_without_ports() {
    let config = toml("hosts = [\"Metrics.Example\", \"b\"]").unwrap();
    assert_eq!(config.hosts.0, ["metrics.example", "b"]);
    let error = toml("hosts = \"a:1\"").unwrap_err().to_string();
    assert!(error.ends_with("\"a:1\" has an entry that is not a host's name without a port: \"a:1\""), "{error}");
}

#[test]
fn a_token_is_not_shown() {
    let text = "[cluster]\njoin_token = \"00000000000000ff.0123456789abcdef0123456789abcdef\"";
    let config = toml(text).unwrap();
    let shown: Vec<String> = keys().iter().map(|key| key.value(&config)).collect();
    assert!(shown.contains(&"(hidden)".to_owned()) && !format!("{config:?} {shown:?}").contains("abcdef"));
    let error = toml("[cluster]\njoin_token = \"x\"").unwrap_err().to_string();
    assert!(error.starts_with("configuration key \"cluster.join_token\": a token is"), "{error}");
}

#[test]
fn sizes_and_durations_have_units() {
    for (text, bytes) in [("1", 1), ("2KB", 2048), ("3 MiB", 3 << 20), ("4gb", 4 << 30), ("5B", 5)] {
        assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
    }
    for (text, ms) in [("5ms", 5), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0)] {
        assert_eq!(Duration::parse(text), Ok(Duration::from_millis(ms)), "{text}");
    }
    for text in ["", "h", "5", "5x", "99999999999999999999s", "9999999999999y"] {
        assert!(Duration::parse(text).is_err(), "{text}");
    }
}
