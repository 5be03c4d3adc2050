//! How receivers are reached: `http_config`, `tls_config`, and what they hold
//! (<https://prometheus.io/docs/alerting/latest/configuration/#http_config>).

use super::schema::{Default, Rule, Schema, Shape, choice, field, file, flag, secret, text};
use super::settings::Settings;

const TLS_VERSIONS: &[&str] = &["TLS10", "TLS11", "TLS12", "TLS13"];

/// `tls_config`.
pub const TLS: Schema = Schema {
    name: "tls_config",
    fields: &[
        text("ca"),
        file("ca_file"),
        text("ca_ref"),
        text("cert"),
        file("cert_file"),
        text("cert_ref"),
        secret("key"),
        file("key_file"),
        text("key_ref"),
        text("server_name"),
        flag("insecure_skip_verify", false),
        choice("min_version", TLS_VERSIONS, Default::Absent),
        choice("max_version", TLS_VERSIONS, Default::Absent),
    ],
    rules: &[
        Rule::AtMostOne(&["ca", "ca_file", "ca_ref"]),
        Rule::AtMostOne(&["cert", "cert_file", "cert_ref"]),
        Rule::AtMostOne(&["key", "key_file", "key_ref"]),
        Rule::Needs(&["cert", "cert_file", "cert_ref"], &["key", "key_file", "key_ref"]),
        Rule::Needs(&["key", "key_file", "key_ref"], &["cert", "cert_file", "cert_ref"]),
        Rule::Check(versions_ascend),
    ],
    inherited: &[],
};

const BASIC_AUTH: Schema = Schema {
    name: "basic_auth",
    fields: &[
        text("username"),
        file("username_file"),
        text("username_ref"),
        secret("password"),
        file("password_file"),
        text("password_ref"),
    ],
    rules: &[
        Rule::AtMostOne(&["username", "username_file", "username_ref"]),
        Rule::AtMostOne(&["password", "password_file", "password_ref"]),
    ],
    inherited: &[],
};

const AUTHORIZATION: Schema = Schema {
    name: "authorization",
    fields: &[text("type"), secret("credentials"), file("credentials_file"), text("credentials_ref")],
    rules: &[Rule::AtMostOne(&["credentials", "credentials_file", "credentials_ref"]), Rule::Check(no_basic)],
    inherited: &[],
};

const OAUTH2: Schema = Schema {
    name: "oauth2",
    fields: &[
        text("client_id"),
        secret("client_secret"),
        file("client_secret_file"),
        text("client_secret_ref"),
        field("scopes", Shape::Texts),
        field("token_url", Shape::AnyUrl),
        field("endpoint_params", Shape::Map),
        field("tls_config", Shape::One(&TLS)),
        field("proxy_url", Shape::AnyUrl),
        text("no_proxy"),
        flag("proxy_from_environment", false),
        field("proxy_connect_header", Shape::SecretLists),
    ],
    rules: &[
        Rule::Required(&["client_id"]),
        Rule::Required(&["token_url"]),
        Rule::AtMostOne(&["client_secret", "client_secret_file", "client_secret_ref"]),
        Rule::Check(proxy),
    ],
    inherited: &[],
};

const HEADER: Schema = Schema {
    name: "a header of http_headers",
    fields: &[field("values", Shape::Texts), field("secrets", Shape::SecretTexts), field("files", Shape::Texts)],
    rules: &[],
    inherited: &[],
};

/// `http_config`.
pub const HTTP: Schema = Schema {
    name: "http_config",
    fields: &[
        field("basic_auth", Shape::One(&BASIC_AUTH)),
        field("authorization", Shape::One(&AUTHORIZATION)),
        field("oauth2", Shape::One(&OAUTH2)),
        secret("bearer_token"),
        file("bearer_token_file"),
        field("tls_config", Shape::One(&TLS)),
        flag("follow_redirects", true),
        flag("enable_http2", true),
        field("proxy_url", Shape::AnyUrl),
        text("no_proxy"),
        flag("proxy_from_environment", false),
        field("proxy_connect_header", Shape::SecretLists),
        field("http_headers", Shape::Named(&HEADER)),
    ],
    rules: &[
        Rule::AtMostOne(&["bearer_token", "bearer_token_file", "basic_auth", "authorization"]),
        Rule::AtMostOne(&["bearer_token", "bearer_token_file", "oauth2"]),
        Rule::AtMostOne(&["basic_auth", "authorization", "oauth2"]),
        Rule::Check(proxy),
    ],
    inherited: &[],
};

fn versions_ascend(tls: &Settings) -> Option<String> {
    let (min, max) = (tls.text("min_version")?, tls.text("max_version")?);
    (min > max).then(|| "min_version is above max_version".to_owned())
}

fn no_basic(authorization: &Settings) -> Option<String> {
    let is_basic = authorization.text("type").is_some_and(|kind| kind.trim().eq_ignore_ascii_case("basic"));
    is_basic.then(|| "the type cannot be basic: write basic_auth instead of authorization".to_owned())
}

fn proxy(settings: &Settings) -> Option<String> {
    let (by_url, by_environment) = (settings.is_set("proxy_url"), settings.flag("proxy_from_environment"));
    if by_environment && (by_url || settings.is_set("no_proxy")) {
        return Some("proxy_from_environment goes without proxy_url and no_proxy".to_owned());
    }
    if !by_url && settings.is_set("no_proxy") {
        return Some("no_proxy goes with proxy_url only".to_owned());
    }
    (settings.is_set("proxy_connect_header") && !by_url && !by_environment)
        .then(|| "proxy_connect_header goes with proxy_url or proxy_from_environment only".to_owned())
}
