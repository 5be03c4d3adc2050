//! `bellwether-sim`: runs seeds, and checks that a seed runs the same way twice.

use std::ops::Range;
use std::process::ExitCode;

use bellwether_sim::cluster::Options;
use bellwether_sim::cluster::run::{Failure, Manner, Report, simulate};
use bellwether_sim::cluster::schedule;
use bellwether_sim::{single, sweep};
use clap::{Args, Parser, Subcommand};

/// Deterministic simulation of a cluster.
#[derive(Debug, Parser)]
#[command(name = "bellwether-sim", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a seed, or many; the exit code is 1 if something that must be true is not
    Run(Run),
    /// Run seeds twice each and compare
    Meta {
        /// First seed and the one after the last, as A..B
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// Nodes of the cluster, 3 to 5
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
        nodes: u8,
    },
    /// Run one node alone, without a network
    Single {
        /// The seed
        #[arg(long)]
        seed: u64,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// One seed; prints all that happens
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// First seed and the one after the last, as A..B
    #[arg(long, value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Seeds that run at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Nodes of the cluster, 3 to 5
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    nodes: u8,
    /// Print the options and the schedule first
    #[arg(long)]
    plan: bool,
    /// What the nodes log, as a filter such as `info` or `bellwether_raft=debug`
    #[arg(long)]
    log: Option<String>,
    /// Do not print what happens
    #[arg(long)]
    quiet: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is not A..B");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    Ok(first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?)
}

fn main() -> ExitCode {
    let passed = match Arguments::parse().command {
        Command::Run(run) => match (run.seed, &run.seeds) {
            (Some(seed), _) => one(seed, &run),
            (None, Some(seeds)) => many(seeds.clone(), &run),
            (None, None) => false,
        },
        Command::Meta { mut seeds, nodes } => seeds.all(|seed| match sweep::twice(seed, nodes.into()) {
            Ok(report) => {
                print(seed, &report);
                true
            }
            Err(reason) => {
                eprintln!("{reason}");
                false
            }
        }),
        Command::Single { seed } => match single::simulate(seed, true) {
            Ok(report) => {
                println!("seed {seed}: trace {:016x}, {} lives", report.trace_hash, report.lives);
                true
            }
            Err(reason) => {
                eprintln!("{reason}");
                false
            }
        },
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, run: &Run) -> bool {
    if let Some(filter) = &run.log {
        let log = tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr);
        log.init();
    }
    if run.plan {
        let options = Options::of(seed, run.nodes.into());
        println!("{options:#?}");
        schedule::draw(&options).iter().for_each(|event| println!("{event:?}"));
    }
    match simulate(seed, run.nodes.into(), Manner { echo: !run.quiet, keep: false }) {
        Ok(report) => {
            print(seed, &report);
            true
        }
        Err(failure) => {
            tell(&failure, run.nodes);
            false
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast seeds run is a matter of the real clock")]
fn many(seeds: Range<u64>, run: &Run) -> bool {
    let began = std::time::SystemTime::now();
    let sweep = sweep::sweep(seeds, run.nodes.into(), run.jobs, |seed, result| match result {
        Ok(report) => print(seed, report),
        Err(failure) => tell(failure, run.nodes),
    });
    let seconds = began.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64()).max(0.001);
    let count = sweep.reports.len() + sweep.failures.len();
    let simulated: f64 = sweep.reports.values().map(|report| report.simulated.as_secs_f64()).sum();
    println!(
        "{count} seeds, {} failed; {:.0} seeds an hour, {:.1} times as fast as the clock",
        sweep.failures.len(),
        count as f64 * 3600.0 / seconds,
        simulated / seconds
    );
    for failure in sweep.failures.values() {
        println!("seed {}: {}", failure.seed, failure.reason);
    }
    println!("never reached: {:?}", sweep.marks.missing());
    sweep.failures.is_empty()
}

fn print(seed: u64, report: &Report) {
    println!(
        "seed {seed}: trace {:016x}, {} events, {} s, {} processes, {} writes ({} unknown), {} queries ({} failed), \
         {} samples",
        report.trace_hash,
        report.events,
        report.simulated.as_secs(),
        report.processes,
        report.counts.writes,
        report.counts.unknown,
        report.counts.queries,
        report.counts.failed,
        report.samples
    );
}

fn tell(failure: &Failure, nodes: u8) {
    eprintln!("{}", failure.details);
    eprintln!("seed {}: {}", failure.seed, failure.reason);
    eprintln!("again: cargo run -p bellwether-sim -- run --seed {} --nodes {nodes}", failure.seed);
}
