//! Counts and times of evaluations.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

use super::schedule::GroupKey;

/// Upper bounds of the histograms, in seconds.
const SECONDS_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];
/// Groups that have series of their own; of the others the histograms tell.
const GROUP_SERIES_MAX: usize = 1_000;

/// See [`EvaluatorMetrics::new`].
pub struct EvaluatorMetrics {
    /// Rules that were evaluated.
    pub evaluations: IntCounter,
    /// Those that failed.
    pub failures: IntCounter,
    /// Evaluations of groups that nobody made in time.
    pub missed_ticks: IntCounter,
    /// Templates of alerts that could not be expanded.
    pub template_errors: IntCounter,
    /// Samples of rules that could not be stored, after their evaluation was committed.
    pub unstored: IntCounter,
    /// Evaluations that were not committed.
    pub uncommitted: IntCounter,
    /// Critical rules that were evaluated between the ticks of their groups.
    pub between_ticks: IntCounter,
    /// From when a sample could be read to when the critical rules that see it were evaluated.
    pub stored_to_evaluated_seconds: Histogram,
    /// How long evaluations of groups take.
    pub group_seconds: Histogram,
    /// How long after its time a group's evaluation begins.
    pub lag_seconds: Histogram,
    /// Groups that are evaluated here.
    pub groups: IntGauge,
    /// Alert groups on whose evaluator ring this node is.
    pub rings: IntGauge,
    /// The oldest group that is due and has not begun.
    pub oldest_due_seconds: Gauge,
    last_duration: GaugeVec,
    last_evaluation: GaugeVec,
    with_series: Mutex<BTreeSet<GroupKey>>,
}

impl EvaluatorMetrics {
    /// Registers the metrics of evaluations.
    pub fn new(registry: &Registry) -> Result<EvaluatorMetrics, prometheus::Error> {
        let seconds = |name: &str, help: &str| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec()))
        };
        let of_group = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["tenant", "rule_group"]);
        let metrics = EvaluatorMetrics {
            evaluations: IntCounter::new("bellwether_rule_evaluations_total", "Rules that were evaluated here.")?,
            failures: IntCounter::new("bellwether_rule_evaluation_failures_total", "Rules whose evaluation failed.")?,
            missed_ticks: IntCounter::new(
                "bellwether_rule_group_missed_ticks_total",
                "Evaluations of rule groups that were due and that nobody made, as those found out who evaluated next.",
            )?,
            template_errors: IntCounter::new(
                "bellwether_rule_template_errors_total",
                "Templates of alerting rules that could not be expanded.",
            )?,
            unstored: IntCounter::new(
                "bellwether_rule_unstored_samples_total",
                "Samples of ALERTS and ALERTS_FOR_STATE, and ends of series, that could not be stored.",
            )?,
            uncommitted: IntCounter::new(
                "bellwether_rule_group_uncommitted_total",
                "Evaluations of rule groups whose result was not committed, because somebody else evaluates or nobody answered.",
            )?,
            between_ticks: IntCounter::new(
                "bellwether_critical_rule_evaluations_total",
                "Critical rules that were evaluated between the ticks of their groups, because samples of theirs were stored.",
            )?,
            stored_to_evaluated_seconds: seconds(
                "bellwether_critical_rule_seconds",
                "From when the first sample of a critical rule could be read, which is when it was acknowledged, to when the rule was \
                 evaluated and what came of that was committed.",
            )?,
            group_seconds: seconds("bellwether_rule_group_seconds", "Time of an evaluation of a rule group.")?,
            lag_seconds: seconds(
                "bellwether_rule_group_lag_seconds",
                "How long after the time that it is for an evaluation of a rule group begins.",
            )?,
            groups: IntGauge::new("bellwether_rule_groups", "Rule groups that are evaluated here.")?,
            rings: IntGauge::new(
                "bellwether_rule_evaluator_rings",
                "Alert groups on whose evaluator ring this node is: all of them, unless it is new, emptied or not heard.",
            )?,
            oldest_due_seconds: Gauge::new(
                "bellwether_rule_evaluator_behind_seconds",
                "How long the rule group has been due that has waited longest for its evaluation to begin.",
            )?,
            last_duration: of_group(
                "bellwether_rule_group_last_duration_seconds",
                "Time of the last evaluation of a rule group here.",
            )?,
            last_evaluation: of_group(
                "bellwether_rule_group_last_evaluation_timestamp_seconds",
                "The time that the last evaluation of a rule group here was for.",
            )?,
            with_series: Mutex::default(),
        };
        let collectors: [Box<dyn Collector>; 15] = [
            Box::new(metrics.evaluations.clone()),
            Box::new(metrics.failures.clone()),
            Box::new(metrics.missed_ticks.clone()),
            Box::new(metrics.template_errors.clone()),
            Box::new(metrics.unstored.clone()),
            Box::new(metrics.uncommitted.clone()),
            Box::new(metrics.between_ticks.clone()),
            Box::new(metrics.stored_to_evaluated_seconds.clone()),
            Box::new(metrics.group_seconds.clone()),
            Box::new(metrics.lag_seconds.clone()),
            Box::new(metrics.groups.clone()),
            Box::new(metrics.rings.clone()),
            Box::new(metrics.oldest_due_seconds.clone()),
            Box::new(metrics.last_duration.clone()),
            Box::new(metrics.last_evaluation.clone()),
        ];
        for collector in collectors {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Notes the last evaluation of a group, if it is among those that have series of their own.
    pub fn note_group(&self, key: &GroupKey, took: Duration, at_ms: i64) {
        let mut with_series = self.with_series.lock();
        if !with_series.contains(key) {
            if with_series.len() >= GROUP_SERIES_MAX {
                return;
            }
            with_series.insert(key.clone());
        }
        let labels = [key.tenant.as_str(), &of_tenant(key)];
        self.last_duration.with_label_values(&labels).set(took.as_secs_f64());
        self.last_evaluation.with_label_values(&labels).set(at_ms as f64 / 1000.0);
    }

    /// A group is not evaluated here any more.
    pub fn forget_group(&self, key: &GroupKey) {
        self.with_series.lock().remove(key);
        let labels = [key.tenant.as_str(), &of_tenant(key)];
        // An error means that there was none.
        let _ = self.last_duration.remove_label_values(&labels);
        let _ = self.last_evaluation.remove_label_values(&labels);
    }
}

fn of_tenant(key: &GroupKey) -> String {
    format!("{}/{}", key.namespace, key.group)
}
