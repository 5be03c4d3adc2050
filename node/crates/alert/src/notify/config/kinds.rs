//! The kinds of receivers, and what each can be told
//! (<https://prometheus.io/docs/alerting/latest/configuration/#general-receiver-related-settings>).

mod chat;
mod pager;
mod relay;
mod web;

use super::schema::Schema;

/// A kind of receiver. What was told is kept in this order, which replicas of all programs share: new kinds come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Discord.
    Discord,
    /// E-mail.
    Email,
    /// incident.io.
    Incidentio,
    /// Jira.
    Jira,
    /// Mattermost.
    Mattermost,
    /// Microsoft Teams, by its connectors.
    Msteams,
    /// Microsoft Teams, by its workflows.
    Msteamsv2,
    /// Opsgenie.
    Opsgenie,
    /// PagerDuty.
    Pagerduty,
    /// Pushover.
    Pushover,
    /// Rocket.Chat.
    Rocketchat,
    /// Slack.
    Slack,
    /// Amazon's Simple Notification Service.
    Sns,
    /// Telegram.
    Telegram,
    /// VictorOps.
    Victorops,
    /// Webex.
    Webex,
    /// Whatever takes a POST.
    Webhook,
    /// WeChat.
    Wechat,
    /// Another Alertmanager, which tells whom it will.
    Alertmanager,
    /// A gateway that sends short messages to telephones.
    Sms,
}

/// All kinds in their order, with the setting of a receiver that lists its integrations of the kind.
pub const KINDS: [(Kind, &str); 20] = [
    (Kind::Discord, "discord_configs"),
    (Kind::Email, "email_configs"),
    (Kind::Incidentio, "incidentio_configs"),
    (Kind::Jira, "jira_configs"),
    (Kind::Mattermost, "mattermost_configs"),
    (Kind::Msteams, "msteams_configs"),
    (Kind::Msteamsv2, "msteamsv2_configs"),
    (Kind::Opsgenie, "opsgenie_configs"),
    (Kind::Pagerduty, "pagerduty_configs"),
    (Kind::Pushover, "pushover_configs"),
    (Kind::Rocketchat, "rocketchat_configs"),
    (Kind::Slack, "slack_configs"),
    (Kind::Sns, "sns_configs"),
    (Kind::Telegram, "telegram_configs"),
    (Kind::Victorops, "victorops_configs"),
    (Kind::Webex, "webex_configs"),
    (Kind::Webhook, "webhook_configs"),
    (Kind::Wechat, "wechat_configs"),
    (Kind::Alertmanager, "alertmanager_configs"),
    (Kind::Sms, "sms_configs"),
];

impl Kind {
    /// As it is called in names of settings.
    pub fn name(self) -> &'static str {
        let listed = KINDS.iter().find(|(kind, _)| *kind == self).map(|(_, setting)| *setting);
        listed.and_then(|setting| setting.strip_suffix("_configs")).unwrap_or_default()
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Kind> {
        KINDS.iter().map(|(kind, _)| *kind).find(|kind| kind.name() == name)
    }

    /// Whether messages will go out by it; of the others the settings are checked alone.
    pub fn is_sent(self) -> bool {
        !matches!(self, Kind::Incidentio | Kind::Jira | Kind::Mattermost | Kind::Rocketchat | Kind::Sns)
    }

    /// What it can be told.
    pub fn schema(self) -> &'static Schema {
        match self {
            Kind::Alertmanager => &relay::ALERTMANAGER,
            Kind::Discord => &chat::DISCORD,
            Kind::Email => &web::EMAIL,
            Kind::Incidentio => &pager::INCIDENTIO,
            Kind::Jira => &pager::JIRA,
            Kind::Mattermost => &chat::MATTERMOST,
            Kind::Msteams => &chat::MSTEAMS,
            Kind::Msteamsv2 => &chat::MSTEAMSV2,
            Kind::Opsgenie => &pager::OPSGENIE,
            Kind::Pagerduty => &pager::PAGERDUTY,
            Kind::Pushover => &pager::PUSHOVER,
            Kind::Rocketchat => &chat::ROCKETCHAT,
            Kind::Slack => &chat::SLACK,
            Kind::Sms => &relay::SMS,
            Kind::Sns => &web::SNS,
            Kind::Telegram => &chat::TELEGRAM,
            Kind::Victorops => &pager::VICTOROPS,
            Kind::Webex => &chat::WEBEX,
            Kind::Webhook => &web::WEBHOOK,
            Kind::Wechat => &chat::WECHAT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed_in_their_order() {
        assert!(KINDS.is_sorted_by(|(one, _), (other, _)| one < other));
        assert_eq!(KINDS.map(|(kind, _)| Kind::named(kind.name())), KINDS.map(|(kind, _)| Some(kind)));
    }
}
