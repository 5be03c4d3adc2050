//! A client that sets rule groups and deletes them, silences some beforehand, takes care of the alerts of others, and looks at what
//! nodes say of them.

use std::time::Duration;

use bellwether_client::Client as Library;
use serde_json::Value;
use tokio::time::sleep;

use super::{Client, DEADLINE, Phase};
use crate::cluster::alerts::{Care, Fate, Group, Receiver, tenant};
use crate::cluster::coverage::Mark;
use crate::cluster::http::{Answer, ask, encoded};
use crate::cluster::library;
use crate::cluster::net::now_ms;
use crate::cluster::receiver::RECEIVER_PORT;
use crate::cluster::world::CLIENTS_ADDRESS;
use crate::random::Random;
use crate::work::lock;

/// Groups that are there at a time: each is evaluated every few seconds.
const GROUPS_MAX: usize = 4;
/// How long an alert may be pending.
const HOLD_SECONDS_MAX: u64 = 20;
/// How long after the end of `for` an alert must fire.
const FIRES_WITHIN: Duration = Duration::from_secs(20);
/// After how long somebody else is told of an alert that nobody takes care of, and how much later that may be.
const ESCALATES_AFTER: Duration = Duration::from_secs(20);
const ESCALATES_WITHIN: Duration = Duration::from_secs(20);
/// Attempts of a request until its outcome counts as unknown.
const ATTEMPTS_MAX: usize = 4;
pub(super) const NAMESPACE: &str = "sim";

/// A change that was made.
pub(super) struct Changed {
    /// What the node said to it.
    pub body: Vec<u8>,
    /// Whether that was the first attempt: one that was not answered may be made later.
    pub is_first: bool,
}

impl Client {
    pub(super) async fn alert_on(mut self) {
        self.work().await;
        while !self.configure().await {
            sleep(Duration::from_secs(1)).await;
        }
        lock(&self.shared.alerts).is_configured = true;
        let seed = Random::of(self.shared.options.seed, "acknowledging").bits();
        let library = library::builder(self.shared.options.nodes, seed, &self.shared.trace);
        let library = match library.tenant(tenant().as_str()).build() {
            Ok(library) => library,
            Err(error) => return self.shared.violated(format!("no client for alerts: {error}")),
        };
        let mut groups = 0;
        loop {
            self.work().await;
            sleep(Duration::from_millis(500 + self.random.below(4_000))).await;
            let there = self.there();
            match self.below(10) {
                0..4 if there.len() < GROUPS_MAX => {
                    groups += 1;
                    self.set(&format!("g{groups}")).await;
                }
                4 if !there.is_empty() => {
                    let name = there[self.below(there.len())].clone();
                    self.delete(&name).await;
                }
                5..7 if self.shared.options.workload.pages => self.acknowledge(&library).await,
                _ => {
                    let node = self.node();
                    // A node that does not answer now says nothing wrong.
                    let _ = self.look_at_alerts(node).await;
                }
            }
        }
    }

    /// Groups that are known to be there.
    fn there(&self) -> Vec<String> {
        let alerts = lock(&self.shared.alerts);
        let there = alerts.groups().iter().filter(|(_, group)| matches!(group.fate, Fate::Set(_)));
        there.map(|(name, _)| name.clone()).collect()
    }

    async fn configure(&mut self) -> bool {
        let (routes, policies) = if self.shared.options.workload.pages {
            let after = ESCALATES_AFTER.as_secs();
            (
                "routes: [{matchers: [alertname=\"Pulse\"], receiver: nobody}, \
                 {matchers: [changes=\"yes\"], receiver: team}, {receiver: team, escalation: page}]",
                format!("escalation_policies: [{{name: page, steps: [{{notify: boss, after: {after}s}}]}}]\n"),
            )
        } else {
            ("routes: []", String::new())
        };
        let receivers = Receiver::ALL.map(|receiver| {
            let url = format!("http://127.0.0.{CLIENTS_ADDRESS}:{RECEIVER_PORT}/{receiver}");
            format!("- {{name: {receiver}, webhook_configs: [{{url: '{url}'}}]}}\n")
        });
        let config = format!(
            "route: {{receiver: team, group_by: [of], group_wait: 1s, group_interval: 5s, repeat_interval: 10d, {routes}}}\n\
             {policies}receivers:\n- {{name: nobody}}\n{}",
            receivers.concat()
        );
        self.change("PUT", "/api/v1/alertmanager/config", &config).await.is_some()
    }

    async fn set(&mut self, name: &str) {
        let hold = Duration::from_secs(self.random.below(HOLD_SECONDS_MAX));
        let is_silenced = self.random.percent(25);
        if is_silenced && !self.silence(name).await {
            return;
        }
        lock(&self.shared.alerts).begin(name, hold, is_silenced);
        let (interval, hold) = (2 + self.random.below(4), hold.as_secs());
        let text = format!(
            "name: {name}\ninterval: {interval}s\nrules:\n\
             - {{record: 'sim:beat', expr: vector(time()), labels: {{of: {name}}}}}\n\
             - {{alert: Beats, for: {hold}s, labels: {{of: {name}}}, {}\n",
            self.condition(name)
        );
        if self.change("POST", &format!("/api/v1/rules/{NAMESPACE}"), &text).await.is_some() {
            lock(&self.shared.alerts).settle(name, Fate::Set(Duration::from_millis(now_ms() as u64)));
            self.shared.reach(Mark::RuleGroupSet);
        }
    }

    /// When the alert of a group fires, as the rest of the text: always, in one of the ways in which rules are evaluated.
    fn condition(&mut self, name: &str) -> String {
        let beat = format!("sim:beat{{of=\"{name}\"}}");
        let way = if self.shared.options.workload.pages { self.below(4) } else { 0 };
        match way {
            0 => format!("expr: '{beat} > 0'}}"),
            1 => format!("expr: '{beat} > 0', critical: true}}"),
            2 => format!(
                "expr: '{beat} > bool 0', thresholds: {{critical: 0.7, warning: 0.3}}, checks: {{at_least: 2, of: 3}}, \
                 no_data: {{behavior: keep}}}}"
            ),
            // Nobody is told of the alert that it asks after.
            _ => format!(
                "composite: 'Pulse{{from=\"{name}\"}}', critical: true}}\n\
                 - {{alert: Pulse, expr: '{beat} > 0', critical: true, labels: {{from: {name}}}}}"
            ),
        }
    }

    /// Takes care of an alert of which the team was told.
    async fn acknowledge(&mut self, library: &Library) {
        let is_due = |group: &Group| {
            matches!(group.fate, Fate::Set(_)) && group.care == Care::Nobody && group.was_told(Receiver::Team, false)
        };
        let due =
            lock(&self.shared.alerts).groups().iter().find(|(_, group)| is_due(group)).map(|(name, _)| name.clone());
        let Some(name) = due else { return };
        lock(&self.shared.alerts).care(&name, Care::Unknown);
        let answer =
            library.alerting().acknowledge(&["alertname=Beats".to_owned(), format!("of={name}")], &self.name).await;
        self.event(&format!("acknowledges {name}: {answer:?}"));
        // None: an attempt before was heard, and its answer lost.
        if answer.is_ok_and(|alerts| alerts > 0) {
            lock(&self.shared.alerts).care(&name, Care::Taken(Duration::from_millis(now_ms() as u64)));
            self.shared.reach(Mark::Acknowledged);
        }
    }

    async fn delete(&mut self, name: &str) {
        lock(&self.shared.alerts).settle(name, Fate::Unknown);
        if self.change("DELETE", &format!("/api/v1/rules/{NAMESPACE}/{name}"), "").await.is_some() {
            lock(&self.shared.alerts).settle(name, Fate::Deleted);
            self.shared.reach(Mark::RuleGroupDeleted);
        }
    }

    async fn silence(&mut self, name: &str) -> bool {
        let body = format!(
            r#"{{"matchers":[{{"name":"of","value":"{name}","isRegex":false}}],"startsAt":"2000-01-01T00:00:00Z","endsAt":"2100-01-01T00:00:00Z","createdBy":"sim","comment":"before it fires"}}"#
        );
        // Once is enough; twice does no harm.
        self.change("POST", "/api/v2/silences", &body).await.is_some()
    }

    /// Asks for a change until it is answered; `None` if it is not known whether it was made.
    pub(super) async fn change(&mut self, method: &str, path: &str, body: &str) -> Option<Changed> {
        for attempt in 0..ATTEMPTS_MAX {
            let node = self.node();
            let answer = ask(node, method, path, &tenant(), body.as_bytes(), DEADLINE).await;
            let said = match &answer {
                Ok(answer) => answer.status.to_string(),
                Err(reason) => reason.clone(),
            };
            self.event(&format!("{method} {path} on n{node}: {said}"));
            match answer {
                Ok(Answer { status, body }) if (200..300).contains(&status) => {
                    return Some(Changed { body, is_first: attempt == 0 });
                }
                // What an attempt before deleted is not there any more. Silences are remembered.
                Ok(Answer { status: 404, body }) if method == "DELETE" && path.starts_with("/api/v1/rules/") => {
                    return Some(Changed { body, is_first: attempt == 0 });
                }
                Ok(Answer { status: 503 | 429, .. }) | Err(_) => {}
                Ok(Answer { status, body }) => {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    self.shared
                        .violated(format!("legal changes of rules are made: node {node} answers {status}: {body}"));
                }
            }
            if *self.phase.borrow() != Phase::Work {
                return None;
            }
            sleep(Duration::from_millis(100 + self.random.below(1000))).await;
        }
        None
    }

    /// What a node says of each group: the state of its alert, if it has one.
    async fn look_at_alerts(&mut self, node: usize) -> Result<Vec<(String, Option<String>)>, String> {
        let answer = ask(node, "GET", "/api/v1/rules?type=alert", &tenant(), &[], DEADLINE).await?;
        if answer.status != 200 {
            return Err(format!("rules are answered {}", answer.status));
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let groups = body["data"]["groups"].as_array().ok_or("an answer without groups")?;
        let mut found = Vec::new();
        for group in groups {
            let name = group["name"].as_str().unwrap_or_default().to_owned();
            if let Err(wrong) = lock(&self.shared.alerts).active(&name, &group["rules"]) {
                self.shared.violated(format!("{wrong}, says node {node}"));
            }
            found.push((name, group["rules"][0]["alerts"][0]["state"].as_str().map(str::to_owned)));
        }
        Ok(found)
    }

    /// Whether a node has all groups that were set, and no others, and all have been told of that are to be.
    pub(super) async fn examine_alerts(&mut self, node: usize) -> Result<(), String> {
        if self.shared.options.workload.alerters == 0 {
            return Ok(());
        }
        let found = self.look_at_alerts(node).await?;
        let groups = lock(&self.shared.alerts).groups().clone();
        let pages = self.shared.options.workload.pages;
        for (name, group) in &groups {
            let state = found.iter().find(|(found, _)| found == name).map(|(_, state)| state.as_deref());
            let escalated = || if pages { has_escalated(group) } else { Ok(()) };
            let judged = is_as_it_should(group, state).and_then(|()| escalated());
            judged.map_err(|reason| format!("rule group {name}: {reason}"))?;
        }
        // An alert that begins anew is another one.
        if !lock(&self.shared.alerts).is_set_back() {
            let is_taken = |group: &Group| matches!(group.fate, Fate::Set(_)) && matches!(group.care, Care::Taken(_));
            for (name, _) in groups.iter().filter(|(_, group)| is_taken(group)) {
                self.is_taken_care_of(node, name).await?;
            }
        }
        self.examine_changing(node).await
    }

    /// Whether a node knows that this client takes care of an alert.
    async fn is_taken_care_of(&self, node: usize, name: &str) -> Result<(), String> {
        let path = format!("/api/v2/alerts?filter=alertname%3DBeats&filter={}", encoded(&format!("of={name}")));
        let answer = ask(node, "GET", &path, &tenant(), &[], DEADLINE).await?;
        if answer.status != 200 {
            return Err(format!("alerts are answered {}", answer.status));
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        if body[0]["status"]["acknowledged"]["by"].is_string() {
            return Ok(());
        }
        Err(format!("the alert of rule group {name} was acknowledged, and is {}", body[0]["status"]))
    }
}

fn is_as_it_should(group: &Group, state: Option<Option<&str>>) -> Result<(), String> {
    let now = Duration::from_millis(now_ms() as u64);
    match (group.fate, state) {
        (Fate::Unknown, _) => {}
        (Fate::Deleted, Some(_)) => return Err("it was deleted, and is there".to_owned()),
        (Fate::Deleted, None) => {
            for receiver in Receiver::ALL {
                if group.was_told(receiver, false) && !group.was_told(receiver, true) {
                    return Err(format!("the {receiver} was not told that its alert is over"));
                }
            }
        }
        (Fate::Set(_), None) => return Err("it was set, and is not there".to_owned()),
        (Fate::Set(at), Some(state)) if now > at + group.hold + FIRES_WITHIN => {
            if state != Some("firing") {
                return Err(format!("its alert should fire and is {state:?}"));
            }
            if !group.is_silenced && !group.was_told(Receiver::Team, false) {
                return Err("nobody was told that its alert fires".to_owned());
            }
        }
        (Fate::Set(_), Some(_)) => {}
    }
    Ok(())
}

/// Whether the boss was told of an alert that fires, and that nobody takes care of.
fn has_escalated(group: &Group) -> Result<(), String> {
    let Fate::Set(at) = group.fate else { return Ok(()) };
    let by = at + group.hold + FIRES_WITHIN + ESCALATES_AFTER + ESCALATES_WITHIN;
    let is_due = Duration::from_millis(now_ms() as u64) > by && group.care == Care::Nobody && !group.is_silenced;
    if is_due && !group.was_told(Receiver::Boss, false) {
        return Err("the boss was not told that its alert fires".to_owned());
    }
    Ok(())
}
