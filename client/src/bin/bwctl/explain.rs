//! `bwctl query --explain`: what was read for a query, and what that took.

use std::io;

use bellwether_client::{Explanation, Read};
use serde_json::json;

use crate::names::bytes;
use crate::output::Output;
use crate::table::{Column, Table};
use crate::times::print_time;

/// Prints it for people or for programs.
pub fn print(output: Output, explanation: &Explanation) -> io::Result<()> {
    if output.json { output.print_json(&to_json(explanation)) } else { output.print_text(&to_text(explanation)) }
}

fn to_text(explanation: &Explanation) -> String {
    let mut reads =
        Table::new([Column::Left("SELECTOR"), Column::Left("FROM"), Column::Left("TO"), Column::Left("READS")]);
    for read in &explanation.reads {
        let how = how(read).to_owned();
        reads.row([read.selector.clone(), print_time(read.first_ms), print_time(read.last_ms), how]);
    }
    let Explanation { steps, series, samples, peak_bytes, queue_us, fetch_us, evaluate_us, .. } = explanation;
    let mut took = Table::new([Column::Left("WHAT"), Column::Right("HOW MUCH")]);
    for (what, how_much) in [
        ("steps", steps.to_string()),
        ("series", series.to_string()),
        ("samples", samples.to_string()),
        ("memory", bytes(*peak_bytes)),
        ("time until it ran", milliseconds(*queue_us)),
        ("time to read", milliseconds(*fetch_us)),
        ("time to evaluate", milliseconds(*evaluate_us)),
    ] {
        took.row([what.to_owned(), how_much]);
    }
    format!("{reads}\n{took}")
}

fn how(read: &Read) -> &'static str {
    match (read.aggregated, read.newest) {
        (true, true) => "the newest sample, aggregated where the series are",
        (true, false) => "all samples, aggregated where the series are",
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
        })
    };
    json!({
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
