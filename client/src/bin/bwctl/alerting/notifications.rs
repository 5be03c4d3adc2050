//! The notification configuration of the cluster.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::client_of;
use crate::Context;
use crate::arguments::{NotifyCommand, TenantOption};
use crate::ask::confirm;
use crate::failure::Failure;
use crate::notify::{placed, read, read_templates, read_text, refused};

/// Runs a command that asks a node.
pub async fn run(context: &Context, command: NotifyCommand) -> Result<(), Failure> {
    match command {
        NotifyCommand::Load { file, of } => load(context, &file, &of).await,
        NotifyCommand::Show { of } => {
            let stored = client_of(context, &of)?.alerting().notifications().await?;
            if stored.config.is_empty() {
                return Err(Failure::Refused("there is no notification configuration: nobody is told".to_owned()));
            }
            if context.output.json {
                let shown =
                    json!({"config": stored.config, "templates": stored.templates, "revision": stored.revision});
                return Ok(context.output.print_json(&shown)?);
            }
            Ok(context.output.print_text(&stored.config)?)
        }
        NotifyCommand::Status { failing, of } => super::receivers::status(context, failing, &of).await,
        NotifyCommand::Delete { of } => {
            confirm(context.yes, "this deletes the notification configuration: nobody will be told of alerts")?;
            client_of(context, &of)?.alerting().delete_notifications().await?;
            Ok(context.output.print_line("the notification configuration is deleted", &json!({"deleted": true}))?)
        }
        _ => Ok(()),
    }
}

async fn load(context: &Context, file: &Path, of: &TenantOption) -> Result<(), Failure> {
    let config = read(file).map_err(|problems| refused(file, &problems))?;
    let found = read_templates(file, &config);
    if !found.errors.is_empty() {
        return Err(Failure::Refused(found.errors.join("\n       ")));
    }
    for warning in &found.warnings {
        eprintln!("bwctl: {}", placed(file, warning));
    }
    let mut templates = BTreeMap::new();
    for path in &found.files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = read_text(path).map_err(|problems| refused(path, &problems))?;
        if templates.insert(name.clone(), text).is_some() {
            return Err(Failure::Refused(format!("two files with templates have the name {name:?}")));
        }
    }
    let text = read_text(file).map_err(|problems| refused(file, &problems))?;
    let count = templates.len();
    let answer = client_of(context, of)?.alerting().set_notifications(&text, templates).await?;
    for warning in &answer.warnings {
        eprintln!("bwctl: {}:{warning}", file.display());
    }
    let receivers = config.receivers.len();
    let line = format!("revision {}: {receivers} receivers, {count} template files", answer.revision);
    let loaded = json!({"revision": answer.revision, "receivers": receivers, "template_files": count});
    Ok(context.output.print_line(&line, &loaded)?)
}
