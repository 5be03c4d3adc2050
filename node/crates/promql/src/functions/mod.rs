//! The functions of PromQL: their names, what they take and give, and the arithmetic of each family.

pub(crate) mod extended;
pub(crate) mod histogram;
pub(crate) mod labels;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod sort;
pub(crate) mod summation;
pub(crate) mod time;

use crate::limits::QUANTILES_MAX;
use crate::types::ValueType;
use histogram::HistogramMeasure;
use math::MathOp;
use over_time::OverTimeOp;
use rate::RateOp;
use time::TimeOp;

/// A function as the parser knows it.
#[derive(Debug)]
pub struct Function {
    /// As written.
    pub name: &'static str,
    /// Types of the arguments; the last one may be missing or repeated, see `variadic`.
    pub args: &'static [ValueType],
    /// How often the last argument may be given beyond once or not at all.
    pub variadic: Variadic,
    /// What a call gives.
    pub returns: ValueType,
    pub(crate) kind: FunctionKind,
}

/// How many arguments a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variadic {
    /// As many as listed.
    No,
    /// The last `n` places may be left out or filled; the last listed type serves for all of them.
    UpTo(usize),
    /// The last one any number of times.
    Any,
}

/// What a function does, grouped by how it is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FunctionKind {
    /// From each sample's value alone.
    Math(MathOp),
    /// From each sample's value read as a time, or from the evaluation time.
    Time(TimeOp),
    /// First and last sample of a range.
    Rate(RateOp),
    /// All values of a range.
    OverTime(OverTimeOp),
    QuantileOverTime,
    PredictLinear,
    DoubleExponentialSmoothing,
    AbsentOverTime,
    Absent,
    Clamp,
    ClampMax,
    ClampMin,
    Round,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramFraction,
    /// A number of each native histogram; floats give nothing.
    HistogramMeasure(HistogramMeasure),
    /// Labels of what describes a target, on its series.
    Info,
    LabelJoin,
    LabelReplace,
    /// The start of the query, in seconds since the epoch.
    QueryStart,
    QueryEnd,
    QueryStep,
    QueryRange,
    MaxOf,
    MinOf,
    Pi,
    Scalar,
    /// When a counter began: nobody stores that yet, so nothing comes out.
    StartTimestamp,
    Sort {
        descending: bool,
    },
    SortByLabel {
        descending: bool,
    },
    EvaluationTime,
    Timestamp,
    Vector,
}

impl FunctionKind {
    /// Whether the result depends on the evaluation time even where the arguments do not.
    pub(crate) fn depends_on_evaluation_time(self) -> bool {
        matches!(
            self,
            FunctionKind::Time(_)
                | FunctionKind::PredictLinear
                | FunctionKind::EvaluationTime
                | FunctionKind::Timestamp
        )
    }
}

const INSTANT: ValueType = ValueType::InstantVector;
const RANGE: ValueType = ValueType::RangeVector;
const SCALAR: ValueType = ValueType::Scalar;
const STRING: ValueType = ValueType::String;

const fn exact(name: &'static str, args: &'static [ValueType], kind: FunctionKind) -> Function {
    Function { name, args, variadic: Variadic::No, returns: INSTANT, kind }
}

const fn math(name: &'static str, op: MathOp) -> Function {
    exact(name, &[INSTANT], FunctionKind::Math(op))
}

const fn measure(name: &'static str, measure: HistogramMeasure) -> Function {
    exact(name, &[INSTANT], FunctionKind::HistogramMeasure(measure))
}

const fn rate(name: &'static str, op: RateOp) -> Function {
    exact(name, &[RANGE], FunctionKind::Rate(op))
}

const fn over_time(name: &'static str, op: OverTimeOp) -> Function {
    exact(name, &[RANGE], FunctionKind::OverTime(op))
}

const fn time(name: &'static str, op: TimeOp) -> Function {
    Function { name, args: &[INSTANT], variadic: Variadic::UpTo(1), returns: INSTANT, kind: FunctionKind::Time(op) }
}

const fn scalar(name: &'static str, args: &'static [ValueType], kind: FunctionKind) -> Function {
    Function { name, args, variadic: Variadic::No, returns: SCALAR, kind }
}

const fn variadic(name: &'static str, args: &'static [ValueType], variadic: Variadic, kind: FunctionKind) -> Function {
    Function { name, args, variadic, returns: INSTANT, kind }
}

/// All functions in ascending order of their names.
static FUNCTIONS: [Function; 91] = [
    math("abs", MathOp::Abs),
    exact("absent", &[INSTANT], FunctionKind::Absent),
    exact("absent_over_time", &[RANGE], FunctionKind::AbsentOverTime),
    math("acos", MathOp::Acos),
    math("acosh", MathOp::Acosh),
    math("asin", MathOp::Asin),
    math("asinh", MathOp::Asinh),
    math("atan", MathOp::Atan),
    math("atanh", MathOp::Atanh),
    over_time("avg_over_time", OverTimeOp::Avg),
    math("ceil", MathOp::Ceil),
    over_time("changes", OverTimeOp::Changes),
    exact("clamp", &[INSTANT, SCALAR, SCALAR], FunctionKind::Clamp),
    exact("clamp_max", &[INSTANT, SCALAR], FunctionKind::ClampMax),
    exact("clamp_min", &[INSTANT, SCALAR], FunctionKind::ClampMin),
    math("cos", MathOp::Cos),
    math("cosh", MathOp::Cosh),
    over_time("count_over_time", OverTimeOp::Count),
    time("day_of_month", TimeOp::DayOfMonth),
    time("day_of_week", TimeOp::DayOfWeek),
    time("day_of_year", TimeOp::DayOfYear),
    time("days_in_month", TimeOp::DaysInMonth),
    math("deg", MathOp::Deg),
    rate("delta", RateOp::Delta),
    over_time("deriv", OverTimeOp::Deriv),
    exact("double_exponential_smoothing", &[RANGE, SCALAR, SCALAR], FunctionKind::DoubleExponentialSmoothing),
    scalar("end", &[], FunctionKind::QueryEnd),
    math("exp", MathOp::Exp),
    over_time("first_over_time", OverTimeOp::First),
    math("floor", MathOp::Floor),
    measure("histogram_avg", HistogramMeasure::Mean),
    measure("histogram_count", HistogramMeasure::Count),
    exact("histogram_fraction", &[SCALAR, SCALAR, INSTANT], FunctionKind::HistogramFraction),
    exact("histogram_quantile", &[SCALAR, INSTANT], FunctionKind::HistogramQuantile),
    variadic(
        "histogram_quantiles",
        &[INSTANT, STRING, SCALAR, SCALAR],
        Variadic::UpTo(QUANTILES_MAX - 1),
        FunctionKind::HistogramQuantiles,
    ),
    measure("histogram_stddev", HistogramMeasure::Deviation),
    measure("histogram_stdvar", HistogramMeasure::Variance),
    measure("histogram_sum", HistogramMeasure::Sum),
    // The name of double_exponential_smoothing before Prometheus 3.
    exact("holt_winters", &[RANGE, SCALAR, SCALAR], FunctionKind::DoubleExponentialSmoothing),
    time("hour", TimeOp::Hour),
    rate("idelta", RateOp::Idelta),
    rate("increase", RateOp::Increase),
    variadic("info", &[INSTANT, INSTANT], Variadic::UpTo(1), FunctionKind::Info),
    rate("irate", RateOp::Irate),
    variadic("label_join", &[INSTANT, STRING, STRING, STRING], Variadic::Any, FunctionKind::LabelJoin),
    exact("label_replace", &[INSTANT, STRING, STRING, STRING, STRING], FunctionKind::LabelReplace),
    over_time("last_over_time", OverTimeOp::Last),
    math("ln", MathOp::Ln),
    math("log10", MathOp::Log10),
    math("log2", MathOp::Log2),
    over_time("mad_over_time", OverTimeOp::Mad),
    scalar("max_of", &[SCALAR, SCALAR], FunctionKind::MaxOf),
    over_time("max_over_time", OverTimeOp::Max),
    scalar("min_of", &[SCALAR, SCALAR], FunctionKind::MinOf),
    over_time("min_over_time", OverTimeOp::Min),
    time("minute", TimeOp::Minute),
    time("month", TimeOp::Month),
    scalar("pi", &[], FunctionKind::Pi),
    exact("predict_linear", &[RANGE, SCALAR], FunctionKind::PredictLinear),
    over_time("present_over_time", OverTimeOp::Present),
    exact("quantile_over_time", &[SCALAR, RANGE], FunctionKind::QuantileOverTime),
    math("rad", MathOp::Rad),
    scalar("range", &[], FunctionKind::QueryRange),
    rate("rate", RateOp::Rate),
    over_time("resets", OverTimeOp::Resets),
    variadic("round", &[INSTANT, SCALAR], Variadic::UpTo(1), FunctionKind::Round),
    scalar("scalar", &[INSTANT], FunctionKind::Scalar),
    math("sgn", MathOp::Sgn),
    math("sin", MathOp::Sin),
    math("sinh", MathOp::Sinh),
    exact("sort", &[INSTANT], FunctionKind::Sort { descending: false }),
    variadic("sort_by_label", &[INSTANT, STRING], Variadic::Any, FunctionKind::SortByLabel { descending: false }),
    variadic("sort_by_label_desc", &[INSTANT, STRING], Variadic::Any, FunctionKind::SortByLabel { descending: true }),
    exact("sort_desc", &[INSTANT], FunctionKind::Sort { descending: true }),
    math("sqrt", MathOp::Sqrt),
    scalar("start", &[], FunctionKind::QueryStart),
    exact("start_timestamp", &[INSTANT], FunctionKind::StartTimestamp),
    over_time("stddev_over_time", OverTimeOp::Stddev),
    over_time("stdvar_over_time", OverTimeOp::Stdvar),
    scalar("step", &[], FunctionKind::QueryStep),
    over_time("sum_over_time", OverTimeOp::Sum),
    math("tan", MathOp::Tan),
    math("tanh", MathOp::Tanh),
    scalar("time", &[], FunctionKind::EvaluationTime),
    exact("timestamp", &[INSTANT], FunctionKind::Timestamp),
    over_time("ts_of_first_over_time", OverTimeOp::TimeOfFirst),
    over_time("ts_of_last_over_time", OverTimeOp::TimeOfLast),
    over_time("ts_of_max_over_time", OverTimeOp::TimeOfMax),
    over_time("ts_of_min_over_time", OverTimeOp::TimeOfMin),
    exact("vector", &[SCALAR], FunctionKind::Vector),
    time("year", TimeOp::Year),
];

/// The function of that name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

/// All functions in ascending order of their names.
pub fn all() -> &'static [Function] {
    &FUNCTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_names_are_found() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(find("rate").is_some() && find("nosuch").is_none());
    }
}
