//! How much an alert group keeps.

/// Tenants of one alert group.
pub const TENANTS_MAX: usize = 10_000;
/// Namespaces of one tenant.
pub const NAMESPACES_MAX: usize = 1_000;
/// Bytes of a namespace's name, and of a rule group's.
pub const NAME_BYTES_MAX: usize = 1024;
/// Rule groups of one tenant.
pub const GROUPS_MAX: usize = 10_000;
/// Rules of one rule group.
pub const RULES_PER_GROUP_MAX: usize = crate::limits::RULES_PER_GROUP_MAX;
/// Rules of one tenant.
pub const RULES_MAX: usize = 200_000;
/// Bytes of one rule group's text.
pub const GROUP_TEXT_BYTES_MAX: usize = 2 << 20;
/// Bytes of all rule groups' texts of one tenant.
pub const RULE_TEXT_BYTES_MAX: usize = 64 << 20;
/// Bytes of a notification configuration with its templates.
pub const NOTIFICATIONS_BYTES_MAX: usize = 2 << 20;
/// Files of templates of one notification configuration.
pub const TEMPLATE_FILES_MAX: usize = 1_000;

/// Alerts of all rules of one tenant, pending, firing or resolved not long ago, and series that they watch: those beyond are left out.
pub const RULE_ALERTS_MAX: usize = 200_000;
/// Bytes that one evaluation tells of alerts, as they are stored: what has no room is told by the next, values of alerts that are known last.
pub const EVALUATED_BYTES_MAX: usize = 2 << 20;
/// How far an evaluation may be ahead of the group's clock: one by a clock that is far ahead would keep others from evaluating
/// until then.
pub const EVALUATION_AHEAD_MS_MAX: i64 = 60 * 1000;
/// Bytes of a rule's error that are kept.
pub const ERROR_BYTES_MAX: usize = 1024;
/// Value and annotations alone of an alert are told again after so long; Prometheus's resend delay.
pub const REFRESH_MS: i64 = 60 * 1000;
/// Transitions of alerts of one tenant that are remembered.
pub const HISTORY_MAX: usize = 10_000;

/// Bytes of an alert's labels and annotations.
pub const ALERT_BYTES_MAX: usize = 256 << 10;

/// Alerts of one tenant beyond which none from outside is taken: those of rules have room always.
pub const OUTSIDE_ALERTS_MAX: usize = 250_000;
/// Alerts from outside in one command.
pub const RECEIVED_MAX: usize = 10_000;
/// Bytes of them.
pub const RECEIVED_BYTES_MAX: usize = 3 << 20;
/// Labels of an alert from outside, and annotations.
pub const RECEIVED_LABELS_MAX: usize = 128;

/// Messages of one tenant that wait to be sent.
pub const INTENTS_MAX: usize = 50_000;
/// Messages of one tenant that were given up and whose keys are remembered; more are not.
pub const GIVEN_UP_MAX: usize = 10_000;
/// For how long: receivers forget keys after a day.
pub const GIVEN_UP_KEPT_MS: i64 = 24 * 3600 * 1000;

/// Alerts that one command acknowledges. Of a tenant all may be: a group whose alerts could not all be would be escalated whatever
/// anybody says.
pub const ACKNOWLEDGED_AT_ONCE_MAX: usize = 10_000;
/// Bytes of them.
pub const ACKNOWLEDGED_BYTES_MAX: usize = 2 << 20;
/// Bytes of who acknowledges, or overrides who is on call, and of the names in an override.
pub const AUTHOR_BYTES_MAX: usize = 1024;

/// How long an expired silence is remembered; Alertmanager's retention.
pub const SILENCE_RETENTION_MS: i64 = 120 * 3600 * 1000;
/// Bytes of a silence: matchers, comment, author.
pub const SILENCE_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(ALERT_BYTES_MAX < EVALUATED_BYTES_MAX && ALERT_BYTES_MAX < RECEIVED_BYTES_MAX);
const _: () = assert!(RULE_ALERTS_MAX + OUTSIDE_ALERTS_MAX <= crate::notify::dispatch::ALERTS_MAX);
