//! Conversations with a mail server that follows a script.

use std::sync::Arc;

use expect_test::expect;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::testing::{Script, World, acceptor};
use crate::env::Stream;
use crate::tls::testing::{Authority, Pair, YEARS};

const EHLO: &str = "250-mail.example\r\n250-STARTTLS\r\n250-AUTH CRAM-MD5 PLAIN LOGIN\r\n250 8BITMIME\r\n";

/// A server: what it answers to lines that begin so, everything else taken.
#[derive(Clone, Default)]
struct Server {
    answers: Vec<(&'static str, &'static str)>,
    /// What it heard, letters as one line.
    heard: Arc<Mutex<Vec<String>>>,
    is_private: bool,
}

impl Server {
    fn answer(&self, line: &str) -> &'static str {
        let defaults = [
            ("greeting", "220 mail.example ESMTP\r\n"),
            ("EHLO", EHLO),
            ("STARTTLS", "220 go ahead\r\n"),
            ("AUTH PLAIN", "235 ok\r\n"),
            ("AUTH LOGIN", "334 VXNlcm5hbWU6\r\n"),
            ("dXNlcg==", "334 UGFzc3dvcmQ6\r\n"),
            ("cGFzc3dvcmQ=", "235 ok\r\n"),
            ("AUTH CRAM-MD5", "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n"),
            ("DATA", "354 go ahead\r\n"),
        ];
        let all = self.answers.iter().chain(&defaults);
        all.filter(|(begin, _)| line.starts_with(begin)).map(|(_, answer)| *answer).next().unwrap_or("250 ok\r\n")
    }

    /// Talks until the other side goes, with a handshake after STARTTLS.
    async fn talk(self, stream: Box<dyn Stream>, pair: &Pair) {
        let mut stream: BufReader<Box<dyn Stream>> = match self.is_private {
            true => BufReader::new(Box::new(acceptor(pair).accept(stream).await.unwrap())),
            false => BufReader::new(stream),
        };
        let _ = stream.get_mut().write_all(self.answer("greeting").as_bytes()).await;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            let answer = self.answer(&line);
            self.heard.lock().push(line.clone());
            if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            if line == "DATA" && answer.starts_with("354") {
                let mut letter = String::new();
                while !letter.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut letter).await.unwrap();
                }
                self.heard.lock().push(letter.replace('\r', ""));
                let _ = stream.get_mut().write_all(self.answer("letter").as_bytes()).await;
            }
            if line == "STARTTLS" && answer.starts_with("220") {
                let Ok(private) = acceptor(pair).accept(stream.into_inner()).await else { return };
                stream = BufReader::new(Box::new(private));
            }
        }
    }
}

/// Sends a letter with these settings beside the usual ones.
async fn send(server: &Server, settings: &str) -> Result<(), Failure> {
    let authority = Authority::new("Test CA");
    let pair = authority.node(&["mail.example"], YEARS);
    let server = server.clone();
    let script: Script = Box::new(move |stream| Box::pin(async move { server.talk(stream, &pair).await }));
    let world = World::new(vec![script]);
    world.files.put("/etc/ssl/certs/ca-certificates.crt", &authority.pem);
    world.files.put("/f/password", "password\n");
    let smarthost = if settings.contains("smarthost") { "" } else { "smarthost: 'mail.example:587', " };
    let config =
        format!("email_configs: [{{to: 'a@b.c, \"D, E\" <d@e.f>', from: 'Me <me@b.c>', {smarthost}{settings}}}]");
    world.tell(&config).await
}

async fn heard(settings: &str, answers: &[(&'static str, &'static str)]) -> Vec<String> {
    let server = Server { answers: answers.to_vec(), ..Server::default() };
    assert_eq!(send(&server, settings).await, Ok(()));
    let heard = server.heard.lock();
    heard.clone()
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_sent() {
    let settings = "auth_username: user, auth_password_file: password, text: '{{ .Status }} é\n.\n', hello: me.example, \
                    html: '<b>{{ .CommonLabels.alertname }}</b>', headers: {X-A: \"a\\nb: é\"}";
    let heard = heard(settings, &[("EHLO", "250-m\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")]).await;
    expect![[r#"
        EHLO me.example
        STARTTLS
        EHLO me.example
        AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=
        MAIL FROM:<me@b.c>
        RCPT TO:<a@b.c>
        RCPT TO:<d@e.f>
        DATA
        Date: Fri, 20 Nov 2026 08:00:30 +0000
        From: Me <me@b.c>
        Message-Id: <654ddb14e1dcc0c93f0384b945e9ba4d.1795161630000@me.example>
        Subject: [FIRING:1]  =?utf-8?b?KFN0cmHDn2Up?=
        To: a@b.c, "D, E" <d@e.f>
        X-A: a b: =?utf-8?b?w6k=?=
        MIME-Version: 1.0
        Content-Type: multipart/alternative;
         boundary="008029fae13b3e38c05ca3b14e9724c3"

        --008029fae13b3e38c05ca3b14e9724c3
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        firing =C3=A9 .=20
        --008029fae13b3e38c05ca3b14e9724c3
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        <b>Stra=C3=9Fe</b>
        --008029fae13b3e38c05ca3b14e9724c3--
        .

        QUIT
    "#]]
    .assert_eq(&(heard.join("\n") + "\n"));
}

#[tokio::test(start_paused = true)]
async fn the_default_letter_has_a_subject_and_html() {
    let heard = heard("auth_username: ''", &[]).await;
    let letter = heard.iter().find(|line| line.contains("Subject")).unwrap();
    expect![[r#"
        Date: Fri, 20 Nov 2026 08:00:30 +0000
        From: Me <me@b.c>
        Message-Id: <654ddb14e1dcc0c93f0384b945e9ba4d.1795161630000@localhost>
        Subject: [FIRING:1]  =?utf-8?b?KFN0cmHDn2Up?=
        To: a@b.c, "D, E" <d@e.f>
        MIME-Version: 1.0
        Content-Type: multipart/alternative;
         boundary="b29603731982f8e4ea8e97ccd348eaaf"

        --b29603731982f8e4ea8e97ccd348eaaf
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        <!DOCTYPE html>
        <html>
        <head><meta charset=3D"utf-8"><title>Alerts</title></head>
        <body style=3D"font-family: sans-serif">
        <h2>1 alert for </h2>
        <p><a href=3D"http://me/#/alerts?receiver=3Dr">View in Bellwether</a></p>
        <h3>[1] Firing</h3>
        <p><b>Labels</b><br>
        alertname =3D Stra=C3=9Fe<br>
        </p>
        </body>
        </html>

        --b29603731982f8e4ea8e97ccd348eaaf--
        .
    "#]]
    .assert_eq(letter);
}

#[tokio::test(start_paused = true)]
async fn servers_are_shown_who_sends_as_they_want_it() {
    let auth = async |settings: &str, offered: &'static str| -> Vec<String> {
        let lines = heard(settings, &[("EHLO", offered), ("dXNlciB", "235 ok\r\n")]).await;
        let after =
            lines.iter().skip_while(|line| !line.starts_with("AUTH")).take_while(|line| !line.starts_with("MAIL"));
        after.cloned().collect()
    };
    let password = "auth_username: user, auth_password: password";
    assert_eq!(auth(password, EHLO).await, ["AUTH PLAIN AHVzZXIAcGFzc3dvcmQ="]);
    assert_eq!(
        auth(password, "250-m\r\n250-STARTTLS\r\n250 AUTH=LOGIN\r\n").await,
        ["AUTH LOGIN", "dXNlcg==", "cGFzc3dvcmQ="]
    );
    let secret = "auth_username: user, auth_secret: tanstaaftanstaaf";
    assert_eq!(auth(secret, EHLO).await, ["AUTH CRAM-MD5", "dXNlciBiOTEzYTYwMmM3ZWRhN2E0OTViNGU2ZTczMzRkMzg5MA=="]);
    assert_eq!(auth("auth_username: ''", EHLO).await, [""; 0]);
    assert_eq!(auth(password, "250-m\r\n250 STARTTLS\r\n").await, [""; 0], "it does not want to know");
}

#[tokio::test(start_paused = true)]
async fn connections_are_as_private_as_they_should_be() {
    let server = Server { is_private: true, ..Server::default() };
    assert_eq!(send(&server, "smarthost: 'mail.example:465'").await, Ok(()));
    assert_eq!(send(&server, "force_implicit_tls: true").await, Ok(()));
    assert!(!server.heard.lock().iter().any(|line| line == "STARTTLS"));
    assert!(!heard("require_tls: false", &[]).await.iter().any(|line| line == "STARTTLS"));
    let server = Server { answers: vec![("EHLO", "250 mail.example\r\n")], ..Server::default() };
    let failure = send(&server, "require_tls: true").await.unwrap_err();
    expect![[r#"receiver "r", email[0]: require_tls is true, and the server offers no STARTTLS"#]]
        .assert_eq(&failure.to_string());
    let plain = "require_tls: false, auth_username: user, auth_password: password";
    let failure = send(&Server::default(), plain).await.unwrap_err();
    expect![[r#"receiver "r", email[0]: the password is not sent over a connection without TLS: set require_tls"#]]
        .assert_eq(&failure.to_string());
    let wrong = "smarthost: 'other.example:25'";
    let failure = send(&Server::default(), wrong).await.unwrap_err();
    assert!(failure.to_string().contains("TLS: invalid peer certificate"), "{failure}");
    let injected = Server { answers: vec![("STARTTLS", "220 go\r\n250 more\r\n")], ..Server::default() };
    let failure = send(&injected, "require_tls: true").await.unwrap_err();
    expect![[r#"receiver "r", email[0]: the server goes on talking after STARTTLS"#]].assert_eq(&failure.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_server_may_refuse_at_each_stage() {
    let mut told = String::new();
    for (stage, answer) in [
        ("greeting", "554 no service\r\n"),
        ("greeting", "421 busy\r\n"),
        ("greeting", "hello\r\n"),
        ("EHLO", "502 what\r\n"),
        ("STARTTLS", "454 no TLS now\r\n"),
        ("AUTH", "535 5.7.8 password AHVzZXIAcGFzc3dvcmQ= is wrong\r\n"),
        ("AUTH", "334 \r\n"),
        ("MAIL", "550 not you\r\n"),
        ("RCPT TO:<d@e.f>", "450-try\r\n450 later\r\n"),
        ("DATA", "503 no\r\n"),
        ("letter", "552 too \u{7}large\r\n"),
        ("letter", "451 disk full\r\n"),
    ] {
        let answers = vec![(stage, answer), ("HELO", "500 nor that\r\n"), ("AHVz", "334 \r\n")];
        let server = Server { answers, ..Server::default() };
        let failure = send(&server, "auth_username: user, auth_password: password").await.unwrap_err();
        told.push_str(&format!("{stage}: {failure} ({:?}, {})\n", failure.reason, failure.retryable));
    }
    expect![[r#"
        greeting: receiver "r", email[0]: the mail server answered 554 to greeting: no service (ClientError, false)
        greeting: receiver "r", email[0]: the mail server answered 421 to greeting: busy (ServerError, true)
        greeting: receiver "r", email[0]: the server does not speak SMTP (ServerError, true)
        EHLO: receiver "r", email[0]: the mail server answered 500 to HELO: nor that (ClientError, false)
        STARTTLS: receiver "r", email[0]: the mail server answered 454 to STARTTLS: no TLS now (ServerError, true)
        AUTH: receiver "r", email[0]: the mail server answered 535 to AUTH: 5.7.8 <secret> <secret> is wrong (ClientError, false)
        AUTH: receiver "r", email[0]: the mail server answered 334 to AUTH:  (ClientError, false)
        MAIL: receiver "r", email[0]: the mail server answered 550 to MAIL FROM: not you (ClientError, false)
        RCPT TO:<d@e.f>: receiver "r", email[0]: the mail server answered 450 to RCPT TO: try later (ServerError, true)
        DATA: receiver "r", email[0]: the mail server answered 503 to DATA: no (ClientError, false)
        letter: receiver "r", email[0]: the mail server answered 552 to the letter: too  large (ClientError, false)
        letter: receiver "r", email[0]: the mail server answered 451 to the letter: disk full (ServerError, true)
    "#]].assert_eq(&told);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_not_begun() {
    for (settings, expected) in [
        ("headers: {'a b': c}", "\"a b\" is no header's name"),
        ("headers: {Content-Type: c}", "headers cannot have Content-Type"),
        ("headers: {From: c}", "headers hold a From that is no address"),
        ("smarthost: 'mail.example:nowhere'", "smarthost's port \"nowhere\" is none"),
        ("hello: 'a b'", "hello is no name of a host"),
        ("html: '{{ .Nope }}'", "can't evaluate field Nope"),
    ] {
        let failure = send(&Server::default(), settings).await.unwrap_err();
        assert!(failure.to_string().contains(expected) && !failure.retryable, "{failure}");
        assert_ne!(failure.reason, Reason::Unreachable);
    }
}
