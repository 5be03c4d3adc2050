//! `global`: what holds wherever a receiver does not say otherwise.

use super::http::{HTTP, TLS};
use super::schema::{Rule, Schema, Shape, duration_or, field, file, flag, secret, text, text_or, url, url_or};

/// How long an alert without an end is believed, unless it is said.
pub const RESOLVE_TIMEOUT_MS_DEFAULT: i64 = 5 * 60 * 1000;

/// `global`.
pub const GLOBAL: Schema = Schema {
    name: "global",
    fields: &[
        duration_or("resolve_timeout", Shape::Duration, RESOLVE_TIMEOUT_MS_DEFAULT),
        field("http_config", Shape::One(&HTTP)),
        text("smtp_from"),
        text_or("smtp_hello", "localhost"),
        field("smtp_smarthost", Shape::HostPort),
        text("smtp_auth_username"),
        secret("smtp_auth_password"),
        file("smtp_auth_password_file"),
        secret("smtp_auth_secret"),
        file("smtp_auth_secret_file"),
        text("smtp_auth_identity"),
        flag("smtp_require_tls", true),
        field("smtp_tls_config", Shape::One(&TLS)),
        flag("smtp_force_implicit_tls", false),
        field("slack_api_url", Shape::SecretUrl),
        file("slack_api_url_file"),
        url_or("pagerduty_url", "https://events.pagerduty.com/v2/enqueue"),
        url_or("opsgenie_api_url", "https://api.opsgenie.com/"),
        secret("opsgenie_api_key"),
        file("opsgenie_api_key_file"),
        url_or("wechat_api_url", "https://qyapi.weixin.qq.com/cgi-bin/"),
        secret("wechat_api_secret"),
        text("wechat_api_corp_id"),
        url_or("victorops_api_url", "https://alert.victorops.com/integrations/generic/20131114/alert/"),
        secret("victorops_api_key"),
        file("victorops_api_key_file"),
        url_or("telegram_api_url", "https://api.telegram.org"),
        secret("telegram_bot_token"),
        file("telegram_bot_token_file"),
        url_or("webex_api_url", "https://webexapis.com/v1/messages"),
        url("jira_api_url"),
        url_or("rocketchat_api_url", "https://open.rocket.chat/"),
        secret("rocketchat_token"),
        file("rocketchat_token_file"),
        secret("rocketchat_token_id"),
        file("rocketchat_token_id_file"),
        field("mattermost_webhook_url", Shape::SecretUrl),
        file("mattermost_webhook_url_file"),
    ],
    rules: &[
        Rule::AtMostOne(&["slack_api_url", "slack_api_url_file"]),
        Rule::AtMostOne(&["opsgenie_api_key", "opsgenie_api_key_file"]),
        Rule::AtMostOne(&["victorops_api_key", "victorops_api_key_file"]),
        Rule::AtMostOne(&["smtp_auth_password", "smtp_auth_password_file"]),
        Rule::AtMostOne(&["smtp_auth_secret", "smtp_auth_secret_file"]),
        Rule::AtMostOne(&["telegram_bot_token", "telegram_bot_token_file"]),
        Rule::AtMostOne(&["rocketchat_token", "rocketchat_token_file"]),
        Rule::AtMostOne(&["rocketchat_token_id", "rocketchat_token_id_file"]),
        Rule::AtMostOne(&["mattermost_webhook_url", "mattermost_webhook_url_file"]),
    ],
    inherited: &[],
};
