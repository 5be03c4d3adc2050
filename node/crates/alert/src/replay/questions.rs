//! Cuts expressions into what is asked where samples are stored, and what is evaluated here.
//!
//! The largest parts that are vectors and read nothing that the replay records become questions. A question's place in the expression is taken by
//! a selector of a label that no series has; [`Memory`](super::memory::Memory) knows the answer by its value.

use bellwether_model::{Matcher, Timestamp};
use bellwether_promql::ast::{At, Expr, VectorSelector};
use bellwether_promql::{Span, ValueType};

use super::Question;
use super::recorded::Recorded;
use crate::rules::{Rule, RuleGroup};
use crate::yaml::problems::Problem;

/// The label by which answers are selected.
pub const ANSWER: &str = "__replay_answer__";

/// The questions of a group, numbered from `first`.
pub struct Questions {
    first: usize,
    texts: Vec<String>,
    /// Those that are all that an alerting rule asks.
    whole: Vec<usize>,
}

impl Questions {
    /// Cuts all expressions of a group.
    pub fn cut(group: &mut RuleGroup, recorded: &Recorded, first: usize, problems: &mut Vec<Problem>) -> Questions {
        let mut questions = Questions { first, texts: Vec::new(), whole: Vec::new() };
        for rule in &mut group.rules {
            let place = rule.place();
            let (name, alerts) = (rule.name().to_owned(), matches!(rule, Rule::Alerting(_)));
            let query = match rule {
                Rule::Recording(rule) => &mut rule.query,
                Rule::Alerting(rule) => &mut rule.query,
            };
            let mut cutter = Cutter { recorded, questions: &mut questions };
            if let Err(reason) = cutter.cut(&mut query.expr, false) {
                let message = format!("group {:?}, {name:?} cannot be replayed: {reason}", group.name);
                problems.push(Problem { place, message });
            }
            if let Expr::Selector(selector) = &query.expr {
                questions.whole.extend(answer_of(&selector.matchers).filter(|_| alerts));
            }
        }
        questions
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Those that are all that an alerting rule asks.
    pub fn whole(&self) -> &[usize] {
        &self.whole
    }

    /// All of them, for the evaluations at these times.
    pub fn between(&self, first: Timestamp, last: Timestamp, step_ms: i64, offset_ms: i64) -> Vec<Question> {
        let question = |(at, query): (usize, &String)| Question {
            number: self.first + at,
            query: query.clone(),
            start: first.saturating_sub(offset_ms),
            end: last.saturating_sub(offset_ms),
            step_ms,
        };
        self.texts.iter().enumerate().map(question).collect()
    }
}

/// The number of the answer that a selector selects.
pub fn answer_of(matchers: &[Matcher]) -> Option<usize> {
    let matcher = matchers.iter().find(|matcher| matcher.name() == ANSWER)?;
    matcher.value().parse().ok()
}

struct Cutter<'c> {
    recorded: &'c Recorded,
    questions: &'c mut Questions,
}

impl Cutter<'_> {
    fn cut(&mut self, expr: &mut Expr, in_subquery: bool) -> Result<(), &'static str> {
        let selectors = expr.selectors();
        let reads_recorded = selectors.iter().any(|of| self.recorded.is_read(&of.matchers));
        if selectors.is_empty() {
            return Ok(());
        }
        let is_relative = |selector: &&VectorSelector| matches!(selector.shift.at, Some(At::Start | At::End));
        if selectors.iter().any(is_relative) {
            return Err("@ start() and @ end() mean the whole replay where many times are asked at once");
        }
        if !reads_recorded {
            match expr.value_type() {
                ValueType::InstantVector if !in_subquery => {
                    self.ask(expr);
                    return Ok(());
                }
                ValueType::InstantVector | ValueType::RangeVector => {
                    return Err("a range beside series that the file records would have to read other series here");
                }
                ValueType::Scalar | ValueType::String => {}
            }
        }
        match expr {
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Range(_) => Ok(()),
            Expr::Subquery(subquery) => self.cut(&mut subquery.expr, true),
            Expr::Call(call) => call.args.iter_mut().try_for_each(|arg| self.cut(arg, in_subquery)),
            Expr::Aggregate(aggregate) => {
                if let Some(param) = &mut aggregate.param {
                    self.cut(param, in_subquery)?;
                }
                self.cut(&mut aggregate.expr, in_subquery)
            }
            Expr::Binary(binary) => {
                self.cut(&mut binary.lhs, in_subquery)?;
                self.cut(&mut binary.rhs, in_subquery)
            }
            Expr::Unary(unary) => self.cut(&mut unary.expr, in_subquery),
            Expr::Paren(paren) => self.cut(&mut paren.expr, in_subquery),
        }
    }

    /// Puts the selector of an answer in the place of a part.
    fn ask(&mut self, expr: &mut Expr) {
        let number = self.questions.first + self.questions.texts.len();
        let span: Span = expr.span();
        self.questions.texts.push(expr.without_parens().to_string());
        *expr = Expr::Selector(VectorSelector {
            name: None,
            matchers: vec![Matcher::equal(ANSWER, &number.to_string())],
            shift: Default::default(),
            extension: Default::default(),
            span,
        });
    }
}
