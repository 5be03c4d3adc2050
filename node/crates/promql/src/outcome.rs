//! What an evaluation gives, or why it gave nothing.

use std::collections::BTreeSet;

use bellwether_model::{Labels, Timestamp};

use crate::account::LimitError;
use crate::limits::ANNOTATIONS_MAX;

/// The result of an evaluation and what its author should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The result.
    pub value: Value,
    /// Things that are probably wrong, each once, in alphabetical order.
    pub warnings: Vec<String>,
    /// Things that may be wrong, likewise.
    pub infos: Vec<String>,
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a range query, or of a range vector in an instant query; sorted by labels.
    Matrix(Vec<MatrixSeries>),
    /// Of an instant query; sorted by labels unless the query sorts.
    Vector(Vec<VectorSample>),
    /// Of an instant query.
    Scalar(Point),
    /// Of an instant query.
    String {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The text.
        value: String,
    },
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The evaluation time, or the sample's own time in a range vector.
    pub timestamp: Timestamp,
    /// The value.
    pub value: f64,
}

/// One series of a [`Value::Matrix`]; never without points.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// Labels.
    pub labels: Labels,
    /// Points in ascending order of time.
    pub points: Vec<Point>,
}

/// One series of a [`Value::Vector`].
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Labels.
    pub labels: Labels,
    /// Its value at the evaluation time.
    pub point: Point,
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The data or a parameter do not fit the query; Prometheus's words.
    #[error("{0}")]
    Execution(String),
    /// The query was cancelled.
    #[error("query was canceled in query execution")]
    Cancelled,
    /// A limit was reached.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// What was fetched is not what the plan asked for.
    #[error("the plan has {wanted} selections, but {given} were fetched")]
    Selections {
        /// Selections of the plan.
        wanted: usize,
        /// Selections given.
        given: usize,
    },
    /// A fetched series whose columns differ in length.
    #[error("series {labels} was fetched with {timestamps} timestamps and {values} values")]
    Columns {
        /// The series.
        labels: String,
        /// Length of one column.
        timestamps: usize,
        /// Length of the other.
        values: usize,
    },
}

/// Collects warnings and infos.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

impl Annotations {
    pub(crate) fn warn(&mut self, text: String) {
        add(&mut self.warnings, format!("PromQL warning: {text}"));
    }

    pub(crate) fn inform(&mut self, text: String) {
        add(&mut self.infos, format!("PromQL info: {text}"));
    }

    /// One that was made elsewhere.
    pub(crate) fn repeat(&mut self, text: &str, is_warning: bool) {
        add(if is_warning { &mut self.warnings } else { &mut self.infos }, text.to_owned());
    }

    pub(crate) fn extend(&mut self, more: Annotations) {
        more.warnings.into_iter().for_each(|text| add(&mut self.warnings, text));
        more.infos.into_iter().for_each(|text| add(&mut self.infos, text));
    }

    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_iter().collect(), self.infos.into_iter().collect())
    }
}

fn add(texts: &mut BTreeSet<String>, text: String) {
    if texts.len() < ANNOTATIONS_MAX {
        texts.insert(text);
    }
}
