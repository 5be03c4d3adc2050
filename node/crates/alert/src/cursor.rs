//! A place in a text that is being read.

use std::fmt;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// The byte at which it is wrong.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl TextError {
    /// At a byte.
    pub fn new(offset: usize, message: impl Into<String>) -> TextError {
        TextError { offset, message: message.into() }
    }

    /// The character of `text` at which it is wrong, counted from 1.
    pub fn character(&self, text: &str) -> usize {
        text.char_indices().take_while(|(at, _)| *at < self.offset).count() + 1
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// See the module.
pub struct Cursor<'t> {
    text: &'t str,
    // Invariant: at the beginning of a character.
    at: usize,
}

impl<'t> Cursor<'t> {
    /// At the beginning.
    pub fn new(text: &'t str) -> Cursor<'t> {
        Cursor { text, at: 0 }
    }

    /// Bytes that were read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The next character.
    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Goes past the next character.
    pub fn bump(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    /// Goes past white space.
    pub fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Goes past a text, if it is next.
    pub fn take(&mut self, text: &str) -> bool {
        let is_next = self.rest().starts_with(text);
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// Goes past a word in whatever case, if it is next and ends where it should.
    pub fn take_word(&mut self, word: &str) -> bool {
        let before = self.at;
        let is_next = self.word().eq_ignore_ascii_case(word);
        if !is_next {
            self.at = before;
        }
        is_next
    }

    /// Goes past characters.
    pub fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Up to a character, or to the end.
    pub fn until(&mut self, end: char) -> &'t str {
        self.take_while(|c| c != end)
    }

    /// Letters, digits and `_`.
    pub fn word(&mut self) -> &'t str {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// Digits with a point and an exponent.
    pub fn number(&mut self) -> &'t str {
        let rest = self.rest();
        let from = self.at;
        self.take_while(|c| c.is_ascii_digit() || c == '.');
        let before_exponent = self.at;
        if self.take("e") || self.take("E") {
            let _ = self.take("-") || self.take("+");
            if self.take_while(|c| c.is_ascii_digit()).is_empty() {
                self.at = before_exponent;
            }
        }
        &rest[..self.at - from]
    }

    /// Goes past white space and a text that must be there.
    pub fn expect(&mut self, text: &str) -> Result<(), TextError> {
        self.skip_space();
        if self.take(text) {
            return Ok(());
        }
        Err(TextError::new(self.at, format!("{text:?} should be here, not {}", self.next_shown())))
    }

    /// What is next, for messages.
    pub fn next_shown(&self) -> String {
        match self.peek() {
            Some(c) => format!("{:?}", c.to_string()),
            None => "the end".to_owned(),
        }
    }
}
