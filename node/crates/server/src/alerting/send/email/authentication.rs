//! How a mail server is told who sends: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};

use crate::alerting::send::failure::{Failure, Reason};

/// Bytes of a block of MD5, which HMAC (RFC 2104) fills up to.
const BLOCK_BYTES: usize = 64;

/// What is known of the sender.
pub struct Credentials {
    pub user: String,
    pub identity: String,
    pub password: Option<String>,
    pub secret: Option<String>,
}

/// A way that a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Login,
    CramMd5,
}

impl Mechanism {
    /// As servers call it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
        }
    }

    /// Whether whoever listens learns the password.
    pub fn shows_password(self) -> bool {
        self != Mechanism::CramMd5
    }
}

impl Credentials {
    /// The first way of those offered that something is known for; none without a user.
    pub fn choose(&self, offered: &str) -> Result<Option<Mechanism>, Failure> {
        if self.user.is_empty() {
            return Ok(None);
        }
        let known = |name: &str| match name.to_ascii_uppercase().as_str() {
            "PLAIN" => self.password.as_ref().map(|_| Mechanism::Plain),
            "LOGIN" => self.password.as_ref().map(|_| Mechanism::Login),
            "CRAM-MD5" => self.secret.as_ref().map(|_| Mechanism::CramMd5),
            _ => None,
        };
        let chosen = offered.split_ascii_whitespace().find_map(known);
        let none = || {
            let message = format!(
                "the server offers to authenticate by {offered:?}: auth_password goes with PLAIN and LOGIN, auth_secret with CRAM-MD5"
            );
            Failure::lasting(Reason::Configuration, message)
        };
        chosen.map(Some).ok_or_else(none)
    }

    /// What goes with the command, if anything.
    pub fn initial(&self, mechanism: Mechanism) -> Option<String> {
        let password = self.password.as_deref().unwrap_or_default();
        match mechanism {
            Mechanism::Plain => Some(BASE64.encode(format!("{}\0{}\0{password}", self.identity, self.user))),
            Mechanism::Login | Mechanism::CramMd5 => None,
        }
    }

    /// The answer to what a server asks, in base64 as that is.
    pub fn answer(&self, mechanism: Mechanism, asked: &str) -> Result<String, Failure> {
        let unexpected =
            || Failure::lasting(Reason::ClientError, format!("the server asks what {} does not", mechanism.name()));
        let asked = BASE64.decode(asked.trim()).map_err(|_| unexpected())?;
        let answer = match mechanism {
            Mechanism::Plain => return Err(unexpected()),
            Mechanism::Login => match asked.to_ascii_lowercase().as_slice() {
                question if question.starts_with(b"user") => self.user.clone(),
                question if question.starts_with(b"pass") => self.password.clone().unwrap_or_default(),
                _ => return Err(unexpected()),
            },
            Mechanism::CramMd5 => {
                let key = self.secret.as_deref().unwrap_or_default();
                let digest = hmac_md5(key.as_bytes(), &asked);
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{} {digest}", self.user)
            }
        };
        Ok(BASE64.encode(answer))
    }

    /// What a server may repeat and nobody may see.
    pub fn hidden(&self) -> Vec<String> {
        let texts = self.password.iter().chain(&self.secret);
        // What holds another comes first.
        self.initial(Mechanism::Plain)
            .into_iter()
            .chain(texts.flat_map(|text| [BASE64.encode(text), text.clone()]))
            .collect()
    }
}

fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Md5::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Md5::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(password: Option<&str>, secret: Option<&str>) -> Credentials {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Credentials { user: "tim".to_owned(), identity: String::new(), password: text(password), secret: text(secret) }
    }

    #[test]
    fn the_example_of_rfc_2195() {
        let challenge = BASE64.encode("<1896.697170952@postoffice.reston.mci.net>");
        let answer = credentials(None, Some("tanstaaftanstaaf")).answer(Mechanism::CramMd5, &challenge).unwrap();
        assert_eq!(BASE64.decode(answer).unwrap(), b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(
            hmac_md5(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First")[..4],
            [0x6b, 0x1a, 0xb7, 0xfe]
        );
    }

    #[test]
    fn the_first_way_that_something_is_known_for_is_taken() {
        let chosen = |password, secret, offered: &str| credentials(password, secret).choose(offered);
        assert_eq!(chosen(Some("p"), None, "CRAM-MD5 LOGIN PLAIN"), Ok(Some(Mechanism::Login)));
        assert_eq!(chosen(Some("p"), Some("s"), "cram-md5 plain"), Ok(Some(Mechanism::CramMd5)));
        assert!(chosen(Some("p"), None, "CRAM-MD5 XOAUTH2").is_err());
        let nobody = Credentials { user: String::new(), ..credentials(Some("p"), None) };
        assert_eq!(nobody.choose("PLAIN"), Ok(None));
    }
}
