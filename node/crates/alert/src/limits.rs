//! What files and templates may cost.

/// Bytes of a rule file, a unit-test file or a notification configuration.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Depth of a YAML document: every pass over the tree recurses.
pub const YAML_DEPTH_MAX: usize = 64;
/// Nodes of a YAML document, each alias counted as all that it stands for.
pub const YAML_NODES_MAX: usize = 2_000_000;
/// Problems of one file that are told together.
pub const PROBLEMS_MAX: usize = 100;

/// Groups of one rule file.
pub const GROUPS_PER_FILE_MAX: usize = 10_000;
/// Rules of one group.
pub const RULES_PER_GROUP_MAX: usize = 10_000;

/// Spans of time in which one rule is muted.
pub const MUTES_PER_RULE_MAX: usize = 100;

/// Bytes of a template's text.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// Depth of a template's text: blocks in blocks, parentheses in parentheses.
pub const TEMPLATE_DEPTH_MAX: usize = 100;
/// Templates that call templates.
pub const TEMPLATE_CALLS_MAX: usize = 100;
/// Depth of one expansion: blocks and parentheses of all templates that are running. Each level takes stack.
pub const TEMPLATE_RUNNING_DEPTH_MAX: usize = 250;
/// Nodes and arguments that one expansion visits.
pub const TEMPLATE_STEPS_MAX: usize = 1_000_000;
/// Maps in maps that a template makes.
pub const TEMPLATE_VALUE_DEPTH_MAX: usize = 16;
/// Bytes of text that a function works through in the time of a step.
pub const TEMPLATE_BYTES_PER_STEP: usize = 64;
/// Steps that a regular expression costs.
pub const TEMPLATE_REGEX_STEPS: usize = 1000;
/// Bytes that one expansion writes, and that one of its functions makes.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Queries that one expansion asks.
pub const TEMPLATE_QUERIES_MAX: usize = 100;
/// Width and precision of a `printf` verb, as in Go.
pub const PRINTF_WIDTH_MAX: usize = 1_000_000;
/// Compiled size of a regular expression in a template, in bytes.
pub const TEMPLATE_REGEX_BYTES_MAX: usize = 4 << 20;

/// How long a resolved alert is remembered, as in Prometheus, so that whoever notifies has heard of it.
pub const RESOLVED_RETENTION_MS: i64 = 15 * 60 * 1000;

/// Times at which one unit test evaluates its groups.
pub const UNIT_TEST_EVALUATIONS_MAX: i64 = 1_000_000;
/// Samples that the input series of one unit test have together.
pub const UNIT_TEST_SAMPLES_MAX: usize = 20_000_000;

/// Evaluations of rules in one replay.
pub const REPLAY_EVALUATIONS_MAX: u64 = 5_000_000;
/// Samples that the rules of one replay record, and that are held at a time of what is asked.
pub const REPLAY_SAMPLES_MAX: usize = 20_000_000;
/// Alerts of one replay, each as often as it begins.
pub const REPLAY_EPISODES_MAX: usize = 200_000;
