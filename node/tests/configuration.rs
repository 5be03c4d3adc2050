//! node/docs/CONFIG.md is written from the table of configuration keys: `UPDATE_EXPECT=1 cargo test -p bellwether --test configuration`.

use bellwether_server::Config;
use bellwether_server::config::keys;

const PREFACE: &str = "\
# Configuration

A node runs without any. Keys are set by, later ones winning:

1. a TOML file: `bellwether --config FILE`, where `query.timeout` is `timeout` in the section `[query]`;
2. environment variables: `BELLWETHER_` and the key in capitals, dots as underscores: `BELLWETHER_QUERY_TIMEOUT=30s`;
3. flags: `--set query.timeout=30s`, and some keys have a flag of their own, which `bellwether --help` lists.

A key that does not exist, or a value that does not fit, stops the start with a message that names the key and where it was set (a variable that names no
key is only warned of: others may begin alike). Sizes have units
(`512MB`; KB, MB, GB and TB are powers of 1024), and so have durations (`30s`, `1h30m`, `395d`). What a running node uses: `GET /api/v1/status/config`.

| key | default | type | what |
|---|---|---|---|
";

#[test]
fn every_key_is_documented() {
    let defaults = Config::default();
    let rows = keys().into_iter().map(|key| {
        let default = match key.value(&defaults) {
            empty if empty.is_empty() => String::new(),
            value => format!("`{value}`"),
        };
        format!("| `{}` | {default} | {} | {} |\n", key.name, key.kind, key.help)
    });
    expect_test::expect_file!["../docs/CONFIG.md"].assert_eq(&(PREFACE.to_owned() + &rows.collect::<String>()));
}
