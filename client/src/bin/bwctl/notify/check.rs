//! `bwctl notify check`: whether files are right, and what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bellwether_alert::notify::Config;
use bellwether_alert::notify::config::Receiver;
use bellwether_alert::yaml::problems::Problem;
use serde_json::{Value, json};

use super::{count, placed, problem_json, read};
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

fn check_file(path: &Path) -> Result<Checked, Vec<Problem>> {
    let mut config = read(path)?;
    let mut warnings = std::mem::take(&mut config.warnings);
    let directory = path.parent().unwrap_or(Path::new(""));
    let (mut templates, mut problems) = (Vec::new(), Vec::new());
    for pattern in &config.templates {
        let mut add = |message| problems.push(Problem { place: pattern.place, message });
        let found = match directory.join(&pattern.value).to_str().map(glob::glob) {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                add(format!("templates: {error}"));
                continue;
            }
            None => {
                add("templates: the path is no UTF-8".to_owned());
                continue;
            }
        };
        let before = templates.len();
        for path in found {
            match path {
                Ok(path) => templates.push(path),
                Err(error) => add(format!("templates: {error}")),
            }
        }
        if templates.len() == before {
            let message = format!("templates: no file matches {:?}", pattern.value);
            warnings.push(Problem { place: pattern.place, message });
        }
    }
    let routes_to = routes_to(&config);
    for (name, receiver) in &config.receivers {
        if !routes_to.contains_key(name.as_str()) {
            warnings.push(Problem { place: receiver.place, message: format!("no route leads to receiver {name:?}") });
        }
    }
    warnings.sort_by_key(|warning| warning.place);
    if problems.is_empty() { Ok(Checked { config, templates, warnings }) } else { Err(problems) }
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

fn text_of(path: &Path, checked: &Result<Checked, Vec<Problem>>) -> String {
    let mut text = format!("Checking {}\n", path.display());
    let checked = match checked {
        Ok(checked) => checked,
        Err(problems) => {
            text.push_str("  FAILED:\n");
            for problem in problems {
                text.push_str(&format!("{}\n", placed(path, problem)));
            }
            return text + "\n";
        }
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

fn json_of(path: &Path, checked: &Result<Checked, Vec<Problem>>) -> Value {
    let all = |problems: &[Problem]| problems.iter().map(problem_json).collect::<Vec<_>>();
    let checked = match checked {
        Ok(checked) => checked,
        Err(problems) => return json!({ "file": path, "errors": all(problems) }),
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
        "warnings": all(&checked.warnings),
    })
}
