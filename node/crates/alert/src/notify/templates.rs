//! Templates of a configuration: those in its files, those in its settings, and what they make of messages.
//!
//! What receivers say where their settings say nothing (`slack.default.title` and the like) is in `default.tmpl`, for the kinds
//! that messages go out by.

use std::fmt;

use bellwether_model::{Labels, Timestamp};

use super::config::settings::{Settings, WrittenTemplate};
use super::dispatch::Message;
use super::{Config, Extras};
use crate::limits::TEMPLATE_BYTES_MAX;
use crate::template::{ExpandError, Functions, Surroundings, Template, TemplateError, TextKind, Value};
use crate::yaml::Place;
use crate::yaml::problems::Problem;

const DEFAULT: &str = include_str!("default.tmpl");

/// The templates of a configuration's files, and those that are always there.
#[derive(Debug)]
pub struct Library(Vec<Template>);

impl Default for Library {
    fn default() -> Library {
        let default = parse("default.tmpl", DEFAULT).expect("the templates of the program are right");
        Library(vec![default])
    }
}

/// A text that stands in no file.
pub struct Text(Template);

impl Library {
    /// Adds a file; of templates of one name the one that was added last holds.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), Problem> {
        self.0.push(parse(file, text).map_err(|(offset, message)| Problem { place: place(text, offset), message })?);
        Ok(())
    }

    /// What the settings of a message's integration make of it: their names and texts, those that are empty left out.
    pub fn expand_settings(
        &self,
        settings: &Settings,
        (message, extras): (&Message, &Extras),
        external_url: &str,
        now: Timestamp,
    ) -> Vec<(String, Result<String, ExpandError>)> {
        let expansion = self.over((message, extras), external_url, now);
        let expand = |(name, text): (String, &str)| {
            let kind = if settings.is_html(&name) { TextKind::Html } else { TextKind::Plain };
            let expanded = expansion.expand(&name, text, kind);
            (name, expanded)
        };
        let expanded = settings.texts().into_iter().map(expand);
        expanded.filter(|(_, text)| text.as_ref().map_or(true, |text| !text.trim().is_empty())).collect()
    }

    /// What the text makes of a message at a time.
    pub fn expand(
        &self,
        text: &Text,
        (message, extras): (&Message, &Extras),
        external_url: &str,
        now: Timestamp,
    ) -> Result<String, ExpandError> {
        let surroundings = At { external_url, now };
        text.0.expand_with(&self.0, &message.data(external_url, extras), &surroundings, TextKind::Plain)
    }

    /// For many texts of one message at a time.
    pub fn over<'a>(
        &'a self,
        (message, extras): (&Message, &Extras),
        external_url: &'a str,
        now: Timestamp,
    ) -> Expansion<'a> {
        let data = message.data(external_url, extras);
        Expansion { library: &self.0, data, surroundings: At { external_url, now } }
    }
}

/// A message, and what texts make of it.
pub struct Expansion<'a> {
    library: &'a [Template],
    data: Value,
    surroundings: At<'a>,
}

impl Expansion<'_> {
    /// What a text makes of the message; the name is told if it fails.
    pub fn expand(&self, name: &str, text: &str, kind: TextKind) -> Result<String, ExpandError> {
        let template = parse(name, text).map_err(|(_, message)| ExpandError::new(message))?;
        template.expand_with(self.library, &self.data, &self.surroundings, kind)
    }
}

impl Text {
    /// Parses it.
    pub fn parse(text: &str) -> Result<Text, Problem> {
        parse("", text).map(Text).map_err(|(offset, message)| Problem { place: place(text, offset), message })
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a secret.
        f.write_str("Text")
    }
}

/// What is wrong with the templates in the settings of receivers.
pub fn check_settings(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (receiver, integrations) in config.receivers.iter().map(|(name, receiver)| (name, &receiver.integrations)) {
        for written in integrations.iter().flat_map(|integration| integration.settings.templates()) {
            let WrittenTemplate { setting, place, text, is_secret } = written;
            if let Err((_, message)) = parse(setting, text) {
                // A message may quote the text.
                let message = if is_secret { "this is no template".to_owned() } else { message };
                problems.push(Problem { place, message: format!("receiver {receiver:?}: {setting}: {message}") });
            }
        }
    }
    problems.sort_by_key(|problem| problem.place);
    problems.truncate(crate::limits::PROBLEMS_MAX);
    problems
}

fn parse(name: &str, text: &str) -> Result<Template, (usize, String)> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err((0, format!("the template has {} bytes, the limit is {TEMPLATE_BYTES_MAX}", text.len())));
    }
    Template::parse(name, text, &Functions::ALERTMANAGER)
        .map_err(|error: TemplateError| (error.offset, error.to_string()))
}

fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let number = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    let line_begin = before.rfind('\n').map_or(0, |at| at + 1);
    Place { line: number(before.matches('\n').count()), column: number(before[line_begin..].chars().count()) }
}

/// Notifications ask no queries.
struct At<'u> {
    external_url: &'u str,
    now: Timestamp,
}

impl Surroundings for At<'_> {
    fn now_ms(&self) -> i64 {
        self.now
    }

    fn external_url(&self) -> &str {
        self.external_url
    }

    fn query(&self, _text: &str) -> Result<Vec<(Labels, f64)>, String> {
        Err("there are no queries here".to_owned())
    }
}
