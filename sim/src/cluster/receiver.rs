//! Who is told of alerts: webhooks on the clients' host that now and then answer an error, nothing, or too late.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

use super::alerts::Receiver;
use super::alerts::changing::{News, alert_key};
use super::clients::{Phase, Shared};
use super::coverage::Mark;
use super::net::now_ms;
use crate::random::Random;
use crate::work::lock;

/// Where it listens.
pub const RECEIVER_PORT: u16 = 9093;
/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// How long a request may take to come.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// Longer than nodes wait for an answer.
const TOO_LATE: Duration = Duration::from_secs(40);

/// What it does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    /// Takes nothing, and says so.
    Refuses,
    /// Takes it, and ends the connection.
    BreaksOff,
    /// Takes it, and answers when nobody waits any more.
    Lingers,
}

/// Listens for as long as the host is there.
pub async fn receive(shared: Arc<Shared>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", RECEIVER_PORT)).await?;
    let mut random = Random::of(shared.options.seed, "receiver");
    loop {
        let (stream, _) = listener.accept().await?;
        // In the end everything works.
        let is_lossy = *shared.phase.borrow() == Phase::Work;
        let manner = match random.below(100) {
            0..10 if is_lossy => Manner::Refuses,
            10..20 if is_lossy => Manner::BreaksOff,
            20..24 if is_lossy => Manner::Lingers,
            _ => Manner::Takes,
        };
        tokio::spawn(serve(stream, manner, shared.clone()));
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, shared: Arc<Shared>) {
    let Ok(Some(request)) = timeout(REQUEST_MAX, request(&mut stream)).await else { return };
    let Message { name, receiver, is_resolved, key, .. } = &request;
    shared.event(&receiver.to_string(), &format!("{manner:?} {key}: {name} is over: {is_resolved}"));
    if manner == Manner::Refuses {
        answer(&mut stream, "500 Internal Server Error").await;
        return;
    }
    shared.reach(match receiver {
        Receiver::Team => Mark::Notified,
        Receiver::Boss => Mark::Escalated,
    });
    let at = Duration::from_millis(now_ms() as u64);
    let told = lock(&shared.alerts).told(&request, at);
    if let Err(wrong) = told {
        shared.violated(format!("{wrong} (at {} ms)", now_ms()));
    }
    match manner {
        Manner::BreaksOff => return,
        Manner::Lingers => sleep(TOO_LATE).await,
        Manner::Takes | Manner::Refuses => {}
    }
    answer(&mut stream, "200 OK").await;
}

async fn answer(stream: &mut TcpStream, status: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // Who has gone away does not hear it.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// What somebody is told of the alerts of a rule group.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The rule group.
    pub name: String,
    /// Who is told.
    pub receiver: Receiver,
    /// Whether all that it tells of is over.
    pub is_resolved: bool,
    /// Copies of a message have the same.
    pub key: String,
    /// What it says of each alert.
    pub news: Vec<News>,
}

async fn request(stream: &mut TcpStream) -> Option<Message> {
    let mut bytes = Vec::new();
    loop {
        if let Some(message) = message(&bytes) {
            return message;
        }
        let mut more = [0; 4096];
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        if bytes.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
}

/// `None`: it is not whole yet. `Some(None)`: it is no message.
fn message(bytes: &[u8]) -> Option<Option<Message>> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length")?.parse().ok()?;
    let body = bytes.get(end + 4..end + 4 + length)?;
    let read = || {
        let body: Value = serde_json::from_slice(body).ok()?;
        let path = head.split(' ').nth(1)?;
        Some(Message {
            name: body["groupLabels"]["of"].as_str()?.to_owned(),
            receiver: Receiver::ALL.into_iter().find(|receiver| path == format!("/{receiver}"))?,
            is_resolved: body["status"] == "resolved",
            key: header("idempotency-key")?,
            news: body["alerts"].as_array().into_iter().flatten().filter_map(news).collect(),
        })
    };
    Some(read())
}

fn news(alert: &Value) -> Option<News> {
    let began = alert["startsAt"].as_str()?.trim_end_matches('Z');
    // Go leaves out zeros at the end; as texts these are in the order of their times.
    let (seconds, fraction) = began.split_once('.').unwrap_or((began, ""));
    let spell = (alert_key(&alert["labels"]), format!("{seconds}.{fraction:0<3}"));
    Some(News { spell, is_over: alert["status"] == "resolved" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_once_it_is_whole() {
        let body = r#"{"status":"resolved","groupLabels":{"of":"g1"},"alerts":[
            {"status":"resolved","labels":{"alertname":"A","version":"2"},"startsAt":"2026-11-22T08:00:00.5Z"},
            {"status":"firing","labels":{"alertname":"B"},"startsAt":"2026-11-22T08:00:00Z"}]}"#;
        let text =
            format!("POST /boss HTTP/1.1\r\nIdempotency-Key: \"k\"\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let read = message(text.as_bytes()).unwrap();
        let (name, key) = ("g1".to_owned(), "\"k\"".to_owned());
        let news = [("A/2", "2026-11-22T08:00:00.500", true), ("B", "2026-11-22T08:00:00.000", false)];
        let news = news.map(|(alert, began, is_over)| News { spell: (alert.to_owned(), began.to_owned()), is_over });
        let news = news.into();
        assert_eq!(read, Some(Message { name, receiver: Receiver::Boss, is_resolved: true, key, news }));
        assert_eq!(message(&text.as_bytes()[..text.len() - 1]), None);
    }
}
