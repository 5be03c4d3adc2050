//! Services in which people talk.

use super::web::FROM_GLOBAL;
use crate::notify::config::http::HTTP;
use crate::notify::config::schema::{
    Default, Rule, Schema, Shape, choice, duration_or, field, file, flag, inherited, required, secret, template,
    template_or, text, url,
};
use crate::notify::config::settings::Settings;

const SLACK_FIELD: Schema = Schema {
    name: "fields",
    fields: &[template("title"), template("value"), field("short", Shape::Flag)],
    rules: &[Rule::Required(&["title"]), Rule::Required(&["value"])],
    inherited: &[],
};

const SLACK_CONFIRMATION: Schema = Schema {
    name: "confirm",
    fields: &[template("text"), template("title"), template("ok_text"), template("dismiss_text")],
    rules: &[Rule::Required(&["text"])],
    inherited: &[],
};

const SLACK_ACTION: Schema = Schema {
    name: "actions",
    fields: &[
        template("type"),
        template("text"),
        template("url"),
        template("style"),
        template("name"),
        template("value"),
        field("confirm", Shape::One(&SLACK_CONFIRMATION)),
    ],
    rules: &[Rule::Required(&["type"]), Rule::Required(&["text"]), Rule::Required(&["url", "name"])],
    inherited: &[],
};

pub const SLACK: Schema = Schema {
    name: "slack_configs",
    fields: &[
        flag("send_resolved", false),
        field("http_config", Shape::One(&HTTP)),
        field("api_url", Shape::SecretUrl),
        file("api_url_file"),
        template("channel"),
        template_or("username", "{{ template \"slack.default.username\" . }}"),
        template_or("color", "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}"),
        template_or("title", "{{ template \"slack.default.title\" . }}"),
        template_or("title_link", "{{ template \"slack.default.titlelink\" . }}"),
        template_or("pretext", "{{ template \"slack.default.pretext\" . }}"),
        template_or("text", "{{ template \"slack.default.text\" . }}"),
        field("fields", Shape::Many(&SLACK_FIELD)),
        flag("short_fields", false),
        template_or("footer", "{{ template \"slack.default.footer\" . }}"),
        template_or("fallback", "{{ template \"slack.default.fallback\" . }}"),
        template_or("callback_id", "{{ template \"slack.default.callbackid\" . }}"),
        template_or("icon_emoji", "{{ template \"slack.default.iconemoji\" . }}"),
        template_or("icon_url", "{{ template \"slack.default.iconurl\" . }}"),
        template("image_url"),
        template("thumb_url"),
        flag("link_names", false),
        field("mrkdwn_in", Shape::Texts),
        field("actions", Shape::Many(&SLACK_ACTION)),
        duration_or("timeout", Shape::GoDuration, 0),
    ],
    rules: &[Rule::AtMostOne(&["api_url", "api_url_file"])],
    inherited: &[FROM_GLOBAL, required(&["api_url", "api_url_file"], &["slack_api_url", "slack_api_url_file"])],
};

pub const MSTEAMS: Schema = Schema {
    name: "msteams_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("webhook_url", Shape::SecretUrl),
        file("webhook_url_file"),
        template_or("title", "{{ template \"msteams.default.title\" . }}"),
        template_or("summary", "{{ template \"msteams.default.summary\" . }}"),
        template_or("text", "{{ template \"msteams.default.text\" . }}"),
    ],
    rules: WEBHOOK_RULES,
    inherited: &[FROM_GLOBAL],
};

const WEBHOOK_RULES: &[Rule] =
    &[Rule::Required(&["webhook_url", "webhook_url_file"]), Rule::AtMostOne(&["webhook_url", "webhook_url_file"])];

pub const MSTEAMSV2: Schema = Schema {
    name: "msteamsv2_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("webhook_url", Shape::SecretUrl),
        file("webhook_url_file"),
        template_or("title", "{{ template \"msteamsv2.default.title\" . }}"),
        template_or("text", "{{ template \"msteamsv2.default.text\" . }}"),
    ],
    rules: WEBHOOK_RULES,
    inherited: &[FROM_GLOBAL],
};

pub const DISCORD: Schema = Schema {
    name: "discord_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("webhook_url", Shape::SecretUrl),
        file("webhook_url_file"),
        template("content"),
        template_or("title", "{{ template \"discord.default.title\" . }}"),
        template_or("message", "{{ template \"discord.default.message\" . }}"),
        text("username"),
        text("avatar_url"),
    ],
    rules: WEBHOOK_RULES,
    inherited: &[FROM_GLOBAL],
};

pub const TELEGRAM: Schema = Schema {
    name: "telegram_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        url("api_url"),
        secret("bot_token"),
        file("bot_token_file"),
        field("chat_id", Shape::Number(i64::MIN)),
        file("chat_id_file"),
        field("message_thread_id", Shape::Number(i64::MIN)),
        template_or("message", "{{ template \"telegram.default.message\" . }}"),
        flag("disable_notifications", false),
        choice("parse_mode", &["Markdown", "MarkdownV2", "HTML"], Default::Text("HTML")),
    ],
    rules: &[
        Rule::AtMostOne(&["bot_token", "bot_token_file"]),
        Rule::Required(&["chat_id", "chat_id_file"]),
        Rule::AtMostOne(&["chat_id", "chat_id_file"]),
    ],
    inherited: &[
        FROM_GLOBAL,
        inherited(&["api_url"], &["telegram_api_url"]),
        required(&["bot_token", "bot_token_file"], &["telegram_bot_token", "telegram_bot_token_file"]),
    ],
};

pub const WEBEX: Schema = Schema {
    name: "webex_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        url("api_url"),
        template_or("message", "{{ template \"webex.default.message\" . }}"),
        template("room_id"),
    ],
    rules: &[Rule::Required(&["room_id"]), Rule::Check(webex_authorization)],
    inherited: &[FROM_GLOBAL, inherited(&["api_url"], &["webex_api_url"])],
};

/// Its own: what `global` says is for others.
fn webex_authorization(webex: &Settings) -> Option<String> {
    let ways = ["authorization", "bearer_token", "bearer_token_file"];
    let has_one = webex.one("http_config").is_some_and(|http| ways.iter().any(|way| http.is_set(way)));
    (!has_one).then(|| "http_config needs authorization".to_owned())
}

pub const WECHAT: Schema = Schema {
    name: "wechat_configs",
    fields: &[
        flag("send_resolved", false),
        field("http_config", Shape::One(&HTTP)),
        field("api_secret", Shape::SecretTemplate),
        template("corp_id"),
        template_or("message", "{{ template \"wechat.default.message\" . }}"),
        url("api_url"),
        template_or("to_user", "{{ template \"wechat.default.to_user\" . }}"),
        template_or("to_party", "{{ template \"wechat.default.to_party\" . }}"),
        template_or("to_tag", "{{ template \"wechat.default.to_tag\" . }}"),
        template_or("agent_id", "{{ template \"wechat.default.agent_id\" . }}"),
        choice("message_type", &["text", "markdown"], Default::Text("text")),
    ],
    rules: &[],
    inherited: &[
        FROM_GLOBAL,
        inherited(&["api_url"], &["wechat_api_url"]),
        required(&["api_secret"], &["wechat_api_secret"]),
        required(&["corp_id"], &["wechat_api_corp_id"]),
    ],
};

const ROCKETCHAT_FIELD: Schema = Schema {
    name: "fields",
    fields: &[template("title"), template("value"), field("short", Shape::Flag)],
    rules: &[],
    inherited: &[],
};

/// Of some names Alertmanager reads a form without underscores.
const ROCKETCHAT_ACTION: Schema = Schema {
    name: "actions",
    fields: &[
        template("type"),
        template("text"),
        template("url"),
        template("msg"),
        template("image_url"),
        template("imageurl"),
        flag("is_webview", false),
        flag("iswebview", false),
        text("webview_height_ratio"),
        text("webviewheightratio"),
        flag("msg_in_chat_window", false),
        flag("msginchatwindow", false),
        text("msg_processing_type"),
        text("msgprocessingtype"),
    ],
    rules: &[],
    inherited: &[],
};

pub const ROCKETCHAT: Schema = Schema {
    name: "rocketchat_configs",
    fields: &[
        flag("send_resolved", false),
        field("http_config", Shape::One(&HTTP)),
        url("api_url"),
        secret("token_id"),
        file("token_id_file"),
        secret("token"),
        file("token_file"),
        template("channel"),
        template_or("color", "{{ if eq .Status \"firing\" }}red{{ else }}green{{ end }}"),
        template_or("title", "{{ template \"rocketchat.default.title\" . }}"),
        template_or("title_link", "{{ template \"rocketchat.default.titlelink\" . }}"),
        template_or("text", "{{ template \"rocketchat.default.text\" . }}"),
        field("fields", Shape::Many(&ROCKETCHAT_FIELD)),
        flag("short_fields", false),
        template_or("emoji", "{{ template \"rocketchat.default.emoji\" . }}"),
        template_or("icon_url", "{{ template \"rocketchat.default.iconurl\" . }}"),
        template("image_url"),
        template("thumb_url"),
        flag("link_names", false),
        field("actions", Shape::Many(&ROCKETCHAT_ACTION)),
    ],
    rules: &[Rule::AtMostOne(&["token", "token_file"]), Rule::AtMostOne(&["token_id", "token_id_file"])],
    inherited: &[
        FROM_GLOBAL,
        inherited(&["api_url"], &["rocketchat_api_url"]),
        required(&["token_id", "token_id_file"], &["rocketchat_token_id", "rocketchat_token_id_file"]),
        required(&["token", "token_file"], &["rocketchat_token", "rocketchat_token_file"]),
    ],
};

pub const MATTERMOST: Schema = Schema {
    name: "mattermost_configs",
    fields: &[
        flag("send_resolved", true),
        field("http_config", Shape::One(&HTTP)),
        field("webhook_url", Shape::SecretUrl),
        file("webhook_url_file"),
        template("channel"),
        template("username"),
        template_or("text", "{{ template \"mattermost.default.text\" . }}"),
        template("fallback"),
        template("color"),
        template("pretext"),
        template("author_name"),
        template("author_link"),
        template("author_icon"),
        template("title"),
        template("title_link"),
        template("thumb_url"),
        template("footer"),
        template("footer_icon"),
        template("image_url"),
        template("icon_url"),
        template("icon_emoji"),
        field("fields", Shape::Many(&SLACK_FIELD)),
        field("attachments", Shape::Any),
        field("props", Shape::Any),
        field("priority", Shape::Any),
        template("type"),
    ],
    rules: &[Rule::AtMostOne(&["webhook_url", "webhook_url_file"])],
    inherited: &[
        FROM_GLOBAL,
        required(&["webhook_url", "webhook_url_file"], &["mattermost_webhook_url", "mattermost_webhook_url_file"]),
    ],
};
