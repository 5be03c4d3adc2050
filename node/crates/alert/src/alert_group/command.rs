//! What can be proposed to an alert group, and what comes of it.
//!
//! A command is idempotent or compares with what its proposer saw, so that one whose fate is unknown can be proposed again. What
//! users write (rules, configurations, matchers) travels as text, which the proposer has checked; whatever the state's changes
//! depend on stands beside the text, so that programs that read a text differently still agree on the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_model::{Labels, NodeId, PatternBudget, Tenant, Timestamp};

use super::evaluated::Evaluated;
use super::limits::{ACKNOWLEDGED_AT_ONCE_MAX, ACKNOWLEDGED_BYTES_MAX};
use super::state::{Notifications, RuleShape};
use crate::notify::matchers::parse_matchers;
use crate::notify::on_call::Shift;
use crate::notify::templates::check_settings;
use crate::rules;
use crate::yaml::problems::Problem;

/// A command on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The proposing leader's clock.
    pub proposed_ms: Timestamp,
    /// What is wanted.
    pub command: Command,
}

/// A change of an alert group's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// These nodes evaluate from now on. The same nodes again change nothing.
    SetRing {
        /// All of them.
        nodes: BTreeSet<NodeId>,
    },
    /// A rule group, new or with another text; the same text again changes nothing. Made by [`Command::set_rule_group`].
    SetRuleGroup {
        /// Whose.
        tenant: Tenant,
        /// Where.
        namespace: String,
        /// Its name, which its text has too.
        group: String,
        /// One group of a rule file, as YAML.
        text: Arc<str>,
        /// What the state must know of its rules, in their order.
        rules: Arc<[RuleShape]>,
    },
    /// A rule group is no more: what fires of it ends.
    DeleteRuleGroup {
        /// Whose.
        tenant: Tenant,
        /// Where.
        namespace: String,
        /// Its name.
        group: String,
    },
    /// All rule groups of a namespace are no more.
    DeleteNamespace {
        /// Whose.
        tenant: Tenant,
        /// Its name.
        namespace: String,
    },
    /// Whom alerts are told to from now on. The same again changes nothing. Made by [`Command::set_notifications`].
    SetNotifications {
        /// Whose.
        tenant: Tenant,
        /// Alertmanager's configuration, as YAML.
        config: String,
        /// Files of templates, by their names.
        templates: BTreeMap<String, String>,
    },
    /// Nobody is told from now on.
    DeleteNotifications {
        /// Whose.
        tenant: Tenant,
    },
    /// What an evaluation of a rule group saw that was not known.
    Evaluated(Box<Evaluated>),
    /// Alerts from outside.
    Receive {
        /// Whose.
        tenant: Tenant,
        /// The alerts.
        alerts: Vec<ReceivedAlert>,
    },
    /// A silence, new or changed; see [`SilenceDraft::check`].
    SetSilence {
        /// Whose.
        tenant: Tenant,
        /// The silence.
        silence: SilenceDraft,
    },
    /// A silence ends now. One that has ended already stays as it is.
    ExpireSilence {
        /// Whose.
        tenant: Tenant,
        /// Its id.
        id: String,
    },
    /// Groups of alerts whose time has come are looked at, and what is over for long is forgotten.
    Advance {
        /// Whose.
        tenant: Tenant,
    },
    /// What became of an intent. Of one that is not there any more nothing is noted.
    Told {
        /// Whose.
        tenant: Tenant,
        /// The intent's number.
        intent: u64,
        /// Whether it was sent.
        result: Delivery,
    },
    /// An attempt to send an intent failed, and there will be others: so that people see it meanwhile.
    Failing {
        /// Whose.
        tenant: Tenant,
        /// The intent's number.
        intent: u64,
        /// Why it failed.
        error: String,
    },
    /// What links in messages are signed with; the first that is set stays.
    SetLinkKey {
        /// Whose.
        tenant: Tenant,
        /// Drawn by the proposer.
        key: [u8; 32],
    },
    /// Somebody takes care of alerts. Of those that do not fire nothing is noted.
    Acknowledge {
        /// Whose.
        tenant: Tenant,
        /// Which.
        alerts: BTreeSet<Labels>,
        /// Who.
        by: String,
    },
    /// Somebody is on call instead of another, from now on if it has begun. The same id again changes it.
    SetOverride {
        /// Whose.
        tenant: Tenant,
        /// Drawn by the proposer.
        id: String,
        /// The schedule.
        schedule: String,
        /// Who, and when.
        shift: Shift,
        /// Who wants it.
        by: String,
    },
    /// An override is no more. One that is not there changes nothing.
    DeleteOverride {
        /// Whose.
        tenant: Tenant,
        /// Its id.
        id: String,
    },
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has taken it.
    Sent,
    /// It was given up: the group's next look tries again.
    Failed(String),
}

/// An alert from outside, as `POST /api/v2/alerts` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedAlert {
    /// What it is known by; not empty.
    pub labels: Labels,
    /// What is told with it.
    pub annotations: Labels,
    /// Since when it fires; if it is not said, since it is received.
    pub begins_at: Option<Timestamp>,
    /// When it ends; if it is not said, `resolve_timeout` after it is received last.
    pub ends_at: Option<Timestamp>,
    /// Where people see what it is made of; may be empty.
    pub generator_url: String,
}

/// A silence as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceDraft {
    /// The silence that this changes; none makes a new one.
    pub replaces: Option<String>,
    /// Its id if it is a new one, or becomes one by the change; drawn by the proposer, never used before.
    pub new_id: String,
    /// Matchers as text, as [`crate::notify::matchers::Matchers`] are written.
    pub matchers: String,
    /// Matchers as text that an alert must meet which fires, so that others are silenced; without, it holds in any case.
    pub during: Option<String>,
    /// From when; the time at which it is set if that is later.
    pub begins_at: Timestamp,
    /// Until when, not included.
    pub ends_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// The state machine's answer to a command.
pub type Reply = Result<Outcome, Refusal>;

/// What an accepted command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that the proposer does not know.
    Done,
    /// The ring has this epoch.
    Ring {
        /// The index of the entry that changed it last.
        epoch: u64,
    },
    /// A rule group or a configuration has this revision.
    Revision(u64),
    /// The silence has this id.
    Silence {
        /// Its id.
        id: String,
    },
    /// Alerts were received.
    Received {
        /// How many had no room.
        refused: u64,
    },
    /// Alerts were acknowledged.
    Acknowledged {
        /// How many that were not yet.
        alerts: u64,
    },
    /// Groups of alerts were looked at.
    Advanced {
        /// The numbers of the intents that were made.
        intents: Vec<u64>,
    },
}

/// Why a command was refused; it has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such rule group.
    #[error("there is no rule group {group:?} in namespace {namespace:?}")]
    NoRuleGroup {
        /// The namespace that was named.
        namespace: String,
        /// The group that was named.
        group: String,
    },
    /// There is no such namespace.
    #[error("there is no namespace {namespace:?}")]
    NoNamespace {
        /// The one that was named.
        namespace: String,
    },
    /// Others evaluate than the evaluator thought.
    #[error("the evaluator ring has epoch {current}, the evaluation was made by epoch {got}: look at the ring anew")]
    OldRing {
        /// The epoch that holds.
        current: u64,
        /// The evaluation's.
        got: u64,
    },
    /// The rule group is not the one that was evaluated.
    #[error("the rule group has revision {current}, revision {got} was evaluated: evaluate it anew")]
    OldRevision {
        /// The revision that holds.
        current: u64,
        /// The evaluation's.
        got: u64,
    },
    /// The group was evaluated by somebody else, or by the same command.
    #[error("the rule group was evaluated last at {last:?}, this evaluation at {at} follows one at {before:?}")]
    AlreadyEvaluated {
        /// When it was evaluated last.
        last: Option<Timestamp>,
        /// What the evaluation thought of that.
        before: Option<Timestamp>,
        /// The time of the evaluation.
        at: Timestamp,
    },
    /// The evaluation names a rule that is not there.
    #[error("the evaluation does not fit the rule group's {rules} rules")]
    OtherRules {
        /// Rules that are there.
        rules: u64,
    },
    /// Something is at its limit.
    #[error("{what} would be {got}, the limit is {limit}")]
    Limit {
        /// What.
        what: Limited,
        /// How much it would be.
        got: u64,
        /// How much it may be.
        limit: u64,
    },
    /// There is no such silence.
    #[error("there is no silence {id:?}")]
    NoSilence {
        /// The one that was named.
        id: String,
    },
    /// The new silence's id is taken by a silence that is another.
    #[error("there is another silence {id:?} already: draw a new id")]
    SilenceExists {
        /// The id.
        id: String,
    },
    /// A silence that would never hold.
    #[error("the silence ends at {ends_at}, which is over or not after its begin")]
    SilenceOver {
        /// When it would end.
        ends_at: Timestamp,
    },
}

/// What has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Limited {
    /// See [`super::limits::TENANTS_MAX`].
    Tenants = 1,
    /// See [`super::limits::NAMESPACES_MAX`].
    Namespaces = 2,
    /// See [`super::limits::NAME_BYTES_MAX`].
    NameBytes = 3,
    /// See [`super::limits::GROUPS_MAX`].
    Groups = 4,
    /// See [`super::limits::RULES_PER_GROUP_MAX`].
    RulesPerGroup = 5,
    /// See [`super::limits::RULES_MAX`].
    Rules = 6,
    /// See [`super::limits::GROUP_TEXT_BYTES_MAX`].
    GroupTextBytes = 7,
    /// See [`super::limits::RULE_TEXT_BYTES_MAX`].
    RuleTextBytes = 8,
    /// See [`super::limits::NOTIFICATIONS_BYTES_MAX`].
    NotificationsBytes = 9,
    /// See [`super::limits::TEMPLATE_FILES_MAX`].
    TemplateFiles = 10,
    /// See [`super::limits::RECEIVED_MAX`].
    Received = 11,
    /// See [`super::limits::RECEIVED_BYTES_MAX`].
    ReceivedBytes = 12,
    /// See [`super::limits::RECEIVED_LABELS_MAX`].
    ReceivedLabels = 13,
    /// See [`crate::notify::silence::SILENCES_MAX`].
    Silences = 14,
    /// See [`super::limits::SILENCE_BYTES_MAX`].
    SilenceBytes = 15,
    /// See [`super::limits::ALERT_BYTES_MAX`].
    AlertBytes = 16,
    /// See [`super::limits::EVALUATION_AHEAD_MS_MAX`].
    EvaluationAheadMs = 17,
    /// See [`super::limits::ACKNOWLEDGED_AT_ONCE_MAX`].
    Acknowledged = 32,
    /// See [`super::limits::AUTHOR_BYTES_MAX`].
    AuthorBytes = 33,
    /// See [`crate::notify::on_call::OVERRIDES_MAX`].
    Overrides = 34,
    /// See [`crate::notify::silence::CONDITIONAL_SILENCES_MAX`].
    ConditionalSilences = 35,
}

impl Limited {
    /// All there are.
    pub(super) const ALL: [Limited; 21] = [
        Limited::Tenants,
        Limited::Namespaces,
        Limited::NameBytes,
        Limited::Groups,
        Limited::RulesPerGroup,
        Limited::Rules,
        Limited::GroupTextBytes,
        Limited::RuleTextBytes,
        Limited::NotificationsBytes,
        Limited::TemplateFiles,
        Limited::Received,
        Limited::ReceivedBytes,
        Limited::ReceivedLabels,
        Limited::Silences,
        Limited::SilenceBytes,
        Limited::AlertBytes,
        Limited::EvaluationAheadMs,
        Limited::Acknowledged,
        Limited::AuthorBytes,
        Limited::Overrides,
        Limited::ConditionalSilences,
    ];
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Limited::Tenants => "tenants of the alert group",
            Limited::Namespaces => "namespaces",
            Limited::NameBytes => "bytes of the name",
            Limited::Groups => "rule groups",
            Limited::RulesPerGroup => "rules of the group",
            Limited::Rules => "rules",
            Limited::GroupTextBytes => "bytes of the rule group",
            Limited::RuleTextBytes => "bytes of all rule groups",
            Limited::NotificationsBytes => "bytes of the configuration with its templates",
            Limited::TemplateFiles => "files of templates",
            Limited::Received => "alerts at once",
            Limited::ReceivedBytes => "bytes of the alerts",
            Limited::ReceivedLabels => "labels or annotations of an alert",
            Limited::Silences => "silences",
            Limited::SilenceBytes => "bytes of the silence",
            Limited::AlertBytes => "bytes of an alert",
            Limited::Acknowledged => "alerts acknowledged at once",
            Limited::AuthorBytes => "bytes of names",
            Limited::Overrides => "overrides",
            Limited::ConditionalSilences => "silences that hold while an alert fires",
            Limited::EvaluationAheadMs => "milliseconds that the evaluation is ahead of the alert group's clock",
        })
    }
}

impl SilenceDraft {
    /// What is wrong with it, whatever the time is.
    pub fn check(&self) -> Result<(), String> {
        let read = |text: &str| {
            let matchers = parse_matchers(text, &mut PatternBudget::default());
            matchers.map_err(|error| format!("at character {}: {error}", error.column(text)))
        };
        let matchers = read(&self.matchers)?;
        self.during.as_deref().map(read).transpose()?;
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err("at least one matcher must not match the empty text: the silence would hold for all".to_owned());
        }
        if self.ends_at <= self.begins_at {
            return Err("the silence ends before it begins".to_owned());
        }
        Ok(())
    }
}

impl Refusal {
    pub(super) fn check(what: Limited, got: usize, limit: usize) -> Result<(), Refusal> {
        if got <= limit { Ok(()) } else { Err(Refusal::Limit { what, got: got as u64, limit: limit as u64 }) }
    }
}

impl Command {
    /// A rule group as it was written, checked; or all that is wrong with it.
    pub fn set_rule_group(tenant: Tenant, namespace: String, text: &str) -> Result<Command, Vec<Problem>> {
        let group = rules::read_group(text)?;
        let rules = group.rules.iter().map(RuleShape::of).collect();
        Ok(Command::SetRuleGroup { tenant, namespace, group: group.name, text: text.into(), rules })
    }

    /// A notification configuration as it was written, checked with its templates; or all that is wrong with it.
    pub fn set_notifications(
        tenant: Tenant,
        config: String,
        templates: BTreeMap<String, String>,
    ) -> Result<Command, Vec<Problem>> {
        let problems = check_settings(&Notifications::read(&config, &templates)?.config);
        if problems.is_empty() { Ok(Command::SetNotifications { tenant, config, templates }) } else { Err(problems) }
    }

    /// That somebody takes care of alerts, in as many commands as it takes.
    pub fn acknowledge(tenant: &Tenant, alerts: BTreeSet<Labels>, by: &str) -> Vec<Command> {
        let mut parts: Vec<BTreeSet<Labels>> = Vec::new();
        let mut bytes = 0;
        for labels in alerts {
            bytes += labels.byte_len();
            let has_room =
                |part: &&mut BTreeSet<Labels>| part.len() < ACKNOWLEDGED_AT_ONCE_MAX && bytes <= ACKNOWLEDGED_BYTES_MAX;
            match parts.last_mut().filter(has_room) {
                Some(part) => drop(part.insert(labels)),
                None => {
                    bytes = labels.byte_len();
                    parts.push([labels].into());
                }
            }
        }
        let command = |alerts| Command::Acknowledge { tenant: tenant.clone(), alerts, by: by.to_owned() };
        parts.into_iter().map(command).collect()
    }

    /// Whose it is; the ring is nobody's.
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Command::SetRing { .. } => None,
            Command::Evaluated(evaluated) => Some(&evaluated.tenant),
            Command::SetRuleGroup { tenant, .. }
            | Command::DeleteRuleGroup { tenant, .. }
            | Command::DeleteNamespace { tenant, .. }
            | Command::SetNotifications { tenant, .. }
            | Command::DeleteNotifications { tenant }
            | Command::Receive { tenant, .. }
            | Command::SetSilence { tenant, .. }
            | Command::ExpireSilence { tenant, .. }
            | Command::Advance { tenant }
            | Command::Told { tenant, .. }
            | Command::Failing { tenant, .. }
            | Command::SetLinkKey { tenant, .. }
            | Command::Acknowledge { tenant, .. }
            | Command::SetOverride { tenant, .. }
            | Command::DeleteOverride { tenant, .. } => Some(tenant),
        }
    }
}
