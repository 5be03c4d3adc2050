//! What an expression means for one evaluation: which series and samples it reads, and a typed tree to evaluate.
//!
//! The plan resolves `@ start()` and default steps, gives equal selectors one [`Selection`], drops parentheses, and
//! marks the parts that are the same at every step. It knows no data: whoever fetches the selections may do so in any
//! way, or have aggregations over one selection computed in parts, where the data is ([`Reduction`]).

use std::sync::Arc;

use bellwether_model::{METRIC_NAME, MatchOp, Matcher, PatternError, TimeRange, Timestamp, WholeRegex};
use xxhash_rust::xxh3::xxh3_64;

use crate::ast::{AggregateOp, BinaryOp, Expr, Extension, Grouping, Matching};
use crate::functions::extended::Borders;
use crate::functions::histogram::HistogramMeasure;
use crate::functions::math::MathOp;
use crate::functions::over_time::OverTimeOp;
use crate::functions::rate::RateOp;
use crate::functions::time::TimeOp;
use crate::limits::{POINTS_PER_SERIES_MAX, SELECTIONS_MAX, SUBQUERY_STEP_MS_DEFAULT};
use crate::lower::Lowering;
use crate::span::Span;
use crate::types::ValueType;
use crate::windows::Grid;

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalTimes {
    start: Timestamp,
    end: Timestamp,
    step_ms: i64,
    instant: bool,
}

/// Why a plan could not be made; the messages are Prometheus's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The step of a range query.
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    Step,
    /// The times of a range query.
    #[error("end timestamp must not be before start time")]
    EndBeforeStart,
    /// Too many steps.
    #[error(
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
    )]
    Points,
    /// A range query needs something that has one value at each step.
    #[error("invalid expression type {0:?} for range query, must be Scalar or instant Vector")]
    NotForRanges(&'static str),
    /// A parameter of a function that is no good whatever the data.
    #[error("{0}")]
    Parameter(String),
    /// A duration that was computed.
    #[error("{first}:{behind}: {what}")]
    Duration {
        /// Offset of its first byte in the text.
        first: u32,
        /// Offset behind its last byte.
        behind: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The regular expressions of the query take too much together.
    #[error("{0}")]
    Patterns(PatternError),
    /// Too many reads.
    #[error("{span}: the query has more than {SELECTIONS_MAX} different selectors")]
    Selections {
        /// The first that is too many.
        span: Span,
    },
}

impl EvalTimes {
    /// One time.
    pub fn instant(time: Timestamp) -> EvalTimes {
        EvalTimes { start: time, end: time, step_ms: 1, instant: true }
    }

    /// From `start` to `end` every `step_ms`; bounded as in Prometheus.
    pub fn range(start: Timestamp, end: Timestamp, step_ms: i64) -> Result<EvalTimes, PlanError> {
        if step_ms <= 0 {
            return Err(PlanError::Step);
        }
        if end < start {
            return Err(PlanError::EndBeforeStart);
        }
        if (i128::from(end) - i128::from(start)) / i128::from(step_ms) > i128::from(POINTS_PER_SERIES_MAX) {
            return Err(PlanError::Points);
        }
        Ok(EvalTimes { start, end, step_ms, instant: false })
    }

    /// First time.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Last time, if a step falls on it.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Distance of the times; 1 for an instant query.
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// Whether the result is that of an instant query.
    pub fn is_instant(&self) -> bool {
        self.instant
    }

    /// Distance of the times in seconds; 0 for an instant query.
    pub(crate) fn step_s(&self) -> f64 {
        if self.instant { 0.0 } else { self.step_ms as f64 / 1000.0 }
    }

    /// From start to end, in seconds.
    pub(crate) fn range_s(&self) -> f64 {
        self.end.saturating_sub(self.start) as f64 / 1000.0
    }

    pub(crate) fn grid(&self) -> Grid {
        Grid::span(self.start, self.end, self.step_ms)
    }
}

/// Which label names a query may make (`label_replace`, `label_join`, `count_values`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelNames {
    /// Letters, digits and underscores, as in Prometheus 2.
    Classic,
    /// Any non-empty UTF-8, as in Prometheus 3.
    #[default]
    Utf8,
}

impl LabelNames {
    pub(crate) fn allow(self, name: &str) -> bool {
        match self {
            LabelNames::Utf8 => !name.is_empty(),
            LabelNames::Classic => {
                name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
                    && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
            }
        }
    }
}

/// What is not in the text of a query but changes its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// How far back an instant selector looks for a sample.
    pub lookback_ms: i64,
    /// Step of subqueries that name none.
    pub subquery_step_ms: i64,
    /// Label names that may be made.
    pub label_names: LabelNames,
    /// Names are there to be grouped, matched and copied by until the query ends, whatever drops them.
    pub delayed_name_removal: bool,
    /// [`crate::Outcome::samples_per_step`] is wanted.
    pub samples_per_step: bool,
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions {
            lookback_ms: crate::limits::LOOKBACK_MS_DEFAULT,
            subquery_step_ms: SUBQUERY_STEP_MS_DEFAULT,
            label_names: LabelNames::default(),
            delayed_name_removal: false,
            samples_per_step: false,
        }
    }
}

/// Raised whenever parts of a result would mean something else than before, whatever the reason.
const REDUCTION_RULES: i64 = 3;

/// Series and samples that an evaluation reads.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Selection {
    /// All must match; at least one of them does not match the empty text.
    pub matchers: Vec<Matcher>,
    /// Samples that may be seen, first and last time included. Samples outside do no harm.
    pub range: TimeRange,
    /// Of each series only the newest sample inside the range is looked at, even if it is a stale marker.
    pub newest: bool,
    /// All that reads it are aggregations that a [`crate::Reducer`] can compute part by part.
    pub reduced: bool,
}

/// A query ready for evaluation.
#[derive(Debug)]
pub struct Plan {
    pub(crate) times: EvalTimes,
    pub(crate) lookback_ms: i64,
    pub(crate) delays_names: bool,
    counts_samples: bool,
    pub(crate) root: Root,
    /// Something picks by the order of series, which must not depend on who fetched them.
    pub(crate) needs_order: bool,
    selections: Vec<Selection>,
    /// Nodes that read each selection.
    pub(crate) readers: Vec<u32>,
    /// Aggregations of which parts can be computed apart.
    pub(crate) reductions: Vec<Reduction>,
}

/// An aggregation over the series of one selection, each of which counts by itself: parts of the series can be aggregated
/// apart, and the parts merged.
#[derive(Debug)]
pub(crate) struct Reduction {
    pub(crate) selection: usize,
    pub(crate) node: Arc<AggregateNode>,
    /// When it is evaluated.
    pub(crate) grid: Grid,
    /// Where it stands in the text.
    pub(crate) span: Span,
    pub(crate) counted: CountedBy,
}

/// Which steps of a query count the samples that a part of it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CountedBy {
    /// Each those that it sees.
    #[default]
    Own,
    /// All of them, what is read once.
    Every,
    /// None: what reads the subquery counts what that gives.
    None,
}

impl CountedBy {
    /// For a part that is evaluated once for all steps.
    pub(crate) fn once(self) -> CountedBy {
        if self == CountedBy::None { CountedBy::None } else { CountedBy::Every }
    }
}

impl Plan {
    /// Plans an expression with the default options but for the lookback.
    pub fn new(expr: &Expr, times: EvalTimes, lookback_ms: i64) -> Result<Plan, PlanError> {
        Plan::with_options(expr, times, PlanOptions { lookback_ms, ..PlanOptions::default() })
    }

    /// Plans an expression.
    pub fn with_options(expr: &Expr, times: EvalTimes, options: PlanOptions) -> Result<Plan, PlanError> {
        let value_type = expr.value_type();
        if !times.instant && matches!(value_type, ValueType::String | ValueType::RangeVector) {
            return Err(PlanError::NotForRanges(value_type.as_str()));
        }
        let mut lowering = Lowering::new(times, options);
        let root = lowering.root(expr)?;
        let mut plan = Plan {
            times,
            lookback_ms: options.lookback_ms,
            delays_names: options.delayed_name_removal,
            counts_samples: options.samples_per_step,
            root,
            needs_order: lowering.needs_order,
            selections: lowering.selections,
            readers: lowering.readers,
            reductions: lowering.reductions,
        };
        for at in 0..plan.selections.len() {
            let readers = plan.reductions_of(at).count();
            plan.selections[at].reduced = readers > 0 && readers == plan.readers[at] as usize;
        }
        Ok(plan)
    }

    /// The reductions of a selection, with their numbers.
    pub(crate) fn reductions_of(&self, selection: usize) -> impl Iterator<Item = (usize, &Reduction)> {
        self.reductions.iter().enumerate().filter(move |(_, reduction)| reduction.selection == selection)
    }

    /// Tells plans apart that mean something else by a selection of one text: where they were made by other rules, their
    /// parts do not fit together.
    pub fn fingerprint(&self, selection: usize) -> u64 {
        let mut bytes = vec![u8::from(self.needs_order)];
        let mut add = |number: i64| bytes.extend_from_slice(&number.to_le_bytes());
        let Some(found) = self.selections.get(selection) else { return 0 };
        [REDUCTION_RULES, self.lookback_ms, found.range.first, found.range.last, i64::from(found.newest)]
            .into_iter()
            .for_each(&mut add);
        for (number, differs) in [(1, self.delays_names), (2, self.counts_samples)] {
            if differs {
                add(number);
            }
        }
        for (number, reduction) in self.reductions_of(selection) {
            let Reduction { grid, span, .. } = reduction;
            let span = [i64::from(span.start), i64::from(span.end)];
            [number as i64, grid.start, grid.step_ms, grid.steps as i64].into_iter().chain(span).for_each(&mut add);
        }
        xxh3_64(&bytes)
    }

    /// A count of nothing for each step, if these are to be counted.
    pub(crate) fn no_samples_per_step(&self) -> Vec<u64> {
        vec![0; if self.counts_samples { self.times.grid().steps } else { 0 }]
    }

    /// What to fetch; the evaluation takes the series in this order.
    pub fn selections(&self) -> &[Selection] {
        &self.selections
    }

    /// When it will be evaluated.
    pub fn times(&self) -> EvalTimes {
        self.times
    }
}

/// A [`crate::ast::TimeShift`] with its time known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResolvedShift {
    pub(crate) offset_ms: i64,
    pub(crate) at: Option<Timestamp>,
}

impl ResolvedShift {
    /// The time that counts when the evaluation is at `time`.
    pub(crate) fn apply(self, time: Timestamp) -> Timestamp {
        self.at.unwrap_or(time).saturating_sub(self.offset_ms)
    }

    /// A shift to so much later.
    pub(crate) fn later(self, ms: i64) -> ResolvedShift {
        ResolvedShift { offset_ms: self.offset_ms.saturating_sub(ms), ..self }
    }
}

#[derive(Debug)]
pub(crate) enum Root {
    Vector(VectorNode),
    Scalar(ScalarNode),
    String(String),
    Range(RangeNode),
}

#[derive(Debug)]
pub(crate) enum ScalarNode {
    Number(f64),
    EvaluationTime,
    OnlyValueOf(Box<VectorNode>),
    Negate(Box<ScalarNode>),
    /// The greater or the lesser one.
    Bound {
        greater: bool,
        lhs: Box<ScalarNode>,
        rhs: Box<ScalarNode>,
    },
    Binary {
        op: BinaryOp,
        lhs: Box<ScalarNode>,
        rhs: Box<ScalarNode>,
    },
}

#[derive(Debug)]
pub(crate) struct SelectorNode {
    pub(crate) selection: usize,
    pub(crate) shift: ResolvedShift,
    /// Interpolates between the neighbours of each time.
    pub(crate) smoothed: bool,
    /// All series have one name, so they stay distinct without it.
    pub(crate) one_name: bool,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct RangeNode {
    pub(crate) source: RangeSource,
    pub(crate) range_ms: i64,
    pub(crate) shift: ResolvedShift,
    pub(crate) extension: Extension,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum RangeSource {
    Selection { selection: usize, one_name: bool },
    Subquery { expr: Box<VectorNode>, step_ms: i64, counted: CountedBy },
}

/// A function over the samples of a range.
#[derive(Debug)]
pub(crate) enum RangeOp {
    Rate(RateOp),
    OverTime(OverTimeOp),
    Quantile { q: ScalarNode, q_span: Span },
    PredictLinear { seconds: ScalarNode },
    DoubleExponentialSmoothing { smoothing: ScalarNode, trend: ScalarNode },
}

/// A function of each value alone.
#[derive(Debug)]
pub(crate) enum PointOp {
    Negate,
    Math(MathOp),
    Time(TimeOp),
    EvaluationTime,
    Clamp {
        min: ScalarNode,
        max: ScalarNode,
    },
    ClampMin(ScalarNode),
    ClampMax(ScalarNode),
    Round(ScalarNode),
    /// A number of each native histogram.
    OfHistogram(HistogramMeasure),
}

#[derive(Debug)]
pub(crate) enum LabelOp {
    Replace { regex: WholeRegex, destination: String, replacement: String, source: String },
    Join { destination: String, separator: String, sources: Vec<String> },
}

#[derive(Debug)]
pub(crate) enum SortKey {
    Value { descending: bool },
    Labels { names: Vec<String>, descending: bool },
}

#[derive(Debug)]
pub(crate) enum HistogramOp {
    Quantile {
        q: ScalarNode,
        q_span: Span,
    },
    /// Several, told apart by a label.
    Quantiles {
        label: String,
        qs: Vec<(ScalarNode, Span)>,
    },
    Fraction {
        lower: ScalarNode,
        lower_span: Span,
        upper: ScalarNode,
    },
}

/// What `info` joins to a vector.
#[derive(Debug)]
pub(crate) struct InfoNode {
    /// The series that describe.
    pub(crate) selector: SelectorNode,
    /// What their names match.
    pub(crate) names: Vec<Matcher>,
    /// Matchers of the labels that are wanted; none means all labels.
    pub(crate) labels: Vec<Matcher>,
}

#[derive(Debug)]
pub(crate) struct AggregateNode {
    pub(crate) op: AggregateOp,
    pub(crate) param: Option<ScalarNode>,
    pub(crate) param_span: Span,
    /// Label that `count_values` makes.
    pub(crate) label: String,
    /// Sorted names.
    pub(crate) grouping: Grouping,
    pub(crate) arg: Box<VectorNode>,
    pub(crate) arg_span: Span,
    /// Its number among the reductions of the plan.
    pub(crate) reduction: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum VectorNode {
    Selector(SelectorNode),
    /// The times of the samples that a selector finds.
    SampleTimes(SelectorNode),
    Range {
        op: RangeOp,
        range: RangeNode,
    },
    Absent {
        labels: Vec<(String, String)>,
        arg: Box<VectorNode>,
    },
    AbsentOverTime {
        labels: Vec<(String, String)>,
        range: RangeNode,
    },
    Point {
        op: PointOp,
        arg: Box<VectorNode>,
    },
    Histogram {
        op: HistogramOp,
        arg: Box<VectorNode>,
        arg_span: Span,
    },
    /// Nothing comes out.
    Nothing,
    Label {
        op: LabelOp,
        arg: Box<VectorNode>,
    },
    Sort {
        key: SortKey,
        arg: Box<VectorNode>,
        span: Span,
    },
    Info {
        arg: Box<VectorNode>,
        info: InfoNode,
    },
    OfScalar(ScalarNode),
    Aggregate(Arc<AggregateNode>),
    WithScalar {
        op: BinaryOp,
        return_bool: bool,
        scalar_left: bool,
        vector: Box<VectorNode>,
        scalar: Box<ScalarNode>,
        span: Span,
    },
    Match {
        op: BinaryOp,
        return_bool: bool,
        matching: Matching,
        lhs: Box<VectorNode>,
        rhs: Box<VectorNode>,
        span: Span,
    },
    Set {
        op: BinaryOp,
        matching: Matching,
        lhs: Box<VectorNode>,
        rhs: Box<VectorNode>,
    },
    /// The same at every step: evaluated once.
    StepInvariant(Box<VectorNode>),
}

impl VectorNode {
    /// Whether its series stay distinct when their names are dropped.
    pub(crate) fn distinct_without_name(&self) -> bool {
        match self {
            VectorNode::Selector(selector) => selector.one_name,
            VectorNode::Range { op, range } => match op {
                RangeOp::OverTime(op) if op.keeps_name() => range.distinct_without_name(),
                _ => true,
            },
            VectorNode::WithScalar { op, return_bool, vector, .. } => {
                op.is_arithmetic() || *return_bool || vector.distinct_without_name()
            }
            VectorNode::Aggregate(aggregate) => {
                let picks_series = matches!(
                    aggregate.op,
                    AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
                );
                if picks_series {
                    return aggregate.arg.distinct_without_name();
                }
                // `without` always leaves the name out.
                aggregate.grouping.without || !aggregate.grouping.labels.iter().any(|label| label == METRIC_NAME)
            }
            VectorNode::Match { op, return_bool, .. } => *return_bool || op.is_arithmetic(),
            VectorNode::Sort { arg, .. } | VectorNode::StepInvariant(arg) => arg.distinct_without_name(),
            VectorNode::Label { .. } | VectorNode::Set { .. } | VectorNode::Info { .. } => false,
            VectorNode::SampleTimes(_)
            | VectorNode::Absent { .. }
            | VectorNode::AbsentOverTime { .. }
            | VectorNode::Point { .. }
            | VectorNode::Histogram { .. }
            | VectorNode::Nothing
            | VectorNode::OfScalar(_) => true,
        }
    }

    /// Whether the order of its series in an instant query means something.
    pub(crate) fn is_ordered(&self) -> bool {
        match self {
            VectorNode::Sort { .. } => true,
            VectorNode::Aggregate(aggregate) => matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk),
            VectorNode::StepInvariant(arg)
            | VectorNode::Point { arg, .. }
            | VectorNode::Label { arg, .. }
            | VectorNode::WithScalar { vector: arg, .. } => arg.is_ordered(),
            _ => false,
        }
    }
}

impl RangeNode {
    pub(crate) fn distinct_without_name(&self) -> bool {
        match &self.source {
            RangeSource::Selection { one_name, .. } => *one_name,
            RangeSource::Subquery { expr, .. } => expr.distinct_without_name(),
        }
    }

    /// The samples that are read for it: those of which length, before and behind the end of each range.
    pub(crate) fn reach(&self, lookback_ms: i64) -> (i64, i64) {
        let before = self.range_ms.saturating_add(lookback_ms);
        match self.extension {
            Extension::None => (self.range_ms, 0),
            Extension::Anchored => (before, 0),
            Extension::Smoothed => (before, lookback_ms),
        }
    }

    /// Where the range of a step begins and ends.
    pub(crate) fn borders(&self, grid: &Grid, step: usize) -> Borders {
        let end = self.shift.apply(grid.time(step));
        Borders { start: end.saturating_sub(self.range_ms), end }
    }

    /// The times at which a subquery is evaluated so that every step of `outer` finds what its range holds.
    pub(crate) fn inner_grid(&self, outer: &Grid, step_ms: i64) -> Grid {
        let first = self.shift.apply(outer.start);
        let begin = first.saturating_sub(self.range_ms);
        // Multiples of the step; division rounds towards zero, as Go's does.
        let mut start = (begin / step_ms).saturating_mul(step_ms);
        if start <= begin {
            start = start.saturating_add(step_ms);
        }
        Grid::span(start, self.shift.apply(outer.end()), step_ms)
    }
}

/// Whether all series that pass have the same name.
pub(crate) fn names_one_metric(matchers: &[Matcher]) -> bool {
    let fixes_name = |matcher: &Matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty()
    };
    matchers.iter().any(fixes_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    fn selections(text: &str, times: EvalTimes) -> Vec<(String, i64, i64)> {
        let expr = parse(text).unwrap();
        let plan = Plan::new(&expr, times, 300_000).unwrap();
        let shown = |selection: &Selection| {
            let matchers: Vec<String> = selection.matchers.iter().map(|m| m.to_string()).collect();
            (matchers.join(","), selection.range.first, selection.range.last)
        };
        plan.selections().iter().map(shown).collect()
    }

    #[test]
    fn only_the_newest_sample_is_needed_where_all_readers_look_back_from_one_time() {
        let newest = |text: &str, times: EvalTimes| -> Vec<bool> {
            let plan = Plan::new(&parse(text).unwrap(), times, 300_000).unwrap();
            plan.selections().iter().map(|selection| selection.newest).collect()
        };
        let (at, range) = (EvalTimes::instant(1_000_000), EvalTimes::range(0, 60_000, 15_000).unwrap());
        assert_eq!(newest("sum(up) / on () count(up)", at), [true]);
        assert_eq!(newest("timestamp(up offset 1m) + down", at), [true, true]);
        assert_eq!(newest("up - up offset 1m", at), [false]);
        assert_eq!(newest("up + on () rate(up[1m])", at), [false]);
        assert_eq!(newest("rate(up[5m])", at), [false]);
        assert_eq!(newest("up + on () sum_over_time(up[5m:1m])", at), [false]);
        assert_eq!(newest("up", range), [false]);
        assert_eq!(newest("up @ 30 + down", range), [true, false]);
    }

    #[test]
    fn a_selection_is_reduced_where_all_its_readers_are_aggregations_that_merge() {
        let reduced = |text: &str| -> Vec<bool> {
            let times = EvalTimes::range(0, 600_000, 15_000).unwrap();
            let plan = Plan::new(&parse(text).unwrap(), times, 300_000).unwrap();
            plan.selections().iter().map(|selection| selection.reduced).collect()
        };
        for text in [
            "sum by (a) (rate(up[5m]))",
            "sum(up) / count(up)",
            "topk(time(), abs(up) * 2 > 3)",
            "max(min_over_time(rate(up[1m])[5m:1m]))",
            "count_values(\"v\", up @ 30) + on () sum(sum(up))",
            "avg({job=\"a\"})",
        ] {
            assert_eq!(reduced(text), [true], "{text}");
        }
        for text in [
            "up",
            "sum(up) + on () up",
            "quantile(0.5, up)",
            "limit_ratio(0.5, up)",
            "sum(rate({job=\"a\"}[5m]))",
            "sum(-{job=\"a\"})",
            "sum(label_join(up, \"a\", \"b\"))",
            "topk(scalar(up), up)",
            "sum(absent(up))",
        ] {
            assert_eq!(reduced(text), [false], "{text}");
        }
        assert_eq!(reduced("sum(up) + topk(3, down) and down"), [true, false]);
        assert_eq!(reduced("sum(up > on () down)"), [false, false]);
    }

    #[test]
    fn plans_of_one_text_have_the_same_fingerprint_and_others_have_not() {
        let fingerprint = |text: &str, step: i64| {
            let times = EvalTimes::range(0, 600_000, step).unwrap();
            Plan::new(&parse(text).unwrap(), times, 300_000).unwrap().fingerprint(0)
        };
        assert_eq!(fingerprint("sum(up)", 15_000), fingerprint("sum(up)", 15_000));
        assert_ne!(fingerprint("sum(up)", 15_000), fingerprint("sum(up)", 30_000));
        assert_ne!(fingerprint("sum(up)", 15_000), fingerprint(" sum(up)", 15_000));
    }

    #[test]
    fn lookback_and_ranges_leave_out_their_left_border() {
        let up = "__name__=\"up\"".to_owned();
        assert_eq!(selections("up", EvalTimes::instant(1_000_000)), [(up.clone(), 700_001, 1_000_000)]);
        let times = EvalTimes::range(1_000_000, 2_000_000, 1000).unwrap();
        assert_eq!(selections("up[10s] offset 1s", EvalTimes::instant(20_000)), [(up.clone(), 9_001, 19_000)]);
        assert_eq!(selections("rate(up[10s] offset -1s)", times), [(up.clone(), 991_001, 2_001_000)]);
        assert_eq!(selections("rate(up[10s] @ 50)", times), [(up, 40_001, 50_000)]);
    }

    #[test]
    fn equal_selectors_share_a_selection() {
        let found =
            selections("up{a=\"1\",b=\"2\"} + up{b=\"2\",a=\"1\"} offset 1h + down", EvalTimes::instant(10_000_000));
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].1, found[0].2), (6_100_001, 10_000_000));
    }

    #[test]
    fn subqueries_widen_the_range_by_whole_steps() {
        let found = selections("max_over_time(rate(up[1m])[5m:1m])", EvalTimes::instant(1_000_000));
        assert_eq!((found[0].1, found[0].2), (660_001, 960_000));
    }

    #[test]
    fn a_range_query_is_bounded() {
        assert_eq!(EvalTimes::range(0, 11_000, 1).map(|times| times.grid().steps), Ok(11_001));
        assert_eq!(EvalTimes::range(0, 11_001, 1), Err(PlanError::Points));
        assert_eq!(EvalTimes::range(0, 1, 0), Err(PlanError::Step));
        assert_eq!(EvalTimes::range(i64::MIN, i64::MAX, 1), Err(PlanError::Points));
        let range = parse("up[5m]").unwrap();
        let error = Plan::new(&range, EvalTimes::range(0, 1, 1).unwrap(), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
        );
    }
}
