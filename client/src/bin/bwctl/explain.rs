//! `bwctl query --explain`: what was done for a query, and what that took.

use std::io;

use bellwether_client::{Explanation, PlanStep, Read};
use serde_json::json;

use crate::names::bytes;
use crate::output::Output;
use crate::table::{Column, Table};
use crate::times::print_time;

/// What stands before a step for each step that it is below.
const INDENT: &str = "  ";

/// Prints it for people or for programs.
pub fn print(output: Output, explanation: &Explanation) -> io::Result<()> {
    if output.json { output.print_json(&to_json(explanation)) } else { output.print_text(&to_text(explanation)) }
}

fn to_text(explanation: &Explanation) -> String {
    let costs = [Column::Right("TIME"), Column::Right("SERIES")];
    let mut plan = Table::new(
        [Column::Left("STEP")].into_iter().chain(costs).chain([Column::Right("VALUES"), Column::Right("BYTES")]),
    );
    for step in &explanation.plan {
        let (time, series) = (milliseconds(step.time_us), step.series.to_string());
        plan.row([described(step), time, series, step.values.to_string(), bytes(step.bytes)]);
    }
    let mut reads = Table::new(
        ["READ", "FROM", "TO", "HOW"]
            .map(Column::Left)
            .into_iter()
            .chain(costs)
            .chain([Column::Right("SAMPLES"), Column::Right("BYTES")]),
    );
    for read in &explanation.reads {
        let (from, to, how) = (print_time(read.first_ms), print_time(read.last_ms), how(read).to_owned());
        let (time, series) = (milliseconds(read.time_us), read.series.to_string());
        reads.row([read.selector.clone(), from, to, how, time, series, read.samples.to_string(), bytes(read.bytes)]);
    }
    let Explanation { steps, series, samples, peak_bytes, queue_us, fetch_us, evaluate_us, .. } = explanation;
    let mut took = Table::new([Column::Left("WHAT"), Column::Right("HOW MUCH")]);
    for (what, how_much) in [
        ("times evaluated", steps.to_string()),
        ("series", series.to_string()),
        ("samples", samples.to_string()),
        ("memory", bytes(*peak_bytes)),
        ("time until it ran", milliseconds(*queue_us)),
        ("time to read", milliseconds(*fetch_us)),
        ("time to evaluate", milliseconds(*evaluate_us)),
    ] {
        took.row([what.to_owned(), how_much]);
    }
    format!("{plan}\n{reads}\n{took}")
}

fn described(step: &PlanStep) -> String {
    let where_it_was = if step.aggregated { ", where the series are" } else { "" };
    format!("{}{}{where_it_was}", INDENT.repeat(step.depth as usize), step.what)
}

fn how(read: &Read) -> &'static str {
    match (read.aggregated, read.newest) {
        (true, true) => "the newest sample, aggregated there",
        (true, false) => "all samples, aggregated there",
        (false, true) => "the newest sample",
        (false, false) => "all samples",
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}

fn to_json(explanation: &Explanation) -> serde_json::Value {
    let read = |read: &Read| {
        json!({
            "selector": read.selector,
            "first_ms": read.first_ms,
            "last_ms": read.last_ms,
            "newest": read.newest,
            "aggregated": read.aggregated,
            "time_us": read.time_us,
            "series": read.series,
            "samples": read.samples,
            "bytes": read.bytes,
        })
    };
    let step = |step: &PlanStep| {
        json!({
            "step": step.what,
            "depth": step.depth,
            "read": step.read,
            "aggregated": step.aggregated,
            "time_us": step.time_us,
            "series": step.series,
            "values": step.values,
            "bytes": step.bytes,
        })
    };
    json!({
        "plan": explanation.plan.iter().map(step).collect::<Vec<_>>(),
        "reads": explanation.reads.iter().map(read).collect::<Vec<_>>(),
        "steps": explanation.steps,
        "series": explanation.series,
        "samples": explanation.samples,
        "peak_bytes": explanation.peak_bytes,
        "queue_us": explanation.queue_us,
        "fetch_us": explanation.fetch_us,
        "evaluate_us": explanation.evaluate_us,
    })
}
