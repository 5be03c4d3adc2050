//! Rules.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use regex::Regex;

use super::TenantOption;
use crate::times::{TimeArgument, parse_duration, parse_time};

#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Say whether rule files are right, and where they are not
    Check {
        /// Rule files as Prometheus has them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Rules of the same name and labels are an error
        #[arg(long)]
        lint_fatal: bool,
    },
    /// Run unit tests of rules: the files that promtool test rules takes
    Test {
        /// Files of unit tests, which name the rule files that they are about
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only tests whose names this regular expression matches; may be repeated
        #[arg(long, value_name = "REGEX")]
        run: Vec<Regex>,
        /// Show line by line what differs
        #[arg(long)]
        diff: bool,
    },
    /// Say when the alerts of a rule file would have fired, over what the cluster has stored; nothing is stored or told
    Replay(ReplayArguments),
    /// Load the groups of rule files into the cluster: in place of those of the same names, once all files are right
    Load(LoadArguments),
    /// The rule groups of the cluster: how often they are evaluated, by which node, and how long that takes
    List {
        /// Of this namespace alone
        namespace: Option<String>,
        #[command(flatten)]
        of: TenantOption,
    },
    /// Print rule groups of the cluster, as a rule file
    Show {
        /// The namespace
        namespace: String,
        /// The group; without, all of the namespace
        group: Option<String>,
        #[command(flatten)]
        of: TenantOption,
    },
    /// Delete a rule group of the cluster, or all of a namespace
    Delete {
        /// The namespace
        namespace: String,
        /// The group; without, all of the namespace
        group: Option<String>,
        #[command(flatten)]
        of: TenantOption,
    },
    /// How each rule of the cluster fares; ends with 1 if one cannot be evaluated
    Status {
        /// Of this namespace alone
        namespace: Option<String>,
        #[command(flatten)]
        of: TenantOption,
    },
}

impl RulesCommand {
    /// Whether a node is asked.
    pub fn asks(&self) -> bool {
        !matches!(self, RulesCommand::Check { .. } | RulesCommand::Test { .. })
    }
}

#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// A rule file as Prometheus has it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The first time
    #[arg(long, value_parser = parse_time, allow_hyphen_values = true, default_value = "-1d")]
    pub from: TimeArgument,
    /// The last time
    #[arg(long, value_parser = parse_time, allow_hyphen_values = true, default_value = "now")]
    pub to: TimeArgument,
    /// The time between evaluations of all groups; without, each group's interval, or 15s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub step: Option<Duration>,
    #[command(flatten)]
    pub of: TenantOption,
}

#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Rule files as Prometheus has them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The namespace of all their groups; without, each file's name without its ending
    #[arg(long)]
    pub namespace: Option<String>,
    /// Delete groups of these namespaces that are in none of the files
    #[arg(long)]
    pub prune: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub of: TenantOption,
}
