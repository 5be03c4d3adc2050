//! What an alert group knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bellwether_model::{Labels, NodeId, Tenant, Timestamp};
use xxhash_rust::xxh3::Xxh3;

use super::limits::SILENCE_RETENTION_MS;
use crate::notify::config::{Config, IntegrationAt};
use crate::notify::dispatch::{Dispatch, Message, Way, is_over};
use crate::notify::on_call::Overrides;
use crate::notify::silence::Silences;
use crate::notify::templates::Library;
use crate::notify::throttle::Throttles;
use crate::rules::composite::Reference;
use crate::rules::{self, Composite, Rule, RuleGroup};
use crate::state::alerting::{Alerts, Change, Phase, Timing};
use crate::state::threshold::Grading;
use crate::state::threshold::watch::Watchlist;
use crate::yaml::problems::Problem;

/// All that an alert group knows.
#[derive(Debug, Clone, Default)]
pub struct AlertGroupState {
    /// Who evaluates.
    pub ring: Ring,
    /// Its tenants, those of whom there is something to know.
    pub tenants: BTreeMap<Tenant, TenantState>,
    /// The time of all that happens here: the highest clock of a leader that was seen, unless that was set right since.
    pub time: Timestamp,
    /// The number of the next intent. Numbers are not used again.
    pub next_intent: u64,
}

/// The evaluator ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// The index of the log's entry that changed it last; 0 before the first.
    pub epoch: u64,
    /// The nodes that evaluate.
    pub nodes: BTreeSet<NodeId>,
}

/// All that is known of a tenant.
#[derive(Debug, Clone, Default)]
pub struct TenantState {
    /// Rule groups by namespace and name.
    pub namespaces: BTreeMap<String, BTreeMap<String, Arc<StoredGroup>>>,
    /// Whom alerts are told to; nobody if there is none.
    pub notifications: Option<StoredNotifications>,
    /// Alerts that fire, those from outside included, in groups, and what was told of them.
    pub dispatch: Dispatch,
    /// What receivers with a throttle were told, and what is held back.
    pub throttles: Throttles,
    /// Alerts of which somebody takes care.
    // Invariant: when the tenant was looked at last each fired, and had begun before.
    pub acknowledged: BTreeMap<Labels, Acknowledgement>,
    /// Who is on call instead of others, as people said.
    pub overrides: Overrides,
    /// What links in messages are signed with, once there was one to sign.
    pub link_key: Option<LinkKey>,
    /// Silences.
    pub silences: Silences,
    /// Messages that are to be sent, by their numbers.
    pub intents: BTreeMap<u64, Intent>,
    /// Of which intent a way waits to know whether it was sent.
    // Invariant: the way of each of `intents`, and nothing else.
    pub ways: BTreeMap<Way, u64>,
    /// What was not sent in the end, by its way, until something is made for that.
    pub given_up: BTreeMap<Way, GivenUp>,
    /// How sending goes, by receiver and integration.
    pub integrations: BTreeMap<(String, IntegrationAt), IntegrationHealth>,
    /// What became of alerts of rules, the latest last.
    pub history: VecDeque<Transition>,
    /// What is counted along, so that limits are looked at quickly.
    pub totals: Totals,
    /// Alerts of which nobody was told, because there were too many.
    pub untold: u64,
}

/// Counts over all rule groups of a tenant.
// Invariant: what a walk over `namespaces` would count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rule groups.
    pub groups: usize,
    /// Rules.
    pub rules: usize,
    /// Bytes of texts.
    pub text_bytes: usize,
    /// Alerts, whatever their phase.
    pub alerts: usize,
    /// Series that threshold rules watch.
    pub watched: usize,
}

/// A rule group, with what evaluations made of it.
#[derive(Debug, Clone)]
pub struct StoredGroup {
    /// One group of a rule file, as YAML.
    pub text: Arc<str>,
    /// The index of the log's entry that set the text.
    pub revision: u64,
    /// What the text means to this program; its first problem if it means nothing to it.
    pub parsed: Result<Arc<RuleGroup>, String>,
    /// What evaluations made of it.
    pub progress: GroupProgress,
}

/// What evaluations made of a rule group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupProgress {
    /// The time of the last evaluation.
    pub last_evaluation: Option<Timestamp>,
    /// How long it took, in microseconds.
    pub duration_us: u32,
    /// Evaluations that there should have been and were not.
    pub missed: u64,
    /// Each rule, in the order of the text.
    pub rules: Vec<RuleProgress>,
}

/// What evaluations made of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleProgress {
    /// What it is known by.
    pub shape: RuleShape,
    /// How it is.
    pub health: Health,
    /// How long its last evaluation took, in microseconds.
    pub duration_us: u32,
    /// Where people see its query; empty until it has had an alert.
    pub generator_url: Arc<str>,
    /// Its alerts; none of a recording rule.
    pub alerts: Arc<Alerts>,
    /// The series that it watches; none unless it is a threshold rule.
    pub watched: Arc<Watchlist>,
    /// Whether people are not told of its alerts, as of its last evaluation.
    pub is_muted: bool,
}

/// What the state must know of a rule, whatever its text means to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleShape {
    /// A hash of its name and its labels: a rule that has the same after its group was edited keeps its alerts.
    pub identity: u128,
    /// Of which kind it is.
    pub kind: RuleKind,
    /// Whether people are told at once when it has an alert.
    pub critical: bool,
}

/// A kind of rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Stores the result of its query.
    Recording,
    /// Has alerts.
    Alerting(Timing),
    /// Has alerts of series that it watches.
    Threshold(Timing, Grading),
}

/// How a rule is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Health {
    /// It was not evaluated yet.
    #[default]
    Unknown,
    /// Its last evaluation succeeded.
    Ok,
    /// Its last evaluation failed: the error.
    Failed(String),
}

/// A notification configuration.
#[derive(Debug, Clone)]
pub struct StoredNotifications {
    /// Alertmanager's configuration, as YAML.
    pub config: Arc<str>,
    /// Files of templates, by their names.
    pub templates: Arc<BTreeMap<String, String>>,
    /// The index of the log's entry that set it.
    pub revision: u64,
    /// What it means to this program; its first problem if it means nothing to it, and nobody is told then.
    pub parsed: Result<Arc<Notifications>, String>,
}

/// A notification configuration that can be used.
#[derive(Debug)]
pub struct Notifications {
    /// Routes, receivers, and so on.
    pub config: Config,
    /// Templates.
    pub library: Library,
}

/// A message that is to be sent, again until somebody says that it was or cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// What is sent to whom.
    pub message: Message,
    /// When it was made: the time that its texts are expanded for.
    pub made_at: Timestamp,
    /// The same whenever it is sent, also by a later intent that tells the same in place of one that was given up; no other's.
    pub dedup_key: String,
}

/// An intent that was given up: nobody knows whether its receiver has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Its key.
    pub dedup_key: String,
    /// What it told: [`Message::content_hash`].
    pub content: u64,
    /// Since when.
    pub at: Timestamp,
}

/// Somebody takes care of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Since when.
    pub at: Timestamp,
    /// Who.
    pub by: Arc<str>,
}

/// What a tenant's links are signed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkKey(pub [u8; 32]);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey")
    }
}

/// How sending by an integration goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntegrationHealth {
    /// When it took a message last.
    pub sent_at: Option<Timestamp>,
    /// Messages that were given up since.
    pub failures: u64,
    /// Why it did not take one, last; none since it took one.
    pub last_error: Option<String>,
    /// When that was.
    pub failed_at: Option<Timestamp>,
    /// When it failed first since it took a message.
    pub failing_since: Option<Timestamp>,
}

/// What became of an alert of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// Of which.
    pub labels: Labels,
    /// What.
    pub change: Change,
    /// The value that its series had when it was told last.
    pub value: f64,
    /// The index of the log's entry that made it so; 0 once it was read from a stored state, which does not have it.
    pub index: u64,
}

impl IntegrationHealth {
    /// It took a message.
    pub(super) fn took(&mut self, now: Timestamp) {
        *self = IntegrationHealth { sent_at: Some(now), ..IntegrationHealth::default() };
    }

    /// It did not take one.
    pub(super) fn failed(&mut self, error: String, now: Timestamp) {
        self.last_error = Some(error);
        self.failed_at = Some(now);
        self.failing_since.get_or_insert(now);
    }
}

impl RuleShape {
    /// The rule's.
    pub fn of(rule: &Rule) -> RuleShape {
        let mut hash = Xxh3::new();
        let mut feed = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        feed(rule.name());
        let (kind, critical) = match rule {
            Rule::Recording(rule) => {
                rule.labels.iter().flat_map(|(name, value)| [name, value]).for_each(|text| feed(text));
                (RuleKind::Recording, false)
            }
            Rule::Alerting(rule) => {
                rule.labels.iter().flat_map(|label| [&label.name, &label.text]).for_each(|text| feed(text));
                let kind = match &rule.thresholds {
                    None => RuleKind::Alerting(Timing::of(rule)),
                    Some(of) => RuleKind::Threshold(Timing::of(rule), of.grading),
                };
                (kind, rule.critical)
            }
        };
        RuleShape { identity: hash.digest128(), kind, critical }
    }

    /// How long its alerts wait; nothing of a recording rule.
    pub fn timing(&self) -> Option<Timing> {
        match self.kind {
            RuleKind::Recording => None,
            RuleKind::Alerting(timing) | RuleKind::Threshold(timing, _) => Some(timing),
        }
    }

    /// What is kept of a rule goes on with one of the same identity and sort.
    pub(super) fn sort(&self) -> u8 {
        match self.kind {
            RuleKind::Recording => 0,
            RuleKind::Alerting(_) => 1,
            RuleKind::Threshold(..) => 2,
        }
    }
}

impl RuleProgress {
    /// Of a rule that was not evaluated yet.
    pub fn new(shape: RuleShape) -> RuleProgress {
        let (generator_url, alerts, watched) = ("".into(), Arc::default(), Arc::default());
        RuleProgress { shape, health: Health::Unknown, duration_us: 0, generator_url, alerts, watched, is_muted: false }
    }
}

impl Notifications {
    /// Reads a configuration and the files of its templates.
    pub fn read(config: &str, templates: &BTreeMap<String, String>) -> Result<Notifications, Vec<Problem>> {
        let config = Config::read(config)?;
        let mut library = Library::default();
        let mut problems = Vec::new();
        for (file, text) in templates {
            problems.extend(library.add(file, text).err().map(|problem| {
                let message = format!("{file}: {}", problem.message);
                Problem { place: problem.place, message }
            }));
        }
        if problems.is_empty() { Ok(Notifications { config, library }) } else { Err(problems) }
    }
}

impl StoredNotifications {
    /// What was set at an entry of the log.
    pub fn new(config: &str, templates: BTreeMap<String, String>, revision: u64) -> StoredNotifications {
        let parsed = Notifications::read(config, &templates).map(Arc::new).map_err(first_problem);
        StoredNotifications { config: config.into(), templates: Arc::new(templates), revision, parsed }
    }

    /// The configuration by which alerts are told: one that tells nobody if there is none that can be used.
    pub fn effective(stored: &Option<StoredNotifications>) -> &Config {
        match stored.as_ref().map(|stored| &stored.parsed) {
            Some(Ok(notifications)) => &notifications.config,
            Some(Err(_)) | None => Config::nobody(),
        }
    }
}

impl StoredGroup {
    /// A text that was set at an entry of the log, with what its rules are known by.
    pub fn new(text: Arc<str>, revision: u64, progress: GroupProgress) -> StoredGroup {
        let parsed = rules::read_group(&text).map_err(first_problem).and_then(|group| {
            // Whoever reads both may take them by the same number.
            let fits = group.rules.len() == progress.rules.len();
            if fits { Ok(Arc::new(group)) } else { Err("this program reads other rules in it".to_owned()) }
        });
        StoredGroup { text, revision, parsed, progress }
    }
}

fn first_problem(problems: Vec<Problem>) -> String {
    problems.first().map(Problem::to_string).unwrap_or_default()
}

impl TenantState {
    /// Whether there is nothing to know.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.notifications.is_none()
            && self.dispatch.alerts().len() == 0
            && self.silences.is_empty()
            && self.intents.is_empty()
            && self.overrides.0.is_empty()
    }

    /// When something is to be looked at next.
    pub fn next(&self) -> Option<Timestamp> {
        let forgotten = self.silences.next_forgotten(SILENCE_RETENTION_MS);
        [self.dispatch.next(), self.throttles.next(), forgotten].into_iter().flatten().min()
    }

    /// Who takes care of an alert, if it is still the one that he saw.
    pub fn acknowledgement(&self, labels: &Labels, now: Timestamp) -> Option<&Acknowledgement> {
        let known = self.acknowledged.get(labels)?;
        let alert = &self.dispatch.alert(labels)?.alert;
        (!is_over(alert, now) && alert.begins_at <= known.at).then_some(known)
    }

    /// Whether the condition of each composite rule holds by the states of the tenant's rules, or which rule of it is not there.
    pub fn composites<'c>(&self, composites: impl IntoIterator<Item = &'c Composite>) -> Vec<Result<bool, String>> {
        let composites: Vec<&Composite> = composites.into_iter().collect();
        let mut wanted: BTreeMap<&str, Vec<&RuleProgress>> = BTreeMap::new();
        for reference in composites.iter().flat_map(|composite| &composite.references) {
            wanted.entry(&reference.name).or_default();
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        for stored in self.namespaces.values().flat_map(BTreeMap::values) {
            let rules = stored.parsed.iter().flat_map(|group| &group.rules).zip(&stored.progress.rules);
            for (rule, progress) in rules.filter(|(rule, _)| matches!(rule, Rule::Alerting(_))) {
                if let Some(known) = wanted.get_mut(rule.name()) {
                    known.push(progress);
                }
            }
        }
        let fires = |reference: &Reference| {
            let alerts = wanted[reference.name.as_str()].iter().flat_map(|rule| &*rule.alerts);
            let mut firing = alerts.filter(|(_, alert)| matches!(alert.phase, Phase::Firing { .. }));
            firing.any(|(labels, _)| reference.means(labels))
        };
        let holds = |composite: &&Composite| {
            let unknown = composite.references.iter().find(|reference| wanted[reference.name.as_str()].is_empty());
            match unknown {
                Some(reference) => Err(format!("there is no alerting rule {:?}", reference.name)),
                None => Ok(composite.holds(&|number| fires(&composite.references[number]))),
            }
        };
        composites.iter().map(holds).collect()
    }

    /// Alerts that all rules that have them fire are muted for.
    pub fn muted(&self) -> BTreeSet<Labels> {
        let rules = self.namespaces.values().flat_map(BTreeMap::values).flat_map(|group| &group.progress.rules);
        let mut firing: BTreeMap<&Labels, u32> = BTreeMap::new();
        for (labels, alert) in rules.filter(|rule| rule.is_muted).flat_map(|rule| &*rule.alerts) {
            if let Phase::Firing { .. } = alert.phase {
                *firing.entry(labels).or_default() += 1;
            }
        }
        let is_muted =
            |(labels, count): &(&Labels, u32)| self.dispatch.alert(labels).is_some_and(|known| known.rules <= *count);
        firing.into_iter().filter(is_muted).map(|(labels, _)| labels.clone()).collect()
    }

    /// The configuration by which alerts are told.
    pub fn config(&self) -> &Config {
        StoredNotifications::effective(&self.notifications)
    }
}

impl AlertGroupState {
    /// A rule group.
    pub fn group(&self, tenant: &Tenant, namespace: &str, group: &str) -> Option<&Arc<StoredGroup>> {
        self.tenants.get(tenant)?.namespaces.get(namespace)?.get(group)
    }

    /// When something is to be looked at next, and for whom: what [`super::Command::Advance`] is for.
    pub fn next(&self) -> Option<(Timestamp, &Tenant)> {
        self.tenants.iter().filter_map(|(tenant, state)| Some((state.next()?, tenant))).min()
    }
}
