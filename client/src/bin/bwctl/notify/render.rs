//! `bwctl notify render`: what templates make of the messages of a timeline.

use std::path::Path;

use bellwether_alert::notify::dispatch::Message;
use bellwether_alert::notify::templates::{Library, Text};
use bellwether_alert::notify::{Config, Extras};
use bellwether_alert::template::ExpandError;
use serde_json::{Map, Value, json};

use super::templates::read_templates;
use super::{messages, read, refused};
use crate::failure::Failure;
use crate::output::Output;
use crate::times::print_time;

/// Where people reach whoever sends, in templates.
const EXTERNAL_URL: &str = "http://localhost:9480";

/// Expands the text, or the receivers' own settings, for each message; tells whether it could be each time.
pub fn render(output: Output, config_path: &Path, timeline_path: &Path, text: Option<&str>) -> Result<bool, Failure> {
    let config = read(config_path).map_err(|problems| refused(config_path, &problems))?;
    let found = read_templates(config_path, &config);
    if !found.errors.is_empty() {
        return Err(Failure::Refused(found.errors.join("\n       ")));
    }
    let text = text.map(Text::parse).transpose().map_err(|problem| Failure::Usage(problem.to_string()))?;
    let mut is_good = true;
    let (mut lines, mut list) = (String::new(), Vec::new());
    for (at, message) in messages(&config, timeline_path)? {
        let by = message.integration.kind.name();
        let extras = Extras::of(&config, &message);
        let expanded = match &text {
            Some(text) => vec![("text".to_owned(), found.library.expand(text, (&message, &extras), EXTERNAL_URL, at))],
            None => own_settings(&config, &found.library, (&message, &extras), at),
        };
        is_good &= expanded.iter().all(|(_, text)| text.is_ok());
        let (mut texts, mut errors) = (Map::new(), Map::new());
        lines.push_str(&format!(
            "{} {} ({by}):{}",
            print_time(at),
            message.receiver,
            if text.is_some() { " " } else { "\n" }
        ));
        for (name, text_of) in expanded {
            let (kind, shown) = match text_of {
                Ok(shown) => (&mut texts, shown),
                Err(error) => (&mut errors, error.to_string()),
            };
            match text {
                Some(_) => lines.push_str(&format!("{shown}\n")),
                None => lines.push_str(&format!("  {name}: {}\n", shown.trim_end().replace('\n', "\n    "))),
            }
            kind.insert(name, shown.into());
        }
        list.push(json!({
            "time": print_time(at), "receiver": message.receiver, "by": by, "texts": texts, "errors": errors,
        }));
    }
    if output.json {
        output.print_json(&Value::Array(list))?
    } else {
        output.print_text(&lines)?
    }
    Ok(is_good)
}

/// By name, what the settings of a message's integration make of it.
fn own_settings(
    config: &Config,
    library: &Library,
    (message, extras): (&Message, &Extras),
    at: i64,
) -> Vec<(String, Result<String, ExpandError>)> {
    // Of the other kinds there are no texts but those that somebody wrote.
    let integration = config.receivers[&message.receiver].integration(message.integration);
    let Some(integration) = integration.filter(|integration| integration.kind.is_sent()) else { return Vec::new() };
    library.expand_settings(&integration.settings, (message, extras), EXTERNAL_URL, at)
}
