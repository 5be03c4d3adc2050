//! What each service is sent, as requests of HTTP: pure. Bodies are those of Alertmanager
//! (<https://prometheus.io/docs/alerting/latest/configuration/>), field by field; each file names the service's own manual.

mod chat;
mod opsgenie;
mod pager;
mod pagerduty;
mod relay;
mod slack;
mod sms;
mod teams;
#[cfg(test)]
mod tests;
mod webhook;
pub mod wechat;

use bellwether_alert::notify::config::kinds::Kind;

use super::failure::{Failure, Reason};
use super::given::Given;
use super::request::{Answer, Request};

/// The requests that tell a receiver, one after the other. E-mail is none, and WeChat's depend on an answer
/// ([`wechat`]).
pub fn requests(kind: Kind, given: &Given<'_>) -> Result<Vec<Request>, Failure> {
    let one = |request: Result<Request, Failure>| Ok(vec![request?]);
    match kind {
        Kind::Alertmanager => relay::requests(given),
        Kind::Discord => one(chat::discord(given)),
        Kind::Msteams => one(teams::connector(given)),
        Kind::Msteamsv2 => one(teams::workflow(given)),
        Kind::Opsgenie => opsgenie::requests(given),
        Kind::Pagerduty => one(pagerduty::request(given)),
        Kind::Pushover => one(pager::pushover(given)),
        Kind::Slack => one(slack::request(given)),
        Kind::Sms => one(sms::request(given)),
        Kind::Telegram => one(chat::telegram(given)),
        Kind::Victorops => one(pager::victorops(given)),
        Kind::Webex => one(chat::webex(given)),
        Kind::Webhook => one(webhook::request(given)),
        Kind::Email
        | Kind::Wechat
        | Kind::Incidentio
        | Kind::Jira
        | Kind::Mattermost
        | Kind::Rocketchat
        | Kind::Sns => Err(Failure::lasting(Reason::Configuration, format!("nothing is sent by {}", kind.name()))),
    }
}

/// Whether the receiver took a request: the status says so, and with some services the body.
pub fn check(kind: Kind, request: &Request, answer: &Answer) -> Result<(), Failure> {
    answer.check_status(request)?;
    match kind {
        Kind::Slack | Kind::Telegram => slack::check(request, answer),
        Kind::Wechat => wechat::check(request, answer),
        _ => Ok(()),
    }
}
