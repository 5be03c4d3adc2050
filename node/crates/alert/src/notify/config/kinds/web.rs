//! Webhooks, e-mail, SNS.

use std::collections::BTreeSet;

use crate::notify::config::http::{HTTP, TLS};
use crate::notify::config::schema::{
    Inherited, Rule, Schema, Shape, duration_or, field, file, flag, inherited, map_or, required, secret, template,
    template_or, text,
};
use crate::notify::config::settings::{Setting, Settings};

pub const FROM_GLOBAL: Inherited = inherited(&["http_config"], &["http_config"]);

pub const WEBHOOK: Schema = Schema {
    name: "webhook_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("url", Shape::SecretUrlTemplate),
        file("url_file"),
        field("max_alerts", Shape::Number(0)),
        duration_or("timeout", Shape::GoDuration, 0),
    ],
    rules: &[Rule::Required(&["url", "url_file"]), Rule::AtMostOne(&["url", "url_file"])],
    inherited: &[FROM_GLOBAL],
};

pub const EMAIL: Schema = Schema {
    name: "email_configs",
    fields: &[
        flag("send_resolved", false),
        template("to"),
        template("from"),
        text("hello"),
        field("smarthost", Shape::HostPort),
        text("auth_username"),
        secret("auth_password"),
        file("auth_password_file"),
        secret("auth_secret"),
        file("auth_secret_file"),
        text("auth_identity"),
        map_or("headers", &[]),
        template_or("html", "{{ template \"email.default.html\" . }}"),
        template("text"),
        field("require_tls", Shape::Flag),
        field("tls_config", Shape::One(&TLS)),
        field("force_implicit_tls", Shape::Flag),
    ],
    rules: &[
        Rule::Required(&["to"]),
        Rule::AtMostOne(&["auth_password", "auth_password_file"]),
        Rule::AtMostOne(&["auth_secret", "auth_secret_file"]),
        Rule::Check(headers_differ),
    ],
    inherited: &[
        required(&["smarthost"], &["smtp_smarthost"]),
        required(&["from"], &["smtp_from"]),
        inherited(&["hello"], &["smtp_hello"]),
        inherited(&["auth_username"], &["smtp_auth_username"]),
        inherited(&["auth_password", "auth_password_file"], &["smtp_auth_password", "smtp_auth_password_file"]),
        inherited(&["auth_secret", "auth_secret_file"], &["smtp_auth_secret", "smtp_auth_secret_file"]),
        inherited(&["auth_identity"], &["smtp_auth_identity"]),
        inherited(&["require_tls"], &["smtp_require_tls"]),
        inherited(&["tls_config"], &["smtp_tls_config"]),
        inherited(&["force_implicit_tls"], &["smtp_force_implicit_tls"]),
    ],
};

/// Names of headers have no case.
fn headers_differ(email: &Settings) -> Option<String> {
    let Some(Setting::TemplateMap(headers)) = email.get("headers") else { return None };
    let mut seen = BTreeSet::new();
    let twice = headers.keys().find(|name| !seen.insert(name.to_ascii_lowercase()))?;
    Some(format!("the header {twice:?} is there twice; their names have no case"))
}

const SIGV4: Schema = Schema {
    name: "sigv4",
    fields: &[
        text("region"),
        text("access_key"),
        secret("secret_key"),
        text("profile"),
        text("role_arn"),
        text("external_id"),
        flag("use_fips_sts_endpoint", false),
    ],
    rules: &[Rule::Needs(&["access_key"], &["secret_key"]), Rule::Needs(&["secret_key"], &["access_key"])],
    inherited: &[],
};

pub const SNS: Schema = Schema {
    name: "sns_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        template("api_url"),
        field("sigv4", Shape::One(&SIGV4)),
        template("topic_arn"),
        template("phone_number"),
        template("target_arn"),
        template_or("subject", "{{ template \"sns.default.subject\" . }}"),
        template_or("message", "{{ template \"sns.default.message\" . }}"),
        map_or("attributes", &[]),
    ],
    rules: &[
        Rule::Required(&["topic_arn", "target_arn", "phone_number"]),
        Rule::AtMostOne(&["topic_arn", "target_arn", "phone_number"]),
    ],
    inherited: &[FROM_GLOBAL],
};
