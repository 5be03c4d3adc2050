//! Prometheus's unit tests of rules (the files of `promtool test rules`), run over samples in memory.
//!
//! [`read`] takes a file, [`run`] runs its tests over the rules that somebody read from the files that it names. Time begins at 0, unless a test says otherwise;
//! every group is evaluated at every step of the evaluation interval, in order, whatever intervals the groups name.

mod read;
mod report;
mod run;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};
use bellwether_promql::FloatHistogram;
use bellwether_promql::series_notation::NotedSeries;

pub use read::read;
pub use run::{Options, run};

use crate::yaml::fields::Placed;
use crate::yaml::problems::Problem;

/// A file of tests.
#[derive(Debug, Clone, Default)]
pub struct UnitTestFile {
    /// Patterns of the rule files' names, from where this file is.
    pub rule_files: Vec<Placed<String>>,
    /// How often groups are evaluated.
    pub evaluation_interval_ms: i64,
    /// Names of groups in the order in which they are evaluated; all others come with the first.
    pub group_eval_order: Vec<String>,
    /// Values may differ in the last bit.
    pub fuzzy_compare: bool,
    /// Tests, each of which begins anew.
    pub tests: Vec<UnitTest>,
}

/// A test.
#[derive(Debug, Clone)]
pub struct UnitTest {
    /// Its name; empty if it has none.
    pub name: String,
    /// When its time begins.
    pub start_ms: Timestamp,
    /// How far the values of its series are apart.
    pub interval_ms: i64,
    /// What is stored.
    pub input_series: Vec<NotedSeries>,
    /// Labels of the server.
    pub external_labels: Labels,
    /// Where people reach the server.
    pub external_url: String,
    /// Which alerts must fire.
    pub alerts: Vec<AlertTest>,
    /// What queries must give.
    pub exprs: Vec<ExprTest>,
    /// What is wrong with it: it fails, whatever its rules do.
    pub problems: Vec<Problem>,
}

/// Which alerts of a name must fire at a time.
#[derive(Debug, Clone)]
pub struct AlertTest {
    /// When, from the test's beginning.
    pub eval_time_ms: i64,
    /// The rule's name.
    pub alertname: String,
    /// All that fire.
    pub expected: Vec<FiringAlert>,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiringAlert {
    /// Its labels, its name included.
    pub labels: BTreeMap<String, String>,
    /// What is told with it.
    pub annotations: BTreeMap<String, String>,
}

/// What a query must give at a time.
#[derive(Debug, Clone)]
pub struct ExprTest {
    /// The query.
    pub expr: String,
    /// When, from the test's beginning.
    pub eval_time_ms: i64,
    /// All that it must give.
    pub expected: Vec<ExpectedSample>,
}

/// A sample of a query's result.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value; not looked at where there is a histogram.
    pub value: f64,
    /// The histogram that it is.
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// The test's name, or its number if it has none.
    pub name: String,
    /// What was expected and what there was instead, ready to be printed; nothing if the test succeeded.
    pub failures: Vec<String>,
}
