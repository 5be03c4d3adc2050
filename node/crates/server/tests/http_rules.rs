//! Rules over HTTP: the ruler's API, Prometheus's rules and alerts, and alerts with thresholds.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bellwether_model::Labels;
use expect_test::{Expect, expect};
use http_support::Node;

const GROUP: &str = "\
name: hosts
interval: 30s
limit: 10
# A comment.
labels: {team: ops}
rules:
- record: job:up:sum
  expr: sum by (job) (up)
- alert: HostDown
  expr: up == 0
  for: 1m
  labels: {severity: '{{ if true }}page{{ end }}'}
  annotations: {summary: '{{ $labels.host }} is down'}
";

async fn check(node: &Node, method: &str, path: &str, body: &str, expected: Expect) {
    let answer = node.call(method, path, body).await;
    expected.assert_eq(&answer.shown());
}

async fn with_group() -> Node {
    let node = Node::start().await;
    check(
        &node,
        "POST",
        "/api/v1/rules/infra%2Fa",
        GROUP,
        expect![[r#"202 {"status":"success","data":null,"errorType":"","error":""}"#]],
    )
    .await;
    node
}

#[tokio::test]
async fn a_group_is_stored_shown_and_deleted() {
    let node = with_group().await;
    let shown = expect![[r#"
        200 name: hosts
        interval: 30s
        limit: 10
        rules:
          - record: job:up:sum
            expr: sum by (job) (up)
            labels:
              team: ops
          - alert: HostDown
            expr: up == 0
            for: 1m
            labels:
              severity: '{{ if true }}page{{ end }}'
              team: ops
            annotations:
              summary: '{{ $labels.host }} is down'
    "#]];
    check(&node, "GET", "/api/v1/rules/infra%2Fa/hosts", "", shown).await;
    let second = "name: b\nrules: [{record: a, expr: b}]";
    assert_eq!(node.call("POST", "/prometheus/config/v1/rules/z", second).await.status, StatusCode::ACCEPTED);
    let listed = node.get("/prometheus/config/v1/rules").await;
    assert_eq!(listed.header("content-type"), Some("application/yaml"));
    assert!(listed.text().starts_with("infra/a:\n  - name: hosts\n    interval: 30s\n"), "{}", listed.text());
    let expected = expect![[r#"
        200 z:
          - name: b
            rules:
              - record: a
                expr: b
    "#]];
    check(&node, "GET", "/prometheus/config/v1/rules/z", "", expected).await;
    assert_eq!(node.call("DELETE", "/api/v1/rules/infra%2Fa/hosts", "").await.status, StatusCode::ACCEPTED);
    check(&node, "GET", "/api/v1/rules/infra%2Fa/hosts", "", expect![["404 group does not exist\n"]]).await;
    assert_eq!(node.call("DELETE", "/prometheus/config/v1/rules/z", "").await.status, StatusCode::ACCEPTED);
    check(&node, "GET", "/prometheus/config/v1/rules/z", "", expect![["404 no rule groups found\n"]]).await;
    check(&node, "GET", "/prometheus/config/v1/rules", "", expect![["200 {}\n"]]).await;
    let expected = expect![[r#"404 there is no rule group "hosts" in namespace "infra/a""#]];
    let answer = node.call("DELETE", "/api/v1/rules/infra%2Fa/hosts", "").await;
    expected.assert_eq(answer.shown().trim_end());
}

#[tokio::test]
async fn all_that_is_wrong_with_a_group_is_told_with_its_place() {
    let node = Node::start().await;
    let text = "name: g\nrules:\n- alert: A\n  expr: up ==\n- alert: B\n  expr: up\n  fro: 5m\n  annotations: {x: '{{ $y }}'}\n";
    let expected = expect![[r#"
        400 4:14: group "g", rule 1, "A": could not parse expression: 1:6: parse error: unexpected end of input
        7:3: group "g", rule 2: unknown field "fro" in a rule
        8:24: group "g", rule 2, "B": annotation "x": template: __alert_B:1: undefined variable "$y"
    "#]];
    check(&node, "POST", "/api/v1/rules/a", text, expected).await;
    let answer = node.call("POST", "/api/v1/rules/a", "a: [").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    check(&node, "GET", "/api/v1/rules", "", expect![[r#"200 {"status":"success","data":{"groups":[]}}"#]]).await;
}

#[tokio::test]
async fn rules_and_their_alerts_are_those_of_prometheus() {
    let node = with_group().await;
    let before = expect![[
        r#"200 {"status":"success","data":{"groups":[{"name":"hosts","file":"infra/a","rules":[{"name":"job:up:sum","query":"sum by (job) (up)","labels":{"team":"ops"},"health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"recording"},{"state":"inactive","name":"HostDown","query":"up == 0","duration":60,"keepFiringFor":0,"labels":{"severity":"{{ if true }}page{{ end }}","team":"ops"},"annotations":{"summary":"{{ $labels.host }} is down"},"alerts":[],"health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"alerting"}],"interval":30,"limit":10,"evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#
    ]];
    check(&node, "GET", "/api/v1/rules", "", before).await;
    let alert = Labels::of(&[("alertname", "HostDown"), ("host", "a")]);
    node.alerting.evaluate("infra/a", "hosts", &[Err("query timed out"), Ok(vec![(alert.clone(), 0.0)])]);
    node.clock.advance(60_250);
    let other = Labels::of(&[("alertname", "HostDown"), ("host", "b")]);
    node.alerting.evaluate("infra/a", "hosts", &[Err("query timed out"), Ok(vec![(alert, 0.05), (other, 1.0)])]);
    let after = expect![[
        r#"200 {"status":"success","data":{"groups":[{"name":"hosts","file":"infra/a","rules":[{"name":"job:up:sum","query":"sum by (job) (up)","labels":{"team":"ops"},"health":"err","lastError":"query timed out","evaluationTime":0.00025,"lastEvaluation":"2026-11-20T08:01:00.25Z","type":"recording"},{"state":"firing","name":"HostDown","query":"up == 0","duration":60,"keepFiringFor":0,"labels":{"severity":"{{ if true }}page{{ end }}","team":"ops"},"annotations":{"summary":"{{ $labels.host }} is down"},"alerts":[{"labels":{"alertname":"HostDown","host":"a"},"annotations":{"summary":"it is \"bad\""},"state":"firing","activeAt":"2026-11-20T08:00:00Z","value":"5e-02"},{"labels":{"alertname":"HostDown","host":"b"},"annotations":{"summary":"it is \"bad\""},"state":"pending","activeAt":"2026-11-20T08:01:00.25Z","value":"1e+00"}],"health":"ok","evaluationTime":0.00025,"lastEvaluation":"2026-11-20T08:01:00.25Z","type":"alerting"}],"interval":30,"limit":10,"evaluationTime":0.0015,"lastEvaluation":"2026-11-20T08:01:00.25Z"}]}}"#
    ]];
    check(&node, "GET", "/api/v1/rules", "", after).await;
    let alerts = expect![[
        r#"200 {"status":"success","data":{"alerts":[{"labels":{"alertname":"HostDown","host":"a"},"annotations":{"summary":"it is \"bad\""},"state":"firing","activeAt":"2026-11-20T08:00:00Z","value":"5e-02"},{"labels":{"alertname":"HostDown","host":"b"},"annotations":{"summary":"it is \"bad\""},"state":"pending","activeAt":"2026-11-20T08:01:00.25Z","value":"1e+00"}]},"alerts":[]}"#
    ]];
    check(&node, "GET", "/api/v1/alerts", "", alerts).await;
}

#[tokio::test]
async fn rules_are_chosen_by_type_name_group_file_and_labels() {
    let node = with_group().await;
    let second = "name: b\nrules: [{record: a, expr: b}, {alert: C, expr: d}]";
    node.call("POST", "/api/v1/rules/z", second).await;
    let names = async |query: &str| {
        let answer = node.get(&format!("/api/v1/rules?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let groups = answer.json()["data"]["groups"].as_array().unwrap().clone();
        let of_group = |group: &serde_json::Value| {
            let rules = group["rules"].as_array().unwrap().iter();
            let rules: Vec<String> = rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
            format!("{}: {}", group["name"].as_str().unwrap(), rules.join(" "))
        };
        groups.iter().map(of_group).collect::<Vec<_>>().join(", ")
    };
    for (query, expected) in [
        ("", "hosts: job:up:sum HostDown, b: a C"),
        ("type=alert", "hosts: HostDown, b: C"),
        ("type=Record", "hosts: job:up:sum, b: a"),
        ("rule_name[]=C&rule_name[]=a", "b: a C"),
        ("rule_group[]=hosts", "hosts: job:up:sum HostDown"),
        ("file[]=z&type=record", "b: a"),
        ("match[]={team=\"ops\"}", "hosts: job:up:sum HostDown"),
        ("match[]={severity=~\".*page.*\"}&match[]={team=\"x\"}", "hosts: HostDown"),
    ] {
        assert_eq!(names(query).await, expected, "{query}");
    }
    let excluded = node.get("/api/v1/rules?exclude_alerts=true&type=alert").await;
    assert!(excluded.text().contains("\"alerts\":null"), "{}", excluded.text());
    let first = node.get("/api/v1/rules?group_limit=1").await.json();
    let token = first["data"]["groupNextToken"].as_str().unwrap();
    assert_eq!(names(&format!("group_limit=1&group_next_token={token}")).await, "b: a C");
    for (query, expected) in [
        (
            "type=x",
            r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"type\": not supported value \"x\""}"#,
        ),
        (
            "group_limit=0",
            r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"group_limit\": group_limit needs to be greater than 0"}"#,
        ),
        (
            "group_limit=1&group_next_token=x",
            r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?"}"#,
        ),
    ] {
        assert_eq!(node.get(&format!("/api/v1/rules?{query}")).await.shown(), expected);
    }
}

#[tokio::test]
async fn an_alert_with_thresholds_is_defined_looked_at_and_deleted() {
    let node = Node::start().await;
    let body = r#"{"name":"High errors","query":"avg(last_5m):sum:http.errors{service:api} / sum:http.requests{service:api} > 0.05","message":"\ud83d\udd25 {{ $value }}","notify":["slack:#alerts-prod"],"thresholds":{"critical":0.05,"warning":0.02},"evaluation_window":"5m","no_data_behavior":"alert"}"#;
    check(&node, "POST", "/v1/alerts", body, expect![[r#"201 {"alert_id":"f79efb5413c9d467"}"#]]).await;
    // The same again is the same alert.
    assert_eq!(node.call("POST", "/api/v1/alerts", body).await.status, StatusCode::CREATED);
    let id = node.get("/v1/alerts").await.json()["alerts"][0]["alert_id"].as_str().unwrap().to_owned();
    check(&node, "GET", &format!("/v1/alerts/{id}"), "", expect![[r#"200 {"alert_id":"f79efb5413c9d467","evaluation_window":"5m","message":"🔥 {{ $value }}","name":"High errors","no_data_behavior":"alert","notify":["slack:#alerts-prod"],"query":"avg(last_5m):sum:http.errors{service:api} / sum:http.requests{service:api} > 0.05","status":"ok","thresholds":{"critical":0.05,"warning":0.02},"triggered_at":null,"value":null}"#]]).await;
    let one = || Labels::of(&[("service", "api")]);
    node.alerting.evaluate("v1_alerts", &id, &[Ok(vec![(one(), 0.03)])]);
    check(&node, "GET", "/v1/alerts", "", expect![[r#"200 {"alerts":[{"alert_id":"f79efb5413c9d467","name":"High errors","query":"avg(last_5m):sum:http.errors{service:api} / sum:http.requests{service:api} > 0.05","status":"warning","triggered_at":"2026-11-20T08:00:00.000Z","value":0.03}]}"#]]).await;
    node.clock.advance(15_000);
    for (series, status, value) in [
        (vec![(one(), 0.06)], "triggered", 0.06.into()),
        (vec![], "no_data", serde_json::Value::Null),
        (vec![(one(), 0.01)], "ok", serde_json::Value::Null),
    ] {
        node.alerting.evaluate("v1_alerts", &id, &[Ok(series)]);
        let alert = &node.get("/v1/alerts").await.json()["alerts"][0];
        assert_eq!((&alert["status"], &alert["value"]), (&status.into(), &value));
        node.clock.advance(15_000);
    }
    let history = node.get("/api/v1/alerts/history?filter=severity!%3Dwarning").await.json();
    let states = |history: &serde_json::Value| {
        let all = history["data"]["history"].as_array().unwrap().iter();
        let all = all
            .map(|one| format!("{} {}", one["labels"]["severity"].as_str().unwrap(), one["state"].as_str().unwrap()));
        all.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        states(&history),
        "no_data resolved, no_data firing, no_data pending, critical resolved, critical firing, critical pending"
    );
    let path = "/v1/alerts/history?start=2026-11-20T08:00:00Z&end=2026-11-20T08:00:14Z&limit=1";
    check(&node, "GET", path, "", expect![[r#"200 {"status":"success","data":{"history":[{"at":"2026-11-20T08:00:00.000Z","labels":{"alert_id":"f79efb5413c9d467","alertname":"High errors","notify":"slack:#alerts-prod","service":"api","severity":"warning"},"state":"firing","value":"3e-02"}],"truncated":true}}"#]]).await;
    let other = body.replace("0.02", "0.03");
    check(&node, "POST", "/v1/alerts", &other, expect![[r#"409 {"status":"error","errorType":"conflict","error":"there is an alert \"High errors\" already: PUT /v1/alerts/f79efb5413c9d467 changes it"}"#]]).await;
    assert_eq!(node.call("PUT", &format!("/v1/alerts/{id}"), &other).await.status, StatusCode::OK);
    assert_eq!(node.call("POST", "/api/v1/rules/v1_alerts", GROUP).await.status, StatusCode::BAD_REQUEST);
    for path in ["/api/v1/rules/v1_alerts".to_owned(), format!("/api/v1/rules/v1_alerts/{id}")] {
        assert_eq!(node.call("DELETE", &path, "").await.status, StatusCode::BAD_REQUEST);
    }
    let listed = node.call("GET", "/prometheus/config/v1/rules", "").await;
    let listed = listed.text();
    assert!(!listed.contains("v1_alerts"), "who deletes what his files do not have must not see it: {listed}");
    assert_eq!(node.call("DELETE", &format!("/api/v1/alerts/{id}"), "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(node.call("DELETE", &format!("/v1/alerts/{id}"), "").await.status, StatusCode::NOT_FOUND);
    check(&node, "GET", "/v1/alerts", "", expect![[r#"200 {"alerts":[]}"#]]).await;
}

#[tokio::test]
async fn a_wrong_definition_is_refused_with_the_name_of_its_field() {
    let node = Node::start().await;
    for (body, expected) in [
        ("{", "the body is no JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "the body must be an object, this is a list"),
        (r#"{"query":"up == 0"}"#, "name: it is missing"),
        (r#"{"name":1}"#, "name: it must be a text, this is a number"),
        (
            r#"{"name":"a","query":"up","x":1}"#,
            "unknown field \"x\": an alert has name, query, composite, message, notify, thresholds, checks, evaluation_window, no_data_behavior, no_data_after, critical, mute",
        ),
        (
            r#"{"name":"a","query":"up","thresholds":{"critical":"1"}}"#,
            "thresholds.critical: it must be a number, this is a text",
        ),
        (
            r#"{"name":"a","query":"up","thresholds":{"recovery":1}}"#,
            "unknown field \"thresholds.recovery\": thresholds has critical, warning, critical_recovery, warning_recovery",
        ),
        (r#"{"name":"a","query":"up","notify":["x",1]}"#, "notify: it must be a list of texts, this is a number"),
        (
            r#"{"name":"a","query":"up == 0","no_data_behavior":"tell"}"#,
            "no_data_behavior: \"tell\" is none of \"alert\", \"ok\", \"keep\"",
        ),
        (r#"{"name":"a","composite":"b && !(c"}"#, "composite: character 9: \")\" should be here, not the end"),
        (
            r#"{"name":"a","query":"up == 0","mute":[{"schedule":"Saturday - 10:00","time_zone":"Mars"}]}"#,
            "mute.time_zone: there is no time zone \"Mars\"",
        ),
        (r#"{"name":"a","query":"up == 0","checks":{"at_least":2}}"#, "checks.of: it is missing"),
        (
            r#"{"name":"a","query":"up > 1","thresholds":{"critical_recovery":2}}"#,
            "thresholds.critical_recovery: it must not be above the critical threshold, 1",
        ),
        (
            r#"{"name":"a","query":"up == 0","evaluation_window":"5"}"#,
            "evaluation_window: not a valid duration string: \"5\"",
        ),
        (
            r#"{"name":"a","query":"avg(last_5m):sum:x{*}.rollup(sum) > 1"}"#,
            "query: character 22: .rollup() is not possible: .as_rate() and .as_count() are",
        ),
    ] {
        let answer = node.call("POST", "/v1/alerts", body).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (StatusCode::BAD_REQUEST, Some(expected)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn pages_of_others_change_nothing() {
    let node = Node::start().await;
    for (method, path) in [
        ("POST", "/api/v1/rules/a"),
        ("DELETE", "/api/v1/rules/a"),
        ("POST", "/v1/alerts"),
        ("PUT", "/api/v1/alertmanager/config"),
        ("GET", "/api/v1/alertmanager/config"),
        ("POST", "/api/v2/silences"),
        ("POST", "/api/v2/alerts"),
    ] {
        let request =
            Request::builder().method(method).uri(path).header("host", "127.0.0.1").header("origin", "http://evil");
        let answer = node.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test]
async fn composite_rules_speak_of_rules_that_are_there_and_not_of_themselves() {
    let node = Node::start().await;
    let set = async |text: &str| node.call("POST", "/api/v1/rules/a", text).await;
    let answer = set(
        "name: g\nrules:\n- {alert: Both, composite: 'HighErrors && !Deploying'}\n- {alert: HighErrors, expr: a}\n",
    )
    .await;
    expect![[r#"
        400 3:44: group "g", "Both": composite: there is no alerting rule "Deploying"
    "#]]
    .assert_eq(&answer.shown());
    assert_eq!(set("name: d\nrules:\n- {alert: Deploying, expr: b}\n").await.status, StatusCode::ACCEPTED);
    let good =
        "name: g\nrules:\n- {alert: Both, composite: 'HighErrors && !Deploying'}\n- {alert: HighErrors, expr: a}\n";
    assert_eq!(set(good).await.status, StatusCode::ACCEPTED);
    let answer = set("name: d\nrules:\n- {alert: Deploying, composite: Both}\n").await;
    expect![[r#"
        400 3:33: group "d", "Deploying": composite: it depends on itself: Deploying, Both, Deploying
    "#]]
    .assert_eq(&answer.shown());
    let body = r#"{"name":"Paged","composite":"Both || Deployng"}"#;
    check(&node, "POST", "/v1/alerts", body, expect![[r#"400 {"status":"error","errorType":"bad_data","error":"composite: character 9: there is no alerting rule \"Deployng\""}"#]]).await;
    let body = body.replace("Deployng", "Deploying");
    assert_eq!(node.call("POST", "/v1/alerts", &body).await.status, StatusCode::CREATED);
    let one = node.get("/v1/alerts").await.json()["alerts"][0].clone();
    assert_eq!((&one["status"], &one["query"]), (&"ok".into(), &serde_json::Value::Null));
    check(
        &node,
        "GET",
        "/api/v1/rules/a/g",
        "",
        expect![[r#"
        200 name: g
        rules:
          - alert: Both
            composite: HighErrors && !Deploying
          - alert: HighErrors
            expr: a
    "#]],
    )
    .await;
}
