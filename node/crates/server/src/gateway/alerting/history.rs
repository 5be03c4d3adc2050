//! `/api/v1/alerts/history`: what became of alerts of rules.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_alert::alert_group::Transition;

use super::super::answer::{self, Pieces};
use super::super::calendar::format_rfc3339;
use super::super::json::{push_labels, push_string};
use super::super::params::Params;
use super::{ApiError, Gateway, go_exponential};
use crate::alerting::desk::history::{HistoryFilter, name_of};
use crate::alerting::desk::read_matchers;

/// `GET /api/v1/alerts/history`
pub async fn history(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let matchers = read_matchers(params.all("filter"))?;
    let time = |name| params.get(name).map(|_| params.time(name)).transpose();
    let filter = HistoryFilter::new(matchers, time("start")?, time("end")?, params.limit()?);
    let history = gateway.state.desk.history(&tenant, &filter);
    let transitions = history.transitions.into_iter();
    let pieces = Transitions { transitions, is_cut: history.is_cut, is_begun: false };
    Ok(super::json(StatusCode::OK, answer::body(pieces, None)))
}

/// The answer, a transition at a time.
struct Transitions {
    transitions: std::vec::IntoIter<Transition>,
    is_cut: bool,
    is_begun: bool,
}

impl Pieces for Transitions {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let mut is_first = !std::mem::replace(&mut self.is_begun, true);
        if is_first {
            out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"history\":[");
        }
        while out.len() < enough {
            let Some(transition) = self.transitions.next() else {
                out.extend_from_slice(format!("],\"truncated\":{}}}}}", self.is_cut).as_bytes());
                return true;
            };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            push_transition(out, &transition);
        }
        false
    }
}

fn push_transition(out: &mut Vec<u8>, transition: &Transition) {
    out.extend_from_slice(b"{\"at\":");
    push_string(out, &format_rfc3339(transition.at));
    out.extend_from_slice(b",\"labels\":");
    push_labels(out, &transition.labels);
    let (state, value) = (name_of(transition.change), go_exponential(transition.value));
    out.extend_from_slice(format!(",\"state\":\"{state}\",\"value\":\"{value}\"}}").as_bytes());
}
