//! Microsoft Teams: message cards for its connectors
//! (<https://learn.microsoft.com/en-us/outlook/actionable-messages/message-card-reference>), adaptive cards for its workflows
//! (<https://learn.microsoft.com/en-us/connectors/teams/>).

use serde_json::json;

use crate::alerting::send::failure::Failure;
use crate::alerting::send::given::Given;
use crate::alerting::send::request::Request;

pub fn connector(given: &Given<'_>) -> Result<Request, Failure> {
    let body = json!({
        "@context": "http://schema.org/extensions",
        "type": "MessageCard",
        "title": given.text("title")?,
        "summary": given.text("summary")?,
        "text": given.text("text")?,
        "themeColor": if given.is_firing() { "8C1A1A" } else { "2DC72D" },
    });
    Request::post(given.secret_url("webhook_url")?, &body)
}

pub fn workflow(given: &Given<'_>) -> Result<Request, Failure> {
    let title = json!({
        "type": "TextBlock",
        "text": given.text("title")?,
        "weight": "Bolder",
        "size": "Medium",
        "wrap": true,
        "style": "heading",
        "color": if given.is_firing() { "Attention" } else { "Good" },
    });
    let text = json!({ "type": "TextBlock", "text": given.text("text")?, "wrap": true });
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [title, text],
        "msteams": { "width": "full" },
    });
    let body = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    });
    Request::post(given.secret_url("webhook_url")?, &body)
}
