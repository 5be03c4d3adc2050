//! Tokens as people carry them: `id.secret` in hexadecimal. The cluster keeps the secret's hash alone, which opens nothing:
//! who shows a token shows the secret, and the node that decides hashes it.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest, Sha256};

use super::command::TokenProof;
use crate::env::SecretKey;

/// Digits of the id.
const ID_DIGITS: usize = 16;
/// Digits of the secret: 128 bits, which nobody guesses.
const SECRET_DIGITS: usize = 32;

/// For how long a token can be used at most.
pub const TOKEN_VALID_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// A token with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    id: u64,
    secret: String,
}

/// What was given is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is {ID_DIGITS} hexadecimal digits, a dot, and {SECRET_DIGITS} more")]
pub struct NoToken;

impl TokenText {
    /// A new token out of random numbers.
    pub fn new(id: u64, secret: u128) -> TokenText {
        TokenText { id, secret: format!("{secret:032x}") }
    }

    /// The token of this number out of a key that nobody else knows.
    pub fn draw(key: &SecretKey, number: u64) -> TokenText {
        let drawn = key.draw(number);
        let (secret, rest) = drawn.split_first_chunk().expect("a hash is longer than a secret");
        let id = rest.first_chunk().expect("a hash is as long as a secret and an id");
        TokenText::new(u64::from_be_bytes(*id), u128::from_be_bytes(*secret))
    }

    /// Reads a token.
    pub fn parse(text: &str) -> Result<TokenText, NoToken> {
        let (id, secret) = text.trim().split_once('.').ok_or(NoToken)?;
        let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex(id, ID_DIGITS) || !is_hex(secret, SECRET_DIGITS) {
            return Err(NoToken);
        }
        let id = u64::from_str_radix(id, 16).map_err(|_| NoToken)?;
        Ok(TokenText { id, secret: secret.to_ascii_lowercase() })
    }

    /// As people carry it.
    pub fn print(&self) -> String {
        format!("{:016x}.{}", self.id, self.secret)
    }

    /// Its number, which is no secret.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What opens it.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// A token of which number and secret came apart.
    pub fn of_parts(id: u64, secret: &str) -> Result<TokenText, NoToken> {
        TokenText::parse(&format!("{id:016x}.{secret}"))
    }

    /// What the cluster compares with what it keeps.
    pub fn proof(&self) -> TokenProof {
        TokenProof { id: self.id, secret_hash: Sha256::digest(self.secret.as_bytes()).into() }
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({:016x}, secret)", self.id)
    }
}

/// Compares in a time that does not tell how much is equal.
pub fn same_bytes(ours: &[u8; 32], theirs: &[u8; 32]) -> bool {
    let differing = ours.iter().zip(theirs).fold(0, |found, (ours, theirs)| black_box(found | (ours ^ theirs)));
    differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_its_hash_stays() {
        let token = TokenText::new(255, 0x0123_4567_89ab_cdef);
        assert_eq!(token.print(), "00000000000000ff.00000000000000000123456789abcdef");
        assert!(TokenText::parse(&token.print().to_uppercase()).is_ok_and(|read| read == token));
        let hash: String = token.proof().secret_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["74b650849235ca67e7f1d440839e80940a7dce1ea7dec088e42245f40d42341e"].assert_eq(&hash);
    }

    #[test]
    fn a_secret_is_not_shown_and_comes_back_out_of_parts() {
        let token = TokenText::new(255, 0x0123_4567_89ab_cdef);
        assert_eq!(format!("{token:?}"), "TokenText(00000000000000ff, secret)");
        assert!(TokenText::of_parts(255, token.secret()).is_ok_and(|read| read == token));
        assert!(TokenText::of_parts(255, "0").is_err());
    }

    #[test]
    fn bytes_are_the_same_only_if_all_are() {
        let ours = [7; 32];
        assert!(same_bytes(&ours, &[7; 32]));
        for at in 0..32 {
            let mut theirs = ours;
            theirs[at] ^= 1 << (at % 8);
            assert!(!same_bytes(&ours, &theirs));
        }
    }

    #[test]
    fn tokens_of_one_key_differ() {
        let draw = |key, number| TokenText::draw(&SecretKey::new([key; 32]), number).print();
        assert_eq!(draw(1, 0), draw(1, 0));
        let all = std::collections::BTreeSet::from([draw(1, 0), draw(1, 1), draw(2, 0)]);
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|token| TokenText::parse(token).is_ok()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", ".", "ff.00", "00000000000000ff", "00000000000000ff.0000000000000000012345678+abcdef"] {
            assert!(TokenText::parse(text).is_err(), "{text:?}");
        }
    }
}
