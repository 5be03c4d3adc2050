//! How requests go out and what becomes of answers.

use expect_test::{Expect, expect};
use prometheus::TextEncoder;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::time::Instant;

use super::Reason;
use super::testing::{Heard, Script, World, acceptor, answer_once, answering, answering_over_tls, read_request};
use crate::tls::testing::{Authority, YEARS};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const HOOK: &str = "webhook_configs: [{url: 'http://hook.example/secret/path?token=very-secret', max_alerts: 0}]";

fn hook(http_config: &str) -> String {
    format!("webhook_configs:\n- url: 'http://user%40:pw@hook.example/path'\n  http_config: {http_config}")
}

/// The head of a request.
fn head(request: &str) -> String {
    request.split_once("\n\n").unwrap().0.to_owned() + "\n"
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_called() {
    let heard = Heard::default();
    let world = World::new(vec![answering(&heard, OK)]);
    assert_eq!(world.tell(HOOK).await, Ok(()));
    assert_eq!(*world.net.asked.lock(), ["hook.example:80"]);
    expect![[r#"
        POST /secret/path?token=very-secret HTTP/1.1
        host: hook.example
        user-agent: Bellwether/0.1.0
        connection: close
        content-type: application/json
        idempotency-key: "default-1"
        content-length: 390

        {"receiver":"r","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Straße"},"annotations":{},"startsAt":"2026-11-20T08:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"b1b09d3684361a43"}],"groupLabels":{},"commonLabels":{"alertname":"Straße"},"commonAnnotations":{},"externalURL":"http://me","version":"4","groupKey":"{}:{}","truncatedAlerts":0}
    "#]]
    .assert_eq(&(heard.lock()[0].clone() + "\n"));
}

async fn check_failure(script: Vec<Script>, reason: Reason, retryable: bool, expected: Expect) {
    let world = World::new(script);
    let failure = world.tell(HOOK).await.unwrap_err();
    expected.assert_eq(&failure.to_string());
    assert_eq!((failure.reason, failure.retryable), (reason, retryable));
    let counted = TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    let line = format!("failed_total{{integration=\"webhook\",reason=\"{}\"}} 1", failure.reason.as_str());
    assert!(counted.contains(&line), "{counted}");
    assert!(counted.contains("bellwether_notifications_total{integration=\"webhook\"} 1"));
    assert!(counted.contains("bellwether_notification_duration_seconds_count{integration=\"webhook\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_failures_holds_no_secret() {
    let heard = Heard::default();
    let answer = |text: &str| vec![answering(&heard, text)];
    let not_found = "HTTP/1.1 404 Not Found\r\ncontent-length: 27\r\n\r\nno hook at /secret/path,\nno";
    check_failure(
        answer(not_found),
        Reason::ClientError,
        false,
        expect![[r#"receiver "r", webhook[0]: the receiver answered 404: no hook at <secret>, no"#]],
    )
    .await;
    check_failure(
        answer("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"),
        Reason::ServerError,
        true,
        expect![[r#"receiver "r", webhook[0]: the receiver answered 503"#]],
    )
    .await;
    check_failure(
        answer("HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n"),
        Reason::RateLimited,
        true,
        expect![[r#"receiver "r", webhook[0]: the receiver answered 429"#]],
    )
    .await;
    check_failure(
        answer("SSH-2.0-OpenSSH_9.2\r\n"),
        Reason::Unreachable,
        true,
        expect![[r#"receiver "r", webhook[0]: HTTP: invalid HTTP version parsed"#]],
    )
    .await;
    check_failure(
        answer(""),
        Reason::Unreachable,
        true,
        expect![[r#"receiver "r", webhook[0]: HTTP: connection closed before message completed"#]],
    )
    .await;
    check_failure(
        Vec::new(),
        Reason::Unreachable,
        true,
        expect![[r#"receiver "r", webhook[0]: connecting: connection refused"#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_for_ever_costs_the_deadline() {
    let silent = || -> Script {
        Box::new(|stream| {
            Box::pin(async move {
                let _stream = stream;
                std::future::pending().await
            })
        })
    };
    let begun = Instant::now();
    check_failure(
        vec![silent()],
        Reason::Deadline,
        true,
        expect![[r#"receiver "r", webhook[0]: not done within 30s"#]],
    )
    .await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    let world = World::new(vec![silent()]);
    let failure = world.tell("slack_configs: [{api_url: 'http://s/', timeout: 2s}]").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Deadline);
    assert_eq!(begun.elapsed().as_secs(), 32);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_read_in_part() {
    let endless: Script = Box::new(|stream| {
        Box::pin(async move {
            let mut stream = BufReader::new(stream);
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
            stream.get_mut().write_all(head).await.unwrap();
            while stream.get_mut().write_all(&[b'x'; 4096]).await.is_ok() {}
        })
    });
    assert_eq!(World::new(vec![endless]).tell(HOOK).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed() {
    let heard = Heard::default();
    let moved = |status: u16, to: &str| format!("HTTP/1.1 {status} x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let scripts = || {
        vec![
            answering(&heard, &moved(308, "/other")),
            answering(&heard, &moved(307, "http://else.example:81/")),
            answering(&heard, &moved(303, "?q")),
            answering(&heard, OK),
        ]
    };
    let world = World::new(scripts());
    assert_eq!(world.tell(&hook("{http_headers: {X-A: {values: [v]}, X-B: {secrets: [s]}}}")).await, Ok(()));
    let heads: String = heard.lock().iter().map(|request| head(request) + "\n").collect();
    expect![[r#"
        POST /path HTTP/1.1
        host: hook.example
        user-agent: Bellwether/0.1.0
        connection: close
        authorization: Basic dXNlckA6cHc=
        content-type: application/json
        x-a: v
        x-b: s
        idempotency-key: "default-1"
        content-length: 390

        POST /other HTTP/1.1
        host: hook.example
        user-agent: Bellwether/0.1.0
        connection: close
        authorization: Basic dXNlckA6cHc=
        content-type: application/json
        x-a: v
        x-b: s
        idempotency-key: "default-1"
        content-length: 390

        POST / HTTP/1.1
        host: else.example:81
        user-agent: Bellwether/0.1.0
        connection: close
        content-type: application/json
        idempotency-key: "default-1"
        content-length: 390

        GET /?q HTTP/1.1
        host: else.example:81
        user-agent: Bellwether/0.1.0
        connection: close
        idempotency-key: "default-1"

    "#]]
    .assert_eq(&heads);
    let failure = World::new(scripts()).tell(&hook("{follow_redirects: false}")).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::ClientError, false));
    let circle = (0..20).map(|_| answering(&heard, &moved(307, "/"))).collect();
    let failure = World::new(circle).tell(HOOK).await.unwrap_err();
    expect![[r#"receiver "r", webhook[0]: the receiver sends on to more than 10 addresses"#]]
        .assert_eq(&failure.to_string());
    let elsewhere = vec![answering(&heard, &moved(302, "file:///etc/passwd"))];
    let failure = World::new(elsewhere).tell(HOOK).await.unwrap_err();
    expect![[r#"receiver "r", webhook[0]: the receiver sends on to what is no address of HTTP"#]]
        .assert_eq(&failure.to_string());
}

/// The header that authorizes.
async fn authorization(http_config: &str) -> String {
    let heard = Heard::default();
    let world = World::new(vec![answering(&heard, OK)]);
    world.files.put("/f/token", "of-file\n");
    let config = format!("webhook_configs: [{{url: 'http://hook/', http_config: {http_config}}}]");
    if let Err(failure) = world.tell(&config).await {
        return failure.to_string();
    }
    let heard = heard.lock();
    heard[0].lines().find(|line| line.starts_with("authorization")).unwrap_or("none").to_owned()
}

#[tokio::test(start_paused = true)]
async fn receivers_are_shown_who_sends() {
    assert_eq!(authorization("{}").await, "none");
    assert_eq!(
        authorization("{basic_auth: {username: Aladdin, password: open sesame}}").await,
        "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
    assert_eq!(
        authorization("{authorization: {type: Token, credentials_file: token}}").await,
        "authorization: Token of-file"
    );
    assert_eq!(authorization("{bearer_token: t}").await, "authorization: Bearer t");
    let outside = authorization("{bearer_token_file: /etc/shadow}").await;
    expect![[r#"receiver "r", webhook[0]: the file "/etc/shadow" is not read: it is not in alerting.files_dir"#]]
        .assert_eq(&outside);
    let missing = authorization("{bearer_token_file: missing}").await;
    expect![[r#"receiver "r", webhook[0]: the file "missing" cannot be read: entity not found"#]].assert_eq(&missing);
    let framing = authorization("{http_headers: {Content-Length: {values: ['1']}}}").await;
    expect![[r#"receiver "r", webhook[0]: http_headers cannot have Content-Length"#]].assert_eq(&framing);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_had_first() {
    let config = "webhook_configs:\n- url: http://hook/\n  http_config: {oauth2: {client_id: 'a:b', client_secret: hunter22, \
                  token_url: 'http://tokens/t', scopes: [x, y]}}";
    let heard = Heard::default();
    let token = "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"access_token\":\"tok\",\"token_type\":\"x\"}  ";
    let world = World::new(vec![answering(&heard, token), answering(&heard, OK)]);
    assert_eq!(world.tell(config).await, Ok(()));
    assert_eq!(*world.net.asked.lock(), ["tokens:80", "hook:80"]);
    expect![[r#"
        POST /t HTTP/1.1
        host: tokens
        user-agent: Bellwether/0.1.0
        connection: close
        content-type: application/x-www-form-urlencoded
        authorization: Basic YSUzQWI6aHVudGVyMjI=
        content-length: 39

        grant_type=client_credentials&scope=x+y"#]]
    .assert_eq(&heard.lock()[0]);
    assert!(heard.lock()[1].contains("authorization: Bearer tok\n"));
    let refused = "HTTP/1.1 401 x\r\ncontent-length: 14\r\n\r\nnot a:hunter22";
    let failure = World::new(vec![answering(&heard, refused)]).tell(config).await.unwrap_err();
    expect![[r#"receiver "r", webhook[0]: oauth2: the receiver answered 401: not a:<secret>"#]]
        .assert_eq(&failure.to_string());
}

#[tokio::test(start_paused = true)]
async fn the_certificate_must_be_right() {
    let authority = Authority::new("Test CA");
    let pair = authority.node(&["hook.example"], YEARS);
    let tell = async |host: &str, tls_config: &str, files: bool| {
        let heard = Heard::default();
        let world = World::new(vec![answering_over_tls(&pair, &heard, OK)]);
        if files {
            world.files.put("/f/ca.pem", &authority.pem);
            world.files.put("/etc/ssl/certs/ca-certificates.crt", &authority.pem);
        }
        let config = format!("webhook_configs:\n- url: https://{host}/\n  http_config: {{tls_config: {tls_config}}}");
        world.tell(&config).await.map_err(|failure| failure.to_string())
    };
    assert_eq!(tell("hook.example", "{ca_file: ca.pem}", true).await, Ok(()));
    assert_eq!(tell("hook.example", "{}", true).await, Ok(()), "the system's authorities hold");
    assert_eq!(tell("other.example", "{ca_file: ca.pem, server_name: hook.example}", true).await, Ok(()));
    assert_eq!(tell("other.example", "{insecure_skip_verify: true, max_version: TLS12}", true).await, Ok(()));
    let wrong = tell("other.example", "{ca_file: ca.pem}", true).await.unwrap_err();
    assert!(
        wrong.contains("TLS: invalid peer certificate: certificate not valid for name \"other.example\""),
        "{wrong}"
    );
    let none = tell("hook.example", "{}", false).await.unwrap_err();
    assert!(none.contains("this node knows no authorities"), "{none}");
    let bad = tell("hook.example", "{ca: nonsense}", false).await.unwrap_err();
    assert!(bad.contains("tls_config's ca: there is no certificate (PEM) in it"), "{bad}");
}

#[tokio::test(start_paused = true)]
async fn proxies_are_asked() {
    let authority = Authority::new("Test CA");
    let pair = authority.node(&["hook.example"], YEARS);
    let heard = Heard::default();
    let (noted, acceptor) = (heard.clone(), acceptor(&pair));
    let proxy: Script = Box::new(move |stream| {
        Box::pin(async move {
            let mut stream = BufReader::new(stream);
            let request = read_request(&mut stream).await;
            noted.lock().push(request);
            stream.get_mut().write_all(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n").await.unwrap();
            let stream = acceptor.accept(stream.into_inner()).await.unwrap();
            answer_once(Box::new(stream), &noted, OK).await;
        })
    });
    let world = World::new(vec![proxy, answering(&heard, OK)]);
    world.files.put("/etc/ssl/certs/ca-certificates.crt", &authority.pem);
    let config = |scheme: &str| {
        format!(
            "webhook_configs:\n- url: {scheme}://hook.example/x\n  http_config: {{proxy_url: 'http://u:p@proxy:3128', proxy_connect_header: {{X-P: [v]}}}}"
        )
    };
    assert_eq!(world.tell(&config("https")).await, Ok(()));
    assert_eq!(*world.net.asked.lock(), ["proxy:3128"]);
    let connect = heard.lock()[0].clone();
    expect![[r#"
        CONNECT hook.example:443 HTTP/1.1
        Host: hook.example:443
        proxy-authorization: Basic dTpw
        x-p: v

    "#]]
    .assert_eq(&connect);
    assert!(heard.lock()[1].starts_with("POST /x HTTP/1.1\n") && !heard.lock()[1].contains("proxy-"));
    let world = World::new(vec![answering(&heard, OK), answering(&heard, "HTTP/1.1 407 x\r\n\r\n")]);
    world.files.put("/etc/ssl/certs/ca-certificates.crt", &authority.pem);
    assert_eq!(world.tell(&config("http")).await, Ok(()));
    let plain = head(&heard.lock()[2]);
    expect![[r#"
        POST http://hook.example:80/x HTTP/1.1
        host: hook.example
        user-agent: Bellwether/0.1.0
        connection: close
        content-type: application/json
        idempotency-key: "default-1"
        proxy-authorization: Basic dTpw
        x-p: v
        content-length: 390
    "#]]
    .assert_eq(&plain);
    let refused = World::new(vec![answering(&heard, "HTTP/1.1 407 x\r\n\r\n")]);
    refused.files.put("/etc/ssl/certs/ca-certificates.crt", &authority.pem);
    let failure = refused.tell(&config("https")).await.unwrap_err();
    expect![[r#"receiver "r", webhook[0]: the proxy answered 407"#]].assert_eq(&failure.to_string());
}

#[tokio::test(start_paused = true)]
async fn opsgenie_is_told_in_three_requests_of_which_one_fails() {
    let heard = Heard::default();
    let failed = "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n";
    let world = World::new(vec![answering(&heard, OK), answering(&heard, failed)]);
    let config = "opsgenie_configs: [{api_url: 'http://og/', api_key: key, update_alerts: true}]";
    assert!(world.tell(config).await.unwrap_err().retryable);
    assert_eq!(heard.lock().len(), 2);
}
