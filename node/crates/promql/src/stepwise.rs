//! Whether each step of a range query can be computed by itself, and what it then sees: for those who keep steps and compute only
//! the ones that they lack.
//!
//! A step stands alone if nothing that it is made of depends on the query's start or end, and if no step can make an error that
//! needs another one. Where that takes more than a look at the text to know, the answer is no.

use bellwether_model::{TimeRange, Timestamp};

use crate::ast::{At, BinaryOp, DurationKind, Expr, Extension, TimeShift, VectorSelector};
use crate::duration::{Duration, DurationExpr};
use crate::functions::FunctionKind;
use crate::plan::{EvalTimes, PlanOptions, names_one_metric};

/// The times of samples that a step may see, more rather than less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepReach {
    /// Before the step.
    pub before_ms: i64,
    /// Behind it.
    pub after_ms: i64,
    /// Those that all steps see alike (`@`).
    pub fixed: Option<TimeRange>,
}

/// What each step sees if it can be computed without the others.
pub fn step_reach(expr: &Expr, times: EvalTimes, options: PlanOptions) -> Option<StepReach> {
    // The last step of a group says whether its name goes.
    if options.delayed_name_removal || options.samples_per_step {
        return None;
    }
    let sight = Sight { times, lookback_ms: options.lookback_ms };
    let seen = sight.seen(expr, false)?;
    let (before_ms, after_ms) = seen.moving.unwrap_or_default();
    Some(StepReach { before_ms, after_ms, fixed: seen.fixed })
}

impl StepReach {
    /// All that the steps from `first` to `last` may see.
    pub fn of_steps(&self, first: Timestamp, last: Timestamp) -> TimeRange {
        let seen = TimeRange::new(first.saturating_sub(self.before_ms), last.saturating_add(self.after_ms));
        self.fixed.map_or(seen, |fixed| hull(seen, fixed))
    }

    /// The steps that a change of these times may change: from the first to the last of all times, if every step sees them.
    pub fn steps_seeing(&self, changed: TimeRange) -> TimeRange {
        match self.fixed {
            Some(fixed) if fixed.first <= changed.last && changed.first <= fixed.last => TimeRange::ALL,
            _ => {
                let first = changed.first.saturating_sub(self.after_ms);
                TimeRange::new(first, changed.last.saturating_add(self.before_ms))
            }
        }
    }
}

fn hull(one: TimeRange, other: TimeRange) -> TimeRange {
    TimeRange::new(one.first.min(other.first), one.last.max(other.last))
}

/// What a part of an expression sees: before and behind the time at which it is evaluated, and at fixed times.
#[derive(Clone, Copy, Default)]
struct Seen {
    moving: Option<(i64, i64)>,
    fixed: Option<TimeRange>,
}

impl Seen {
    fn and(self, other: Seen) -> Seen {
        let moving = match (self.moving, other.moving) {
            (Some(one), Some(other)) => Some((one.0.max(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
        let fixed = match (self.fixed, other.fixed) {
            (Some(one), Some(other)) => Some(hull(one, other)),
            (one, other) => one.or(other),
        };
        Seen { moving, fixed }
    }

    /// Seen from so much earlier (`offset`), or from one time alone.
    fn shifted(self, offset_ms: i64, at: Option<Timestamp>) -> Seen {
        let Some((before, after)) = self.moving else { return self };
        let (before, after) = (before.saturating_add(offset_ms), after.saturating_sub(offset_ms));
        match at {
            None => Seen { moving: Some((before, after)), ..self },
            Some(at) => {
                let fixed = TimeRange::new(at.saturating_sub(before), at.saturating_add(after));
                Seen { moving: None, fixed: self.fixed }.and(Seen { moving: None, fixed: Some(fixed) })
            }
        }
    }

    /// Seen from any time of a range that ends now.
    fn within(self, range_ms: i64) -> Seen {
        let moving = self.moving.map(|(before, after)| (before.saturating_add(range_ms), after));
        Seen { moving, ..self }
    }
}

struct Sight {
    times: EvalTimes,
    lookback_ms: i64,
}

impl Sight {
    /// `ranged` is what lies below the range of a subquery: functions over it refuse two series of the same labels even if
    /// these share no step.
    fn seen(&self, expr: &Expr, ranged: bool) -> Option<Seen> {
        match expr {
            Expr::Number(_) | Expr::String(_) => Some(Seen::default()),
            Expr::Selector(selector) => {
                if ranged && !names_one_metric(&selector.matchers) {
                    return None;
                }
                let after = if selector.extension == Extension::Smoothed { self.lookback_ms } else { 0 };
                self.selected(selector, (self.lookback_ms, after))
            }
            Expr::Range(range) => {
                if !names_one_metric(&range.selector.matchers) {
                    return None;
                }
                let (range_ms, lookback_ms) = (self.ms(&range.range, false)?, self.lookback_ms);
                self.selected(
                    &range.selector,
                    match range.selector.extension {
                        Extension::None => (range_ms, 0),
                        Extension::Anchored => (range_ms.saturating_add(lookback_ms), 0),
                        Extension::Smoothed => (range_ms.saturating_add(lookback_ms), lookback_ms),
                    },
                )
            }
            Expr::Subquery(subquery) => {
                if let Some(step) = &subquery.step {
                    self.ms(step, false)?;
                }
                let inner = self.seen(&subquery.expr, true)?.within(self.ms(&subquery.range, false)?);
                self.shifted(inner, &subquery.shift)
            }
            Expr::Call(call) => {
                let stands_alone = match call.function.kind {
                    FunctionKind::QueryStart | FunctionKind::QueryEnd | FunctionKind::QueryRange => false,
                    // What it joins depends on more than the text says.
                    FunctionKind::Info => false,
                    // Says so where there are several steps.
                    FunctionKind::Sort { .. } | FunctionKind::SortByLabel { .. } => false,
                    FunctionKind::LabelJoin | FunctionKind::LabelReplace => !ranged,
                    _ => true,
                };
                if !stands_alone {
                    return None;
                }
                call.args.iter().try_fold(Seen::default(), |seen, arg| Some(seen.and(self.seen(arg, ranged)?)))
            }
            Expr::Aggregate(aggregate) => {
                let inner = self.seen(&aggregate.expr, ranged)?;
                let param = aggregate.param.as_ref().map_or(Some(Seen::default()), |param| self.seen(param, ranged))?;
                Some(inner.and(param))
            }
            Expr::Binary(binary) => {
                if ranged && binary.op == BinaryOp::Or {
                    return None;
                }
                Some(self.seen(&binary.lhs, ranged)?.and(self.seen(&binary.rhs, ranged)?))
            }
            Expr::Unary(unary) => self.seen(&unary.expr, ranged),
            Expr::Paren(paren) => self.seen(&paren.expr, ranged),
        }
    }

    fn selected(&self, selector: &VectorSelector, reach: (i64, i64)) -> Option<Seen> {
        self.shifted(Seen { moving: Some(reach), fixed: None }, &selector.shift)
    }

    fn shifted(&self, seen: Seen, shift: &TimeShift) -> Option<Seen> {
        let at = match shift.at {
            None => None,
            Some(At::Time(time)) => Some(time),
            Some(At::Start | At::End) => return None,
        };
        Some(seen.shifted(self.ms(&shift.offset, true)?, at))
    }

    /// A length of time that does not depend on the query's start and end.
    fn ms(&self, duration: &Duration, is_offset: bool) -> Option<i64> {
        if let Duration::Computed(expr) = duration
            && depends_on_range(expr)
        {
            return None;
        }
        duration.resolve(&self.times, is_offset).ok()
    }
}

fn depends_on_range(expr: &DurationExpr) -> bool {
    match &expr.kind {
        DurationKind::Range => true,
        DurationKind::Number { .. } | DurationKind::Step => false,
        DurationKind::Bound { lhs, rhs, .. } | DurationKind::Binary { lhs, rhs, .. } => {
            depends_on_range(lhs) || depends_on_range(rhs)
        }
        DurationKind::Unary { inner, .. } | DurationKind::Paren(inner) => depends_on_range(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;
    use crate::plan::Plan;

    fn reach(text: &str) -> Option<StepReach> {
        let times = EvalTimes::range(0, 600_000, 60_000).unwrap();
        step_reach(&parse(text).unwrap(), times, PlanOptions::default())
    }

    #[test]
    fn a_step_sees_its_ranges_lookback_and_offsets() {
        let moving = |text: &str| reach(text).map(|reach| (reach.before_ms, reach.after_ms));
        assert_eq!(moving("up"), Some((300_000, 0)));
        assert_eq!(moving("sum by (a) (rate(up[1m] offset 2m)) / up"), Some((300_000, 0)));
        assert_eq!(moving("rate(up[10m] offset 2m)"), Some((720_000, -120_000)));
        assert_eq!(moving("rate(up[10m] offset -2m)"), Some((480_000, 120_000)));
        assert_eq!(moving("max_over_time(rate(up[1m])[5m:1m])"), Some((360_000, 0)));
        assert_eq!(moving("rate(up[1m] smoothed)"), Some((360_000, 300_000)));
        assert_eq!(moving("rate(up[step()])"), Some((60_000, 0)));
        assert_eq!(moving("time()"), Some((0, 0)));
        let fixed = reach("up @ 1000 - rate(up[1m] @ 2000 offset 1m)").unwrap().fixed;
        assert_eq!(fixed, Some(TimeRange::new(700_000, 2_000_000 - 60_000)));
    }

    #[test]
    fn what_depends_on_the_whole_range_does_not_stand_alone() {
        for text in [
            "up @ start()",
            "rate(up[5m] @ end())",
            "max_over_time(up[5m:1m] @ end())",
            "rate(up[range()])",
            "up offset (range() / 2)",
            "start()",
            "sort(up)",
            "sort_by_label(up, \"a\")",
            "info(up)",
            "rate({job=\"a\"}[5m])",
            "sum(rate({__name__=~\"a|b\"}[5m]))",
            "rate((a or b)[5m:1m])",
            "rate(label_join(a, \"b\", \"c\")[5m:1m])",
        ] {
            assert_eq!(reach(text), None, "{text}");
        }
        for text in
            ["{job=\"a\"}", "-(a or b)", "label_join(a, \"b\", \"c\")", "topk(3, sum by (a) (up))", "absent(up)"]
        {
            assert!(reach(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_a_plan_reads_for_a_step_lies_within_its_reach() {
        for text in [
            "up",
            "up offset 7m + up offset -3m",
            "max_over_time(rate(up[90s] offset 10s)[7m:40s] offset 5m)",
            "min_over_time(max_over_time(up[2m:7s])[11m:] offset -1m)",
            "up @ 5000 + rate(up[1m] anchored)",
            "sum_over_time((up @ 100)[10m:1m] @ 200000) - up smoothed",
        ] {
            let expr = parse(text).unwrap();
            for start in [0, 1, 59_999, 1_234_567, -70_001] {
                let times = EvalTimes::range(start, start + 600_000, 60_000).unwrap();
                let reach = step_reach(&expr, times, PlanOptions::default()).unwrap();
                for step in 0..=10 {
                    let at = start + step * 60_000;
                    let plan = Plan::with_options(&expr, EvalTimes::instant(at), PlanOptions::default()).unwrap();
                    let whole = reach.of_steps(at, at);
                    for selection in plan.selections() {
                        let read = selection.range;
                        assert!(whole.first <= read.first && read.last <= whole.last, "{text} at {at}");
                        for time in [read.first, read.last] {
                            let steps = reach.steps_seeing(TimeRange::new(time, time));
                            assert!(steps.contains(at) || reach.fixed.is_some(), "{text} at {at} sees {time}");
                        }
                    }
                }
            }
        }
    }
}
