//! `bellwether-sim`: runs seeds and cases, makes cases smaller, and checks that a seed runs the same way twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;
use std::{fs, io};

use bellwether_probe::Bug;
use bellwether_sim::cluster::Case;
use bellwether_sim::cluster::options::{CHAOS_SECONDS_MAX, NODES_MAX};
use bellwether_sim::cluster::run::{Manner, replay};
use bellwether_sim::museum::{exhibits, show};
use bellwether_sim::plant::Search;
use bellwether_sim::shrink::{claim, shrink};
use bellwether_sim::sweep::{Verdict, judge, summary};
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
    /// Run a seed, a case, or many seeds; the exit code is 1 if something that must be true is not
    Run(Run),
    /// Make a seed or a case that fails as small as it gets while it fails in the same way
    Shrink {
        #[command(flatten)]
        which: Which,
        /// Where the small case goes
        #[arg(long, default_value = "small.json")]
        write_case: PathBuf,
        /// Plant a bug in the code: the case is to catch it
        #[arg(long)]
        plant: Option<Bug>,
    },
    /// Run seeds twice each and compare
    Meta {
        /// First seed and the one after the last, as A..B
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// Nodes of the cluster
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64))]
        nodes: u8,
    },
    /// Plant bugs in the code and see whether runs catch them; the exit code is 1 if one is not caught
    Plant(Plant),
    /// Replay the cases of the museum: each must hold; it is said whether one catches the bug that it names
    Museum {
        /// Where the cases are
        #[arg(long, default_value = "sim/museum")]
        directory: PathBuf,
    },
    /// Run one node alone, without a network
    Single {
        /// The seed
        #[arg(long)]
        seed: u64,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// One seed
    #[arg(long)]
    seed: Option<u64>,
    /// What `--write-case` wrote
    #[arg(long, conflicts_with = "seed")]
    case: Option<PathBuf>,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64))]
    nodes: u8,
    /// For how many seconds things go wrong, instead of what the seed draws
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=CHAOS_SECONDS_MAX))]
    chaos: Option<u64>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    which: Which,
    /// First seed and the one after the last, as A..B
    #[arg(long, value_parser = seeds, conflicts_with_all = ["seed", "case", "plan", "log", "json", "write_case"])]
    seeds: Option<Range<u64>>,
    /// Seeds that run at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin no further seed after so many minutes
    #[arg(long, value_name = "MINUTES", requires = "seeds")]
    r#for: Option<u64>,
    /// Print the options and the schedule first
    #[arg(long)]
    plan: bool,
    /// What the nodes log, as a filter such as `info` or `bellwether_raft=debug`
    #[arg(long)]
    log: Option<String>,
    /// Print nothing but a verdict, as one line of JSON
    #[arg(long)]
    json: bool,
    /// Plant a bug in the code
    #[arg(long)]
    plant: Option<Bug>,
    /// Do not print what happens, or what led to failures
    #[arg(long)]
    quiet: bool,
    /// Where the options and the schedule go as JSON, instead of being run
    #[arg(long)]
    write_case: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Plant {
    /// A bug by its name; several times for several
    #[arg(long, required_unless_present = "all")]
    bug: Vec<Bug>,
    /// All bugs
    #[arg(long, conflicts_with = "bug")]
    all: bool,
    /// First seed and the one after the last, as A..B
    #[arg(long, value_parser = seeds, default_value = "0..50")]
    seeds: Range<u64>,
    /// Run all seeds, also once a bug is caught
    #[arg(long)]
    every: bool,
    /// Bugs that are looked for at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64))]
    nodes: u8,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is not A..B");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    Ok(first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?)
}

fn main() -> ExitCode {
    let passed = match Arguments::parse().command {
        Command::Run(run) => match &run.seeds {
            Some(seeds) => Ok(many(seeds.clone(), &run)),
            None => one(&run),
        },
        Command::Shrink { which, write_case, plant } => smaller(&which, &write_case, plant),
        Command::Meta { mut seeds, nodes } => Ok(seeds.all(|seed| match sweep::twice(&Case::of(seed, nodes.into())) {
            Ok(report) => {
                println!("{}", summary(seed, &Ok(report)));
                true
            }
            Err(reason) => {
                eprintln!("{reason}");
                false
            }
        })),
        Command::Plant(search) => Ok(plant(search)),
        Command::Museum { directory } => exhibits(&directory).map(|cases| museum(&cases)),
        Command::Single { seed } => single::simulate(seed, true).map(|report| {
            println!("seed {seed}: trace {:016x}, {} lives", report.trace_hash, report.lives);
            true
        }),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Replays all cases, also once one of them fails.
fn museum(cases: &[(PathBuf, Case)]) -> bool {
    let shown = cases.iter().map(|(file, case)| {
        let shown = show(case);
        println!("{}: {}", file.display(), shown.as_ref().map_or_else(String::as_str, String::as_str));
        shown.is_ok()
    });
    shown.filter(|holds| !holds).count() == 0
}

impl Which {
    fn case(&self) -> Result<Case, String> {
        match (&self.case, self.seed) {
            (Some(file), _) => {
                let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                Case::of_json(&text).map_err(|wrong| format!("{}: {wrong}", file.display()))
            }
            (None, Some(seed)) => Ok(Case::lasting(seed, self.nodes.into(), self.chaos.map(Duration::from_secs))),
            (None, None) => Err("which run? --seed or --case says it".to_owned()),
        }
    }

    /// The arguments that run this again.
    fn again(&self) -> String {
        match &self.case {
            Some(file) => format!("run --case {}", file.display()),
            None => {
                let chaos = self.chaos.map(|seconds| format!(" --chaos {seconds}")).unwrap_or_default();
                format!("run --seed {} --nodes {}{chaos}", self.seed.unwrap_or_default(), self.nodes)
            }
        }
    }
}

fn one(run: &Run) -> Result<bool, String> {
    let case = run.which.case()?;
    if let Some(file) = &run.write_case {
        write(file, &case)?;
        return Ok(true);
    }
    if let Some(filter) = &run.log {
        let log = tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(io::stderr);
        log.init();
    }
    if run.plan {
        print!("{}", case.to_json());
    }
    let seed = case.options.seed;
    let manner = Manner { echo: !run.quiet && !run.json, planted: run.plant, ..Manner::default() };
    let result = replay(case, manner);
    if let Err(failure) = &result {
        eprintln!("{}", failure.details);
        eprintln!("again: cargo run -p bellwether-sim -- {}", run.which.again());
    }
    if run.json {
        println!("{}", Verdict::of(seed, &result).to_json());
    } else {
        println!("{}", summary(seed, &result));
    }
    Ok(result.is_ok())
}

#[expect(clippy::disallowed_methods, reason = "how fast seeds run is a matter of the real clock")]
fn many(seeds: Range<u64>, run: &Run) -> bool {
    let began = std::time::SystemTime::now();
    let (nodes, chaos) = (run.which.nodes.to_string(), run.which.chaos.map(|seconds| seconds.to_string()));
    let command = |seed: u64| {
        let mut command = process::Command::new(std::env::current_exe()?);
        command.args(["run", "--seed", &seed.to_string(), "--nodes", &nodes, "--json"]);
        command.args(chaos.iter().flat_map(|seconds| ["--chaos", seconds]));
        Ok(command)
    };
    let most = run.r#for.map(|minutes| Duration::from_secs(60 * minutes));
    let goes_on = || most.is_none_or(|most| began.elapsed().is_ok_and(|elapsed| elapsed < most));
    let sweep = sweep::sweep(seeds, run.jobs, goes_on, command, |verdict, said| {
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
    let mut claims: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (seed, failure) in &sweep.failures {
        println!("seed {seed}: {failure}");
        claims.entry(claim(failure)).or_default().push(*seed);
    }
    for (claim, seeds) in claims {
        println!("not true in {} seeds, {seeds:?}: {claim}", seeds.len());
    }
    println!("never reached: {:?}", sweep.marks.missing());
    sweep.failures.is_empty()
}

/// Looks for planted bugs; prints a row of a table for each.
fn plant(Plant { bug, all, seeds, every, jobs, nodes }: Plant) -> bool {
    let bugs = if all { Bug::ALL.to_vec() } else { bug };
    let command = |bug: Bug, seed: u64| {
        let mut command = process::Command::new(std::env::current_exe()?);
        let (seed, nodes) = (seed.to_string(), nodes.to_string());
        command.args(["run", "--seed", &seed, "--nodes", &nodes, "--json", "--plant", bug.name()]);
        Ok(command)
    };
    let outcomes = Search { seeds, every, jobs }.run(&bugs, command, |said| println!("{said}"));
    let missed = outcomes.iter().filter(|outcome| outcome.first.is_none());
    let missed: Vec<&str> = missed.map(|outcome| outcome.bug.name()).collect();
    println!("{} bugs, not caught: {missed:?}", outcomes.len());
    missed.is_empty()
}

/// Shrinks what fails, each try in a process of its own, since one may end its process.
fn smaller(which: &Which, file: &Path, planted: Option<Bug>) -> Result<bool, String> {
    let mut case = which.case()?;
    let seed = case.options.seed;
    let place = std::env::temp_dir().join(format!("bellwether-sim-{}.json", process::id()));
    let verdict = |case: &Case| {
        let command = || {
            fs::write(&place, case.to_json())?;
            let mut command = process::Command::new(std::env::current_exe()?);
            command.arg("run").arg("--case").arg(&place).arg("--json");
            if let Some(bug) = planted {
                command.args(["--plant", bug.name()]);
            }
            Ok(command)
        };
        judge(seed, command()).0.failure
    };
    let Some(first) = verdict(&case) else { return Err(format!("seed {seed} does not fail")) };
    println!("it fails: {first}");
    let wanted = claim(&first);
    let (mut tries, mut last) = (1, first);
    let fails = |case: &Case| {
        tries += 1;
        let failure = verdict(case).filter(|failure| claim(failure) == wanted);
        failure.map(|failure| last = failure).is_some()
    };
    case = shrink(case, fails, |progress| println!("{progress}"));
    // It is a file of this process alone, and of no use to anybody.
    let _ = fs::remove_file(&place);
    case.note.clone_from(&last);
    case.catches = planted.map(|bug| bug.name().to_owned());
    write(file, &case)?;
    println!("{}after {tries} tries: {last}", case.to_json());
    println!("again: cargo run -p bellwether-sim -- run --case {}", file.display());
    Ok(true)
}

fn write(file: &Path, case: &Case) -> Result<(), String> {
    fs::write(file, case.to_json()).map_err(|error| format!("{}: {error}", file.display()))
}
