//! Services that wake people and keep incidents.

use super::web::FROM_GLOBAL;
use crate::notify::config::http::HTTP;
use crate::notify::config::schema::{
    Rule, Schema, Shape, duration_or, field, file, flag, inherited, map_or, required, template, template_or, text, url,
};
use crate::notify::config::settings::{Setting, Settings};

const PUSHOVER_RETRY_MS: i64 = 60 * 1000;
const PUSHOVER_EXPIRE_MS: i64 = 3600 * 1000;
const RESPONDER_TYPES: [&str; 5] = ["team", "teams", "user", "escalation", "schedule"];
/// What VictorOps's messages have already.
const VICTOROPS_RESERVED: [&str; 7] = [
    "routing_key",
    "message_type",
    "state_message",
    "entity_display_name",
    "monitoring_tool",
    "entity_id",
    "entity_state",
];

const PAGERDUTY_DETAILS: &[(&str, &str)] = &[
    ("firing", "{{ template \"pagerduty.default.instances\" .Alerts.Firing }}"),
    ("resolved", "{{ template \"pagerduty.default.instances\" .Alerts.Resolved }}"),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

const PAGERDUTY_IMAGE: Schema = Schema {
    name: "images",
    fields: &[template("src"), template("alt"), template("href")],
    rules: &[],
    inherited: &[],
};

const PAGERDUTY_LINK: Schema =
    Schema { name: "links", fields: &[template("href"), template("text")], rules: &[], inherited: &[] };

pub const PAGERDUTY: Schema = Schema {
    name: "pagerduty_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("service_key", Shape::SecretTemplate),
        file("service_key_file"),
        field("routing_key", Shape::SecretTemplate),
        file("routing_key_file"),
        url("url"),
        template_or("client", "{{ template \"pagerduty.default.client\" . }}"),
        template_or("client_url", "{{ template \"pagerduty.default.clientURL\" . }}"),
        template_or("description", "{{ template \"pagerduty.default.description\" .}}"),
        map_or("details", PAGERDUTY_DETAILS),
        field("images", Shape::Many(&PAGERDUTY_IMAGE)),
        field("links", Shape::Many(&PAGERDUTY_LINK)),
        template("source"),
        template("severity"),
        template("class"),
        template("component"),
        template("group"),
        duration_or("timeout", Shape::GoDuration, 0),
    ],
    rules: &[
        Rule::Required(&["routing_key", "routing_key_file", "service_key", "service_key_file"]),
        Rule::AtMostOne(&["routing_key", "routing_key_file"]),
        Rule::AtMostOne(&["service_key", "service_key_file"]),
    ],
    inherited: &[FROM_GLOBAL, inherited(&["url"], &["pagerduty_url"])],
};

const RESPONDER: Schema = Schema {
    name: "responders",
    fields: &[template("id"), template("name"), template("username"), template("type")],
    rules: &[Rule::Required(&["id", "name", "username"]), Rule::Check(responder_type)],
    inherited: &[],
};

fn responder_type(responder: &Settings) -> Option<String> {
    let kind = responder.text("type").unwrap_or_default();
    let is_known = kind.contains("{{") || RESPONDER_TYPES.contains(&kind.to_lowercase().as_str());
    (!is_known).then(|| format!("the type {kind:?} is none of {}", RESPONDER_TYPES.join(", ")))
}

pub const OPSGENIE: Schema = Schema {
    name: "opsgenie_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("api_key", Shape::SecretTemplate),
        file("api_key_file"),
        url("api_url"),
        template_or("message", "{{ template \"opsgenie.default.message\" . }}"),
        template_or("description", "{{ template \"opsgenie.default.description\" . }}"),
        template_or("source", "{{ template \"opsgenie.default.source\" . }}"),
        map_or("details", &[]),
        template("entity"),
        field("responders", Shape::Many(&RESPONDER)),
        template("actions"),
        template("tags"),
        template("note"),
        template("priority"),
        flag("update_alerts", false),
    ],
    rules: &[Rule::AtMostOne(&["api_key", "api_key_file"])],
    inherited: &[
        FROM_GLOBAL,
        inherited(&["api_url"], &["opsgenie_api_url"]),
        required(&["api_key", "api_key_file"], &["opsgenie_api_key", "opsgenie_api_key_file"]),
    ],
};

pub const PUSHOVER: Schema = Schema {
    name: "pushover_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("user_key", Shape::SecretTemplate),
        file("user_key_file"),
        field("token", Shape::SecretTemplate),
        file("token_file"),
        template_or("title", "{{ template \"pushover.default.title\" . }}"),
        template_or("message", "{{ template \"pushover.default.message\" . }}"),
        template_or("url", "{{ template \"pushover.default.url\" . }}"),
        template("url_title"),
        text("device"),
        template("sound"),
        template_or("priority", "{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}"),
        duration_or("retry", Shape::GoDuration, PUSHOVER_RETRY_MS),
        duration_or("expire", Shape::GoDuration, PUSHOVER_EXPIRE_MS),
        duration_or("ttl", Shape::GoDuration, 0),
        flag("html", false),
        flag("monospace", false),
    ],
    rules: &[
        Rule::Required(&["user_key", "user_key_file"]),
        Rule::AtMostOne(&["user_key", "user_key_file"]),
        Rule::Required(&["token", "token_file"]),
        Rule::AtMostOne(&["token", "token_file"]),
        Rule::Check(|pushover| {
            let both = pushover.flag("html") && pushover.flag("monospace");
            both.then(|| "html and monospace exclude each other".to_owned())
        }),
    ],
    inherited: &[FROM_GLOBAL],
};

pub const VICTOROPS: Schema = Schema {
    name: "victorops_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("api_key", Shape::Secret),
        file("api_key_file"),
        url("api_url"),
        template("routing_key"),
        template_or("message_type", "CRITICAL"),
        template_or("state_message", "{{ template \"victorops.default.state_message\" . }}"),
        template_or("entity_display_name", "{{ template \"victorops.default.entity_display_name\" . }}"),
        template_or("monitoring_tool", "{{ template \"victorops.default.monitoring_tool\" . }}"),
        map_or("custom_fields", &[]),
    ],
    rules: &[
        Rule::Required(&["routing_key"]),
        Rule::AtMostOne(&["api_key", "api_key_file"]),
        Rule::Check(|victorops| {
            let Some(Setting::TemplateMap(custom)) = victorops.get("custom_fields") else { return None };
            let taken = VICTOROPS_RESERVED.iter().find(|name| custom.contains_key(**name))?;
            Some(format!("custom_fields cannot have {taken}: the message has it already"))
        }),
    ],
    inherited: &[
        FROM_GLOBAL,
        inherited(&["api_url"], &["victorops_api_url"]),
        required(&["api_key", "api_key_file"], &["victorops_api_key", "victorops_api_key_file"]),
    ],
};

pub const JIRA: Schema = Schema {
    name: "jira_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        url("api_url"),
        text("api_type"),
        template("project"),
        template_or("summary", "{{ template \"jira.default.summary\" . }}"),
        template_or("description", "{{ template \"jira.default.description\" . }}"),
        field("labels", Shape::Templates),
        template_or("priority", "{{ template \"jira.default.priority\" . }}"),
        template("issue_type"),
        text("reopen_transition"),
        text("resolve_transition"),
        text("wont_fix_resolution"),
        field("reopen_duration", Shape::Duration),
        field("fields", Shape::Any),
        field("custom_fields", Shape::Any),
    ],
    rules: &[Rule::Required(&["project"]), Rule::Required(&["issue_type"])],
    inherited: &[FROM_GLOBAL, required(&["api_url"], &["jira_api_url"])],
};

pub const INCIDENTIO: Schema = Schema {
    name: "incidentio_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        url("url"),
        file("url_file"),
        field("alert_source_token", Shape::Secret),
        file("alert_source_token_file"),
        field("max_alerts", Shape::Number(0)),
        duration_or("timeout", Shape::GoDuration, 0),
    ],
    rules: &[
        Rule::Required(&["url", "url_file"]),
        Rule::AtMostOne(&["url", "url_file"]),
        Rule::AtMostOne(&["alert_source_token", "alert_source_token_file"]),
    ],
    inherited: &[FROM_GLOBAL],
};
