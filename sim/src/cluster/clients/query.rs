//! What clients ask: for samples, for counts, for names, or for something computed. Drawn without a look at the data.

use std::ops::RangeInclusive;
use std::time::Duration;

use bellwether_model::Timestamp;

use super::Client;
use super::writer::{BACK_MS, LATE_MS};
use crate::EPOCH_MS;
use crate::cluster::history::{METRICS, Series};
use crate::cluster::http::encoded;
use crate::reference::{Aggregation, By, Function, Operator, Part, Shape, Steps};

/// A query for everything asks for this much back from [`ALL_AT_S`].
const ALL_RANGE_S: i64 = 2 * 86_400;
const ALL_AT_S: i64 = EPOCH_MS / 1000 + 86_400;
/// How old an answer may be that nobody is asked for who leads.
pub(super) const STALE: Duration = Duration::from_secs(10);
/// Steps of a range query.
const STEPS_MAX: u64 = 12;
/// How often something computed has one of the shapes that are asked for rarely, in per cent.
const RARE_PERCENT: u64 = 25;
/// An offset looks ahead by less than this.
const LATER_S_MAX: u64 = 200;

/// Which series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Selector {
    /// Whose.
    pub tenant: usize,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Everything,
    Writer(usize),
    Metric(usize),
    NotMetric(usize),
    Numbers(usize, usize),
}

impl Selector {
    /// All series of a tenant.
    pub fn all(tenant: usize) -> Selector {
        Selector { tenant, what: What::Everything }
    }

    /// Whether it means this series.
    pub fn means(&self, series: Series) -> bool {
        series.tenant == self.tenant
            && match self.what {
                What::Everything => true,
                What::Writer(writer) => series.writer == writer,
                What::Metric(metric) => series.metric_number() == metric,
                What::NotMetric(metric) => series.metric_number() != metric,
                What::Numbers(one, other) => series.number == one || series.number == other,
            }
    }

    /// As PromQL.
    pub fn text(&self) -> String {
        match self.what {
            What::Everything => "{__name__=~\"m.*\"}".to_owned(),
            What::Writer(writer) => format!("{{writer=\"{writer}\"}}"),
            What::Metric(metric) => format!("m{metric}"),
            What::NotMetric(metric) => format!("{{__name__!=\"m{metric}\",n!=\"\"}}"),
            What::Numbers(one, other) => format!("{{n=~\"{one}|{other}\",writer!~\"x.+\"}}"),
        }
    }
}

/// A query for what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup {
    pub selector: Selector,
    pub form: Form,
    /// Its time, and how far it sees back.
    pub at_s: i64,
    pub range_s: i64,
    pub manner: Manner,
}

/// What of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Samples,
    Counts,
    Sums,
    Names,
}

/// How good an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Whole,
    /// Something may be missing, if that is said.
    Partial,
    /// As it was at most [`STALE`] ago.
    Stale,
}

impl Lookup {
    /// Everything of a tenant.
    pub fn all(tenant: usize, form: Form) -> Lookup {
        let selector = Selector::all(tenant);
        Lookup { selector, form, at_s: ALL_AT_S, range_s: ALL_RANGE_S, manner: Manner::Whole }
    }

    /// What it sees.
    pub fn times(&self) -> RangeInclusive<Timestamp> {
        1000 * (self.at_s - self.range_s) + 1..=1000 * self.at_s
    }

    pub fn path(&self) -> String {
        let (selector, range_s) = (self.selector.text(), self.range_s);
        let text = match self.form {
            Form::Samples => format!("{selector}[{range_s}s]"),
            // Without a name series of several metrics would be one: their numbers tell them apart.
            Form::Counts => format!("count_over_time({selector}[{range_s}s])"),
            Form::Sums => format!("sum by (writer) (count_over_time({selector}[{range_s}s]))"),
            Form::Names => {
                let (start, selector) = (self.at_s - range_s, encoded(&selector));
                return format!("/api/v1/series?match[]={selector}&start={start}&end={}", self.at_s);
            }
        };
        let manner = match self.manner {
            Manner::Whole => "",
            Manner::Partial => "&partial_response=true",
            Manner::Stale => &format!("&stale={}s", STALE.as_secs()),
        };
        format!("/api/v1/query?time={}&query={}{manner}", self.at_s, encoded(&text))
    }
}

/// A query for something that is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Computed {
    pub selector: Selector,
    pub shape: Shape,
    first_s: i64,
    steps: u64,
    step_s: i64,
    is_range: bool,
}

impl Computed {
    /// The times at which it is evaluated.
    pub fn times(&self) -> Vec<Timestamp> {
        (0..self.steps as i64).map(|step| 1000 * (self.first_s + step * self.step_s)).collect()
    }

    /// What it sees.
    pub fn sees(&self) -> RangeInclusive<Timestamp> {
        let last_s = self.first_s + (self.steps as i64 - 1) * self.step_s;
        self.shape.sees(1000 * self.first_s, 1000 * last_s)
    }

    /// The same some steps later, at multiples of its step.
    pub fn later(self, steps: u64) -> Computed {
        let first_s = self.first_s - self.first_s.rem_euclid(self.step_s) + steps as i64 * self.step_s;
        Computed { first_s, ..self }
    }

    pub fn path(&self) -> String {
        let Computed { first_s, steps, step_s, is_range, .. } = *self;
        let text = encoded(&self.shape.text(&self.selector.text()));
        if is_range {
            let last_s = first_s + (steps as i64 - 1) * step_s;
            format!("/api/v1/query_range?start={first_s}&end={last_s}&step={step_s}&query={text}")
        } else {
            format!("/api/v1/query?time={first_s}&query={text}")
        }
    }
}

impl Client {
    fn selector(&mut self) -> Selector {
        let options = self.shared.options.clone();
        let writers = options.writers + options.workload.erasers;
        let what = match self.below(10) {
            0 => What::Everything,
            1 | 2 => {
                let writer = self.below(writers.max(1));
                What::Writer(if writer < options.writers {
                    writer
                } else {
                    super::FIRST_ERASER + writer - options.writers
                })
            }
            3 => What::NotMetric(self.below(METRICS)),
            4 => What::Numbers(self.below(16), self.below(16)),
            _ => What::Metric(self.below(METRICS)),
        };
        Selector { tenant: self.tenant(), what }
    }

    pub(super) fn lookup(&mut self) -> Lookup {
        let selector = self.selector();
        let form = match self.below(8) {
            0 | 1 => Form::Counts,
            2 | 3 => Form::Sums,
            4 => Form::Names,
            _ => Form::Samples,
        };
        // Lists of names are as coarse as storage's Windows.
        if form == Form::Names || self.random.percent(50) {
            return Lookup { selector, ..Lookup::all(selector.tenant, form) };
        }
        let manner = match self.below(10) {
            0 if form == Form::Samples => Manner::Partial,
            1 if form == Form::Samples => Manner::Stale,
            _ => Manner::Whole,
        };
        let (at_s, range_s) = (self.time_s(), 1 + self.random.below(1200) as i64);
        Lookup { selector, form, at_s, range_s, manner }
    }

    fn time_s(&mut self) -> i64 {
        let most = if self.random.percent(15) { LATE_MS } else { BACK_MS };
        self.now() / 1000 + 30 - self.random.below(most / 1000) as i64
    }

    pub(super) fn computed(&mut self) -> Computed {
        let is_range = self.random.percent(50);
        let steps = if is_range { 1 + self.random.below(STEPS_MAX) } else { 1 };
        let step_s = 1 + self.random.below(60) as i64;
        Computed { selector: self.selector(), shape: self.shape(), first_s: self.time_s(), steps, step_s, is_range }
    }

    fn part(&mut self, function: Function) -> Part {
        let offset_s = if self.random.percent(30) { self.random.below(400) as i64 } else { 0 };
        let part = Part { function, range_s: 10 + self.random.below(900) as i64, offset_s, at_s: None };
        match self.rare.below(20) {
            0 => Part { offset_s: -(self.rare.below(LATER_S_MAX) as i64), ..part },
            1 => Part { at_s: Some(self.now() / 1000 + 30 - self.rare.below(BACK_MS / 1000) as i64), ..part },
            _ => part,
        }
    }

    fn shape(&mut self) -> Shape {
        let function = Function::COMMON[self.below(Function::COMMON.len())];
        let part = self.part(function);
        // A name is there to group by where nothing took it away.
        let by = match self.below(4) {
            0 => By::Nothing,
            1 => By::Writer,
            2 if function == Function::Newest => By::Metric,
            _ => By::WithoutNumber,
        };
        let common = match self.below(8) {
            0 => Shape::Plain(part),
            1 => Shape::Above(part, self.random.below(3_000) as u32),
            2 => Shape::Scaled(part),
            3 | 4 => {
                let all =
                    [Aggregation::Sum, Aggregation::Mean, Aggregation::Least, Aggregation::Most, Aggregation::Count];
                Shape::Grouped(all[self.below(all.len())], by, part)
            }
            // A quotient has no name.
            5 => Shape::Ratio(if by == By::Metric { By::Writer } else { by }, part),
            6 => Shape::Top(1 + self.random.below(5) as u32, part.offset_s),
            _ => {
                let all = [Operator::Minus, Operator::Over, Operator::And, Operator::Unless, Operator::Or];
                let operator = all[self.below(all.len())];
                // With a name and without, rows of one series would be two.
                let other = if operator == Operator::Or {
                    function
                } else {
                    Function::COMMON[self.below(Function::COMMON.len())]
                };
                Shape::Both(part, operator, self.part(other))
            }
        };
        if self.rare.percent(RARE_PERCENT) { self.rare_shape(part) } else { common }
    }

    fn rare_shape(&mut self, part: Part) -> Shape {
        let pick = |client: &mut Client, all: &[Function]| all[client.rare.below(all.len() as u64) as usize];
        let function = if self.rare.percent(60) { pick(self, &Function::RARE) } else { part.function };
        let part = Part { function, ..part };
        let by = [By::Nothing, By::Writer, By::WithoutNumber][self.rare.below(3) as usize];
        let k = 1 + self.rare.below(5) as u32;
        let number = self.rare.below(3_000) as u32;
        match self.rare.below(12) {
            0 => Shape::Plain(part),
            1 => Shape::Bottom(k, part.offset_s),
            2 => Shape::IsAbove(part, number),
            3 => Shape::Negated(part),
            4 => Shape::Clamped(part, -(number as i32), self.rare.below(3_000) as i32),
            5 => Shape::Absent(part),
            6 => Shape::Values(by, Part { function: pick(self, &Function::EXACT), ..part }),
            7 => {
                let operator = [Operator::Minus, Operator::Over][self.rare.below(2) as usize];
                let right = Part { function: pick(self, &Function::COMMON), ..part };
                Shape::Joined(part, operator, right)
            }
            8 | 9 => {
                let function = pick(self, &Function::OVER_STEPS);
                let (range_s, step_s) = (10 + self.rare.below(200) as i64, 10 + self.rare.below(50) as i64);
                let all = [Aggregation::Sum, Aggregation::Most, Aggregation::Count, Aggregation::Stddev];
                let aggregation = all[self.rare.below(all.len() as u64) as usize];
                Shape::Over(Steps { function, range_s, step_s }, aggregation, by, part)
            }
            _ => {
                let all = [Aggregation::Group, Aggregation::Stddev, Aggregation::Stdvar, Aggregation::Quantile];
                Shape::Grouped(all[self.rare.below(all.len() as u64) as usize], by, part)
            }
        }
    }
}
