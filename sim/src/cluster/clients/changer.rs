//! A client whose rule groups change: it edits rules while the others of their group go on, writes the series that a rule asks after, and
//! deletes silences. At the end each such series goes up and down once more, and of both must be told.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_model::{LabelsBuilder, METRIC_NAME, Sample};
use serde_json::Value;
use tokio::time::sleep;

use super::alerter::NAMESPACE;
use super::{Client, DEADLINE};
use crate::body::remote_write;
use crate::cluster::alerts::changing::{ADDED, Changing, EDITED, Hearing, STAYS, SWITCHED, alert_key};
use crate::cluster::alerts::tenant;
use crate::cluster::coverage::Mark;
use crate::cluster::http::ask;
use crate::work::lock;

/// Groups at most: each is evaluated every few seconds.
const GROUPS_MAX: usize = 4;
/// How long an alert may be pending.
const HOLD_SECONDS_MAX: u64 = 8;
/// How often a series that is asked after goes up or down when it could, in per cent.
const SWITCHES_PERCENT: u64 = 15;
/// How often is looked whether all is as it should be before the node's whole examination begins anew.
const LOOKS_MAX: u32 = 30;
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Alerts that were edited so often have another name.
const EDITIONS_OF_NAME: u32 = 2;
/// And one has come and gone.
const EDITIONS_OF_ADDED: u32 = 3;

/// A group that this client has set.
struct Owned {
    name: String,
    interval: u64,
    hold: u64,
    sort: Sort,
}

enum Sort {
    /// Its rules are edited; how often they were.
    Edited(u32),
    /// It asks after a series: whether that is up.
    Switched(bool),
    /// The silence that covers it.
    Silenced(String),
    /// It is left as it is. What was asked for and not answered may still be made, and must not meet what is asked for later.
    Left,
}

impl Client {
    pub(super) async fn change_on(mut self) {
        let mut groups = Vec::new();
        let mut count = 0;
        loop {
            self.work().await;
            sleep(Duration::from_millis(500 + self.random.below(2_500))).await;
            if !lock(&self.shared.alerts).is_configured {
                continue;
            }
            if count < GROUPS_MAX && self.random.percent(30) {
                count += 1;
                let sort = self.below(3);
                groups.extend(self.set_changing(&format!("c{count}"), sort).await);
            } else if !groups.is_empty() {
                let at = self.below(groups.len());
                self.change_group(&mut groups[at]).await;
            }
            self.write_switches(&groups).await;
        }
    }

    /// Sets a group of one of three sorts; none if it is not known whether it is there.
    async fn set_changing(&mut self, name: &str, sort: usize) -> Option<Owned> {
        let (interval, hold) = (2 + self.random.below(4), self.random.below(HOLD_SECONDS_MAX));
        let sort = match sort {
            0 => Sort::Edited(0),
            1 => Sort::Switched(false),
            _ => {
                let body = format!(
                    r#"{{"matchers":[{{"name":"of","value":"{name}","isRegex":false}}],"startsAt":"2000-01-01T00:00:00Z","endsAt":"2100-01-01T00:00:00Z","createdBy":"sim","comment":"for a while"}}"#
                );
                let set = self.change("POST", "/api/v2/silences", &body).await?;
                let answer: Value = serde_json::from_slice(&set.body).unwrap_or_default();
                // Of an attempt that was not answered there may be another, whose id nobody knows.
                match answer["silenceID"].as_str().filter(|_| set.is_first) {
                    Some(id) => Sort::Silenced(id.to_owned()),
                    None => Sort::Left,
                }
            }
        };
        let known = Changing {
            hearing: if matches!(sort, Sort::Silenced(_) | Sort::Left) { Hearing::Nobody } else { Hearing::Team },
            is_single: !matches!(sort, Sort::Edited(_)),
            is_switched: matches!(sort, Sort::Switched(_)),
            ..Changing::default()
        };
        lock(&self.shared.alerts).changing.insert(name.to_owned(), known);
        let mut group = Owned { name: name.to_owned(), interval, hold, sort };
        let set = self.change("POST", &format!("/api/v1/rules/{NAMESPACE}"), &group.text()).await?;
        self.know(name, |known| (known.is_there, known.firing) = (true, group.firing()));
        if !set.is_first && matches!(group.sort, Sort::Edited(_)) {
            group.sort = Sort::Left;
        }
        Some(group)
    }

    /// What is known of a group is something else from now on.
    fn know(&self, name: &str, change: impl FnOnce(&mut Changing)) {
        if let Some(known) = lock(&self.shared.alerts).changing.get_mut(name) {
            change(known);
        }
    }

    async fn change_group(&mut self, group: &mut Owned) {
        match &mut group.sort {
            Sort::Edited(edition) => {
                *edition += 1;
                self.know(&group.name, |known| known.firing = None);
                let set = self.change("POST", &format!("/api/v1/rules/{NAMESPACE}"), &group.text()).await;
                if set.is_some() {
                    self.shared.reach(Mark::RuleGroupEdited);
                    self.know(&group.name, |known| known.firing = group.firing());
                }
                if set.is_none_or(|set| !set.is_first) {
                    group.sort = Sort::Left;
                }
            }
            Sort::Switched(is_up) => {
                if self.random.percent(SWITCHES_PERCENT) {
                    *is_up = !*is_up;
                }
            }
            Sort::Silenced(id) => {
                let id = std::mem::take(id);
                group.sort = Sort::Left;
                self.know(&group.name, |known| known.hearing = Hearing::Unknown);
                if self.change("DELETE", &format!("/api/v2/silence/{id}"), "").await.is_some() {
                    self.shared.reach(Mark::SilenceDeleted);
                    self.know(&group.name, |known| known.hearing = Hearing::Team);
                }
            }
            Sort::Left => {}
        }
    }

    /// Writes all series that are asked after, as they are now.
    async fn write_switches(&mut self, groups: &[Owned]) {
        let switched = groups.iter().filter_map(|group| match group.sort {
            Sort::Switched(is_up) => Some((group.name.clone(), is_up)),
            _ => None,
        });
        let node = self.node();
        // Whatever becomes of it: what is so in the end is written then.
        let _ = self.write_values(node, &switched.collect::<Vec<_>>()).await;
    }

    async fn write_values(&mut self, node: usize, switched: &[(String, bool)]) -> Result<(), String> {
        if switched.is_empty() {
            return Ok(());
        }
        let series = switched.iter().map(|(name, is_up)| {
            let mut labels = LabelsBuilder::default();
            labels.push(METRIC_NAME, "sim:switch");
            labels.push("of", name);
            let sample = Sample { timestamp: self.now(), value: f64::from(u8::from(*is_up)) };
            (labels.build().unwrap_or_default(), vec![sample])
        });
        let body = remote_write(&series.collect::<Vec<_>>());
        let answer = ask(node, "POST", "/api/v1/write", &tenant(), &body, DEADLINE).await?;
        self.event(&format!("switches {switched:?} on n{node}: {}", answer.status));
        if answer.status == 204 { Ok(()) } else { Err(format!("a write is answered {}", answer.status)) }
    }

    /// Whether a node says of all groups that change what should be so in the end, and whether people know it. Before that, each series
    /// that is asked after is up until everybody knows, and then down.
    pub(super) async fn examine_changing(&mut self, node: usize) -> Result<(), String> {
        let (is_nothing, last_switch) = {
            let alerts = lock(&self.shared.alerts);
            // An alert that begins anew when time is set back is not the one that was told of.
            (alerts.changing.is_empty() || alerts.is_set_back(), alerts.last_switch)
        };
        if is_nothing {
            return Ok(());
        }
        if last_switch.is_none() {
            self.switch_all(node, true).await?;
        }
        self.settle_changing(node).await?;
        if last_switch != Some(false) {
            self.switch_all(node, false).await?;
            self.settle_changing(node).await?;
        }
        Ok(())
    }

    /// Waits until all is as it should be.
    async fn settle_changing(&self, node: usize) -> Result<(), String> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.judge_changing(node).await {
                Err(_) if looks < LOOKS_MAX => sleep(LOOK_PAUSE).await,
                judged => return judged,
            }
        }
    }

    /// Has all series that are asked after go up, or down.
    async fn switch_all(&mut self, node: usize, is_up: bool) -> Result<(), String> {
        let alerts = lock(&self.shared.alerts).changing.clone();
        let switched: Vec<(String, bool)> =
            alerts.into_iter().filter(|(_, known)| known.is_switched).map(|(name, _)| (name, is_up)).collect();
        self.write_values(node, &switched).await?;
        let mut alerts = lock(&self.shared.alerts);
        alerts.last_switch = Some(is_up);
        for (name, _) in &switched {
            if let Some(known) = alerts.changing.get_mut(name) {
                known.firing = known.is_there.then(|| firing_of_switch(is_up));
            }
        }
        Ok(())
    }

    async fn judge_changing(&self, node: usize) -> Result<(), String> {
        let answer = ask(node, "GET", "/api/v2/alerts?filter=changes%3Dyes", &tenant(), &[], DEADLINE).await?;
        if answer.status != 200 {
            return Err(format!("alerts are answered {}", answer.status));
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let found = body.as_array().ok_or("an answer without alerts")?;
        for (name, known) in &lock(&self.shared.alerts).changing {
            let of_group = found.iter().filter(|alert| alert["labels"]["of"] == name.as_str());
            let of_group: BTreeSet<String> = of_group.map(|alert| alert_key(&alert["labels"])).collect();
            known.judge(&of_group).map_err(|reason| format!("what changes is known in the end: {name}: {reason}"))?;
        }
        Ok(())
    }
}

impl Owned {
    /// Its rules, as they are now.
    fn text(&self) -> String {
        let Owned { name, interval, hold, sort } = self;
        let rule = |alert: &str, condition: &str, more: &str| {
            format!("- {{alert: {alert}, {condition}, labels: {{of: {name}, changes: yes{more}}}}}\n")
        };
        let always = format!("expr: vector(1), for: {hold}s");
        let rules = match sort {
            Sort::Edited(edition) => {
                let (version, added) = (edition / EDITIONS_OF_NAME, has_added(*edition));
                let annotated = format!("{always}, annotations: {{edition: '{edition}'}}");
                let mut rules =
                    [rule(STAYS, &always, ""), rule(EDITED, &annotated, &format!(", version: '{version}'"))];
                // A rule is known by its name and its labels, wherever it stands.
                rules.rotate_left((edition % 2) as usize);
                format!("{}{}", rules.concat(), if added { rule(ADDED, &always, "") } else { String::new() })
            }
            Sort::Switched(_) => rule(SWITCHED, &format!("expr: 'sim:switch{{of=\"{name}\"}} > 0', for: {hold}s"), ""),
            Sort::Silenced(_) | Sort::Left => rule(STAYS, &always, ""),
        };
        format!("name: {name}\ninterval: {interval}s\nrules:\n{rules}")
    }

    /// The alerts that fire in the end; none if that is not known.
    fn firing(&self) -> Option<BTreeSet<String>> {
        match &self.sort {
            Sort::Edited(edition) => {
                let added = has_added(*edition).then(|| ADDED.to_owned());
                let edited = format!("{EDITED}/{}", edition / EDITIONS_OF_NAME);
                Some([STAYS.to_owned(), edited].into_iter().chain(added).collect())
            }
            Sort::Switched(_) => None,
            Sort::Silenced(_) | Sort::Left => Some([STAYS.to_owned()].into()),
        }
    }
}

fn has_added(edition: u32) -> bool {
    edition % EDITIONS_OF_ADDED == EDITIONS_OF_ADDED - 1
}

fn firing_of_switch(is_up: bool) -> BTreeSet<String> {
    is_up.then(|| SWITCHED.to_owned()).into_iter().collect()
}
