//! Commands out of a number, such as an alert group gets them one after the other.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{Command, Delivery, ReceivedAlert, Request, SilenceDraft};
use bellwether_alert::notify::on_call::Shift;
use bellwether_model::{Labels, NodeId};

use crate::play::{CONFIG, MINUTE, Play, SECOND, outside, tenant};

const TEXTS: [&str; 5] = [
    "name: g\nrules:\n- {alert: A, expr: a}\n- {alert: B, expr: b, for: 20s, keep_firing_for: 30s}\n",
    "name: g\nlimit: 2\nrules:\n- {alert: A, expr: a, for: 10s}\n- {record: r, expr: b}\n",
    "name: g\nrules:\n- {alert: B, expr: b, for: 20s}\n- {alert: A, expr: a, labels: {l: m}}\n",
    "name: h\nrules:\n- {alert: C, expr: c, critical: true}\n- {alert: A, expr: a}\n",
    "name: h\nrules:\n- {alert: C, expr: c, thresholds: {critical: 4, warning: 2, critical_recovery: 3}, checks: {at_least: 2, of: 3}, for: 10s, \
     no_data: {behavior: alert, after: 20s, forget_after: 3m}, mute: [{schedule: '00:20 - 00:30'}]}\n- {alert: A, expr: a, thresholds: {warning: 2, compare: '<'}, keep_firing_for: 30s}\n",
];
const NAMES: [&str; 5] = ["1", "2", "3", "ä", "5"];

pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, bound: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn config(&mut self) -> String {
        let edit = [("[alertname]", "[alertname]"), ("[alertname]", "[x]"), ("10s", "0s"), ("[alertname]", "['...']")];
        let (from, to) = self.one(&edit);
        let more = self.one(&["", "inhibit_rules: [{source_matchers: [x=1], target_matchers: [x=~'[23]']}]\n"]);
        let throttle = self.one(&["{name: chat, ", "{name: chat, throttle: {messages: 2, per: 20m}, "]);
        let policies = "escalation_policies: [{name: e, repeat: 2, steps: [{notify: chat, after: 1m}, {notify: deputy, after: 2m}]}]\n";
        let policies = if self.below(2) == 0 { policies } else { "" };
        let kind = self.one(&["webhook_configs: [{", "pagerduty_configs: [{routing_key: k, "]);
        let config = CONFIG.replace(from, to);
        let config =
            if policies.is_empty() { config } else { config.replace("  group_wait", "  escalation: e\n  group_wait") };
        config.replace("{name: chat, ", throttle).replace("webhook_configs: [{", kind)
            + if policies.is_empty() { "" } else { "- {name: deputy, webhook_configs: [{url: 'http://deputy'}]}\n" }
            + policies
            + more
    }

    /// A command that fits what the play knows, most of the time.
    pub fn command(&mut self, play: &Play) -> Command {
        let now = play.now;
        match self.below(20) {
            0 => Command::SetRing { nodes: (0..self.below(3)).map(NodeId).collect() },
            1 | 2 => {
                let namespace = self.one(&["n", "n", "m"]).to_owned();
                Command::set_rule_group(tenant(), namespace, self.one(&TEXTS)).unwrap()
            }
            3 => {
                let group = self.one(&["g", "h"]).into();
                Command::DeleteRuleGroup { tenant: tenant(), namespace: self.one(&["n", "m"]).into(), group }
            }
            4 if self.below(4) == 0 => Command::DeleteNamespace { tenant: tenant(), namespace: "n".into() },
            4 | 5 => {
                let templates = BTreeMap::from([("a.tmpl".to_owned(), "{{ define \"a\" }}b{{ end }}".to_owned())]);
                let config = if self.below(9) == 0 { "route: 7".to_owned() } else { self.config() };
                Command::SetNotifications { tenant: tenant(), config, templates }
            }
            6 if self.below(4) == 0 => Command::DeleteNotifications { tenant: tenant() },
            6 | 7 => {
                let alerts = (0..self.below(4)).map(|_| self.received(now)).collect();
                Command::Receive { tenant: tenant(), alerts }
            }
            8 => {
                let replaces = (self.below(2) == 0).then(|| self.below(6).to_string());
                let begins_at = now + self.below(9) as i64 * MINUTE - 4 * MINUTE;
                let matchers = self.one(&["x=1", "x=~\"1|2\"", "x=~\"(\""]).into();
                let silence = SilenceDraft {
                    replaces,
                    new_id: self.below(6).to_string(),
                    matchers,
                    during: (self.below(3) == 0).then(|| "x=2".into()),
                    begins_at,
                    ends_at: begins_at + self.below(9) as i64 * MINUTE,
                    created_by: "ä".into(),
                    comment: String::new(),
                };
                Command::SetSilence { tenant: tenant(), silence }
            }
            9 => Command::ExpireSilence { tenant: tenant(), id: self.below(6).to_string() },
            10..=12 => Command::Advance { tenant: tenant() },
            13 | 14 => {
                let known = play.state.tenants.get(&tenant()).and_then(|tenant| tenant.intents.keys().next());
                if self.below(4) == 0 {
                    let alerts = NAMES.into_iter().filter(|_| self.below(2) == 0);
                    let alerts = alerts.map(|x| outside(x).labels).collect();
                    return Command::Acknowledge { tenant: tenant(), alerts, by: "ä".into() };
                }
                if self.below(8) == 0 {
                    let shift = Shift { user: "chat".into(), begins_at: now, ends_at: now + MINUTE };
                    let (id, schedule, by) = (self.below(3).to_string(), "s".into(), "ä".into());
                    return Command::SetOverride { tenant: tenant(), id, schedule, shift, by };
                }
                if self.below(8) == 0 {
                    return Command::DeleteOverride { tenant: tenant(), id: self.below(3).to_string() };
                }
                if self.below(40) == 0 {
                    return Command::SetLinkKey { tenant: tenant(), key: [self.below(256) as u8; 32] };
                }
                if self.below(4) == 0 {
                    let (intent, error) = (known.copied().unwrap_or(7), "refused".into());
                    return Command::Failing { tenant: tenant(), intent, error };
                }
                let result = if self.below(4) == 0 { Delivery::Failed("no".into()) } else { Delivery::Sent };
                Command::Told { tenant: tenant(), intent: known.copied().unwrap_or(7), result }
            }
            _ => self.evaluation(play).unwrap_or(Command::Advance { tenant: tenant() }),
        }
    }

    pub fn request(&mut self, play: &Play) -> Request {
        Request { proposed_ms: play.now, command: self.command(play) }
    }

    /// Lets time pass.
    pub fn wait(&mut self, play: &mut Play) {
        play.now += self.one(&[0, SECOND, 10 * SECOND, MINUTE, 20 * MINUTE]);
    }

    fn received(&mut self, now: i64) -> ReceivedAlert {
        let x = self.one(&NAMES);
        let mut time = |base: i64| (self.below(2) == 0).then(|| base + self.below(10) as i64 * MINUTE);
        let (begins_at, ends_at) = (time(now - 5 * MINUTE), time(now));
        let annotations = Labels::of(&[("text", x)]);
        ReceivedAlert { annotations, begins_at, ends_at, generator_url: "http://x".into(), ..outside(x) }
    }

    fn evaluation(&mut self, play: &Play) -> Option<Command> {
        let group = self.one(&["g", "h"]);
        let known = play.state.group(&tenant(), "n", group)?;
        let rules = known.parsed.as_ref().unwrap().rules.len();
        let present: Vec<Vec<&str>> =
            (0..rules).map(|_| NAMES.into_iter().filter(|_| self.below(2) == 0).collect()).collect();
        let results = present.iter().map(|all| if self.below(8) == 0 { Err("no") } else { Ok(all.as_slice()) });
        let results: Vec<Result<&[&str], &str>> = results.collect();
        let mut evaluated = play.evaluation(group, play.now, &results);
        evaluated.missed = self.below(3);
        Some(Command::Evaluated(evaluated.into()))
    }
}
