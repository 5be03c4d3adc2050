//! `bellwether-sim`: runs seeds, and checks that a seed runs the same way twice.

use std::process::ExitCode;

use bellwether_sim::{Plan, Report, simulate};
use clap::{Parser, Subcommand};

/// Deterministic simulation of a node.
#[derive(Debug, Parser)]
#[command(name = "bellwether-sim", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed and print what happens
    Run {
        /// The seed
        #[arg(long)]
        seed: u64,
        /// Print the plan first
        #[arg(long)]
        plan: bool,
    },
    /// Run seeds twice each and compare
    Meta {
        /// First and last seed, as A..B (B excluded)
        #[arg(long, value_parser = seeds)]
        seeds: std::ops::Range<u64>,
    },
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = || format!("{text:?} is not A..B");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    Ok(first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?)
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { seed, plan } => {
            if plan {
                println!("{:#?}", Plan::of(seed));
            }
            simulate(seed, true).map(|report| print(seed, &report))
        }
        Command::Meta { seeds } => {
            seeds.into_iter().try_for_each(|seed| twice(seed).map(|report| print(seed, &report)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn print(seed: u64, report: &Report) {
    println!(
        "seed {seed}: trace {:016x}, {} lives, {} samples, {} s simulated",
        report.trace_hash,
        report.lives,
        report.samples,
        report.simulated_ms / 1000
    );
}

/// Runs a seed twice; the runs must not differ.
fn twice(seed: u64) -> Result<Report, String> {
    let (first, second) = (simulate(seed, false)?, simulate(seed, false)?);
    if first == second {
        return Ok(first);
    }
    let parting = first.events.iter().zip(&second.events).find(|(a, b)| a != b);
    Err(format!("seed {seed}: two runs differ; first at {parting:#?}"))
}
