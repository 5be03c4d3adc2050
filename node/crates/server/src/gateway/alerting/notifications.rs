//! The notification configuration, in the shape of Mimir's: `alertmanager_config` is Alertmanager's file as text, `template_files` are
//! files of templates by their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_alert::yaml::problems::Problems;
use bellwether_alert::yaml::write::Mapping;
use bellwether_alert::yaml::{self, fields::Fields};

use super::super::error::TextError;
use super::super::json::push_strings;
use super::{ApiError, ErrorKind, Gateway, json};
use crate::alerting::desk::DeskError;

const CONFIG: &str = "alertmanager_config";
const TEMPLATES: &str = "template_files";

/// `PUT /api/v1/alertmanager/config`
pub async fn set(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, TextError> {
    let tenant = gateway.tenant(request.headers())?;
    let text = gateway.text_of(request).await?;
    let (config, templates) = read(&text).map_err(ApiError::from)?;
    let set = gateway.state.desk.set_notifications(&tenant, config, templates).await;
    let (revision, warnings) = set.map_err(ApiError::from)?;
    let mut out = format!("{{\"status\":\"success\",\"data\":{{\"revision\":{revision},\"warnings\":").into_bytes();
    push_strings(&mut out, warnings.iter().map(ToString::to_string));
    out.extend_from_slice(b"}}");
    Ok(json(StatusCode::OK, out))
}

/// `GET /api/v1/alertmanager/config`: as it was given, secrets included.
pub async fn show(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, TextError> {
    let tenant = gateway.tenant(&headers)?;
    let Some(stored) = gateway.state.desk.notifications(&tenant) else {
        return Err(ApiError::new(ErrorKind::NotFound, "there is no notification configuration").into());
    };
    let mut out = String::new();
    let mut fields = Mapping { out: &mut out, indent: 0, is_first: true };
    fields.pairs(TEMPLATES, stored.templates.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    fields.text(CONFIG, &stored.config);
    Ok(super::yaml(out))
}

/// `DELETE /api/v1/alertmanager/config`
pub async fn delete(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<StatusCode, TextError> {
    let tenant = gateway.tenant(&headers)?;
    gateway.state.desk.delete_notifications(&tenant).await.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mimir's body, or Alertmanager's file as it is.
fn read(text: &str) -> Result<(String, BTreeMap<String, String>), DeskError> {
    let root = yaml::read(text).map_err(|problem| DeskError::Wrong(vec![problem]))?;
    let Some(root) = root.filter(|root| is_wrapped(root)) else { return Ok((text.to_owned(), BTreeMap::new())) };
    let mut problems = Problems::default();
    let read = Fields::of(&root, "the body", &[TEMPLATES, CONFIG], &mut problems).map(|fields| {
        let config = fields.text(CONFIG, &mut problems).map(|config| config.value).unwrap_or_default();
        let templates = fields.pairs(TEMPLATES, &mut problems);
        let templates = templates.into_iter().map(|pair| (pair.name.to_owned(), pair.value.to_owned()));
        (config, templates.collect())
    });
    problems.into_result(read).map_err(DeskError::Wrong).map(Option::unwrap_or_default)
}

fn is_wrapped(root: &yaml::Node) -> bool {
    let yaml::Kind::Mapping(entries) = &root.kind else { return false };
    entries.iter().any(|(key, _)| match &key.kind {
        yaml::Kind::Scalar(scalar) => scalar.value == CONFIG || scalar.value == TEMPLATES,
        _ => false,
    })
}
