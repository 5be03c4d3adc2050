//! The syntax tree: what the parser makes and the printer writes. Every node knows its place in the text.
//!
//! The tree says what was written, parentheses included. What it means for one evaluation is the [`crate::Plan`].

use bellwether_model::{Matcher, Timestamp};

pub use crate::duration::{Duration, DurationExpr, DurationKind};
use crate::functions::Function;
use crate::span::Span;

/// An expression of any type.
#[derive(Debug, Clone)]
pub enum Expr {
    /// `1.5`, `0x1f`, `Inf`, `5m`
    Number(Number),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="node"} offset 5m`
    Selector(VectorSelector),
    /// `up[5m]`
    Range(RangeSelector),
    /// `rate(up[5m])[1h:1m]`
    Subquery(Subquery),
    /// `rate(up[5m])`
    Call(Call),
    /// `sum by (job) (up)`
    Aggregate(Aggregate),
    /// `a / on (job) b`
    Binary(Binary),
    /// `-a`
    Unary(Unary),
    /// `(a)`
    Paren(Paren),
}

/// A number literal.
#[derive(Debug, Clone)]
pub struct Number {
    /// Its value; seconds if it was written as a duration.
    pub value: f64,
    /// Written as a duration (`5m`).
    pub is_duration: bool,
    /// Place.
    pub span: Span,
}

/// A string literal.
#[derive(Debug, Clone)]
pub struct StringLiteral {
    /// The text without quotes and escapes.
    pub value: String,
    /// Place.
    pub span: Span,
}

/// `@ <time>`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`, in milliseconds.
    Time(Timestamp),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// Moves the evaluation time of a selector or subquery.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeShift {
    /// `offset`; into the past when positive.
    pub offset: Duration,
    /// `@`
    pub at: Option<At>,
}

/// What a selector sees beside the samples that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extension {
    /// Nothing.
    #[default]
    None,
    /// `anchored`: the sample at or before the beginning of the range.
    Anchored,
    /// `smoothed`: the neighbours of both ends of the range, or of an instant, to interpolate between.
    Smoothed,
}

impl Extension {
    /// As written; empty for none.
    pub fn as_str(self) -> &'static str {
        match self {
            Extension::None => "",
            Extension::Anchored => "anchored",
            Extension::Smoothed => "smoothed",
        }
    }
}

/// Selects series; as an instant vector, the newest sample of each.
#[derive(Debug, Clone)]
pub struct VectorSelector {
    /// The name written before the braces.
    pub name: Option<String>,
    /// All matchers in the order written; the one that stands for `name` comes last.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`
    pub shift: TimeShift,
    /// `anchored` or `smoothed`
    pub extension: Extension,
    /// Place.
    pub span: Span,
}

/// Selects the samples of a time range of each series.
#[derive(Debug, Clone)]
pub struct RangeSelector {
    /// Which series, and when.
    pub selector: VectorSelector,
    /// Length of the range.
    pub range: Duration,
    /// Place, brackets and modifiers included.
    pub span: Span,
}

/// Evaluates an instant vector at many times, giving a range.
#[derive(Debug, Clone)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// Length of the range.
    pub range: Duration,
    /// Distance of the evaluations; `None` means the default.
    pub step: Option<Duration>,
    /// `offset` and `@`
    pub shift: TimeShift,
    /// Place.
    pub span: Span,
}

/// Calls a function.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which.
    pub function: &'static Function,
    /// Its arguments, already checked.
    pub args: Vec<Expr>,
    /// Place.
    pub span: Span,
}

/// An aggregation operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl AggregateOp {
    /// All of them.
    pub const ALL: [AggregateOp; 14] = [
        AggregateOp::Avg,
        AggregateOp::Bottomk,
        AggregateOp::Count,
        AggregateOp::CountValues,
        AggregateOp::Group,
        AggregateOp::LimitRatio,
        AggregateOp::Limitk,
        AggregateOp::Max,
        AggregateOp::Min,
        AggregateOp::Quantile,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::Sum,
        AggregateOp::Topk,
    ];

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Avg => "avg",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::Count => "count",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Group => "group",
            AggregateOp::LimitRatio => "limit_ratio",
            AggregateOp::Limitk => "limitk",
            AggregateOp::Max => "max",
            AggregateOp::Min => "min",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Sum => "sum",
            AggregateOp::Topk => "topk",
        }
    }

    /// Whether it takes a parameter before the vector.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            AggregateOp::Bottomk
                | AggregateOp::CountValues
                | AggregateOp::LimitRatio
                | AggregateOp::Limitk
                | AggregateOp::Quantile
                | AggregateOp::Topk
        )
    }
}

/// Aggregates over series.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// What.
    pub expr: Box<Expr>,
    /// `k`, the quantile, or the label of `count_values`.
    pub param: Option<Box<Expr>>,
    /// Which series belong together.
    pub grouping: Grouping,
    /// Place.
    pub span: Span,
}

/// `by (labels)` or `without (labels)`; neither is `by ()`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Whether `labels` are those left out.
    pub without: bool,
    /// Label names as written.
    pub labels: Vec<String>,
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// Cuts off what a native histogram has above a bound.
    TrimUpper,
    /// Cuts off what a native histogram has below a bound.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// `==`, `<` and so on: filters unless `bool` is given.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Less
                | BinaryOp::LessEqual
                | BinaryOp::Greater
                | BinaryOp::GreaterEqual
        )
    }

    /// `+`, `-` and so on: what comes out is of another metric.
    pub fn is_arithmetic(self) -> bool {
        !self.is_comparison() && !self.is_set() && !self.is_trim()
    }

    /// `</` and `>/`: for native histograms alone.
    pub fn is_trim(self) -> bool {
        matches!(self, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// How many series of each side may share a match group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One on each side.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

/// How series of two vectors find each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// Which side is "many".
    pub cardinality: Cardinality,
    /// `on (labels)` rather than `ignoring (labels)`; without either, nothing is ignored.
    pub on: bool,
    /// Label names as written.
    pub labels: Vec<String>,
    /// Labels of the "one" side that go into the result: `group_left (these)`.
    pub include: Vec<String>,
    /// `fill_left (5)`: stands for a missing series of the left side.
    pub fill_left: Option<f64>,
    /// `fill_right (5)`: stands for a missing series of the right side.
    pub fill_right: Option<f64>,
}

/// Two operands.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Operator.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Box<Expr>,
    /// Right operand.
    pub rhs: Box<Expr>,
    /// `bool`: compare to 0 or 1.
    pub return_bool: bool,
    /// Vector matching; the default where an operand is a scalar.
    pub matching: Matching,
    /// Place of the operator with its modifiers.
    pub op_span: Span,
    /// Place.
    pub span: Span,
}

/// `+a` or `-a`.
#[derive(Debug, Clone)]
pub struct Unary {
    /// `-` rather than `+`.
    pub negative: bool,
    /// Operand.
    pub expr: Box<Expr>,
    /// Place.
    pub span: Span,
}

/// `(a)`
#[derive(Debug, Clone)]
pub struct Paren {
    /// What is inside.
    pub expr: Box<Expr>,
    /// Place.
    pub span: Span,
}

impl Expr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Expr::Number(node) => node.span,
            Expr::String(node) => node.span,
            Expr::Selector(node) => node.span,
            Expr::Range(node) => node.span,
            Expr::Subquery(node) => node.span,
            Expr::Call(node) => node.span,
            Expr::Aggregate(node) => node.span,
            Expr::Binary(node) => node.span,
            Expr::Unary(node) => node.span,
            Expr::Paren(node) => node.span,
        }
    }

    /// The expression without the parentheses around it.
    pub fn without_parens(&self) -> &Expr {
        let mut expr = self;
        while let Expr::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }
}
