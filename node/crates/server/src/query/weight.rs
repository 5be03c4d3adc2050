//! How much work an evaluation will be, estimated before it begins: small ones are done at once, where they were awaited.

use bellwether_promql::EvalTimes;
use bellwether_promql::ast::Expr;

use super::QueryCost;

/// What a query's text says about its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Times that are evaluated.
    steps: u64,
    /// Nodes of the tree: each makes at least one point at each step.
    nodes: u64,
    /// Steps whose range holds one and the same sample.
    overlap: u64,
    /// A subquery's work is not bounded by what was fetched.
    subquery: bool,
}

impl Weight {
    /// Looks at a query.
    pub fn of(expr: &Expr, times: EvalTimes) -> Weight {
        let steps = (times.end() - times.start()) / times.step_ms() + 1;
        let mut weight = Weight { steps: steps.unsigned_abs(), nodes: 0, overlap: 1, subquery: false };
        weight.add(expr, times);
        weight
    }

    fn add(&mut self, expr: &Expr, times: EvalTimes) {
        self.nodes += 1;
        match expr {
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) => {}
            Expr::Range(range) => {
                // A plan with a duration that cannot be computed is refused.
                let range_ms = range.range.resolve(&times, false).unwrap_or_default();
                let windows = range_ms.unsigned_abs() / times.step_ms().unsigned_abs() + 1;
                self.overlap = self.overlap.max(windows.min(self.steps));
            }
            Expr::Subquery(_) => self.subquery = true,
            Expr::Call(call) => call.args.iter().for_each(|arg| self.add(arg, times)),
            Expr::Aggregate(aggregate) => {
                self.add(&aggregate.expr, times);
                aggregate.param.iter().for_each(|param| self.add(param, times));
            }
            Expr::Binary(binary) => {
                self.add(&binary.lhs, times);
                self.add(&binary.rhs, times);
            }
            Expr::Unary(unary) => self.add(&unary.expr, times),
            Expr::Paren(paren) => self.add(&paren.expr, times),
        }
    }

    /// Samples read and points made, about, once it is known what was fetched.
    pub fn work(&self, fetched: &QueryCost) -> u64 {
        if self.subquery {
            return u64::MAX;
        }
        let points = self.steps.saturating_mul(self.nodes.saturating_mul(fetched.series.saturating_add(1)));
        fetched.samples.saturating_mul(self.overlap).saturating_add(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(query: &str, times: EvalTimes, series: u64, samples: u64) -> u64 {
        let expr = bellwether_promql::parse(query).unwrap();
        Weight::of(&expr, times).work(&QueryCost { series, samples, ..QueryCost::default() })
    }

    #[test]
    fn work_grows_with_samples_series_steps_and_the_text() {
        let at = EvalTimes::instant(0);
        let hour = EvalTimes::range(0, 3_600_000, 15_000).unwrap();
        assert_eq!(work("up", at, 10, 20), 20 + 11);
        assert_eq!(work("up", hour, 10, 200), 200 + 11 * 241);
        assert_eq!(work("sum(rate(up[5m]))", hour, 1, 100), 100 * 21 + 241 * 3 * 2);
        assert_eq!(work("rate(up[5m])", at, 1, 100), 100 + 2 * 2);
        assert_eq!(work("1 + 1 + 1", hour, 0, 0), 5 * 241);
    }

    #[test]
    fn a_subquery_is_never_small() {
        assert_eq!(work("sum_over_time(vector(1)[100d:1s])", EvalTimes::instant(0), 0, 0), u64::MAX);
    }
}
