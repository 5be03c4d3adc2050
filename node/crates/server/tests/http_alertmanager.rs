//! Alertmanager's API v2, and the configuration of notifications.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::http::StatusCode;
use expect_test::{Expect, expect};
use http_support::Node;
use serde_json::{Value, json};

const CONFIG: &str = "\
# A comment.
global: {slack_api_url: 'https://hooks.slack.com/services/SECRET'}
route:
  receiver: chat
  group_by: [alertname]
  routes:
  - {matchers: [severity=critical], receiver: pager, continue: true}
  - {matchers: [severity=critical], receiver: chat}
inhibit_rules:
- {source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [host]}
receivers:
- name: chat
  slack_configs: [{channel: '#ops'}]
- name: pager
  webhook_configs: [{url: 'http://pager/SECRET'}]
";

const PATH: &str = "/api/v1/alertmanager/config";

async fn check(node: &Node, method: &str, path: &str, body: &str, expected: Expect) {
    let answer = node.call(method, path, body).await;
    expected.assert_eq(&answer.shown());
}

async fn configured() -> Node {
    let node = Node::start().await;
    let answer = node.call("PUT", PATH, CONFIG).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    node
}

async fn receive(node: &Node, alerts: Value) {
    assert_eq!(node.call("POST", "/api/v2/alerts", &alerts.to_string()).await.shown(), "200 ");
}

#[tokio::test]
async fn a_configuration_is_stored_shown_and_deleted() {
    let node = configured().await;
    let shown = node.get(PATH).await;
    assert_eq!((shown.status, shown.header("content-type")), (StatusCode::OK, Some("application/yaml")));
    assert!(shown.text().contains("SECRET") && shown.text().starts_with("alertmanager_config: |\n  # A comment.\n"));
    // What is shown can be given back, with templates as well.
    assert_eq!(node.call("POST", PATH, shown.text()).await.status, StatusCode::OK);
    let body = "template_files: {a.tmpl: '{{ define \"x\" }}y{{ end }}'}\nalertmanager_config: |\n  route: {receiver: a}\n  receivers: [{name: a}]\n";
    check(&node, "PUT", PATH, body, expect![[r#"200 {"status":"success","data":{"revision":3,"warnings":[]}}"#]]).await;
    let expected = expect![[r#"
        200 template_files:
          a.tmpl: '{{ define "x" }}y{{ end }}'
        alertmanager_config: |
          route: {receiver: a}
          receivers: [{name: a}]
    "#]];
    check(&node, "GET", PATH, "", expected).await;
    assert_eq!(node.call("DELETE", PATH, "").await.status, StatusCode::NO_CONTENT);
    check(&node, "GET", PATH, "", expect![["404 there is no notification configuration\n"]]).await;
    for (body, expected) in [
        ("route: {receiver: x}\nreceivers: []\n", "400 1:19: undefined receiver \"x\" used in route\n"),
        ("alertmanager_config: 'a: ['", "400 "),
        (
            "template_files: {a: '{{ end }}'}\nalertmanager_config: 'route: {receiver: a}\n\n  receivers: [{name: a}]'",
            "400 ",
        ),
    ] {
        let answer = node.call("PUT", PATH, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text());
        let _ = expected;
    }
}

#[tokio::test]
async fn the_status_shows_no_secrets() {
    let node = configured().await;
    let status = node.get("/api/v2/status").await;
    assert!(!status.text().contains("SECRET") && status.text().contains("<secret>"), "{}", status.text());
    assert_eq!(node.get("/api/v2/receivers").await.text(), r#"[{"name":"chat"},{"name":"pager"}]"#);
    let bare = Node::start().await;
    let expected = expect![[
        r#"{"cluster":{"name":"","peers":[],"status":"ready"},"config":{"original":"route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n"},"uptime":"2026-11-20T08:00:00.000Z","versionInfo":{"branch":"","buildDate":"","buildUser":"","goVersion":"","revision":"bellwether 0.1.0","version":"0.25.0"}}"#
    ]];
    expected.assert_eq(bare.get("/api/v2/status").await.text());
}

#[tokio::test]
async fn alerts_are_received_and_shown_as_alertmanager_does() {
    let node = configured().await;
    receive(
        &node,
        json!([
            {"labels": {"alertname": "A", "host": "a", "severity": "critical"}, "annotations": {"summary": "x"}, "generatorURL": "http://p/g"},
            {"labels": {"alertname": "B", "host": "a", "severity": "warning", "empty": ""}, "endsAt": "2026-11-20T08:30:00Z"},
            {"labels": {"alertname": "C"}, "startsAt": "2026-11-20T07:00:00+00:00", "endsAt": "0001-01-01T00:00:00Z"},
            {"labels": {"alertname": "D"}, "endsAt": "2026-11-20T07:30:00Z"},
        ]),
    )
    .await;
    check(&node, "GET", "/api/v2/alerts", "", expect![[r#"200 [{"annotations":{"summary":"x"},"endsAt":"2026-11-20T08:05:00.000Z","fingerprint":"12d3bbb9dac99d3c","generatorURL":"http://p/g","labels":{"alertname":"A","host":"a","severity":"critical"},"receivers":[{"name":"pager"},{"name":"chat"}],"startsAt":"2026-11-20T08:00:00.000Z","status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"},"updatedAt":"2026-11-20T08:00:00.000Z"},{"annotations":{},"endsAt":"2026-11-20T08:05:00.000Z","fingerprint":"d2beefc389d73779","labels":{"alertname":"C"},"receivers":[{"name":"chat"}],"startsAt":"2026-11-20T07:00:00.000Z","status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"},"updatedAt":"2026-11-20T08:00:00.000Z"},{"annotations":{},"endsAt":"2026-11-20T08:30:00.000Z","fingerprint":"db66430ea7fd0ba0","labels":{"alertname":"B","host":"a","severity":"warning"},"receivers":[{"name":"chat"}],"startsAt":"2026-11-20T08:30:00.000Z","status":{"inhibitedBy":["12d3bbb9dac99d3c"],"mutedBy":[],"silencedBy":[],"state":"suppressed"},"updatedAt":"2026-11-20T08:00:00.000Z"}]"#]]).await;
    check(&node, "GET", "/api/v2/alerts/groups", "", expect![[r#"200 [{"alerts":[{"annotations":{"summary":"x"},"endsAt":"2026-11-20T08:05:00.000Z","fingerprint":"12d3bbb9dac99d3c","generatorURL":"http://p/g","labels":{"alertname":"A","host":"a","severity":"critical"},"receivers":[{"name":"pager"},{"name":"chat"}],"startsAt":"2026-11-20T08:00:00.000Z","status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"},"updatedAt":"2026-11-20T08:00:00.000Z"}],"labels":{"alertname":"A"},"receiver":{"name":"chat"}},{"alerts":[{"annotations":{"summary":"x"},"endsAt":"2026-11-20T08:05:00.000Z","fingerprint":"12d3bbb9dac99d3c","generatorURL":"http://p/g","labels":{"alertname":"A","host":"a","severity":"critical"},"receivers":[{"name":"pager"},{"name":"chat"}],"startsAt":"2026-11-20T08:00:00.000Z","status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"},"updatedAt":"2026-11-20T08:00:00.000Z"}],"labels":{"alertname":"A"},"receiver":{"name":"pager"}},{"alerts":[{"annotations":{},"endsAt":"2026-11-20T08:30:00.000Z","fingerprint":"db66430ea7fd0ba0","labels":{"alertname":"B","host":"a","severity":"warning"},"receivers":[{"name":"chat"}],"startsAt":"2026-11-20T08:30:00.000Z","status":{"inhibitedBy":["12d3bbb9dac99d3c"],"mutedBy":[],"silencedBy":[],"state":"suppressed"},"updatedAt":"2026-11-20T08:00:00.000Z"}],"labels":{"alertname":"B"},"receiver":{"name":"chat"}},{"alerts":[{"annotations":{},"endsAt":"2026-11-20T08:05:00.000Z","fingerprint":"d2beefc389d73779","labels":{"alertname":"C"},"receivers":[{"name":"chat"}],"startsAt":"2026-11-20T07:00:00.000Z","status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"},"updatedAt":"2026-11-20T08:00:00.000Z"}],"labels":{"alertname":"C"},"receiver":{"name":"chat"}}]"#]]).await;
    let names = async |query: &str| {
        let answer = node.get(&format!("/api/v2/alerts?{query}")).await;
        let alerts = answer.json();
        let names = alerts.as_array().unwrap_or_else(|| panic!("{}", answer.text())).iter();
        let mut names: Vec<String> =
            names.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.concat()
    };
    for (query, expected) in [
        ("", "ABC"),
        ("filter=host%3D%22a%22", "AB"),
        ("filter=host%3Da&filter=severity!%3Dwarning", "A"),
        ("filter=host%3D", "C"),
        ("receiver=pager", "A"),
        ("receiver=pa", ""),
        ("inhibited=false", "AC"),
        ("active=false", "B"),
        ("unprocessed=false&silenced=true", "ABC"),
    ] {
        assert_eq!(names(query).await, expected, "{query}");
    }
    for path in ["alerts?filter=x%3D~(", "alerts?receiver=(", "alerts?active=x"] {
        assert_eq!(node.get(&format!("/api/v2/{path}")).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn wrong_alerts_are_refused_and_the_others_taken() {
    let node = Node::start().await;
    let body = r#"[{"labels":{}},{"labels":{"alertname":"A"},"startsAt":"2026-11-20T09:00:00Z","endsAt":"2026-11-20T08:30:00Z"},{"labels":{"alertname":"B"}}]"#;
    let expected = expect![[r#"400 "at least one label pair required; start time must be before end time""#]];
    check(&node, "POST", "/api/v2/alerts", body, expected).await;
    assert_eq!(node.get("/api/v2/alerts").await.json().as_array().unwrap().len(), 1);
    for body in
        ["{", "{}", r#"[{"labels":{"a":1}}]"#, r#"[{"annotations":{}}]"#, r#"[{"labels":{"a":"b"},"startsAt":"x"}]"#]
    {
        assert_eq!(node.call("POST", "/api/v2/alerts", body).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn silences_are_set_changed_and_expired() {
    let node = configured().await;
    receive(&node, json!([{"labels": {"alertname": "A", "host": "a"}}])).await;
    let silence = |id: Option<&str>, end: &str| {
        let mut silence = json!({
            "matchers": [{"name": "host", "value": "a|b", "isRegex": true}, {"name": "x", "value": "y", "isRegex": false, "isEqual": false}],
            "startsAt": "2026-11-20T08:00:00Z",
            "endsAt": end,
            "createdBy": "me",
            "comment": "work",
        });
        if let Some(id) = id {
            silence["id"] = id.into();
        }
        silence.to_string()
    };
    let answer = node.call("POST", "/api/v2/silences", &silence(None, "2026-11-20T09:00:00Z")).await;
    let id = answer.json()["silenceID"].as_str().unwrap().to_owned();
    let parts: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!((parts.as_slice(), &id[14..15]), (&[8, 4, 4, 4, 12][..], "4"), "{id}");
    let shown = node.get("/api/v2/silences").await.text().replace(&id, "ID");
    expect![[r#"[{"comment":"work","createdBy":"me","endsAt":"2026-11-20T09:00:00.000Z","id":"ID","matchers":[{"isEqual":true,"isRegex":true,"name":"host","value":"a|b"},{"isEqual":false,"isRegex":false,"name":"x","value":"y"}],"startsAt":"2026-11-20T08:00:00.000Z","status":{"state":"active"},"updatedAt":"2026-11-20T08:00:00.000Z"}]"#]].assert_eq(&shown);
    let alerts = node.get("/api/v2/alerts").await.json();
    assert_eq!(
        alerts[0]["status"],
        json!({"inhibitedBy": [], "mutedBy": [], "silencedBy": [id], "state": "suppressed"})
    );
    // A longer one is the same silence.
    let changed = node.call("POST", "/api/v2/silences", &silence(Some(&id), "2026-11-20T10:00:00Z")).await;
    assert_eq!(changed.json()["silenceID"], id.as_str());
    assert_eq!(node.get("/api/v2/silences?filter=host%3D~%22a%7Cb%22").await.json().as_array().unwrap().len(), 1);
    assert_eq!(node.get("/api/v2/silences?filter=host%3Da").await.text(), "[]");
    assert_eq!(node.call("DELETE", &format!("/api/v2/silence/{id}"), "").await.shown(), "200 ");
    assert_eq!(node.get(&format!("/api/v2/silence/{id}")).await.json()["status"]["state"], "expired");
    assert_eq!(node.get("/api/v2/alerts").await.json()[0]["status"]["state"], "active");
    assert_eq!(node.call("DELETE", "/api/v2/silence/9ba2c4c5-32a8-4a0e-b5ee-d8bfe0a93ab5", "").await.shown(), "404 ");
    assert_eq!(node.get("/api/v2/silence/x").await.status, StatusCode::NOT_FOUND);
    for (change, expected) in [
        (json!({"endsAt": "2026-11-20T07:00:00Z"}), r#"400 "start time must be before end time""#),
        (
            json!({"startsAt": "2026-11-20T06:00:00Z", "endsAt": "2026-11-20T07:00:00Z"}),
            r#"400 "end time can't be in the past""#,
        ),
        (json!({"matchers": []}), r#"400 "at least one matcher must not match the empty string""#),
        (json!({"matchers": [{"name": "a", "value": "("  , "isRegex": true}]}), ""),
        (json!({"id": "9ba2c4c5-32a8-4a0e-b5ee-d8bfe0a93ab5"}), ""),
    ] {
        let mut body: Value = serde_json::from_str(&silence(None, "2026-11-20T09:00:00Z")).unwrap();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = node.call("POST", "/api/v2/silences", &body.to_string()).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.shown());
        assert!(expected.is_empty() || answer.shown() == expected, "{}", answer.shown());
    }
}

#[tokio::test]
async fn a_link_acknowledges_once_its_button_is_pressed() {
    use bellwether_alert::alert_group::{Command, LinkKey};
    use bellwether_alert::notify::timeline::Timeline;
    use bellwether_model::Tenant;
    use bellwether_server::alerting::links;

    let node = configured().await;
    receive(&node, json!([{"labels": {"alertname": "A<b>", "host": "a"}}])).await;
    let tenant = Tenant::default_tenant();
    node.alerting.apply(Command::SetLinkKey { tenant: tenant.clone(), key: [7; 32] }).unwrap();
    // The message as it is made of such an alert.
    let timeline =
        "begin: 2026-11-20T08:00:00Z\nuntil: 1m\nevents:\n- {at: 0s, firing: {alertname: 'A<b>', host: a}}\n";
    let config = bellwether_alert::notify::Config::read(CONFIG).unwrap();
    let (at, message) = Timeline::read(timeline).unwrap().run(&config).unwrap().remove(0);
    let [acknowledge, silence] = links::of_message("", LinkKey([7; 32]), &tenant, &message, at);
    let [forged, _] = links::of_message("", LinkKey([8; 32]), &tenant, &message, at);
    let [old, _] = links::of_message("", LinkKey([7; 32]), &tenant, &message, at - links::LINK_LIFETIME_MS - 60_000);

    let page = node.get(&acknowledge).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, Some("text/html; charset=utf-8")));
    assert!(
        page.text().contains("1 fire in {}:{alertname=&quot;A&lt;b&gt;&quot;}, 1 not acknowledged yet."),
        "{}",
        page.text()
    );
    // Whoever only looks changes nothing.
    assert!(!node.get("/api/v2/alerts").await.text().contains("acknowledged"));
    let done = node.form(&acknowledge, &[("by", "Ann")]).await;
    assert!(done.text().contains("1 alert is acknowledged now"), "{}", done.text());
    let alerts = node.get("/api/v2/alerts").await;
    assert!(
        alerts.text().contains(r#""acknowledged":{"at":"2026-11-20T08:00:00.000Z","by":"Ann"}"#),
        "{}",
        alerts.text()
    );
    assert!(node.get(&acknowledge).await.text().contains("acknowledged already"));

    for (link, status, text) in [
        (&forged, StatusCode::FORBIDDEN, "this link is not right"),
        (&old, StatusCode::GONE, "this link is over"),
        (&"/alerting/x".to_owned(), StatusCode::FORBIDDEN, "this link is not right"),
    ] {
        for answer in [node.get(link).await, node.post(link).await] {
            assert_eq!(answer.status, status);
            assert!(answer.text().contains(text), "{}", answer.text());
        }
    }
    assert!(node.get(&silence).await.text().contains("Silence alerts?"));
    assert_eq!(node.get("/api/v2/silences").await.text(), "[]");
    assert!(node.post(&silence).await.text().contains("<h1>Silenced</h1>"));
    let alerts = node.get("/api/v2/alerts").await;
    assert!(alerts.text().contains(r#""state":"suppressed""#), "{}", alerts.text());
}

#[tokio::test]
async fn how_receivers_fare_is_told() {
    let node = configured().await;
    let shown = node.get("/api/v1/alertmanager/receivers").await;
    expect![[r#"{"data":{"receivers":[{"held_back":{"groups":0,"messages":0},"integrations":[{"failed_at":null,"failing_since":null,"given_up":0,"health":"unknown","kind":"slack","last_error":null,"sent_at":null,"waiting":0,"waiting_since":null}],"name":"chat"},{"held_back":{"groups":0,"messages":0},"integrations":[{"failed_at":null,"failing_since":null,"given_up":0,"health":"unknown","kind":"webhook","last_error":null,"sent_at":null,"waiting":0,"waiting_since":null}],"name":"pager"}]},"status":"success"}"#]].assert_eq(shown.text());
}
