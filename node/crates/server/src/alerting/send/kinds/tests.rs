//! What each kind of receiver is sent, word for word.

use std::sync::{Arc, LazyLock};

use bellwether_alert::notify::config::Integration;
use bellwether_alert::notify::dispatch::Message;
use bellwether_alert::notify::templates::Library;
use bellwether_alert::notify::timeline::Timeline;
use bellwether_alert::notify::{Config, Extras};
use bellwether_model::Timestamp;
use expect_test::{Expect, expect};
use futures::FutureExt;
use serde_json::Value;

use crate::alerting::send::Notification;
use crate::alerting::send::files::SettingFiles;
use crate::alerting::send::given::Given;
use crate::alerting::send::kinds;
use crate::alerting::send::request::{Answer, Request};
use crate::testing::inline;
use crate::tls::testing::TestFiles;

const EXTERNAL_URL: &str = "http://bellwether.example";

/// Two alerts fire, then one of them, then none.
const TIMELINE: &str = "\
begin: 2026-11-20T08:00:00Z
until: 20m
events:
- at: 0s
  firing: [{alertname: DiskFull, cluster: eu, host: a}, {alertname: DiskFull, cluster: eu, host: b}]
  annotations: {summary: 'disk <full>'}
- at: 6m
  resolved: [{alertname: DiskFull, cluster: eu, host: b}]
- at: 12m
  resolved: [{alertname: DiskFull, cluster: eu, host: a}]
";

fn files() -> TestFiles {
    let files = TestFiles::default();
    files.put("/f/url", "http://from.file/hook\n");
    files.put("/f/key", " key-of-file\n");
    files
}

fn read<'a>(
    integration: &'a Integration,
    (at, message): (Timestamp, &'a Message),
    library: &'a Library,
    files: &SettingFiles,
) -> Given<'a> {
    let (external_url, interval_ms, dedup_key) = (EXTERNAL_URL, 300_000, "k");
    static EXTRAS: LazyLock<Extras> = LazyLock::new(Extras::default);
    let extras = &*EXTRAS;
    let notification = Notification { integration, message, extras, library, external_url, interval_ms, at, dedup_key };
    Given::read(&notification, files).now_or_never().unwrap().unwrap()
}

/// What the integration sends for the message of this number.
fn sent(integration: &str, message: usize) -> String {
    let config = format!(
        "route: {{receiver: r, group_by: [alertname]}}\n\
         receivers:\n- name: r\n  {}\n",
        integration.replace('\n', "\n  ")
    );
    let config = Config::read(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
    let messages = Timeline::read(TIMELINE).unwrap().run(&config).unwrap();
    let (at, message) = &messages[message];
    let integration = &config.receivers["r"].integrations[0];
    let files = SettingFiles::new(Arc::new(files()), inline(), Some("/f".into()));
    let library = Library::default();
    let given = read(integration, (*at, message), &library, &files);
    match kinds::requests(integration.kind, &given) {
        Ok(requests) => requests.iter().map(printed).collect(),
        Err(failure) => failure.to_string(),
    }
}

fn printed(request: &Request) -> String {
    let mut out = format!("{} {}\n", request.method, request.url);
    for (name, value) in &request.headers {
        out.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    match serde_json::from_slice::<Value>(&request.body) {
        Ok(body) => out + &serde_json::to_string_pretty(&body).unwrap() + "\n",
        Err(_) => out + &String::from_utf8_lossy(&request.body) + "\n",
    }
}

#[track_caller]
fn check(integration: &str, message: usize, expected: Expect) {
    expected.assert_eq(&sent(integration, message));
}

#[test]
fn webhook() {
    check(
        "webhook_configs: [{url: 'http://hook/{{ .GroupLabels.alertname }}'}]",
        1,
        expect![[r#"
        POST http://hook/DiskFull
        content-type: application/json
        {
          "alerts": [
            {
              "annotations": {
                "summary": "disk <full>"
              },
              "endsAt": "0001-01-01T00:00:00Z",
              "fingerprint": "108844e9302a38f5",
              "generatorURL": "",
              "labels": {
                "alertname": "DiskFull",
                "cluster": "eu",
                "host": "a"
              },
              "startsAt": "2026-11-20T08:00:00Z",
              "status": "firing"
            },
            {
              "annotations": {
                "summary": "disk <full>"
              },
              "endsAt": "2026-11-20T08:06:00Z",
              "fingerprint": "109244e930328d7a",
              "generatorURL": "",
              "labels": {
                "alertname": "DiskFull",
                "cluster": "eu",
                "host": "b"
              },
              "startsAt": "2026-11-20T08:00:00Z",
              "status": "resolved"
            }
          ],
          "commonAnnotations": {
            "summary": "disk <full>"
          },
          "commonLabels": {
            "alertname": "DiskFull",
            "cluster": "eu"
          },
          "externalURL": "http://bellwether.example",
          "groupKey": "{}:{alertname=\"DiskFull\"}",
          "groupLabels": {
            "alertname": "DiskFull"
          },
          "receiver": "r",
          "status": "firing",
          "truncatedAlerts": 0,
          "version": "4"
        }
    "#]],
    );
    check(
        "webhook_configs: [{url_file: url, max_alerts: 1}]",
        1,
        expect![[r#"
        POST http://from.file/hook
        content-type: application/json
        {
          "alerts": [
            {
              "annotations": {
                "summary": "disk <full>"
              },
              "endsAt": "0001-01-01T00:00:00Z",
              "fingerprint": "108844e9302a38f5",
              "generatorURL": "",
              "labels": {
                "alertname": "DiskFull",
                "cluster": "eu",
                "host": "a"
              },
              "startsAt": "2026-11-20T08:00:00Z",
              "status": "firing"
            }
          ],
          "commonAnnotations": {
            "summary": "disk <full>"
          },
          "commonLabels": {
            "alertname": "DiskFull",
            "cluster": "eu",
            "host": "a"
          },
          "externalURL": "http://bellwether.example",
          "groupKey": "{}:{alertname=\"DiskFull\"}",
          "groupLabels": {
            "alertname": "DiskFull"
          },
          "receiver": "r",
          "status": "firing",
          "truncatedAlerts": 1,
          "version": "4"
        }
    "#]],
    );
}

#[test]
fn slack() {
    check(
        "slack_configs: [{api_url: 'http://slack/T0', send_resolved: true}]",
        0,
        expect![[r#"
        POST http://slack/T0
        content-type: application/json
        {
          "attachments": [
            {
              "callback_id": "",
              "color": "danger",
              "fallback": "[FIRING:2] DiskFull (eu) | http://bellwether.example/#/alerts?receiver=r",
              "footer": "",
              "mrkdwn_in": [
                "fallback",
                "pretext",
                "text"
              ],
              "text": "",
              "title": "[FIRING:2] DiskFull (eu)",
              "title_link": "http://bellwether.example/#/alerts?receiver=r"
            }
          ],
          "username": "Bellwether"
        }
    "#]],
    );
    let all = "slack_configs:
- api_url_file: url
  send_resolved: true
  channel: '#{{ .GroupLabels.alertname }}'
  title: '{{ reReplaceAll \".\" \"~\" (printf \"%01100d\" 1) }}'
  icon_emoji: ':x:'
  link_names: true
  short_fields: true
  mrkdwn_in: [text]
  fields: [{title: '{{ .Status }}', value: v}, {title: t, value: v, short: false}]
  actions: [{type: button, text: go, url: 'http://go', confirm: {text: sure}}]";
    let long = sent(all, 0);
    assert!(long.contains(&format!("{}…\"", "~".repeat(1023))), "{long}");
    check(
        &all.replace("%01100d", "%03d"),
        2,
        expect![[r##"
        POST http://from.file/hook
        content-type: application/json
        {
          "attachments": [
            {
              "actions": [
                {
                  "confirm": {
                    "text": "sure"
                  },
                  "text": "go",
                  "type": "button",
                  "url": "http://go"
                }
              ],
              "callback_id": "",
              "color": "good",
              "fallback": "[RESOLVED] DiskFull (eu a) | http://bellwether.example/#/alerts?receiver=r",
              "fields": [
                {
                  "short": true,
                  "title": "resolved",
                  "value": "v"
                },
                {
                  "short": false,
                  "title": "t",
                  "value": "v"
                }
              ],
              "footer": "",
              "mrkdwn_in": [
                "text"
              ],
              "text": "",
              "title": "~~~",
              "title_link": "http://bellwether.example/#/alerts?receiver=r"
            }
          ],
          "channel": "#DiskFull",
          "icon_emoji": ":x:",
          "link_names": true,
          "username": "Bellwether"
        }
    "##]],
    );
}

#[test]
fn pagerduty() {
    check(
        "pagerduty_configs: [{routing_key: key, url: 'http://pd', description: d, severity: '{{ .Status }}'}]",
        1,
        expect![[r#"
        POST http://pd/
        content-type: application/json
        {
          "client": "Bellwether",
          "client_url": "http://bellwether.example/#/alerts?receiver=r",
          "dedup_key": "17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41",
          "event_action": "trigger",
          "payload": {
            "custom_details": {
              "firing": "Labels:\n - alertname = DiskFull\n - cluster = eu\n - host = a\nAnnotations:\n - summary = disk <full>\nSource: \n",
              "num_firing": "1",
              "num_resolved": "1",
              "resolved": "Labels:\n - alertname = DiskFull\n - cluster = eu\n - host = b\nAnnotations:\n - summary = disk <full>\nSource: \n"
            },
            "severity": "firing",
            "source": "Bellwether",
            "summary": "d"
          },
          "routing_key": "key"
        }
    "#]],
    );
    check(
        "pagerduty_configs: [{routing_key_file: key, url: 'http://pd', details: {firing: '', resolved: '', more: x}, \
         images: [{src: s, alt: a}, {alt: b}], links: [{href: 'http://l', text: t}], class: c, source: s}]",
        2,
        expect![[r#"
            POST http://pd/
            content-type: application/json
            {
              "client": "Bellwether",
              "client_url": "http://bellwether.example/#/alerts?receiver=r",
              "dedup_key": "17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41",
              "event_action": "resolve",
              "images": [
                {
                  "alt": "a",
                  "href": "",
                  "src": "s"
                }
              ],
              "links": [
                {
                  "href": "http://l",
                  "text": "t"
                }
              ],
              "payload": {
                "class": "c",
                "custom_details": {
                  "firing": "",
                  "more": "x",
                  "num_firing": "0",
                  "num_resolved": "1",
                  "resolved": "Labels:\n - alertname = DiskFull\n - cluster = eu\n - host = a\nAnnotations:\n - summary = disk <full>\nSource: \n"
                },
                "severity": "error",
                "source": "s",
                "summary": "[RESOLVED] DiskFull (eu a)"
              },
              "routing_key": "key-of-file"
            }
        "#]],
    );
    check(
        "pagerduty_configs: [{service_key: key, details: {firing: f}}]",
        0,
        expect![[r#"
        POST https://events.pagerduty.com/generic/2010-04-15/create_event.json
        content-type: application/json
        {
          "client": "Bellwether",
          "client_url": "http://bellwether.example/#/alerts?receiver=r",
          "description": "[FIRING:2] DiskFull (eu)",
          "details": {
            "firing": "Labels:\n - alertname = DiskFull\n - cluster = eu\n - host = a\nAnnotations:\n - summary = disk <full>\nSource: \nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = b\nAnnotations:\n - summary = disk <full>\nSource: \n",
            "num_firing": "2",
            "num_resolved": "0",
            "resolved": ""
          },
          "event_action": "",
          "event_type": "trigger",
          "incident_key": "17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41",
          "payload": null,
          "service_key": "key"
        }
    "#]],
    );
    let large = sent(
        "pagerduty_configs: [{routing_key: key, url: 'http://pd', details: {x: '{{ printf \"%0600000d\" 1 }}'}}]",
        0,
    );
    assert!(large.contains("exceeds the maximum size of 512KB") && large.len() < 2000, "{large}");
    check("pagerduty_configs: [{routing_key: '{{ .CommonLabels.none }}'}]", 0, expect!["routing_key is empty"]);
}

#[test]
fn opsgenie() {
    check(
        "opsgenie_configs: [{api_url: 'http://og/', api_key: key, update_alerts: true, tags: 'a,,b', details: {x: '{{ .Status }}'}, \
         responders: [{name: 'x,y', type: teams}, {username: u, type: user}]}]",
        0,
        expect![[r#"
            POST http://og/v2/alerts
            content-type: application/json
            authorization: GenieKey key
            {
              "alias": "17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41",
              "description": "disk <full>\nAlerts Firing:\nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = a\nAnnotations:\n - summary = disk <full>\nSource: \nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = b\nAnnotations:\n - summary = disk <full>\nSource: \n",
              "details": {
                "alertname": "DiskFull",
                "cluster": "eu",
                "x": "firing"
              },
              "message": "[FIRING:2] DiskFull (eu)",
              "responders": [
                {
                  "name": "x",
                  "type": "team"
                },
                {
                  "name": "y",
                  "type": "team"
                },
                {
                  "type": "user",
                  "username": "u"
                }
              ],
              "source": "http://bellwether.example/#/alerts?receiver=r",
              "tags": [
                "a",
                "b"
              ]
            }
            PUT http://og/v2/alerts/17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41/message?identifierType=alias
            content-type: application/json
            authorization: GenieKey key
            {
              "message": "[FIRING:2] DiskFull (eu)"
            }
            PUT http://og/v2/alerts/17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41/description?identifierType=alias
            content-type: application/json
            authorization: GenieKey key
            {
              "description": "disk <full>\nAlerts Firing:\nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = a\nAnnotations:\n - summary = disk <full>\nSource: \nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = b\nAnnotations:\n - summary = disk <full>\nSource: \n"
            }
        "#]],
    );
    check(
        "opsgenie_configs: [{api_url: 'http://og/', api_key_file: key}]",
        2,
        expect![[r#"
        POST http://og/v2/alerts/17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41/close?identifierType=alias
        content-type: application/json
        authorization: GenieKey key-of-file
        {
          "source": "http://bellwether.example/#/alerts?receiver=r"
        }
    "#]],
    );
}

#[test]
fn teams() {
    check(
        "msteams_configs: [{webhook_url: 'http://teams', text: t}]",
        0,
        expect![[r#"
        POST http://teams/
        content-type: application/json
        {
          "@context": "http://schema.org/extensions",
          "summary": "[FIRING:2] DiskFull (eu)",
          "text": "t",
          "themeColor": "8C1A1A",
          "title": "[FIRING:2] DiskFull (eu)",
          "type": "MessageCard"
        }
    "#]],
    );
    check(
        "msteamsv2_configs: [{webhook_url: 'http://teams', text: t}]",
        2,
        expect![[r#"
        POST http://teams/
        content-type: application/json
        {
          "attachments": [
            {
              "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "body": [
                  {
                    "color": "Good",
                    "size": "Medium",
                    "style": "heading",
                    "text": "[RESOLVED] DiskFull (eu a)",
                    "type": "TextBlock",
                    "weight": "Bolder",
                    "wrap": true
                  },
                  {
                    "text": "t",
                    "type": "TextBlock",
                    "wrap": true
                  }
                ],
                "msteams": {
                  "width": "full"
                },
                "type": "AdaptiveCard",
                "version": "1.2"
              },
              "contentType": "application/vnd.microsoft.card.adaptive",
              "contentUrl": null
            }
          ],
          "type": "message"
        }
    "#]],
    );
}

#[test]
fn telegram() {
    check(
        "telegram_configs: [{bot_token: '1:abc', chat_id: -7, disable_notifications: true, message_thread_id: 3}]",
        0,
        expect![[r#"
        POST https://api.telegram.org/bot1:abc/sendMessage
        content-type: application/json
        {
          "chat_id": "-7",
          "disable_notification": "true",
          "disable_web_page_preview": "true",
          "message_thread_id": "3",
          "parse_mode": "HTML",
          "text": "Alerts Firing:\nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = a\nAnnotations:\n - summary = disk &lt;full&gt;\nSource: \nLabels:\n - alertname = DiskFull\n - cluster = eu\n - host = b\nAnnotations:\n - summary = disk &lt;full&gt;\nSource: \n"
        }
    "#]],
    );
    check(
        "telegram_configs: [{bot_token_file: key, chat_id: 7, parse_mode: MarkdownV2, message: '{{ .Status }}'}]",
        2,
        expect![[r#"
        POST https://api.telegram.org/botkey-of-file/sendMessage
        content-type: application/json
        {
          "chat_id": "7",
          "disable_web_page_preview": "true",
          "parse_mode": "MarkdownV2",
          "text": "resolved"
        }
    "#]],
    );
    let long = sent(
        "telegram_configs: [{bot_token: '1:abc', chat_id: 7, message: '<b>{{ printf \"%05000d\" 1 }}</b>&lt;'}]",
        0,
    );
    assert!(!long.contains("parse_mode") && !long.contains("<b>"), "{long}");
}

#[test]
fn other_chats() {
    check(
        "discord_configs: [{webhook_url: 'http://discord', message: m, username: u}]",
        0,
        expect![[r#"
        POST http://discord/
        content-type: application/json
        {
          "content": "",
          "embeds": [
            {
              "color": 10038562,
              "description": "m",
              "title": "[FIRING:2] DiskFull (eu)"
            }
          ],
          "username": "u"
        }
    "#]],
    );
    check(
        "webex_configs: [{api_url: 'http://webex', room_id: r, message: m, http_config: {authorization: {credentials: c}}}]",
        0,
        expect![[r#"
            POST http://webex/
            content-type: application/json
            {
              "markdown": "m",
              "roomId": "r"
            }
        "#]],
    );
}

#[test]
fn pagers() {
    check(
        "pushover_configs: [{token: t, user_key: u, message: ' ', html: true, ttl: 1m}]",
        0,
        expect![[r#"
        POST https://api.pushover.net/1/messages.json?expire=3600&html=1&message=%28no+details%29&priority=2&retry=60&sound=&title=%5BFIRING%3A2%5D+DiskFull+%28eu%29&token=t&ttl=60&url=http%3A%2F%2Fbellwether.example%2F%23%2Falerts%3Freceiver%3Dr&url_title=&user=u
        content-type: text/plain

    "#]],
    );
    check(
        "victorops_configs: [{api_url: 'http://vo/alert/', api_key: key, routing_key: 'a b', state_message: m}]",
        2,
        expect![[r#"
        POST http://vo/alert/key/a%20b
        content-type: application/json
        {
          "entity_display_name": "[RESOLVED] DiskFull (eu a)",
          "entity_id": "17c4e445d234645c9e547ff6d32a864af0ebdadcd1902771c24c8d366637ff41",
          "message_type": "RECOVERY",
          "monitoring_tool": "Bellwether",
          "state_message": "m"
        }
    "#]],
    );
}

#[test]
fn wechat() {
    let config = Config::read(
        "route: {receiver: r}\nreceivers: [{name: r, wechat_configs: \
         [{api_url: 'http://wx/', api_secret: s3cret, corp_id: corp, to_user: u, agent_id: '1', message: m}]}]\n",
    )
    .unwrap();
    let messages = Timeline::read(TIMELINE).unwrap().run(&config).unwrap();
    let files = SettingFiles::new(Arc::new(files()), inline(), None);
    let (at, message) = &messages[0];
    let library = Library::default();
    let integration = &config.receivers["r"].integrations[0];
    let given = read(integration, (*at, message), &library, &files);
    let answer = |body: &str| Answer { status: 200, body: body.as_bytes().to_vec() };
    let token = kinds::wechat::token(&answer(r#"{"access_token":"tok"}"#)).unwrap();
    let request = kinds::wechat::request(&given, &token).unwrap();
    let both = printed(&kinds::wechat::token_request(&given).unwrap()) + &printed(&request);
    expect![[r#"
        GET http://wx/gettoken?corpid=corp&corpsecret=s3cret

        POST http://wx/message/send?access_token=tok
        content-type: application/json
        {
          "agentid": "1",
          "markdown": {
            "content": ""
          },
          "msgtype": "text",
          "safe": "0",
          "text": {
            "content": "m"
          },
          "touser": "u"
        }
    "#]]
    .assert_eq(&both);
    assert!(kinds::wechat::token(&answer("{}")).is_err());
    let check = |body| kinds::check(integration.kind, &request, &answer(body));
    assert_eq!(check(r#"{"errcode":0}"#), Ok(()));
    assert!(check(r#"{"errcode":42001}"#).unwrap_err().retryable);
    assert!(!check(r#"{"errcode":40014}"#).unwrap_err().retryable);
}

#[test]
fn a_status_of_success_may_hide_a_refusal() {
    let request = Request::post(url::Url::parse("http://slack/").unwrap(), &"").unwrap();
    let check =
        |kind, body: &str| kinds::check(kind, &request, &Answer { status: 200, body: body.as_bytes().to_vec() });
    use bellwether_alert::notify::config::kinds::Kind;
    assert_eq!(check(Kind::Slack, "ok"), Ok(()));
    assert_eq!(check(Kind::Slack, r#"{"ok":true}"#), Ok(()));
    let refused = check(Kind::Slack, r#"{"ok":false,"error":"channel_not_found"}"#).unwrap_err();
    assert!(!refused.retryable && refused.to_string().contains("channel_not_found"));
    assert_eq!(check(Kind::Webhook, r#"{"ok":false}"#), Ok(()));
}

#[test]
fn another_alertmanager() {
    let integration = "alertmanager_configs: [{url: 'http://am:9093/prefix/'}]";
    // Told at each look: what fires is believed for four of them.
    check(
        integration,
        1,
        expect![[r#"
        POST http://am:9093/prefix/api/v2/alerts
        content-type: application/json
        [
          {
            "annotations": {
              "summary": "disk <full>"
            },
            "endsAt": "2026-11-20T08:25:30.000Z",
            "labels": {
              "alertname": "DiskFull",
              "cluster": "eu",
              "host": "a"
            },
            "startsAt": "2026-11-20T08:00:00.000Z"
          },
          {
            "annotations": {
              "summary": "disk <full>"
            },
            "endsAt": "2026-11-20T08:25:30.000Z",
            "labels": {
              "alertname": "DiskFull",
              "cluster": "eu",
              "host": "b"
            },
            "startsAt": "2026-11-20T08:00:00.000Z"
          }
        ]
    "#]],
    );
    check(
        integration,
        3,
        expect![[r#"
        POST http://am:9093/prefix/api/v2/alerts
        content-type: application/json
        [
          {
            "annotations": {
              "summary": "disk <full>"
            },
            "endsAt": "2026-11-20T08:12:00.000Z",
            "labels": {
              "alertname": "DiskFull",
              "cluster": "eu",
              "host": "a"
            },
            "startsAt": "2026-11-20T08:00:00.000Z"
          }
        ]
    "#]],
    );
}

#[test]
fn short_messages() {
    let twilio =
        "sms_configs: [{account_sid: AC1, auth_token: s3cret, from: '+1', to: '+2 {{ .Status }}', max_characters: 20}]";
    check(
        twilio,
        0,
        expect![[r#"
        POST https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json
        content-type: application/x-www-form-urlencoded
        authorization: Basic QUMxOnMzY3JldA==
        Body=%5BFIRING%3A2%5D+DiskFull%E2%80%A6&From=%2B1&To=%2B2+firing
    "#]],
    );
    let form = "sms_configs:\n- url: http://gateway/send?key=k\n  to: '+49 1'\n  names: {to: phone, text: message, from: ''}\n  \
                form: {priority: '{{ if eq .Status \"firing\" }}1{{ else }}0{{ end }}'}\n  from: nobody";
    check(
        form,
        0,
        expect![[r#"
        POST http://gateway/send?key=k
        content-type: application/x-www-form-urlencoded
        message=%5BFIRING%3A2%5D+DiskFull+%28eu%29%3A+disk+%3Cfull%3E&phone=%2B49+1&priority=1
    "#]],
    );
    check(
        form,
        2,
        expect![[r#"
        POST http://gateway/send?key=k
        content-type: application/x-www-form-urlencoded
        message=%5BRESOLVED%5D+DiskFull+%28eu+a%29%3A+disk+%3Cfull%3E&phone=%2B49+1&priority=0
    "#]],
    );
    check("sms_configs: [{url: 'http://gateway', to: ' '}]", 0, expect!["to is empty"]);
}
