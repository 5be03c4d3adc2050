//! What a message becomes as a letter: headers, a part of text, a part of HTML. The only module that names the library that
//! writes MIME; its clock and its randomness are not used.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bellwether_model::Timestamp;
use lettre::address::{Address, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::Given;

/// Receivers of one letter.
const RECEIVERS_MAX: usize = 100;
const SUBJECT_DEFAULT: &str = "{{ template \"email.default.subject\" . }}";
/// Headers that are made here.
const OWN_HEADERS: [&str; 4] = ["content-type", "content-transfer-encoding", "mime-version", "date"];

/// A letter, and who is written to.
pub struct Letter {
    pub from: String,
    pub to: Vec<String>,
    /// With `\r\n` at the ends of lines, and no dots doubled.
    pub content: Vec<u8>,
}

/// Writes it. The same message at the same time is the same letter, its `Message-Id` included.
pub fn write(given: &Given<'_>, at: Timestamp, dedup_key: &str) -> Result<Letter, Failure> {
    let unfit = |what: &str| Failure::lasting(Reason::Configuration, what.to_owned());
    let from = given.text("from")?;
    let to = given.text("to")?;
    let senders = addresses("from", &from)?;
    let [sender] = senders.as_slice() else { return Err(unfit("from must be one address")) };
    let receivers = addresses("to", &to)?;
    if receivers.len() > RECEIVERS_MAX {
        return Err(unfit("to has too many addresses"));
    }
    let mut headers: BTreeMap<String, String> = given.map("headers")?;
    let hello = given.settings.text("hello").filter(|hello| !hello.is_empty()).unwrap_or("localhost");
    let digest = hex_of(&[dedup_key]);
    for (name, value) in [
        ("Subject", given.expand("subject", SUBJECT_DEFAULT)?),
        ("To", to),
        ("From", from),
        ("Message-Id", format!("<{digest}.{at}@{hello}>")),
    ] {
        if !headers.keys().any(|written| written.eq_ignore_ascii_case(name)) {
            headers.insert(name.to_owned(), value);
        }
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default());
    let envelope = Envelope::new(Some(sender.email.clone()), receivers.iter().map(|to| to.email.clone()).collect());
    let envelope = envelope.map_err(|_| unfit("to has no address"))?;
    let mut builder = Message::builder().date(time).envelope(envelope);
    for (name, value) in headers {
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(unfit(&format!("headers cannot have {name}")));
        }
        let header =
            HeaderName::new_from_ascii(name.clone()).map_err(|_| unfit(&format!("{name:?} is no header's name")))?;
        builder = builder.raw_header(HeaderValue::new(header, one_line(&value)));
    }
    let (text, html) = (given.text("text")?, given.text("html")?);
    let boundary = hex_of(&[&digest, &text, &html]);
    let mut parts = MultiPart::alternative().boundary(boundary).build();
    // What is preferred comes last (RFC 2046, section 5.1.4).
    for (content, kind) in [(text, ContentType::TEXT_PLAIN), (html, ContentType::TEXT_HTML)] {
        if !content.is_empty() {
            parts = parts.singlepart(SinglePart::builder().header(kind).body(content));
        }
    }
    let message = builder.multipart(parts).map_err(|_| unfit("headers hold a From that is no address"))?;
    Ok(Letter {
        from: sender.email.to_string(),
        to: receivers.iter().map(|to| to.email.to_string()).collect(),
        content: message.formatted(),
    })
}

/// Reads `a@b, C <d@e>`, every bit of it.
fn addresses(name: &str, list: &str) -> Result<Vec<Mailbox>, Failure> {
    let parts = split(list).into_iter().filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let mailbox: Option<Mailbox> = part.trim().parse().ok();
            // What follows an address is left unread by the library.
            let is_all = |mailbox: &Mailbox| ends_with(part, &mailbox.email);
            mailbox.filter(is_all).ok_or_else(|| {
                Failure::lasting(Reason::Configuration, format!("{name}: {:?} is no address", part.trim()))
            })
        })
        .collect()
}

fn ends_with(part: &str, address: &Address) -> bool {
    let part = part.trim();
    part.strip_suffix('>').unwrap_or(part).trim_end().ends_with(&address.to_string())
}

/// Splits at commas that are not in quotes.
fn split(list: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    list.split(|c: char| {
        let was_escaped = is_escaped;
        is_escaped = c == '\\' && !was_escaped;
        is_quoted ^= c == '"' && !was_escaped;
        c == ',' && !is_quoted
    })
    .collect()
}

/// A header is one line, whatever a template makes.
fn one_line(value: &str) -> String {
    value.split(|c: char| c.is_control()).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Of a boundary nobody can know what it is: it stands in no part.
fn hex_of(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    texts.iter().for_each(|text| hash.update(text));
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_addresses_are_read_whole() {
        let read = |list: &str| -> Option<Vec<String>> {
            Some(addresses("to", list).ok()?.iter().map(|mailbox| mailbox.email.to_string()).collect())
        };
        assert_eq!(read("a@b.c").unwrap(), ["a@b.c"]);
        assert_eq!(read("a@b.c, \"Doe, J.\" <j@d.e> ,").unwrap(), ["a@b.c", "j@d.e"]);
        for bad in ["a@b.c; d@e.f", "a", "a@b.c d", "<a@b.c> x", "a@b.c\r\nBcc: x@y.z"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(one_line("a\r\nBcc: b\n c "), "a Bcc: b c");
    }
}
