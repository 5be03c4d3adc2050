//! How a query was evaluated: what its plan reads and does, and what that took.

use std::time::Duration;

use bellwether_model::Matcher;
use bellwether_promql::{Plan, Selection};
use bellwether_proto::v1::{Explanation, PlanStep, Read};

use crate::query::{QueryCost, QueryTrace, ReadCost};

/// Puts it together.
pub fn explanation(plan: &Plan, cost: &QueryCost, trace: &QueryTrace) -> Explanation {
    let times = plan.times();
    Explanation {
        reads: plan.selections().iter().zip(&trace.reads).map(|(selection, cost)| read(selection, cost)).collect(),
        steps: ((times.end() - times.start()) / times.step_ms() + 1).unsigned_abs(),
        series: cost.series,
        samples: cost.samples,
        peak_bytes: cost.peak_bytes,
        queue_us: micros(cost.queue),
        fetch_us: micros(cost.fetch),
        evaluate_us: micros(cost.evaluate),
        plan: trace.steps.iter().map(step).collect(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn step(step: &bellwether_promql::PlanStep) -> PlanStep {
    PlanStep {
        what: step.what.clone(),
        depth: step.depth,
        read: step.selection.map(|selection| selection as u32),
        aggregated: step.reduced,
        time_us: micros(step.took.time),
        series: step.took.series,
        values: step.took.points,
        bytes: step.took.bytes,
    }
}

fn read(selection: &Selection, cost: &ReadCost) -> Read {
    Read {
        selector: selector(&selection.matchers),
        first_ms: selection.range.first,
        last_ms: selection.range.last,
        newest: selection.newest,
        aggregated: selection.reduced,
        time_us: micros(cost.time),
        series: cost.series,
        samples: cost.samples,
        bytes: cost.bytes,
    }
}

pub fn selector(matchers: &[Matcher]) -> String {
    let matchers =
        matchers.iter().map(|matcher| format!("{}{}{:?}", matcher.name(), matcher.op().as_str(), matcher.value()));
    format!("{{{}}}", matchers.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use bellwether_promql::{EvalTimes, parse};

    use super::*;

    #[test]
    fn each_selector_is_told_with_its_times() {
        let times = EvalTimes::range(600_000, 660_000, 15_000).unwrap();
        let query = "sum(rate(a{b!=\"c\"}[1m])) / on() d offset 1m";
        let plan = Plan::new(&parse(query).unwrap(), times, 300_000).unwrap();
        let cost = QueryCost { series: 2, fetch: Duration::from_micros(7), ..QueryCost::default() };
        let trace = QueryTrace { steps: plan.steps(), reads: vec![ReadCost::default(); 2] };
        let told = explanation(&plan, &cost, &trace);
        let steps: Vec<_> = told.plan.iter().map(|step| (&*step.what, step.depth, step.read)).collect();
        assert_eq!(steps[0], ("/ on ()", 0, None));
        assert_eq!(steps[3], ("{b!=\"c\",__name__=\"a\"}[60s]", 3, Some(0)));
        assert_eq!(steps[4], ("{__name__=\"d\"} offset 60s", 1, Some(1)));
        assert_eq!((told.steps, told.series, told.fetch_us), (5, 2, 7));
        let reads: Vec<_> = told.reads.iter().map(|read| (&*read.selector, read.first_ms, read.last_ms)).collect();
        assert_eq!(reads, [("{b!=\"c\",__name__=\"a\"}", 540_001, 660_000), ("{__name__=\"d\"}", 240_001, 600_000)]);
        assert_eq!(
            told.reads.iter().map(|read| (read.newest, read.aggregated)).collect::<Vec<_>>(),
            [(false, true), (false, false)]
        );
    }
}
