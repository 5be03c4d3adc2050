//! Names of metrics and labels for clients that know none beyond letters, digits, underscores and colons.
//!
//! A client says in its header `Accept` how it wants others (`escaping=`); the ways are those of Prometheus's exposition formats.
//! <https://github.com/prometheus/docs/blob/main/docs/instrumenting/escaping_schemes.md>

use std::borrow::Cow;

use axum::http::{HeaderMap, header};

/// How names are written that are not plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEscaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// An underscore for each character that does not fit.
    Underscores,
    /// `_dot_` for a dot, two underscores for an underscore and for anything else.
    Dots,
    /// `U__`, and codes of characters: can be undone.
    Values,
}

impl NameEscaping {
    const ALL: [NameEscaping; 4] =
        [NameEscaping::AllowUtf8, NameEscaping::Underscores, NameEscaping::Dots, NameEscaping::Values];

    /// The value of the parameter `escaping`.
    pub fn as_str(self) -> &'static str {
        match self {
            NameEscaping::AllowUtf8 => "allow-utf-8",
            NameEscaping::Underscores => "underscores",
            NameEscaping::Dots => "dots",
            NameEscaping::Values => "values",
        }
    }

    /// What a client asks for, for the text format that it would take first; underscores if it does not say.
    pub fn accepted(headers: &HeaderMap) -> NameEscaping {
        let mut escaping = NameEscaping::Underscores;
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for entry in accept.split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let mut version = "";
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name {
                    "version" => version = value,
                    "escaping" => {
                        let known = NameEscaping::ALL.into_iter().find(|known| known.as_str() == value);
                        escaping = known.unwrap_or(escaping);
                    }
                    _ => {}
                }
            }
            if media_type == "text/plain" && matches!(version, "" | "0.0.4") {
                break;
            }
        }
        escaping
    }

    /// A name in this way.
    pub fn escape(self, name: &str) -> Cow<'_, str> {
        if self == NameEscaping::AllowUtf8 || is_plain(name) {
            return name.into();
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == NameEscaping::Values {
            out.push_str("U__");
        }
        for (at, character) in name.char_indices() {
            match (self, character) {
                (NameEscaping::Dots | NameEscaping::Values, '_') => out.push_str("__"),
                (_, plain) if is_plain_character(plain, at) => out.push(plain),
                (NameEscaping::Dots, '.') => out.push_str("_dot_"),
                (NameEscaping::Dots, _) => out.push_str("__"),
                (NameEscaping::Values, other) => out.push_str(&format!("_{:x}_", u32::from(other))),
                (NameEscaping::Underscores | NameEscaping::AllowUtf8, _) => out.push('_'),
            }
        }
        out.into()
    }
}

/// Whether a name is written without quotes.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(at, character)| is_plain_character(character, at))
}

fn is_plain_character(character: char, at: usize) -> bool {
    character.is_ascii_alphabetic() || matches!(character, '_' | ':') || (at > 0 && character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn names_are_escaped_as_prometheus_does() {
        for (name, underscores, dots, values) in [
            ("plain_name:x1", "plain_name:x1", "plain_name:x1", "plain_name:x1"),
            ("http.status_code", "http_status_code", "http_dot_status__code", "U__http_2e_status__code"),
            ("1st", "_st", "__st", "U___31_st"),
            ("ü🦀", "__", "____", "U___fc__1f980_"),
        ] {
            assert_eq!(NameEscaping::AllowUtf8.escape(name), name);
            assert_eq!(NameEscaping::Underscores.escape(name), underscores);
            assert_eq!(NameEscaping::Dots.escape(name), dots);
            assert_eq!(NameEscaping::Values.escape(name), values);
        }
    }

    #[test]
    fn the_client_says_which_names_it_understands() {
        let accepted = |value: &'static str| {
            NameEscaping::accepted(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]))
        };
        assert_eq!(NameEscaping::accepted(&HeaderMap::new()), NameEscaping::Underscores);
        assert_eq!(accepted("*/*"), NameEscaping::Underscores);
        assert_eq!(accepted("text/plain;version=0.0.4;escaping=values"), NameEscaping::Values);
        assert_eq!(accepted("text/plain; escaping=nonsense"), NameEscaping::Underscores);
        assert_eq!(accepted("text/plain, text/plain; escaping=dots"), NameEscaping::Underscores);
        // What Prometheus 3 sends.
        let scrape = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                      text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(accepted(scrape), NameEscaping::AllowUtf8);
    }
}
