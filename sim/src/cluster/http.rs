//! A client's HTTP: one request, one connection, nothing repeated.
//!
//! HTTP/1.0, so that an answer ends with its connection. One that was cut off is found out by its length or its contents.

use std::net::SocketAddr;
use std::time::Duration;

use bellwether_model::Tenant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use super::machine::HTTP_PORT;
use super::net::host;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks a node. An error says nothing about whether the request was carried out.
pub async fn ask(
    node: usize,
    method: &str,
    path: &str,
    tenant: &Tenant,
    body: &[u8],
    deadline: Duration,
) -> Result<Answer, String> {
    let asking = async {
        let address = SocketAddr::new(host(node), HTTP_PORT);
        let mut stream = TcpStream::connect(address).await.map_err(|error| format!("connecting: {error}"))?;
        let length = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nX-Scope-OrgID: {tenant}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).await.map_err(|error| format!("sending: {error}"))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(|error| format!("reading: {error}"))?;
        parse(&answer).ok_or_else(|| format!("an answer that breaks off after {} bytes", answer.len()))
    };
    timeout(deadline, asking).await.unwrap_or_else(|_| Err(format!("no answer within {deadline:?}")))
}

/// A text as part of a URL.
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The answer in a connection's bytes; `None` if it is not whole.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = bytes[end + 4..].to_vec();
    let announced = head.lines().filter_map(|line| line.split_once(':'));
    let length = announced.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let is_whole = length.is_none_or(|(_, length)| length.trim().parse() == Ok(body.len()));
    is_whole.then_some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        let whole = b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nbody";
        let answer = parse(whole).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"body".as_slice()));
        assert!((0..whole.len()).all(|length| parse(&whole[..length]).is_none()));
    }
}
