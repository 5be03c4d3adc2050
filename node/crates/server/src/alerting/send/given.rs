//! What a kind of receiver is given to make its message of: settings, what their templates make of the message, contents of
//! files that they name.

use std::collections::BTreeMap;

use bellwether_alert::notify::config::Secret;
use bellwether_alert::notify::config::settings::{Setting, Settings};
use bellwether_alert::notify::dispatch::Message;
use bellwether_alert::notify::templates::Expansion;
use bellwether_alert::template::TextKind;
use bellwether_model::Timestamp;
use sha2::{Digest, Sha256};
use url::Url;

use super::Notification;
use super::failure::{Failure, Reason};
use super::files::SettingFiles;

/// Settings that name a file with what another one holds.
const OF_FILES: [&str; 13] = [
    "api_key",
    "api_url",
    "auth_password",
    "auth_secret",
    "auth_token",
    "bot_token",
    "chat_id",
    "routing_key",
    "service_key",
    "token",
    "url",
    "user_key",
    "webhook_url",
];

/// See the module.
pub struct Given<'a> {
    /// The settings of the integration.
    pub settings: &'a Settings,
    /// What is to be told.
    pub message: &'a Message,
    /// Where people reach the cluster.
    pub external_url: &'a str,
    /// When the message was made.
    pub at: Timestamp,
    /// How often its group is looked at.
    pub interval_ms: i64,
    expansion: Expansion<'a>,
    files: BTreeMap<&'static str, String>,
}

impl<'a> Given<'a> {
    /// Of a notification, with the files that the settings name.
    pub async fn read(notification: &Notification<'a>, files: &SettingFiles) -> Result<Given<'a>, Failure> {
        let Notification { integration, message, extras, library, external_url, interval_ms, at, .. } = *notification;
        let settings = &integration.settings;
        let mut contents = BTreeMap::new();
        for name in OF_FILES {
            if let Some(file) = settings.text(&format!("{name}_file")).filter(|file| !file.is_empty()) {
                contents.insert(name, files.read_text(file).await?);
            }
        }
        let expansion = library.over((message, extras), external_url, at);
        Ok(Given { settings, message, external_url, at, interval_ms, expansion, files: contents })
    }

    /// A text, expanded if it is a template; empty if it is not there.
    pub fn text(&self, name: &str) -> Result<String, Failure> {
        self.text_of(self.settings, name)
    }

    /// The same of settings in the settings.
    pub fn text_of(&self, settings: &Settings, name: &str) -> Result<String, Failure> {
        let kind = if settings.is_html(name) { TextKind::Html } else { TextKind::Plain };
        match settings.get(name) {
            Some(Setting::Template(template)) => Ok(self.expansion.expand(name, template, kind)?),
            Some(Setting::Text(text)) => Ok(text.clone()),
            _ => Ok(String::new()),
        }
    }

    /// A text's template, whatever setting it stands in.
    pub fn expand(&self, name: &str, template: &str) -> Result<String, Failure> {
        Ok(self.expansion.expand(name, template, TextKind::Plain)?)
    }

    /// Texts by names.
    pub fn map(&self, name: &str) -> Result<BTreeMap<String, String>, Failure> {
        let templates = self.settings.map(name).into_iter().flatten();
        templates.map(|(key, template)| Ok((key.clone(), self.expand(name, template)?))).collect()
    }

    /// What must not be seen, from the setting or from its file.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, Failure> {
        if let Some(content) = self.files.get(name) {
            return Ok(Some(Secret::new(content.as_str())));
        }
        let expanded = match self.settings.get(name) {
            Some(Setting::Secret(secret)) => secret.clone(),
            Some(Setting::SecretTemplate(secret)) => Secret::new(self.expand_secret(name, secret)?),
            _ => return Ok(None),
        };
        Ok((!expanded.reveal().is_empty()).then_some(expanded))
    }

    /// Texts by names that must not be seen.
    pub fn secret_map(&self, name: &str) -> Result<BTreeMap<String, String>, Failure> {
        let Some(Setting::SecretTemplateMap(map)) = self.settings.get(name) else { return Ok(BTreeMap::new()) };
        map.iter().map(|(key, secret)| Ok((key.clone(), self.expand_secret(name, secret)?))).collect()
    }

    fn expand_secret(&self, name: &str, secret: &Secret) -> Result<String, Failure> {
        let expanded = self.expansion.expand(name, secret.reveal(), TextKind::Plain);
        // What fails may quote the text.
        expanded.map_err(|_| Failure::lasting(Reason::Template, format!("{name} cannot be expanded")))
    }

    /// The same where it must be there.
    pub fn needed_secret(&self, name: &str) -> Result<Secret, Failure> {
        self.secret(name)?.ok_or_else(|| Failure::lasting(Reason::Configuration, format!("{name} is empty")))
    }

    /// An address that must not be seen.
    pub fn secret_url(&self, name: &str) -> Result<Url, Failure> {
        parse_url(name, self.needed_secret(name)?.reveal())
    }

    /// An address that anybody may see.
    pub fn url(&self, name: &str) -> Result<Url, Failure> {
        parse_url(name, &self.text(name)?)
    }

    /// What a group is known by where only short names are taken: the same for all messages of the group.
    pub fn group_hash(&self) -> String {
        Sha256::digest(self.message.group_key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether alerts fire.
    pub fn is_firing(&self) -> bool {
        !self.message.firing.is_empty()
    }
}

fn parse_url(name: &str, text: &str) -> Result<Url, Failure> {
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let wrong =
        || Failure::lasting(Reason::Configuration, format!("{name} is no address of the form http(s)://host/.."));
    Url::parse(text).ok().filter(is_http).ok_or_else(wrong)
}

/// Cuts a text to so many characters, the last of them `…`; as Alertmanager does.
pub fn truncated(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

/// The same in bytes.
pub fn truncated_bytes(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let room = bytes_max - '…'.len_utf8();
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_fits_and_says_so() {
        assert_eq!(truncated("äöü".to_owned(), 3), "äöü");
        assert_eq!(truncated("äöüß".to_owned(), 3), "äö…");
        assert_eq!(truncated_bytes("äöü".to_owned(), 6), "äöü");
        assert_eq!(truncated_bytes("äöüß".to_owned(), 6), "ä…");
    }
}
