//! A conversation with a mail server (RFC 5321), from its greeting to its taking a letter.

use std::collections::BTreeMap;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::authentication::{Credentials, Mechanism};
use super::letter::Letter;
use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::truncated;
use crate::alerting::send::tls::TlsSetup;
use crate::env::Stream;

/// Bytes of a line of a reply (RFC 5321, section 4.5.3.1.5, has 512).
const LINE_BYTES_MAX: usize = 4096;
/// Lines of a reply.
const REPLY_LINES_MAX: usize = 100;
/// Questions that a server asks before it believes.
const QUESTIONS_MAX: usize = 4;
/// Characters of a reply that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Never.
    None,
    /// By STARTTLS; without that nothing is said.
    Negotiated,
    /// With the connection.
    FromTheBegin,
}

/// A conversation whose server has introduced itself.
pub struct Conversation {
    stream: BufReader<Box<dyn Stream>>,
    /// What the server can do beyond what all can, with its parameters.
    extensions: BTreeMap<String, String>,
    is_private: bool,
    is_local: bool,
}

struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Conversation {
    /// Begins one with a host; `hello` is who we say we are.
    pub async fn begin(
        mut stream: Box<dyn Stream>,
        (host, hello): (&str, &str),
        tls: Option<&TlsSetup>,
        privacy: Privacy,
    ) -> Result<Conversation, Failure> {
        if hello.chars().any(|c| c.is_control() || c == ' ') {
            return Err(Failure::lasting(Reason::Configuration, "hello is no name of a host"));
        }
        let is_local = matches!(host, "localhost" | "127.0.0.1" | "::1");
        if let (Privacy::FromTheBegin, Some(tls)) = (privacy, tls) {
            stream = tls.connect(host, stream).await?;
        }
        let is_private = privacy == Privacy::FromTheBegin;
        let stream = BufReader::new(stream);
        let mut conversation = Conversation { stream, extensions: BTreeMap::new(), is_private, is_local };
        conversation.read().await?.expect(&[220], "greeting", &[])?;
        conversation.introduce(hello).await?;
        if let (Privacy::Negotiated, Some(tls)) = (privacy, tls) {
            if !conversation.extensions.contains_key("STARTTLS") {
                let message = "require_tls is true, and the server offers no STARTTLS";
                return Err(Failure::lasting(Reason::Configuration, message));
            }
            conversation.ask("STARTTLS").await?.expect(&[220], "STARTTLS", &[])?;
            // What came unprotected must not count as said under protection.
            if !conversation.stream.buffer().is_empty() {
                return Err(Failure::lasting(Reason::ClientError, "the server goes on talking after STARTTLS"));
            }
            let stream = tls.connect(host, conversation.stream.into_inner()).await?;
            conversation = Conversation {
                stream: BufReader::new(stream),
                extensions: BTreeMap::new(),
                is_private: true,
                is_local,
            };
            conversation.introduce(hello).await?;
        }
        Ok(conversation)
    }

    async fn introduce(&mut self, hello: &str) -> Result<(), Failure> {
        let reply = self.ask(&format!("EHLO {hello}")).await?;
        if reply.code == 250 {
            self.extensions = reply.lines.iter().skip(1).map(|line| extension(line)).collect();
            return Ok(());
        }
        // Servers of old know no extensions.
        self.ask(&format!("HELO {hello}")).await?.expect(&[250], "HELO", &[])
    }

    /// Says who sends, if that is known and the server wants to know.
    pub async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Failure> {
        let Some(offered) = self.extensions.get("AUTH") else { return Ok(()) };
        let Some(mechanism) = credentials.choose(offered)? else { return Ok(()) };
        if mechanism.shows_password() && !self.is_private && !self.is_local {
            let message = "the password is not sent over a connection without TLS: set require_tls";
            return Err(Failure::lasting(Reason::Configuration, message));
        }
        let hidden = credentials.hidden();
        let command = match credentials.initial(mechanism) {
            Some(initial) => format!("AUTH {} {initial}", mechanism.name()),
            None => format!("AUTH {}", mechanism.name()),
        };
        let mut reply = self.ask(&command).await?;
        for _ in 0..QUESTIONS_MAX {
            if reply.code != 334 {
                break;
            }
            let asked = reply.lines.first().map(String::as_str).unwrap_or_default();
            let answer = match mechanism {
                // RFC 4954, section 4: whoever gets an empty question begins now.
                Mechanism::Plain if asked.is_empty() => credentials.initial(mechanism).unwrap_or_default(),
                _ => credentials.answer(mechanism, asked)?,
            };
            reply = self.ask(&answer).await?;
        }
        reply.expect(&[235], "AUTH", &hidden)
    }

    /// Hands a letter over. Returns once the server answers for it.
    pub async fn hand_over(&mut self, letter: &Letter) -> Result<(), Failure> {
        let is_ascii = letter.from.is_ascii() && letter.to.iter().all(|to| to.is_ascii());
        let utf8 = match (is_ascii, self.extensions.contains_key("SMTPUTF8")) {
            (true, _) => "",
            (false, true) => " SMTPUTF8",
            (false, false) => {
                let message = "the server takes no addresses with other characters than those of ASCII";
                return Err(Failure::lasting(Reason::ClientError, message));
            }
        };
        self.ask(&format!("MAIL FROM:<{}>{utf8}", letter.from)).await?.expect(&[250], "MAIL FROM", &[])?;
        for to in &letter.to {
            self.ask(&format!("RCPT TO:<{to}>")).await?.expect(&[250, 251], "RCPT TO", &[])?;
        }
        self.ask("DATA").await?.expect(&[354], "DATA", &[])?;
        self.write(&with_doubled_dots(&letter.content)).await?;
        self.read().await?.expect(&[250], "the letter", &[])?;
        // It is theirs now, whatever they answer to this.
        let _ = self.ask("QUIT").await;
        Ok(())
    }

    async fn ask(&mut self, command: &str) -> Result<Reply, Failure> {
        self.write(format!("{command}\r\n").as_bytes()).await?;
        self.read().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let broken = |error| Failure::of_network("writing to the mail server", &error);
        self.stream.get_mut().write_all(bytes).await.map_err(broken)?;
        self.stream.get_mut().flush().await.map_err(broken)
    }

    async fn read(&mut self) -> Result<Reply, Failure> {
        let broken = |error| Failure::of_network("reading from the mail server", &error);
        let unreadable = || Failure::passing(Reason::ServerError, "the server does not speak SMTP");
        let mut lines = Vec::new();
        while lines.len() < REPLY_LINES_MAX {
            let mut line = Vec::new();
            let mut limited = (&mut self.stream).take(LINE_BYTES_MAX as u64);
            limited.read_until(b'\n', &mut line).await.map_err(broken)?;
            if line.is_empty() {
                return Err(Failure::passing(Reason::Unreachable, "the mail server closed the connection"));
            }
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok()).filter(|code| (200..600).contains(code));
            let code = code.ok_or_else(unreadable)?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(unreadable())
    }
}

impl Reply {
    /// Codes from 400 to 499 may pass, those above do not.
    fn expect(&self, codes: &[u16], to: &str, hidden: &[String]) -> Result<(), Failure> {
        if codes.contains(&self.code) {
            return Ok(());
        }
        let mut said = self.lines.join(" ");
        for hidden in hidden.iter().filter(|hidden| !hidden.is_empty()) {
            said = said.replace(hidden.as_str(), "<secret>");
        }
        let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let message = format!("the mail server answered {} to {to}: {}", self.code, truncated(said, QUOTED_CHARS_MAX));
        Err(match self.code {
            400..500 => Failure::passing(Reason::ServerError, message),
            _ => Failure::lasting(Reason::ClientError, message),
        })
    }
}

fn extension(line: &str) -> (String, String) {
    // Some servers write `AUTH=`.
    let (name, parameters) = line.split_once([' ', '=']).unwrap_or((line, ""));
    (name.to_ascii_uppercase(), parameters.trim().to_owned())
}

/// What ends a letter is a line with a dot; in it, dots at the begin of lines are doubled (RFC 5321, section 4.5.2).
fn with_doubled_dots(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_letter_ends_it() {
        assert_eq!(with_doubled_dots(b"a\r\n.\r\n..b\r\nc"), b"a\r\n..\r\n...b\r\nc\r\n.\r\n");
        assert_eq!(with_doubled_dots(b""), b"\r\n.\r\n");
    }
}
