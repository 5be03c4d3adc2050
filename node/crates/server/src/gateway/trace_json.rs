//! What `trace=1` tells beside a result.

use bellwether_promql::{Plan, PlanStep};
use serde_json::{Value, json};

use crate::query::QueryTrace;

/// The plan with what each step took, and what was read for it.
pub fn tree(plan: &Plan, trace: &QueryTrace) -> Value {
    let reads = plan.selections().iter().zip(&trace.reads).map(|(selection, cost)| {
        let matchers: Vec<String> = selection.matchers.iter().map(ToString::to_string).collect();
        json!({
            "selector": format!("{{{}}}", matchers.join(",")),
            "start": selection.range.first as f64 / 1000.0,
            "end": selection.range.last as f64 / 1000.0,
            "newest": selection.newest,
            "aggregated": selection.reduced,
            "seconds": cost.time.as_secs_f64(),
            "series": cost.series,
            "samples": cost.samples,
            "bytes": cost.bytes,
        })
    });
    let reads: Vec<Value> = reads.collect();
    json!({"plan": below(&trace.steps, 0), "reads": reads})
}

/// The steps of a depth, each with those that it takes series from.
fn below(steps: &[PlanStep], depth: u32) -> Value {
    let mut starts: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].depth == depth).collect();
    starts.push(steps.len());
    let one = |pair: &[usize]| {
        let (step, inner) = (&steps[pair[0]], &steps[pair[0] + 1..pair[1]]);
        json!({
            "step": step.what,
            "read": step.selection,
            "aggregated": step.reduced,
            "seconds": step.took.time.as_secs_f64(),
            "series": step.took.series,
            "values": step.took.points,
            "bytes": step.took.bytes,
            "steps": below(inner, depth + 1),
        })
    };
    starts.windows(2).map(one).collect()
}

#[cfg(test)]
mod tests {
    use bellwether_promql::{EvalTimes, parse};

    use super::*;
    use crate::query::ReadCost;

    #[test]
    fn steps_stand_below_those_that_they_give_their_series_to() {
        let plan = Plan::new(&parse("sum(a) + max(abs(a))").unwrap(), EvalTimes::instant(600_000), 300_000).unwrap();
        let trace = QueryTrace { steps: plan.steps(), reads: vec![ReadCost::default()] };
        let told = tree(&plan, &trace);
        let root = &told["plan"][0];
        assert_eq!((&root["step"], &root["steps"][0]["step"]), (&json!("+"), &json!("sum")));
        let abs = &root["steps"][1]["steps"][0];
        assert_eq!((&abs["step"], &abs["steps"][0]["step"]), (&json!("abs"), &json!("{__name__=\"a\"}")));
        assert_eq!((&abs["steps"][0]["read"], abs["steps"][0]["steps"].as_array().unwrap().len()), (&json!(0), 0));
        assert_eq!((told["reads"].as_array().unwrap().len(), &told["reads"][0]["start"]), (1, &json!(300.001)));
    }
}
