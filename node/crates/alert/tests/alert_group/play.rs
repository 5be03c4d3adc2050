//! An alert group that is played with: commands in, what is known out.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_alert::alert_group::limits::RULE_ALERTS_MAX;
use bellwether_alert::alert_group::{
    AlertGroupState, Command, Delivery, Evaluated, Evaluation, Found, Outcome, ReceivedAlert, Reply, Request,
    RuleProgress, RuleResult, RuleShape, StoredGroup, TenantState, apply,
};
use bellwether_alert::notify::dispatch::Alert;
use bellwether_alert::rules::{AlertingRule, Rule};
use bellwether_alert::state::alerting::{self as rule_state, Change, Phase, Present, Seen};
use bellwether_alert::state::threshold::reading::expand;
use bellwether_alert::template::Surroundings;
use bellwether_model::{Labels, NodeId, Tenant, Timestamp};
use bellwether_promql::{Point, VectorSample};

pub const SECOND: i64 = 1000;
pub const MINUTE: i64 = 60 * SECOND;

pub const CONFIG: &str = "\
global: {resolve_timeout: 3m}
route:
  receiver: chat
  group_by: [alertname]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h
receivers:
- {name: chat, webhook_configs: [{url: 'http://chat'}]}
";

/// Templates ask nothing.
pub struct Nowhere;

impl Surroundings for Nowhere {
    fn now_ms(&self) -> i64 {
        0
    }

    fn external_url(&self) -> &str {
        ""
    }

    fn query(&self, _text: &str) -> Result<Vec<(Labels, f64)>, String> {
        Ok(Vec::new())
    }
}

pub struct Play {
    pub state: AlertGroupState,
    pub index: u64,
    pub now: Timestamp,
    pub tenant: Tenant,
}

impl Play {
    /// A ring of node 1, at a time.
    pub fn new() -> Play {
        let mut play = Play { state: AlertGroupState::default(), index: 0, now: 1_000_000, tenant: tenant() };
        play.ring(&[1]);
        play
    }

    pub fn apply(&mut self, command: Command) -> Reply {
        self.index += 1;
        apply(&mut self.state, Request { proposed_ms: self.now, command }, self.index)
    }

    pub fn ring(&mut self, nodes: &[u64]) -> u64 {
        let nodes: BTreeSet<NodeId> = nodes.iter().copied().map(NodeId).collect();
        match self.apply(Command::SetRing { nodes }) {
            Ok(Outcome::Ring { epoch }) => epoch,
            other => panic!("{other:?}"),
        }
    }

    pub fn set_rules(&mut self, text: &str) -> Reply {
        let command = Command::set_rule_group(tenant(), "n".into(), text).unwrap_or_else(|all| panic!("{all:?}"));
        self.apply(command)
    }

    pub fn set_config(&mut self, config: &str) -> Reply {
        self.apply(Command::SetNotifications { tenant: tenant(), config: config.into(), templates: BTreeMap::new() })
    }

    pub fn tenant(&self) -> &TenantState {
        &self.state.tenants[&self.tenant]
    }

    pub fn group(&self, name: &str) -> &StoredGroup {
        self.state.group(&self.tenant, "n", name).unwrap()
    }

    /// What an evaluation of the group at a time comes to: of each rule, the values of `x` for which it has an alert.
    pub fn evaluation(&self, group: &str, at: Timestamp, rules: &[Result<&[&str], &str>]) -> Evaluated {
        self.evaluation_of_some(group, at, &rules.iter().copied().map(Some).collect::<Vec<_>>())
    }

    /// The same of some rules alone.
    pub fn evaluation_of_some(&self, group: &str, at: Timestamp, rules: &[Option<Result<&[&str], &str>>]) -> Evaluated {
        let known = self.group(group);
        let parsed = known.parsed.as_ref().unwrap();
        let result = |(rule, result): (&bellwether_alert::rules::Rule, &Option<Result<&[&str], &str>>)| {
            let found = result.as_ref()?.map(|all| self.found(group, rule, all, at));
            Some(RuleResult {
                found: found.map_err(str::to_owned),
                duration_us: 5,
                generator_url: format!("/graph?{}", rule.name()).into(),
                is_muted: rule.is_muted(at),
            })
        };
        let evaluation = Evaluation {
            tenant: tenant(),
            namespace: "n".into(),
            group: group.into(),
            epoch: self.state.ring.epoch,
            at,
            missed: 0,
            duration_us: 9,
        };
        Evaluated::of_some(evaluation, known, parsed.rules.iter().zip(rules).map(result).collect())
    }

    /// What is found of a rule. `x` may say the value, `x=value`; otherwise that of a threshold rule changes with the time.
    fn found(&self, group: &str, rule: &Rule, all: &[&str], at: Timestamp) -> Found {
        let (known, number) = (self.group(group), |known: &&RuleProgress| known.shape == RuleShape::of(rule));
        let known = known.progress.rules.iter().find(number).unwrap();
        let Rule::Alerting(AlertingRule { thresholds: Some(of), .. }) = rule else {
            return Found::Alerts(all.iter().map(|x| seen(rule.name(), x)).collect::<Present>());
        };
        let Rule::Alerting(rule) = rule else { unreachable!("it has thresholds") };
        let sample = |x: &&str| {
            let (x, value) = match x.split_once('=') {
                Some((x, value)) => (x, value.parse().unwrap()),
                None => (*x, ((x.len() as i64 + at / SECOND) % 6) as f64),
            };
            VectorSample { labels: Labels::of(&[("x", x)]), point: Point { timestamp: at, value }, histogram: None }
        };
        let evaluation = rule_state::Evaluation {
            now: at,
            query_offset_ms: 0,
            limit: None,
            external_labels: &Labels::empty(),
            surroundings: &Nowhere,
        };
        let vector: Vec<VectorSample> = all.iter().map(sample).collect();
        Found::Series(expand(rule, of, &evaluation, &vector, &known.watched, &mut Vec::new()).unwrap())
    }

    /// Evaluates now.
    #[track_caller]
    pub fn evaluate(&mut self, group: &str, rules: &[Result<&[&str], &str>]) {
        let evaluated = self.evaluation(group, self.now, rules);
        assert_eq!(self.apply(Command::Evaluated(evaluated.into())), Ok(Outcome::Done));
    }

    /// As if other rules had so many alerts that there is room for so many more.
    pub fn leave_room(&mut self, room: usize) {
        let totals = &mut self.state.tenants.get_mut(&self.tenant).unwrap().totals;
        totals.alerts = RULE_ALERTS_MAX - room - totals.watched;
    }

    /// Looks at groups at all times until then; each intent that was made.
    pub fn look_until(&mut self, end: Timestamp) -> Vec<u64> {
        let mut made = Vec::new();
        while let Some(next) = self.state.next().map(|(next, _)| next.max(self.now)).filter(|next| *next <= end) {
            self.now = next;
            match self.apply(Command::Advance { tenant: tenant() }) {
                Ok(Outcome::Advanced { intents }) => made.extend(intents),
                other => panic!("{other:?}"),
            }
        }
        self.now = end;
        made
    }

    /// Sends all that waits: what each message says.
    pub fn send_all(&mut self) -> Vec<String> {
        let numbers: Vec<u64> = self.tenant().intents.keys().copied().collect();
        numbers.into_iter().map(|number| self.tell(number, Delivery::Sent)).collect()
    }

    pub fn tell(&mut self, intent: u64, result: Delivery) -> String {
        let said = said(&self.state.tenants[&tenant()].intents[&intent].message);
        self.apply(Command::Told { tenant: tenant(), intent, result }).unwrap();
        said
    }

    /// The alerts of a group's rule, with their phases.
    pub fn alerts(&self, group: &str, rule: usize) -> String {
        let alert = |(labels, alert): (&Labels, &bellwether_alert::state::alerting::Alert)| {
            let phase = match alert.phase {
                Phase::Pending => "pending",
                Phase::Firing { kept_since: None, .. } => "firing",
                Phase::Firing { .. } => "kept",
                Phase::Resolved { .. } => "resolved",
            };
            let severity = labels.get("severity").map(|severity| format!("{severity} ")).unwrap_or_default();
            format!("{} {severity}{phase}", labels.get("x").unwrap_or("-"))
        };
        self.group(group).progress.rules[rule].alerts.iter().map(alert).collect::<Vec<_>>().join(", ")
    }

    pub fn history(&self) -> String {
        let transition = |transition: &bellwether_alert::alert_group::Transition| {
            let change = match transition.change {
                Change::Pending => "pending",
                Change::Firing => "firing",
                Change::Resolved => "resolved",
                Change::Dropped => "dropped",
            };
            format!("{} {change}", transition.labels.get("x").unwrap_or("-"))
        };
        self.tenant().history.iter().map(transition).collect::<Vec<_>>().join(", ")
    }

    pub fn receive(&mut self, alert: ReceivedAlert) -> Reply {
        self.apply(Command::Receive { tenant: tenant(), alerts: vec![alert] })
    }
}

/// So many values of `x`, of 20,000 bytes each: an evaluation has room for 52 with an annotation that repeats them.
pub fn long(count: usize, value: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(|at| format!("{at:02}{}={}", "x".repeat(20_000), value(at))).collect()
}

/// As texts of an evaluation.
pub fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

pub fn tenant() -> Tenant {
    Tenant::new("t").unwrap()
}

pub fn outside(x: &str) -> ReceivedAlert {
    ReceivedAlert {
        labels: Labels::of(&[("alertname", "Out"), ("x", x)]),
        annotations: Labels::empty(),
        begins_at: None,
        ends_at: None,
        generator_url: String::new(),
    }
}

fn seen(rule: &str, x: &str) -> (Labels, Seen) {
    let (x, value) = x.split_once('=').map_or((x, x.len() as f64), |(x, value)| (x, value.parse().unwrap()));
    let seen = Seen { value, annotations: [("x".to_owned(), x.to_owned())].into() };
    (Labels::of(&[("alertname", rule), ("x", x)]), seen)
}

fn said(message: &bellwether_alert::notify::dispatch::Message) -> String {
    let of = |alerts: &[Alert]| {
        let all: Vec<&str> = alerts.iter().map(|alert| alert.labels.get("x").unwrap_or("-")).collect();
        all.join(" ")
    };
    format!("{} [{}] [{}]", message.why.as_str(), of(&message.firing), of(&message.resolved))
}
