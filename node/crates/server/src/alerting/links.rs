//! Links in messages by which whoever reads one acknowledges its alerts, or silences them: signed, and over after a while.
//!
//! A link is `<external address>/alerting/<token>`; a token is the base64 of what is to be done and of its HMAC (RFC 2104, with
//! SHA-256) by the tenant's key, which the alert group's log has. Whoever has a link may do what it says and nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bellwether_alert::alert_group::LinkKey;
use bellwether_alert::notify::dispatch::{Message, Why};
use bellwether_alert::notify::matchers::{Matchers, parse_matchers};
use bellwether_model::{MatchOp, Matcher, PatternBudget, Tenant, Timestamp};
use sha2::{Digest, Sha256};

/// Where the pages are, below the external address.
pub const PATH: &str = "/alerting/";
/// How long a link can be used, from its message on.
pub const LINK_LIFETIME_MS: i64 = 24 * 3600 * 1000;
/// How long a silence by a link lasts.
pub const SILENCE_MS: i64 = 4 * 3600 * 1000;
/// Longer addresses are cut on their way to people: such a message has no link.
const TOKEN_BYTES_MAX: usize = 1_800;

const VERSION: u8 = 1;
const ACKNOWLEDGE: u8 = 1;
const SILENCE: u8 = 2;
const BLOCK_BYTES: usize = 64;
const SIGNATURE_BYTES: usize = 32;

/// What a link does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whose alerts.
    pub tenant: Tenant,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// What.
    pub action: Action,
}

/// See [`Link`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// All that fires in the groups of this key is acknowledged.
    Acknowledge(String),
    /// What meets these matchers is silenced.
    Silence(String),
}

/// What came as a token.
pub struct Token {
    /// What it says, if it is right.
    pub link: Link,
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

/// The links of a message, to acknowledge and to silence; empty where there is none.
pub fn of_message(external_url: &str, key: LinkKey, tenant: &Tenant, message: &Message, at: Timestamp) -> [String; 2] {
    if message.firing.is_empty() || !matches!(message.why, Why::New | Why::Changed | Why::Resolved | Why::Repeated) {
        return Default::default();
    }
    let expires_at = at.saturating_add(LINK_LIFETIME_MS);
    let silenced = silenced(message).map(Action::Silence);
    [Some(Action::Acknowledge(message.group_key.clone())), silenced].map(|action| {
        let link = action.map(|action| Link { tenant: tenant.clone(), expires_at, action });
        let token = link.map(|link| link.token(key)).filter(|token| token.len() <= TOKEN_BYTES_MAX);
        token.map(|token| format!("{external_url}{PATH}{token}")).unwrap_or_default()
    })
}

/// Matchers that all of a message's alerts meet: the labels of its group, or those that they have in common.
fn silenced(message: &Message) -> Option<String> {
    let common = message.common_labels();
    let labels = if message.group.is_empty() { &common } else { &message.group };
    let matchers: Result<Vec<Matcher>, _> =
        labels.iter().map(|label| Matcher::new(MatchOp::Equal, label.name, label.value)).collect();
    let matchers = Matchers::new(matchers.ok().filter(|matchers| !matchers.is_empty())?);
    Some(matchers.to_string())
}

impl Link {
    fn token(&self, key: LinkKey) -> String {
        let (action, text) = match &self.action {
            Action::Acknowledge(group_key) => (ACKNOWLEDGE, group_key),
            Action::Silence(matchers) => (SILENCE, matchers),
        };
        let tenant = self.tenant.as_str();
        let mut signed = vec![VERSION, action];
        signed.extend_from_slice(&self.expires_at.to_le_bytes());
        signed.extend_from_slice(&(tenant.len() as u32).to_le_bytes());
        signed.extend_from_slice(tenant.as_bytes());
        signed.extend_from_slice(text.as_bytes());
        let signature = hmac(&key.0, &signed);
        signed.extend_from_slice(&signature);
        BASE64.encode(signed)
    }

    /// The matchers of a silence.
    pub fn matchers(text: &str) -> Option<Matchers> {
        parse_matchers(text, &mut PatternBudget::default()).ok()
    }
}

impl Token {
    /// Reads one that may come from anywhere; none if it is none.
    pub fn read(text: &str) -> Option<Token> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut signed = BASE64.decode(text).ok()?;
        let signature = signed.split_off(signed.len().checked_sub(SIGNATURE_BYTES)?).try_into().ok()?;
        let (head, rest) = signed.split_first_chunk::<2>()?;
        let (expires_at, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (tenant, text) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let tenant = Tenant::new(std::str::from_utf8(tenant).ok()?).ok()?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        let action = match *head {
            [VERSION, ACKNOWLEDGE] => Action::Acknowledge(text),
            [VERSION, SILENCE] => Action::Silence(text),
            _ => return None,
        };
        let link = Link { tenant, expires_at: i64::from_le_bytes(*expires_at), action };
        Some(Token { link, signed, signature })
    }

    /// Whether it was made with a key. Takes as long whatever is wrong.
    pub fn is_signed_by(&self, key: LinkKey) -> bool {
        let expected = hmac(&key.0, &self.signed);
        expected.iter().zip(&self.signature).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

/// RFC 2104; the key is shorter than a block.
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; SIGNATURE_BYTES] {
    let pad = |byte: u8| {
        let mut pad = [byte; BLOCK_BYTES];
        pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        pad
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(action: Action) -> Link {
        Link { tenant: Tenant::new("t").unwrap(), expires_at: 7, action }
    }

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        // Test case 1's key is shorter; with zeros behind it is the same one.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let hex: String = hmac(&key, b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn a_link_is_read_back_and_no_other_is_right() {
        let key = LinkKey([7; 32]);
        for action in [Action::Acknowledge("{}:{a=\"b\"}".to_owned()), Action::Silence("a=\"ä\"".to_owned())] {
            let text = link(action.clone()).token(key);
            let token = Token::read(&text).unwrap();
            assert!(token.link == link(action) && token.is_signed_by(key) && !token.is_signed_by(LinkKey([8; 32])));
            let bytes = BASE64.decode(&text).unwrap();
            for at in 0..bytes.len() {
                let mut forged = bytes.clone();
                forged[at] ^= 1;
                let forged = Token::read(&BASE64.encode(&forged));
                assert!(forged.is_none_or(|forged| !forged.is_signed_by(key)), "byte {at}");
                assert!(Token::read(&BASE64.encode(&bytes[..at])).is_none_or(|cut| !cut.is_signed_by(key)));
            }
        }
        for text in ["", "x", "äöü", &"A".repeat(3000)] {
            assert!(Token::read(text).is_none(), "{text}");
        }
    }
}
