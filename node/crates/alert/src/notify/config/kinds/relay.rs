//! Kinds that Alertmanager does not have: others that tell people, another Alertmanager and gateways to telephones.

use super::web::FROM_GLOBAL;
use crate::notify::config::http::HTTP;
use crate::notify::config::schema::{
    Rule, Schema, Shape, duration_or, field, file, flag, secret, template, template_or, text, text_or, url, url_or,
};

/// Its address is `url`, with the prefix under which it is served.
pub const ALERTMANAGER: Schema = Schema {
    name: "alertmanager_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        url("url"),
        duration_or("timeout", Shape::GoDuration, 0),
    ],
    rules: &[Rule::Required(&["url"])],
    inherited: &[FROM_GLOBAL],
};

/// What a gateway calls the parts of a message; Twilio's names if nothing is said.
const NAMES: Schema = Schema {
    name: "names",
    fields: &[text_or("to", "To"), text_or("from", "From"), text_or("text", "Body")],
    rules: &[],
    inherited: &[],
};

/// With an `account_sid` it goes to Twilio or who speaks like it; with a `url` to whoever takes a form.
pub const SMS: Schema = Schema {
    name: "sms_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        text("account_sid"),
        secret("auth_token"),
        file("auth_token_file"),
        url_or("api_url", "https://api.twilio.com"),
        field("url", Shape::SecretUrlTemplate),
        file("url_file"),
        template("to"),
        template("from"),
        template_or("text", "{{ template \"sms.default.text\" . }}"),
        field("max_characters", Shape::Number(1)),
        field("names", Shape::One(&NAMES)),
        field("form", Shape::SecretTemplateMap),
        duration_or("timeout", Shape::GoDuration, 0),
    ],
    rules: &[
        Rule::Required(&["to"]),
        Rule::Required(&["account_sid", "url", "url_file"]),
        Rule::AtMostOne(&["account_sid", "url", "url_file"]),
        Rule::AtMostOne(&["auth_token", "auth_token_file"]),
        Rule::Needs(&["account_sid"], &["auth_token", "auth_token_file"]),
        Rule::Needs(&["auth_token", "auth_token_file"], &["account_sid"]),
    ],
    inherited: &[FROM_GLOBAL],
};
