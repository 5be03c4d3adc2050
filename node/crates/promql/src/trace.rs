//! What a plan does step by step, and what each step took.
//!
//! Series flow from step to step one at a time, so the time of a step is what passes while neither the steps below it work nor
//! whoever takes its series. The clock comes in.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::ast::{BinaryOp, Extension, Grouping, Matching};
use crate::column::Column;
use crate::functions::{self, FunctionKind};
use crate::outcome::EvalError;
use crate::plan::{
    HistogramOp, LabelOp, Plan, PointOp, RangeNode, RangeOp, RangeSource, ResolvedShift, Root, ScalarNode, SortKey,
    VectorNode,
};
use crate::series::SeriesLabels;

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// What it does.
    pub what: String,
    /// How many steps it is below the first one; it gives its series to the last step before it that is less deep.
    pub depth: u32,
    /// The selection that it reads.
    pub selection: Option<usize>,
    /// It has come to something where the series are; what is below it was done there.
    pub reduced: bool,
    /// What it took here.
    pub took: StepCost,
}

/// What a step took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCost {
    /// Time, without that of the steps below.
    pub time: Duration,
    /// Series that it gave.
    pub series: u64,
    /// Values that it gave.
    pub points: u64,
    /// Bytes of these series, labels included.
    pub bytes: u64,
}

/// Tells the time since some moment.
pub type Clock<'c> = dyn Fn() -> Duration + 'c;

impl Plan {
    /// What it does, each step before those that it takes series from.
    pub fn steps(&self) -> Vec<PlanStep> {
        Steps::of(self).steps
    }
}

/// The steps, and which node each is: by address, since nodes stay where they are while their plan lives.
struct Steps<'p> {
    plan: &'p Plan,
    steps: Vec<PlanStep>,
    numbers: BTreeMap<usize, usize>,
}

fn address(node: &VectorNode) -> usize {
    std::ptr::from_ref(node) as usize
}

impl<'p> Steps<'p> {
    fn of(plan: &'p Plan) -> Steps<'p> {
        let mut steps = Steps { plan, steps: Vec::new(), numbers: BTreeMap::new() };
        match &plan.root {
            Root::Vector(node) => steps.vector(node, 0),
            Root::Scalar(node) => steps.scalar(node, 0),
            Root::Range(node) => {
                steps.add("the samples as they are".to_owned(), 0, None);
                steps.range(node, 1);
            }
            Root::String(_) => steps.add("a text".to_owned(), 0, None),
        }
        steps
    }

    fn add(&mut self, what: String, depth: u32, selection: Option<usize>) {
        self.steps.push(PlanStep { what, depth, selection, reduced: false, took: StepCost::default() });
    }

    fn scalar(&mut self, node: &ScalarNode, depth: u32) {
        match node {
            ScalarNode::Number(_) | ScalarNode::EvaluationTime => {}
            ScalarNode::OnlyValueOf(vector) => {
                self.add("scalar".to_owned(), depth, None);
                self.vector(vector, depth + 1);
            }
            ScalarNode::Negate(inner) => self.scalar(inner, depth),
            ScalarNode::Bound { lhs, rhs, .. } | ScalarNode::Binary { lhs, rhs, .. } => {
                self.scalar(lhs, depth);
                self.scalar(rhs, depth);
            }
        }
    }

    fn selected(&self, selection: usize, range: &str, shift: ResolvedShift) -> String {
        let matchers = &self.plan.selections()[selection].matchers;
        let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        format!("{{{}}}{range}{}", matchers.join(","), shift_text(shift))
    }

    fn range(&mut self, range: &RangeNode, depth: u32) {
        let seconds = range.range_ms as f64 / 1000.0;
        match &range.source {
            RangeSource::Selection { selection, .. } => {
                let extension = match range.extension {
                    Extension::None => String::new(),
                    other => format!(" {}", other.as_str()),
                };
                let what = self.selected(*selection, &format!("[{seconds}s]{extension}"), range.shift);
                self.add(what, depth, Some(*selection));
            }
            RangeSource::Subquery { expr, step_ms, .. } => {
                let (step, shift) = (*step_ms as f64 / 1000.0, shift_text(range.shift));
                self.add(format!("subquery [{seconds}s:{step}s]{shift}"), depth, None);
                self.vector(expr, depth + 1);
            }
        }
    }

    fn vector(&mut self, node: &VectorNode, depth: u32) {
        let number = self.steps.len();
        self.numbers.insert(address(node), number);
        let below = depth + 1;
        match node {
            VectorNode::Selector(selector) | VectorNode::SampleTimes(selector) => {
                let times = if matches!(node, VectorNode::SampleTimes(_)) { "times of " } else { "" };
                let what = format!("{times}{}", self.selected(selector.selection, "", selector.shift));
                self.add(what, depth, Some(selector.selection));
            }
            VectorNode::Range { op, range } => {
                self.add(range_name(op), depth, None);
                self.range(range, below);
            }
            VectorNode::AbsentOverTime { range, .. } => {
                self.add("absent_over_time".to_owned(), depth, None);
                self.range(range, below);
            }
            VectorNode::Absent { arg, .. } => self.one("absent".to_owned(), arg, depth),
            VectorNode::Point { op, arg } => self.one(point_name(op), arg, depth),
            VectorNode::Histogram { op, arg, .. } => self.one(histogram_name(op).to_owned(), arg, depth),
            VectorNode::Nothing => self.add("nothing".to_owned(), depth, None),
            VectorNode::Label { op, arg } => self.one(label_name(op).to_owned(), arg, depth),
            VectorNode::Sort { key, arg, .. } => self.one(sort_name(key), arg, depth),
            VectorNode::Info { arg, info } => {
                self.one("info".to_owned(), arg, depth);
                let what = self.selected(info.selector.selection, "", info.selector.shift);
                self.add(what, below, Some(info.selector.selection));
            }
            VectorNode::OfScalar(scalar) => {
                self.add("vector of a scalar".to_owned(), depth, None);
                self.scalar(scalar, below);
            }
            VectorNode::Aggregate(node) => {
                let what = format!("{}{}", node.op.as_str(), grouping_text(&node.grouping));
                self.one(what, &node.arg, depth);
                if let Some(param) = &node.param {
                    self.scalar(param, below);
                }
                let reduction = node.reduction.map(|number| &self.plan.reductions[number]);
                let is_reduced = |selection: usize| self.plan.selections()[selection].reduced;
                self.steps[number].reduced = reduction.is_some_and(|reduction| is_reduced(reduction.selection));
            }
            VectorNode::WithScalar { op, return_bool, vector, scalar, .. } => {
                self.one(operator_text(*op, *return_bool, &Matching::default()), vector, depth);
                self.scalar(scalar, below);
            }
            VectorNode::Match { op, return_bool, matching, lhs, rhs, .. } => {
                self.one(operator_text(*op, *return_bool, matching), lhs, depth);
                self.vector(rhs, below);
            }
            VectorNode::Set { op, matching, lhs, rhs } => {
                self.one(operator_text(*op, false, matching), lhs, depth);
                self.vector(rhs, below);
            }
            VectorNode::StepInvariant(arg) => self.one("once for all steps".to_owned(), arg, depth),
        }
    }

    fn one(&mut self, what: String, arg: &VectorNode, depth: u32) {
        self.add(what, depth, None);
        self.vector(arg, depth + 1);
    }
}

/// The name under which the parser knows a function.
fn name_of(kind: FunctionKind) -> &'static str {
    functions::all().iter().find(|function| function.kind == kind).map_or("function", |function| function.name)
}

fn range_name(op: &RangeOp) -> String {
    let kind = match op {
        RangeOp::Rate(op) => FunctionKind::Rate(*op),
        RangeOp::OverTime(op) => FunctionKind::OverTime(*op),
        RangeOp::Quantile { .. } => FunctionKind::QuantileOverTime,
        RangeOp::PredictLinear { .. } => FunctionKind::PredictLinear,
        RangeOp::DoubleExponentialSmoothing { .. } => FunctionKind::DoubleExponentialSmoothing,
    };
    name_of(kind).to_owned()
}

fn point_name(op: &PointOp) -> String {
    let kind = match op {
        PointOp::Negate => return "-".to_owned(),
        PointOp::Math(op) => FunctionKind::Math(*op),
        PointOp::Time(op) => FunctionKind::Time(*op),
        PointOp::EvaluationTime => FunctionKind::EvaluationTime,
        PointOp::Clamp { .. } => FunctionKind::Clamp,
        PointOp::ClampMin(_) => FunctionKind::ClampMin,
        PointOp::ClampMax(_) => FunctionKind::ClampMax,
        PointOp::Round(_) => FunctionKind::Round,
        PointOp::OfHistogram(measure) => FunctionKind::HistogramMeasure(*measure),
    };
    name_of(kind).to_owned()
}

fn histogram_name(op: &HistogramOp) -> &'static str {
    name_of(match op {
        HistogramOp::Quantile { .. } => FunctionKind::HistogramQuantile,
        HistogramOp::Quantiles { .. } => FunctionKind::HistogramQuantiles,
        HistogramOp::Fraction { .. } => FunctionKind::HistogramFraction,
    })
}

fn label_name(op: &LabelOp) -> &'static str {
    name_of(match op {
        LabelOp::Replace { .. } => FunctionKind::LabelReplace,
        LabelOp::Join { .. } => FunctionKind::LabelJoin,
    })
}

fn sort_name(key: &SortKey) -> String {
    let kind = match key {
        SortKey::Value { descending } => FunctionKind::Sort { descending: *descending },
        SortKey::Labels { descending, .. } => FunctionKind::SortByLabel { descending: *descending },
    };
    name_of(kind).to_owned()
}

fn shift_text(shift: ResolvedShift) -> String {
    let at = shift.at.map(|at| format!(" @ {}", at as f64 / 1000.0)).unwrap_or_default();
    match shift.offset_ms {
        0 => at,
        ms => format!("{at} offset {}s", ms as f64 / 1000.0),
    }
}

fn grouping_text(grouping: &Grouping) -> String {
    let labels = grouping.labels.join(", ");
    match (grouping.without, labels.is_empty()) {
        (true, _) => format!(" without ({labels})"),
        (false, true) => String::new(),
        (false, false) => format!(" by ({labels})"),
    }
}

fn operator_text(op: BinaryOp, return_bool: bool, matching: &Matching) -> String {
    let returned = if return_bool { " bool" } else { "" };
    let labels = matching.labels.join(", ");
    let matched = match (matching.on, labels.is_empty()) {
        (true, _) => format!(" on ({labels})"),
        (false, true) => String::new(),
        (false, false) => format!(" ignoring ({labels})"),
    };
    format!("{}{returned}{matched}", op.as_str())
}

/// Takes the time of each step of an evaluation.
pub(crate) struct Trace<'c> {
    clock: &'c Clock<'c>,
    numbers: BTreeMap<usize, usize>,
    steps: RefCell<Vec<PlanStep>>,
    /// The step that works now, and since when.
    current: Cell<Option<usize>>,
    since: Cell<Duration>,
}

impl<'c> Trace<'c> {
    pub(crate) fn new(plan: &Plan, clock: &'c Clock<'c>) -> Trace<'c> {
        let Steps { steps, numbers, .. } = Steps::of(plan);
        Trace { clock, numbers, steps: RefCell::new(steps), current: Cell::new(None), since: Cell::new(clock()) }
    }

    /// Another step goes on from here; says which one worked until now.
    fn turn_to(&self, step: Option<usize>) -> Option<usize> {
        let now = (self.clock)();
        let before = self.current.replace(step);
        let worked = now.saturating_sub(self.since.replace(now));
        if let Some(step) = before
            && let Some(step) = self.steps.borrow_mut().get_mut(step)
        {
            step.took.time += worked;
        }
        before
    }

    /// Runs a node's work, which gives its series to a sink, and takes down what it took.
    pub(crate) fn of_node(
        &self,
        node: &VectorNode,
        sink: &mut dyn FnMut(&SeriesLabels, &mut Column) -> Result<(), EvalError>,
        work: impl FnOnce(&mut dyn FnMut(&SeriesLabels, &mut Column) -> Result<(), EvalError>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let Some(number) = self.numbers.get(&address(node)).copied() else { return work(sink) };
        let outer = self.turn_to(Some(number));
        let worked = work(&mut |labels, column| {
            self.gave(number, labels, column);
            self.turn_to(outer);
            let taken = sink(labels, column);
            self.turn_to(Some(number));
            taken
        });
        self.turn_to(outer);
        worked
    }

    fn gave(&self, number: usize, labels: &SeriesLabels, column: &Column) {
        if let Some(step) = self.steps.borrow_mut().get_mut(number) {
            let points = column.present.count() as u64;
            step.took.series += 1;
            step.took.points += points;
            step.took.bytes += points * size_of::<f64>() as u64 + labels.byte_len() as u64;
        }
    }

    pub(crate) fn into_steps(self) -> Vec<PlanStep> {
        self.steps.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use bellwether_model::Labels;

    use super::*;
    use crate::account::{Limits, QueryAccount};
    use crate::eval::{Fetched, evaluate_traced};
    use crate::parser::parse;
    use crate::plan::EvalTimes;
    use crate::series::FetchedSeries;

    fn plan(text: &str) -> Plan {
        let times = EvalTimes::range(60_000, 120_000, 30_000).unwrap();
        Plan::new(&parse(text).unwrap(), times, 300_000).unwrap()
    }

    fn shown(steps: &[PlanStep]) -> String {
        let line = |step: &PlanStep| {
            let reduced = if step.reduced { " *" } else { "" };
            format!("{}{}{reduced}\n", "  ".repeat(step.depth as usize), step.what)
        };
        steps.iter().map(line).collect()
    }

    #[test]
    fn a_plan_says_what_it_does() {
        let steps = |text: &str| shown(&plan(text).steps());
        expect_test::expect![[r#"
            /
              sum by (a) *
                rate
                  {b="c",__name__="m"}[300s] offset 60s
              once for all steps
                max without (b) *
                  {__name__="n"} @ 5
        "#]]
        .assert_eq(&steps("sum by (a) (rate(m{b=\"c\"}[5m] offset 1m)) / (max without (b) (n @ 5))"));
        expect_test::expect![[r#"
            > bool
              max_over_time
                subquery [300s:60s]
                  sort_desc
                    clamp_min
                      {__name__="m"}
              scalar
                {__name__="n"}
        "#]]
        .assert_eq(&steps("max_over_time(sort_desc(clamp_min(m, 1))[5m:1m]) > bool scalar(n)"));
    }

    #[test]
    fn the_time_of_an_evaluation_is_that_of_its_steps() {
        let plan = plan("topk(1, m * 2) + on (n) m");
        let series = |n: &str| FetchedSeries {
            labels: Labels::of(&[("__name__", "m"), ("n", n)]),
            timestamps: Arc::from([50_000, 80_000, 110_000]),
            values: vec![1.0, 2.0, 3.0],
            histograms: None,
        };
        let fetched = vec![Fetched::Series(vec![series("1"), series("2")])];
        let account = QueryAccount::new(Limits::default());
        account.take(1 << 20).unwrap();
        let ticks = Cell::new(0);
        let clock = || {
            ticks.set(ticks.get() + 1);
            Duration::from_micros(ticks.get())
        };
        let (outcome, steps) = evaluate_traced(&plan, fetched, &account, &AtomicBool::new(false), &clock).unwrap();
        let crate::Value::Matrix(matrix) = outcome.value else { panic!("a matrix") };
        assert_eq!(matrix.len(), 1);
        let spent: Duration = steps.iter().map(|step| step.took.time).sum();
        // What passed before the first step began, and while the result took its one series, is nobody's.
        assert_eq!(spent, Duration::from_micros(ticks.get() - 3));
        let gave: Vec<_> = steps.iter().map(|step| (&*step.what, step.took.series, step.took.points)).collect();
        assert_eq!(
            gave,
            [("+ on (n)", 1, 3), ("topk", 1, 3), ("*", 2, 6), ("{__name__=\"m\"}", 2, 6), ("{__name__=\"m\"}", 2, 6)]
        );
        assert!(steps.iter().all(|step| step.took.bytes > step.took.points * 8));
    }
}
