//! `/api/v1/rules` and `/api/v1/alerts`, as Prometheus 3 answers them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bellwether_alert::alert_group::{Health, RuleProgress, StoredGroup};
use bellwether_alert::rules::{AlertingRule, Rule};
use bellwether_alert::state::alerting::{Alert, Phase};
use bellwether_model::{Labels, Matcher};
use bellwether_promql::parse_selectors;
use sha2::{Digest, Sha256};

use super::super::answer::{self, Notes, Pieces};
use super::super::json::{push_array, push_labels, push_string};
use super::super::params::Params;
use super::{ApiError, Gateway, definitions, go_exponential, go_time};
use crate::alerting::desk::{Desk, NamedGroup};

/// `GET /api/v1/rules`
pub async fn rules(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let filter = Filter::read(&params)?;
    let groups = gateway.state.desk.rule_groups(&tenant, None);
    let (groups, next_token) = filter.page(groups)?;
    let groups = groups.into_iter();
    Ok(answer::pieces(
        Rules { desk: gateway.state.desk.clone(), filter, groups, next_token, is_begun: false },
        Notes::default(),
        None,
    ))
}

/// `GET /api/v1/alerts`: what Prometheus's clients read, and beside it what those of `/v1/alerts` do.
pub async fn alerts(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let groups = gateway.state.desk.rule_groups(&tenant, None);
    let alerts = Alerts { groups, next: 0, is_begun: false, is_first: true };
    Ok(super::json(axum::http::StatusCode::OK, answer::body(alerts, None)))
}

/// The whole answer, a group at a time.
struct Alerts {
    groups: Vec<NamedGroup>,
    next: usize,
    is_begun: bool,
    is_first: bool,
}

impl Pieces for Alerts {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) {
            out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"alerts\":[");
        }
        while let Some(named) = self.groups.get(self.next).filter(|_| out.len() < enough) {
            self.next += 1;
            for (labels, alert) in rules_of(&named.group).flat_map(|(_, progress)| active(progress)) {
                if !std::mem::take(&mut self.is_first) {
                    out.push(b',');
                }
                push_alert(out, labels, alert);
            }
        }
        let is_end = self.next == self.groups.len();
        if is_end {
            out.extend_from_slice(b"]},\"alerts\":");
            definitions::push_list(out, &self.groups);
            out.push(b'}');
        }
        is_end
    }
}

/// What a client wants to see.
struct Filter {
    alerting: bool,
    recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    matchers: Vec<Vec<Matcher>>,
    without_alerts: bool,
    /// Groups of one answer.
    limit: Option<usize>,
    /// The token of the first of them.
    first: Option<String>,
}

impl Filter {
    fn read(params: &Params) -> Result<Filter, ApiError> {
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        let (alerting, recording) = match params.get("type").map(str::to_lowercase).as_deref() {
            None => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(text) => return Err(ApiError::parameter("type", format!("not supported value {text:?}"))),
        };
        let selectors = parse_selectors(params.all("match[]"));
        let limit = match params.get("group_limit") {
            None => None,
            Some(text) => match text.parse::<i64>() {
                Ok(limit) if limit > 0 => Some(usize::try_from(limit).unwrap_or(usize::MAX)),
                Ok(_) => return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
                Err(_) => {
                    let message = format!("group_limit needs to be a valid number: {text:?}");
                    return Err(ApiError::parameter("group_limit", message));
                }
            },
        };
        let first = params.get("group_next_token").map(str::to_owned);
        if first.is_some() && limit.is_none() {
            let message = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_next_token", message));
        }
        Ok(Filter {
            alerting,
            recording,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers: selectors.map_err(|error| ApiError::parameter("match[]", error))?,
            without_alerts: params.flag("exclude_alerts")?,
            limit,
            first,
        })
    }

    /// The groups of one answer that have a rule to show, and the token of the next.
    fn page(&self, groups: Vec<NamedGroup>) -> Result<(Vec<NamedGroup>, Option<String>), ApiError> {
        let begin = match &self.first {
            None => 0,
            Some(first) => groups.iter().position(|named| token(named) == *first).ok_or_else(|| {
                let message = format!("invalid group_next_token '{first}'. were rule groups changed?");
                ApiError::parameter("group_next_token", message)
            })?,
        };
        let is_wanted = |named: &NamedGroup| {
            (self.groups.is_empty() || self.groups.contains(&named.name))
                && (self.files.is_empty() || self.files.contains(&named.namespace))
                && rules_of(&named.group).any(|(rule, _)| self.takes(rule))
        };
        let mut shown = Vec::new();
        for named in groups.into_iter().skip(begin).filter(is_wanted) {
            if self.limit.is_some_and(|limit| shown.len() >= limit) {
                let next = token(&named);
                return Ok((shown, Some(next)));
            }
            shown.push(named);
        }
        Ok((shown, None))
    }

    fn takes(&self, rule: &Rule) -> bool {
        let of_type = match rule {
            Rule::Alerting(_) => self.alerting,
            Rule::Recording(_) => self.recording,
        };
        let label = |name: &str| match rule {
            Rule::Alerting(rule) => {
                rule.labels.iter().find(|label| label.name == name).map_or("", |label| label.text.as_str())
            }
            Rule::Recording(rule) => {
                rule.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
            }
        };
        let meets = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(label(matcher.name())));
        of_type
            && (self.names.is_empty() || self.names.iter().any(|name| name == rule.name()))
            && (self.matchers.is_empty() || self.matchers.iter().any(meets))
    }
}

/// By which a client goes on where an answer ended. Says nothing of the group but which it is.
fn token(named: &NamedGroup) -> String {
    let hash = Sha256::digest(format!("{};{}", named.namespace, named.name));
    hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

/// Rules with what is known of them; none of a text that means nothing to this program.
fn rules_of(group: &StoredGroup) -> impl Iterator<Item = (&Rule, &RuleProgress)> {
    let rules = group.parsed.as_ref().map_or(&[][..], |parsed| &parsed.rules[..]);
    rules.iter().zip(&group.progress.rules)
}

fn active(progress: &RuleProgress) -> impl Iterator<Item = (&Labels, &Alert)> {
    progress.alerts.iter().filter(|(_, alert)| alert.phase.is_active())
}

/// The data, a group at a time.
struct Rules {
    desk: Desk,
    filter: Filter,
    groups: std::vec::IntoIter<NamedGroup>,
    next_token: Option<String>,
    is_begun: bool,
}

impl Pieces for Rules {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let mut is_first = !std::mem::replace(&mut self.is_begun, true);
        if is_first {
            out.extend_from_slice(b"{\"groups\":[");
        }
        while out.len() < enough {
            let Some(named) = self.groups.next() else {
                out.push(b']');
                if let Some(token) = &self.next_token {
                    out.extend_from_slice(b",\"groupNextToken\":");
                    push_string(out, token);
                }
                out.push(b'}');
                return true;
            };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            self.push_group(out, &named);
        }
        false
    }
}

impl Rules {
    fn push_group(&self, out: &mut Vec<u8>, named: &NamedGroup) {
        let (group, rules) = (&named.group, named.rules());
        let progress = &group.progress;
        out.extend_from_slice(b"{\"name\":");
        push_string(out, &named.name);
        out.extend_from_slice(b",\"file\":");
        push_string(out, &named.namespace);
        out.extend_from_slice(b",\"rules\":");
        push_array(out, rules_of(group).filter(|(rule, _)| self.filter.takes(rule)), |out, (rule, known)| {
            push_rule(out, rule, known, &progress.last_evaluation, self.filter.without_alerts);
        });
        let interval_ms = self.desk.interval_ms(named);
        let limit = rules.and_then(|rules| rules.limit).unwrap_or(0);
        let evaluated = format!(
            ",\"interval\":{},\"limit\":{limit},\"evaluationTime\":{},\"lastEvaluation\":\"{}\"}}",
            interval_ms as f64 / 1e3,
            f64::from(progress.duration_us) / 1e6,
            go_time(progress.last_evaluation)
        );
        out.extend_from_slice(evaluated.as_bytes());
    }
}

fn push_rule(
    out: &mut Vec<u8>,
    rule: &Rule,
    known: &RuleProgress,
    last_evaluation: &Option<bellwether_model::Timestamp>,
    without_alerts: bool,
) {
    let name_and_query = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"\"name\":");
        push_string(out, rule.name());
        out.extend_from_slice(b",\"query\":");
        push_string(out, &rule.query().text);
    };
    let kind = match rule {
        Rule::Alerting(rule) => {
            out.extend_from_slice(format!("{{\"state\":\"{}\",", state_of(known)).as_bytes());
            name_and_query(out);
            push_alerting(out, rule, known, without_alerts);
            "alerting"
        }
        Rule::Recording(rule) => {
            out.push(b'{');
            name_and_query(out);
            if !rule.labels.is_empty() {
                out.extend_from_slice(b",\"labels\":");
                push_pairs(out, rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            }
            "recording"
        }
    };
    let (health, error) = health(&known.health);
    out.extend_from_slice(format!(",\"health\":\"{health}\"").as_bytes());
    if let Some(error) = error {
        out.extend_from_slice(b",\"lastError\":");
        push_string(out, error);
    }
    let evaluated = format!(
        ",\"evaluationTime\":{},\"lastEvaluation\":\"{}\",\"type\":\"{kind}\"}}",
        f64::from(known.duration_us) / 1e6,
        go_time(*last_evaluation)
    );
    out.extend_from_slice(evaluated.as_bytes());
}

fn push_alerting(out: &mut Vec<u8>, rule: &AlertingRule, known: &RuleProgress, without_alerts: bool) {
    let [wait, keep] = [rule.for_ms, rule.keep_firing_for_ms].map(|ms| ms as f64 / 1e3);
    // Prometheus has no such rules, and its clients ignore what they do not know.
    let critical = if rule.critical { ",\"critical\":true" } else { "" };
    out.extend_from_slice(format!(",\"duration\":{wait},\"keepFiringFor\":{keep}{critical},\"labels\":").as_bytes());
    push_pairs(out, rule.labels.iter().map(|label| (label.name.as_str(), label.text.as_str())));
    out.extend_from_slice(b",\"annotations\":");
    push_pairs(out, rule.annotations.iter().map(|annotation| (annotation.name.as_str(), annotation.text.as_str())));
    out.extend_from_slice(b",\"alerts\":");
    if without_alerts {
        // As Prometheus answers.
        out.extend_from_slice(b"null");
    } else {
        push_array(out, active(known), |out, (labels, alert)| push_alert(out, labels, alert));
    }
}

/// The worst state of a rule's alerts.
pub fn state_of(known: &RuleProgress) -> &'static str {
    let rank = |phase: &Phase| match phase {
        Phase::Firing { .. } => 2,
        Phase::Pending => 1,
        Phase::Resolved { .. } => 0,
    };
    match known.alerts.values().map(|alert| rank(&alert.phase)).max() {
        Some(2) => "firing",
        Some(1) => "pending",
        _ => "inactive",
    }
}

/// A rule's health in Prometheus's words, and why it is bad.
pub fn health(health: &Health) -> (&'static str, Option<&str>) {
    match health {
        Health::Unknown => ("unknown", None),
        Health::Ok => ("ok", None),
        Health::Failed(error) => ("err", Some(error)),
    }
}

fn push_alert(out: &mut Vec<u8>, labels: &Labels, alert: &Alert) {
    let (state, kept_since) = match alert.phase {
        Phase::Firing { kept_since, .. } => ("firing", kept_since),
        Phase::Pending => ("pending", None),
        Phase::Resolved { .. } => ("inactive", None),
    };
    out.extend_from_slice(b"{\"labels\":");
    push_labels(out, labels);
    out.extend_from_slice(b",\"annotations\":");
    push_pairs(out, alert.annotations.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let mut rest = format!(",\"state\":\"{state}\",\"activeAt\":\"{}\"", go_time(Some(alert.active_at)));
    if let Some(since) = kept_since {
        rest.push_str(&format!(",\"keepFiringSince\":\"{}\"", go_time(Some(since))));
    }
    rest.push_str(&format!(",\"value\":\"{}\"}}", go_exponential(alert.value)));
    out.extend_from_slice(rest.as_bytes());
}

fn push_pairs<'p>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'p str, &'p str)>) {
    out.push(b'{');
    for (at, (name, value)) in pairs.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        push_string(out, value);
    }
    out.push(b'}');
}
