//! `bwctl notify render`: what a template makes of the messages of a timeline.

use std::path::Path;

use bellwether_alert::notify::templates::Text;
use serde_json::{Value, json};

use super::templates::read_templates;
use super::{messages, read, refused};
use crate::failure::Failure;
use crate::output::Output;
use crate::times::print_time;

/// Where people reach whoever sends, in templates.
const EXTERNAL_URL: &str = "http://localhost:9480";

/// Expands the text for each message; tells whether it could be each time.
pub fn render(output: Output, config_path: &Path, timeline_path: &Path, text: &str) -> Result<bool, Failure> {
    let config = read(config_path).map_err(|problems| refused(config_path, &problems))?;
    let found = read_templates(config_path, &config);
    if !found.errors.is_empty() {
        return Err(Failure::Refused(found.errors.join("\n       ")));
    }
    let text = Text::parse(text).map_err(|problem| Failure::Usage(problem.to_string()))?;
    let mut is_good = true;
    let (mut lines, mut list) = (String::new(), Vec::new());
    for (at, message) in messages(&config, timeline_path)? {
        let expanded = found.library.expand(&text, &message, EXTERNAL_URL, at);
        is_good &= expanded.is_ok();
        let (key, shown) = match expanded {
            Ok(text) => ("text", text),
            Err(error) => ("error", error.to_string()),
        };
        let by = message.kind.name();
        lines.push_str(&format!("{} {} ({by}): {shown}\n", print_time(at), message.receiver));
        list.push(json!({ "time": print_time(at), "receiver": message.receiver, "by": by, key: shown }));
    }
    if output.json {
        output.print_json(&Value::Array(list))?
    } else {
        output.print_text(&lines)?
    }
    Ok(is_good)
}
