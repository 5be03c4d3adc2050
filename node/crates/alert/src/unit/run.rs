//! Runs tests: evaluates the groups step by step, and compares.

use bellwether_model::Timestamp;
use bellwether_promql::{VectorSample, parse};

use super::store::Store;
use super::{AlertTest, ExpectedSample, ExprTest, FiringAlert, TestOutcome, UnitTest, UnitTestFile, report};
use crate::evaluate::{External, Querier, RuleState, evaluate_group};
use crate::limits::UNIT_TEST_EVALUATIONS_MAX;
use crate::rules::{Rule, RuleFile, RuleGroup};
use crate::state::alerting::Phase;

/// How tests are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What differs is shown line by line.
    pub diff: bool,
}

/// Runs the tests that `wanted` names, over the rules of the files that the file names, in the order of those.
pub fn run(
    file: &UnitTestFile,
    rules: &[RuleFile],
    options: Options,
    wanted: &dyn Fn(&str) -> bool,
) -> Vec<TestOutcome> {
    let groups = ordered(rules, &file.group_eval_order);
    let mut outcomes = Vec::new();
    for (at, test) in file.tests.iter().enumerate().filter(|(_, test)| wanted(&test.name)) {
        let name = if test.name.is_empty() { format!("unnamed#{at}") } else { test.name.clone() };
        if !test.problems.is_empty() {
            let failures = test.problems.iter().map(|problem| format!("    {problem}")).collect();
            outcomes.push(TestOutcome { name, failures });
            continue;
        }
        let mut running = Running::new(file, test, &groups, options);
        if running.evaluate() {
            running.check_exprs();
        }
        outcomes.push(TestOutcome { name, failures: running.failures });
    }
    outcomes
}

/// Groups in the order of their evaluation: by the order that the test names, what it does not name beside the first.
fn ordered<'r>(rules: &'r [RuleFile], order: &[String]) -> Vec<&'r RuleGroup> {
    let mut groups: Vec<&RuleGroup> = rules.iter().flat_map(|file| &file.groups).collect();
    groups.sort_by_key(|group| order.iter().position(|name| *name == group.name).unwrap_or(0));
    groups
}

struct Running<'t> {
    test: &'t UnitTest,
    interval_ms: i64,
    fuzzy: bool,
    options: Options,
    groups: &'t [&'t RuleGroup],
    states: Vec<Vec<RuleState>>,
    store: Store<'t>,
    external: External,
    failures: Vec<String>,
}

impl<'t> Running<'t> {
    fn new(file: &UnitTestFile, test: &'t UnitTest, groups: &'t [&'t RuleGroup], options: Options) -> Running<'t> {
        let interval_ms = file.evaluation_interval_ms;
        Running {
            test,
            interval_ms,
            fuzzy: file.fuzzy_compare,
            options,
            groups,
            states: groups.iter().map(|group| group.rules.iter().map(RuleState::of).collect()).collect(),
            store: Store::new(test, interval_ms),
            external: External { labels: test.external_labels.clone(), url: test.external_url.clone() },
            failures: Vec::new(),
        }
    }

    /// Evaluates the groups from the beginning to the last time that the test looks at; whether no rule failed.
    fn evaluate(&mut self) -> bool {
        let mut tests: Vec<&AlertTest> = self.test.alerts.iter().collect();
        tests.sort_by_key(|test| test.eval_time_ms);
        let of_alerts = tests.iter().map(|test| test.eval_time_ms);
        let last = of_alerts.chain(self.test.exprs.iter().map(|test| test.eval_time_ms)).max().unwrap_or(0);
        if last / self.interval_ms > UNIT_TEST_EVALUATIONS_MAX {
            self.failures.push(format!("    the test needs more than {UNIT_TEST_EVALUATIONS_MAX} evaluations"));
            return false;
        }
        let mut tests = tests.into_iter().peekable();
        for step in 0..=last / self.interval_ms {
            let elapsed_ms = step * self.interval_ms;
            let now = self.test.start_ms + elapsed_ms;
            self.store.load_until(now);
            if !self.evaluate_groups(now) {
                return false;
            }
            while let Some(test) = tests.next_if(|test| test.eval_time_ms < elapsed_ms + self.interval_ms) {
                self.check_alerts(test);
            }
        }
        true
    }

    fn evaluate_groups(&mut self, now: Timestamp) -> bool {
        let before = self.failures.len();
        for (group, states) in self.groups.iter().zip(&mut self.states) {
            let evaluated = evaluate_group(group, states, now, &self.external, &mut self.store);
            for (rule, evaluated) in group.rules.iter().zip(evaluated) {
                if let Err(error) = evaluated.result {
                    let time = report::go_duration(now - self.test.start_ms);
                    self.failures.push(format!("    rule: {}, time: {time}, err: {error}", rule.name()));
                }
            }
        }
        self.failures.len() == before
    }

    fn check_alerts(&mut self, test: &AlertTest) {
        let mut got: Vec<FiringAlert> = Vec::new();
        for (rule, state) in
            self.groups.iter().zip(&self.states).flat_map(|(group, states)| group.rules.iter().zip(states))
        {
            let (Rule::Alerting(rule), RuleState::Alerting(state)) = (rule, state) else { continue };
            if rule.alert != test.alertname {
                continue;
            }
            for (labels, alert) in state.alerts.iter().filter(|(_, alert)| matches!(alert.phase, Phase::Firing { .. }))
            {
                let annotations = alert.annotations.iter().cloned().collect();
                let labels = labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
                got.push(FiringAlert { labels, annotations });
            }
        }
        got.sort();
        if got != test.expected {
            self.failures.push(report::alerts(self.test, test, &got, self.options));
        }
    }

    fn check_exprs(&mut self) {
        for test in &self.test.exprs {
            match self.got(test) {
                Err(error) => {
                    let time = bellwether_promql::duration_text(test.eval_time_ms);
                    self.failures.push(format!("    expr: {:?}, time: {time}, err: {error}", test.expr));
                }
                Ok(got) if !self.same(&got, &test.expected) => {
                    self.failures.push(report::samples(test, &got, self.options));
                }
                Ok(_) => {}
            }
        }
    }

    fn got(&self, test: &ExprTest) -> Result<Vec<ExpectedSample>, String> {
        let expr = parse(&test.expr).map_err(|error| error.to_string())?;
        let vector =
            self.store.query(&expr, self.test.start_ms + test.eval_time_ms).map_err(|error| error.to_string())?;
        let sample =
            |VectorSample { labels, point, histogram }| ExpectedSample { labels, value: point.value, histogram };
        let mut got: Vec<ExpectedSample> = vector.into_iter().map(sample).collect();
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(got)
    }

    fn same(&self, got: &[ExpectedSample], expected: &[ExpectedSample]) -> bool {
        let near = |a: f64, b: f64| a == b || (self.fuzzy && (a.next_up() == b || a.next_down() == b));
        // As promtool does, histograms are compared as they are written.
        let same = |(a, b): (&ExpectedSample, &ExpectedSample)| match (&a.histogram, &b.histogram) {
            _ if a.labels != b.labels => false,
            (None, None) => near(a.value, b.value),
            (Some(a), Some(b)) => a.notation().is_some_and(|text| Some(text) == b.notation()),
            _ => false,
        };
        got.len() == expected.len() && got.iter().zip(expected).all(same)
    }
}
