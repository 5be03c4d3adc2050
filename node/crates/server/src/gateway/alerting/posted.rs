//! What clients of Alertmanager send: alerts and silences as JSON.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::ReceivedAlert;
use bellwether_alert::notify::matchers::{Matchers, reason};
use bellwether_model::{Labels, LabelsBuilder, MatchOp, Matcher, PatternBudget, Timestamp};
use serde::Deserialize;

use super::super::calendar::parse_rfc3339;
use crate::alerting::desk::{SilenceWish, read_matchers};

/// An alert.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedAlert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

/// A silence.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedSilence {
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    r#while: Option<String>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl PostedAlert {
    /// The alert, or what is wrong with it.
    pub fn read(self) -> Result<ReceivedAlert, String> {
        let labels = labels(self.labels).map_err(|error| format!("invalid label set: {error}"))?;
        if labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        let annotations = labels_of_annotations(self.annotations)?;
        let (begins_at, ends_at) = (time("startsAt", self.starts_at)?, time("endsAt", self.ends_at)?);
        if let (Some(begins_at), Some(ends_at)) = (begins_at, ends_at)
            && begins_at > ends_at
        {
            return Err("start time must be before end time".to_owned());
        }
        Ok(ReceivedAlert { labels, annotations, begins_at, ends_at, generator_url: self.generator_url })
    }
}

impl PostedSilence {
    /// The silence, or what is wrong with it.
    pub fn read(self) -> Result<SilenceWish, String> {
        let mut budget = PatternBudget::default();
        let matchers = self.matchers.into_iter().map(|posted| {
            if posted.name.is_empty() {
                return Err("a matcher has no label name".to_owned());
            }
            let op = match (posted.is_equal, posted.is_regex) {
                (true, false) => MatchOp::Equal,
                (false, false) => MatchOp::NotEqual,
                (true, true) => MatchOp::Regex,
                (false, true) => MatchOp::NotRegex,
            };
            Matcher::within(op, &posted.name, &posted.value, &mut budget)
                .map_err(|error| format!("matcher {:?}: {}", posted.name, reason(error)))
        });
        let matchers: Vec<Matcher> = matchers.collect::<Result<_, _>>()?;
        let needed = |name, text| time(name, Some(text))?.ok_or_else(|| format!("{name} is missing"));
        Ok(SilenceWish {
            id: self.id.filter(|id| !id.is_empty()),
            matchers: Matchers::new(matchers),
            during: during(self.r#while)?,
            begins_at: needed("startsAt", self.starts_at)?,
            ends_at: needed("endsAt", self.ends_at)?,
            created_by: self.created_by,
            comment: self.comment,
        })
    }
}

/// Not of Alertmanager: matchers as text; empty ones are none.
fn during(text: Option<String>) -> Result<Option<Matchers>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    read_matchers([text.as_str()]).map(Some).map_err(|error| format!("while: {error}"))
}

/// Go's zero time is none.
fn time(name: &'static str, text: Option<String>) -> Result<Option<Timestamp>, String> {
    const ZERO_MS: Timestamp = -62_135_596_800_000;
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let time =
        parse_rfc3339(&text).ok_or_else(|| format!("{name}: {text:?} is no time such as 2026-11-20T08:00:00Z"))?;
    Ok((time != ZERO_MS).then_some(time))
}

/// Labels without those that are empty.
fn labels(pairs: BTreeMap<String, String>) -> Result<Labels, String> {
    let mut labels = LabelsBuilder::default();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        labels.push(name, value);
    }
    labels.build().map_err(|error| error.to_string())
}

fn labels_of_annotations(pairs: BTreeMap<String, String>) -> Result<Labels, String> {
    labels(pairs).map_err(|error| format!("invalid annotations: {error}"))
}
