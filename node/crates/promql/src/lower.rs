//! Syntax tree to plan.

use std::sync::Arc;

use bellwether_model::{METRIC_NAME, MatchOp, Matcher, PatternBudget, PatternError, TimeRange, WholeRegex};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128;

use crate::ast::{Aggregate, AggregateOp, At, Binary, Call, Expr, Extension, Grouping, TimeShift, VectorSelector};
use crate::functions::FunctionKind;
use crate::limits::SELECTIONS_MAX;
use crate::plan::{
    AggregateNode, CountedBy, EvalTimes, HistogramOp, InfoNode, LabelOp, PlanError, PlanOptions, PointOp, RangeNode,
    RangeOp, RangeSource, Reduction, ResolvedShift, Root, ScalarNode, Selection, SelectorNode, SortKey, VectorNode,
    names_one_metric,
};
use crate::reducible::reduced_selection;
use crate::span::Span;
use crate::types::ValueType;
use crate::windows::Grid;

pub(crate) struct Lowering {
    times: EvalTimes,
    options: PlanOptions,
    pub(crate) selections: Vec<Selection>,
    /// Nodes that read each selection.
    pub(crate) readers: Vec<u32>,
    pub(crate) needs_order: bool,
    pub(crate) reductions: Vec<Reduction>,
    /// Places in `selections` by the hash of their matchers.
    known: HashTable<(u128, usize)>,
    patterns: PatternBudget,
}

/// Where in the tree the lowering is.
#[derive(Clone, Copy)]
struct Place {
    /// Times at which this part is evaluated.
    grid: Grid,
    /// Inside a part that is already known to be the same at every step.
    invariant: bool,
    counted: CountedBy,
}

/// The type checks have passed, so an expression of another type cannot come here.
const CHECKED: &str = "the parser checked the type";

impl Lowering {
    pub(crate) fn new(times: EvalTimes, options: PlanOptions) -> Lowering {
        Lowering {
            times,
            options,
            selections: Vec::new(),
            readers: Vec::new(),
            needs_order: false,
            reductions: Vec::new(),
            known: HashTable::new(),
            patterns: PatternBudget::default(),
        }
    }

    pub(crate) fn root(&mut self, expr: &Expr) -> Result<Root, PlanError> {
        let place = Place { grid: self.times.grid(), invariant: false, counted: CountedBy::Own };
        Ok(match expr.value_type() {
            ValueType::Scalar => Root::Scalar(self.scalar(expr, place)?),
            ValueType::InstantVector => Root::Vector(self.vector(expr, place)?),
            ValueType::RangeVector => Root::Range(self.range(expr, place, CountedBy::Every)?),
            ValueType::String => Root::String(text(expr)),
        })
    }

    fn scalar(&mut self, expr: &Expr, place: Place) -> Result<ScalarNode, PlanError> {
        Ok(match expr.without_parens() {
            Expr::Number(number) => ScalarNode::Number(number.value),
            Expr::Unary(unary) => {
                let inner = self.scalar(&unary.expr, place)?;
                if unary.negative { ScalarNode::Negate(Box::new(inner)) } else { inner }
            }
            Expr::Binary(binary) => {
                if binary.op.is_trim() {
                    let message = format!("operator {:?} not allowed for Scalar operations", binary.op.as_str());
                    return Err(PlanError::Parameter(message));
                }
                let lhs = Box::new(self.scalar(&binary.lhs, place)?);
                let rhs = Box::new(self.scalar(&binary.rhs, place)?);
                ScalarNode::Binary { op: binary.op, lhs, rhs }
            }
            Expr::Call(call) => match call.function.kind {
                FunctionKind::Pi => ScalarNode::Number(std::f64::consts::PI),
                FunctionKind::EvaluationTime => ScalarNode::EvaluationTime,
                FunctionKind::QueryStart => ScalarNode::Number(self.times.start() as f64 / 1000.0),
                FunctionKind::QueryEnd => ScalarNode::Number(self.times.end() as f64 / 1000.0),
                FunctionKind::QueryStep => ScalarNode::Number(self.times.step_s()),
                FunctionKind::QueryRange => ScalarNode::Number(self.times.range_s()),
                FunctionKind::MaxOf | FunctionKind::MinOf => ScalarNode::Bound {
                    greater: call.function.kind == FunctionKind::MaxOf,
                    lhs: Box::new(self.scalar(&call.args[0], place)?),
                    rhs: Box::new(self.scalar(&call.args[1], place)?),
                },
                FunctionKind::Scalar => ScalarNode::OnlyValueOf(self.boxed(&call.args[0], place)?),
                _ => unreachable!("{CHECKED}"),
            },
            _ => unreachable!("{CHECKED}"),
        })
    }

    fn boxed(&mut self, expr: &Expr, place: Place) -> Result<Box<VectorNode>, PlanError> {
        self.vector(expr, place).map(Box::new)
    }

    fn vector(&mut self, expr: &Expr, place: Place) -> Result<VectorNode, PlanError> {
        let expr = expr.without_parens();
        if !place.invariant && place.grid.steps > 1 && is_step_invariant(expr) {
            let once = Place { grid: Grid::at(place.grid.start), invariant: true, counted: place.counted.once() };
            return Ok(VectorNode::StepInvariant(self.boxed(expr, once)?));
        }
        match expr {
            Expr::Selector(selector) => Ok(VectorNode::Selector(self.selector(selector, place)?)),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, place),
            Expr::Binary(binary) => self.binary(binary, place),
            Expr::Unary(unary) => {
                let arg = self.boxed(&unary.expr, place)?;
                Ok(if unary.negative { VectorNode::Point { op: PointOp::Negate, arg } } else { *arg })
            }
            Expr::Call(call) => self.call(call, place),
            _ => unreachable!("{CHECKED}"),
        }
    }

    fn resolve(&self, shift: &TimeShift) -> Result<ResolvedShift, PlanError> {
        let at = shift.at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.times.start(),
            At::End => self.times.end(),
        });
        Ok(ResolvedShift { offset_ms: shift.offset.resolve(&self.times, true)?, at })
    }

    /// The selection of `matchers`, wide enough for ranges of `reach` milliseconds before and behind the times of `grid`;
    /// with `newest` each time sees the newest sample alone.
    fn select(
        &mut self,
        matchers: &[Matcher],
        span: Span,
        shift: ResolvedShift,
        reach: (i64, i64),
        grid: Grid,
        newest: bool,
    ) -> Result<usize, PlanError> {
        let first = shift.apply(grid.start).saturating_sub(reach.0).saturating_add(1);
        let range = TimeRange::new(first, shift.apply(grid.end()).saturating_add(reach.1));
        let newest = newest && shift.apply(grid.start) == range.last;
        let key = matchers_hash(matchers);
        match self.known.find(key as u64, |(known, _)| *known == key) {
            Some((_, at)) => {
                let at = *at;
                self.readers[at] += 1;
                let selection = &mut self.selections[at];
                selection.newest &= newest && selection.range == range;
                let widened = &mut selection.range;
                // A subquery whose range holds no step reads nothing.
                if widened.is_empty() {
                    *widened = range;
                } else if !range.is_empty() {
                    *widened = TimeRange::new(widened.first.min(range.first), widened.last.max(range.last));
                }
                Ok(at)
            }
            None if self.selections.len() >= SELECTIONS_MAX => Err(PlanError::Selections { span }),
            None => {
                let at = self.selections.len();
                self.selections.push(Selection { matchers: matchers.to_vec(), range, newest, reduced: false });
                self.readers.push(1);
                self.known.insert_unique(key as u64, (key, at), |(known, _)| *known as u64);
                Ok(at)
            }
        }
    }

    fn selector(&mut self, selector: &VectorSelector, place: Place) -> Result<SelectorNode, PlanError> {
        let shift = self.resolve(&selector.shift)?;
        let smoothed = selector.extension == Extension::Smoothed;
        let lookback_ms = self.options.lookback_ms;
        let reach = (lookback_ms, if smoothed { lookback_ms } else { 0 });
        Ok(SelectorNode {
            selection: self.select(&selector.matchers, selector.span, shift, reach, place.grid, !smoothed)?,
            shift,
            smoothed,
            one_name: names_one_metric(&selector.matchers),
            span: selector.span,
        })
    }

    /// A range, and who counts the samples below it if it is that of a subquery.
    fn range(&mut self, expr: &Expr, place: Place, counted: CountedBy) -> Result<RangeNode, PlanError> {
        match expr.without_parens() {
            Expr::Range(range) => {
                let (matchers, span) = (&range.selector.matchers, range.selector.span);
                // The selection comes last: what it reads follows from the node.
                let one_name = names_one_metric(matchers);
                let mut node = RangeNode {
                    source: RangeSource::Selection { selection: 0, one_name },
                    range_ms: range.range.resolve(&self.times, false)?,
                    shift: self.resolve(&range.selector.shift)?,
                    extension: range.selector.extension,
                    span: range.span,
                };
                let reach = node.reach(self.options.lookback_ms);
                let selection = self.select(matchers, span, node.shift, reach, place.grid, false)?;
                node.source = RangeSource::Selection { selection, one_name };
                Ok(node)
            }
            Expr::Subquery(subquery) => {
                let step_ms = match &subquery.step {
                    Some(step) => step.resolve(&self.times, false)?,
                    None => self.options.subquery_step_ms.max(1),
                };
                // The inner expression comes last: its times follow from the node's shift and range.
                let mut node = RangeNode {
                    source: RangeSource::Subquery { expr: Box::new(VectorNode::Nothing), step_ms, counted },
                    range_ms: subquery.range.resolve(&self.times, false)?,
                    shift: self.resolve(&subquery.shift)?,
                    extension: Extension::None,
                    span: subquery.span,
                };
                let grid = node.inner_grid(&place.grid, step_ms);
                let expr = self.boxed(&subquery.expr, Place { grid, invariant: false, counted })?;
                node.source = RangeSource::Subquery { expr, step_ms, counted };
                Ok(node)
            }
            _ => unreachable!("{CHECKED}"),
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, place: Place) -> Result<VectorNode, PlanError> {
        self.needs_order |= matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk);
        let mut labels = aggregate.grouping.labels.clone();
        labels.sort();
        labels.dedup();
        let grouping = Grouping { without: aggregate.grouping.without, labels };
        let mut node = AggregateNode {
            op: aggregate.op,
            param: None,
            param_span: Span::default(),
            label: String::new(),
            grouping,
            arg: self.boxed(&aggregate.expr, place)?,
            arg_span: aggregate.expr.span(),
            reduction: None,
        };
        if let Some(param) = &aggregate.param {
            node.param_span = param.span();
            if aggregate.op == AggregateOp::CountValues {
                node.label = text(param);
                if !self.options.label_names.allow(&node.label) {
                    return Err(PlanError::Parameter(format!("invalid label name {:?}", node.label)));
                }
            } else {
                node.param = Some(self.scalar(param, place)?);
            }
        }
        let selection = reduced_selection(&node, self.options.delayed_name_removal);
        node.reduction = selection.map(|_| self.reductions.len());
        let node = Arc::new(node);
        self.reductions.extend(selection.map(|selection| Reduction {
            selection,
            node: node.clone(),
            grid: place.grid,
            span: aggregate.span,
            counted: place.counted,
        }));
        Ok(VectorNode::Aggregate(node))
    }

    fn binary(&mut self, binary: &Binary, place: Place) -> Result<VectorNode, PlanError> {
        let (op, return_bool) = (binary.op, binary.return_bool);
        let scalar_left = binary.lhs.value_type() == ValueType::Scalar;
        if scalar_left || binary.rhs.value_type() == ValueType::Scalar {
            let (vector, scalar) = if scalar_left { (&binary.rhs, &binary.lhs) } else { (&binary.lhs, &binary.rhs) };
            let vector = self.boxed(vector, place)?;
            let scalar = Box::new(self.scalar(scalar, place)?);
            let span = binary.span;
            return Ok(VectorNode::WithScalar { op, return_bool, scalar_left, vector, scalar, span });
        }
        let (lhs, rhs) = (self.boxed(&binary.lhs, place)?, self.boxed(&binary.rhs, place)?);
        let mut matching = binary.matching.clone();
        matching.labels.sort();
        matching.labels.dedup();
        if op.is_set() {
            return Ok(VectorNode::Set { op, matching, lhs, rhs });
        }
        Ok(VectorNode::Match { op, return_bool, matching, lhs, rhs, span: binary.span })
    }

    fn call(&mut self, call: &Call, place: Place) -> Result<VectorNode, PlanError> {
        check_extension(call)?;
        let args = &call.args;
        let point = |op, arg| Ok(VectorNode::Point { op, arg });
        match call.function.kind {
            FunctionKind::Math(op) => point(PointOp::Math(op), self.boxed(&args[0], place)?),
            FunctionKind::Time(op) => {
                let arg = match args.first() {
                    Some(arg) => self.boxed(arg, place)?,
                    None => Box::new(VectorNode::OfScalar(ScalarNode::EvaluationTime)),
                };
                point(PointOp::Time(op), arg)
            }
            FunctionKind::Rate(op) => self.range_call(RangeOp::Rate(op), &args[0], place),
            FunctionKind::OverTime(op) => self.range_call(RangeOp::OverTime(op), &args[0], place),
            FunctionKind::QuantileOverTime => {
                let op = RangeOp::Quantile { q: self.scalar(&args[0], place)?, q_span: args[0].span() };
                self.range_call(op, &args[1], place)
            }
            FunctionKind::PredictLinear => {
                let op = RangeOp::PredictLinear { seconds: self.scalar(&args[1], place)? };
                self.range_call(op, &args[0], place)
            }
            FunctionKind::DoubleExponentialSmoothing => {
                let (smoothing, trend) = (self.scalar(&args[1], place)?, self.scalar(&args[2], place)?);
                self.range_call(RangeOp::DoubleExponentialSmoothing { smoothing, trend }, &args[0], place)
            }
            FunctionKind::AbsentOverTime => {
                let labels = labels_of_absence(&args[0]);
                Ok(VectorNode::AbsentOverTime { labels, range: self.range(&args[0], place, CountedBy::None)? })
            }
            FunctionKind::Absent => {
                Ok(VectorNode::Absent { labels: labels_of_absence(&args[0]), arg: self.boxed(&args[0], place)? })
            }
            FunctionKind::Clamp => {
                let (min, max) = (self.scalar(&args[1], place)?, self.scalar(&args[2], place)?);
                point(PointOp::Clamp { min, max }, self.boxed(&args[0], place)?)
            }
            FunctionKind::ClampMin => {
                point(PointOp::ClampMin(self.scalar(&args[1], place)?), self.boxed(&args[0], place)?)
            }
            FunctionKind::ClampMax => {
                point(PointOp::ClampMax(self.scalar(&args[1], place)?), self.boxed(&args[0], place)?)
            }
            FunctionKind::Round => {
                let to = args.get(1).map_or(Ok(ScalarNode::Number(1.0)), |to| self.scalar(to, place))?;
                point(PointOp::Round(to), self.boxed(&args[0], place)?)
            }
            FunctionKind::HistogramQuantile => {
                let op = HistogramOp::Quantile { q: self.scalar(&args[0], place)?, q_span: args[0].span() };
                Ok(VectorNode::Histogram { op, arg: self.boxed(&args[1], place)?, arg_span: args[1].span() })
            }
            FunctionKind::HistogramFraction => {
                let (lower, upper) = (self.scalar(&args[0], place)?, self.scalar(&args[1], place)?);
                let op = HistogramOp::Fraction { lower, lower_span: args[0].span(), upper };
                Ok(VectorNode::Histogram { op, arg: self.boxed(&args[2], place)?, arg_span: args[2].span() })
            }
            FunctionKind::HistogramQuantiles => {
                let label = text(&args[1]);
                if !self.options.label_names.allow(&label) {
                    return Err(PlanError::Parameter(format!("invalid label name {label:?}")));
                }
                let mut qs = Vec::with_capacity(args.len() - 2);
                for q in &args[2..] {
                    qs.push((self.scalar(q, place)?, q.span()));
                }
                let op = HistogramOp::Quantiles { label, qs };
                Ok(VectorNode::Histogram { op, arg: self.boxed(&args[0], place)?, arg_span: args[0].span() })
            }
            FunctionKind::HistogramMeasure(measure) => {
                point(PointOp::OfHistogram(measure), self.boxed(&args[0], place)?)
            }
            FunctionKind::StartTimestamp => Ok(VectorNode::Nothing),
            FunctionKind::Info => {
                let arg = self.boxed(&args[0], place)?;
                Ok(VectorNode::Info { arg, info: self.info(call, place)? })
            }
            FunctionKind::LabelReplace => {
                Ok(VectorNode::Label { op: self.label_replace(args)?, arg: self.boxed(&args[0], place)? })
            }
            FunctionKind::LabelJoin => {
                Ok(VectorNode::Label { op: self.label_join(args)?, arg: self.boxed(&args[0], place)? })
            }
            FunctionKind::Sort { descending } => {
                self.needs_order = true;
                let (key, arg) = (SortKey::Value { descending }, self.boxed(&args[0], place)?);
                Ok(VectorNode::Sort { key, arg, span: call.span })
            }
            FunctionKind::SortByLabel { descending } => {
                let names = args[1..].iter().map(text).collect();
                let (key, arg) = (SortKey::Labels { names, descending }, self.boxed(&args[0], place)?);
                Ok(VectorNode::Sort { key, arg, span: call.span })
            }
            FunctionKind::Timestamp => match args[0].without_parens() {
                Expr::Selector(selector) => Ok(VectorNode::SampleTimes(self.selector(selector, place)?)),
                arg => point(PointOp::EvaluationTime, self.boxed(arg, place)?),
            },
            FunctionKind::Vector => Ok(VectorNode::OfScalar(self.scalar(&args[0], place)?)),
            FunctionKind::Pi
            | FunctionKind::Scalar
            | FunctionKind::EvaluationTime
            | FunctionKind::QueryStart
            | FunctionKind::QueryEnd
            | FunctionKind::QueryStep
            | FunctionKind::QueryRange
            | FunctionKind::MaxOf
            | FunctionKind::MinOf => unreachable!("{CHECKED}"),
        }
    }

    fn range_call(&mut self, op: RangeOp, arg: &Expr, place: Place) -> Result<VectorNode, PlanError> {
        Ok(VectorNode::Range { op, range: self.range(arg, place, CountedBy::None)? })
    }

    /// The series that describe those of `info`'s first argument: looked up at the evaluation's own times.
    fn info(&mut self, call: &Call, place: Place) -> Result<InfoNode, PlanError> {
        let given = match call.args.get(1) {
            Some(Expr::Selector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, labels): (Vec<Matcher>, Vec<Matcher>) =
            given.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, INFO_METRIC));
        }
        let mut matchers = [&names[..], &labels[..]].concat();
        if matchers.iter().all(|matcher| matcher.matches_empty()) {
            // Every series has a name.
            matchers.extend(Matcher::new(MatchOp::NotEqual, METRIC_NAME, ""));
        }
        let shift = ResolvedShift::default();
        let reach = (self.options.lookback_ms, 0);
        let selection = self.select(&matchers, call.span, shift, reach, place.grid, true)?;
        let one_name = names_one_metric(&matchers);
        Ok(InfoNode {
            selector: SelectorNode { selection, shift, smoothed: false, one_name, span: call.span },
            names,
            labels,
        })
    }

    fn label_replace(&mut self, args: &[Expr]) -> Result<LabelOp, PlanError> {
        let [destination, replacement, source, pattern] = [1, 2, 3, 4].map(|at: usize| text(&args[at]));
        let regex = WholeRegex::new(&pattern, &mut self.patterns).map_err(|error| match error {
            PatternError::Invalid { .. } => {
                PlanError::Parameter(format!("invalid regular expression in label_replace(): {pattern}"))
            }
            PatternError::TooCostly { .. } => PlanError::Patterns(error),
        })?;
        if !self.options.label_names.allow(&destination) {
            return Err(PlanError::Parameter(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        Ok(LabelOp::Replace { regex, destination, replacement, source })
    }

    fn label_join(&self, args: &[Expr]) -> Result<LabelOp, PlanError> {
        let (destination, separator) = (text(&args[1]), text(&args[2]));
        let sources: Vec<String> = args[3..].iter().map(text).collect();
        if let Some(source) = sources.iter().find(|source| !self.options.label_names.allow(source)) {
            return Err(PlanError::Parameter(format!("invalid source label name in label_join(): {source}")));
        }
        if !self.options.label_names.allow(&destination) {
            return Err(PlanError::Parameter(format!("invalid destination label name in label_join(): {destination}")));
        }
        Ok(LabelOp::Join { destination, separator, sources })
    }
}

/// What describes targets when `info` names nothing else.
const INFO_METRIC: &str = "target_info";

/// Functions that know what to do with samples outside of their range.
const ANCHORED_FUNCTIONS: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED_FUNCTIONS: [&str; 3] = ["delta", "increase", "rate"];

fn check_extension(call: &Call) -> Result<(), PlanError> {
    let ranges = call.args.iter().filter_map(|arg| match arg.without_parens() {
        Expr::Range(range) => Some(range.selector.extension),
        _ => None,
    });
    for extension in ranges {
        let functions = match extension {
            Extension::None => continue,
            Extension::Anchored => &ANCHORED_FUNCTIONS[..],
            Extension::Smoothed => &SMOOTHED_FUNCTIONS[..],
        };
        if !functions.contains(&call.function.name) {
            let (word, functions, name) = (extension.as_str(), functions.join(", "), call.function.name);
            let message = format!("{word} modifier can only be used with: {functions} - not with {name}");
            return Err(PlanError::Parameter(message));
        }
    }
    Ok(())
}

/// The text of an expression that is a string.
fn text(expr: &Expr) -> String {
    match expr.without_parens() {
        Expr::String(string) => string.value.clone(),
        _ => unreachable!("{CHECKED}"),
    }
}

/// A hash of the matchers that does not depend on their order. At 128 bits, equal hashes mean equal matchers.
fn matchers_hash(matchers: &[Matcher]) -> u128 {
    let mut keys: Vec<(&str, MatchOp, &str)> =
        matchers.iter().map(|matcher| (matcher.name(), matcher.op(), matcher.value())).collect();
    keys.sort_unstable();
    let mut bytes = Vec::new();
    for (name, op, value) in keys {
        for text in [name, op.as_str(), value] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxh3_128(&bytes)
}

/// Labels that `absent` can tell from its argument: those with one equality matcher and no other after it.
fn labels_of_absence(expr: &Expr) -> Vec<(String, String)> {
    let matchers = match expr.without_parens() {
        Expr::Selector(selector) => &selector.matchers,
        Expr::Range(range) => &range.selector.matchers,
        _ => return Vec::new(),
    };
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.push((matcher.name().to_owned(), matcher.value().to_owned()));
            seen.push(matcher.name());
        } else {
            labels.retain(|(name, _)| name != matcher.name());
        }
    }
    labels
}

/// Whether an expression has the same value at every step.
fn is_step_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Selector(selector) => selector.shift.at.is_some(),
        Expr::Range(range) => range.selector.shift.at.is_some(),
        Expr::Subquery(subquery) => subquery.shift.at.is_some(),
        Expr::Call(call) => !call.function.kind.depends_on_evaluation_time() && call.args.iter().all(is_step_invariant),
        Expr::Aggregate(aggregate) => {
            is_step_invariant(&aggregate.expr) && aggregate.param.as_deref().is_none_or(is_step_invariant)
        }
        Expr::Binary(binary) => is_step_invariant(&binary.lhs) && is_step_invariant(&binary.rhs),
        Expr::Unary(unary) => is_step_invariant(&unary.expr),
        Expr::Paren(paren) => is_step_invariant(&paren.expr),
    }
}
