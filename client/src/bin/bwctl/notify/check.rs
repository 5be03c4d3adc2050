//! `bwctl notify check`: whether files are right, and what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bellwether_alert::notify::Config;
use bellwether_alert::notify::config::Receiver;
use bellwether_alert::notify::templates::check_settings;
use bellwether_alert::yaml::problems::Problem;
use serde_json::{Value, json};

use super::templates::read_templates;
use super::{count, placed, read};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

/// A file that is right.
struct Checked {
    config: Config,
    /// Files with templates.
    templates: Vec<PathBuf>,
    warnings: Vec<Problem>,
}

/// Checks files; tells whether all are right.
pub fn check(output: Output, paths: &[PathBuf]) -> Result<bool, Failure> {
    let checked: Vec<_> = paths.iter().map(|path| (path, check_file(path))).collect();
    if output.json {
        let files: Vec<Value> = checked.iter().map(|(path, checked)| json_of(path, checked)).collect();
        output.print_json(&Value::Array(files))?;
    } else {
        for (path, checked) in &checked {
            output.print_text(&text_of(path, checked))?;
        }
    }
    Ok(checked.iter().all(|(_, checked)| checked.is_ok()))
}

fn check_file(path: &Path) -> Result<Checked, Vec<String>> {
    let placed_all =
        |problems: Vec<Problem>| -> Vec<String> { problems.iter().map(|problem| placed(path, problem)).collect() };
    let mut config = read(path).map_err(placed_all)?;
    let found = read_templates(path, &config);
    let mut errors = placed_all(check_settings(&config));
    errors.extend(found.errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut warnings = std::mem::take(&mut config.warnings);
    warnings.extend(found.warnings);
    let routes_to = routes_to(&config);
    for (name, receiver) in &config.receivers {
        if !routes_to.contains_key(name.as_str()) {
            warnings.push(Problem { place: receiver.place, message: format!("no route leads to receiver {name:?}") });
        }
    }
    warnings.sort_by_key(|warning| warning.place);
    Ok(Checked { config, templates: found.files, warnings })
}

fn routes_to(config: &Config) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (_, route) in config.routes.iter() {
        *counts.entry(route.receiver.as_str()).or_default() += 1;
    }
    counts
}

fn integrations(receiver: &Receiver) -> Vec<&'static str> {
    receiver.integrations.iter().map(|integration| integration.kind.name()).collect()
}

fn text_of(path: &Path, checked: &Result<Checked, Vec<String>>) -> String {
    let mut text = format!("Checking {}\n", path.display());
    let checked = match checked {
        Ok(checked) => checked,
        Err(errors) => return text + &format!("  FAILED:\n{}\n\n", errors.join("\n")),
    };
    let config = &checked.config;
    for warning in &checked.warnings {
        text.push_str(&format!("  WARNING: {}\n", placed(path, warning)));
    }
    text.push_str(&format!(
        "  SUCCESS: {}, {}, {}, {}, {}\n\n",
        count(config.receivers.len(), "receiver"),
        count(config.routes.iter().count(), "route"),
        count(config.inhibitions.len(), "inhibition rule"),
        count(config.intervals.len(), "time interval"),
        count(checked.templates.len(), "template file"),
    ));
    let routes_to = routes_to(config);
    let mut table = Table::new([Column::Left("RECEIVER"), Column::Right("ROUTES"), Column::Left("TOLD BY")]);
    for (name, receiver) in &config.receivers {
        let routes = routes_to.get(name.as_str()).copied().unwrap_or_default();
        let told_by = integrations(receiver).join(" ");
        table.row([name.clone(), routes.to_string(), if told_by.is_empty() { "-".to_owned() } else { told_by }]);
    }
    text + &format!("{table}\n")
}

fn json_of(path: &Path, checked: &Result<Checked, Vec<String>>) -> Value {
    let checked = match checked {
        Ok(checked) => checked,
        Err(errors) => return json!({ "file": path, "errors": errors }),
    };
    let config = &checked.config;
    let routes_to = routes_to(config);
    let receiver = |(name, receiver): (&String, &Receiver)| {
        let routes = routes_to.get(name.as_str()).copied().unwrap_or_default();
        json!({ "name": name, "routes": routes, "integrations": integrations(receiver) })
    };
    json!({
        "file": path,
        "receivers": config.receivers.iter().map(receiver).collect::<Vec<_>>(),
        "routes": config.routes.iter().count(),
        "inhibit_rules": config.inhibitions.len(),
        "time_intervals": config.intervals.keys().collect::<Vec<_>>(),
        "templates": checked.templates,
        "warnings": checked.warnings.iter().map(|warning| placed(path, warning)).collect::<Vec<_>>(),
    })
}
