//! `bellwether-sim`: runs seeds, and checks that a seed runs the same way twice.

use std::ops::Range;
use std::process::{self, ExitCode};

use bellwether_sim::cluster::run::{Manner, simulate};
use bellwether_sim::cluster::{Options, schedule};
use bellwether_sim::sweep::{Verdict, summary};
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
    /// Print nothing but a verdict, as one line of JSON
    #[arg(long)]
    json: bool,
    /// Do not print what happens, or what led to failures
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
                println!("{}", summary(seed, &Ok(report)));
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
    let result = simulate(seed, run.nodes.into(), Manner { echo: !run.quiet && !run.json, ..Manner::default() });
    if let Err(failure) = &result {
        eprintln!("{}", failure.details);
        eprintln!("again: cargo run -p bellwether-sim -- run --seed {seed} --nodes {}", run.nodes);
    }
    if run.json {
        println!("{}", Verdict::of(seed, &result).to_json());
    } else {
        println!("{}", summary(seed, &result));
    }
    result.is_ok()
}

#[expect(clippy::disallowed_methods, reason = "how fast seeds run is a matter of the real clock")]
fn many(seeds: Range<u64>, run: &Run) -> bool {
    let began = std::time::SystemTime::now();
    let nodes = run.nodes.to_string();
    let command = |seed: u64| {
        let mut command = process::Command::new(std::env::current_exe()?);
        command.args(["run", "--seed", &seed.to_string(), "--nodes", &nodes, "--json"]);
        Ok(command)
    };
    let sweep = sweep::sweep(seeds, run.jobs, command, |verdict, said| {
        println!("{}", verdict.summary);
        if verdict.failure.is_some() && !run.quiet {
            eprintln!("{said}");
        }
    });
    let seconds = began.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64()).max(0.001);
    println!(
        "{} seeds, {} failed; {:.0} seeds an hour, {:.1} times as fast as the clock",
        sweep.count,
        sweep.failures.len(),
        sweep.count as f64 * 3600.0 / seconds,
        sweep.simulated.as_secs_f64() / seconds
    );
    for (seed, failure) in &sweep.failures {
        println!("seed {seed}: {failure}");
    }
    println!("never reached: {:?}", sweep.marks.missing());
    sweep.failures.is_empty()
}
