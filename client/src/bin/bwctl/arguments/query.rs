//! What asks a cluster.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::times::{TimeArgument, parse_duration, parse_time};

#[derive(Debug, Subcommand)]
pub enum QueryCommand {
    /// Evaluate at one time
    Instant {
        /// The expression
        expression: String,
        /// When: Unix seconds, RFC 3339 or a part of it (UTC), now, or a time ago such as -5m
        #[arg(long, value_parser = parse_time, allow_hyphen_values = true)]
        time: Option<TimeArgument>,
        #[command(flatten)]
        how: QueryOptions,
    },
    /// Evaluate at every step of a range
    Range {
        /// The expression
        expression: String,
        /// The first time
        #[arg(long, value_parser = parse_time, allow_hyphen_values = true, default_value = "-1h")]
        start: TimeArgument,
        /// The last time
        #[arg(long, value_parser = parse_time, allow_hyphen_values = true, default_value = "now")]
        end: TimeArgument,
        /// The time between; without, about a 250th of the range, which then begins and ends at multiples of it
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        step: Option<Duration>,
        #[command(flatten)]
        how: QueryOptions,
    },
}

#[derive(Debug, Args)]
pub struct QueryOptions {
    /// How to print the result
    #[arg(long, value_enum, default_value_t = QueryFormat::Table)]
    pub format: QueryFormat,
    /// Columns of a plot; without, as many as the terminal has
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(20..=1000))]
    pub width: Option<u16>,
    /// Instead of the result, print what was done for it, step by step, and what that took
    #[arg(long)]
    pub explain: bool,
    /// Whose data; a node follows this where it listens on loopback alone
    #[arg(long)]
    pub tenant: Option<String>,
    /// Any replica may answer that had all that its leader had so lately, even where nobody leads now
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub stale: Option<Duration>,
    /// Compute all steps of a range, whatever the node has kept of earlier answers
    #[arg(long)]
    pub no_cache: bool,
    /// Leave out shard groups that cannot be read, with a warning for each, instead of failing
    #[arg(long)]
    pub partial_response: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryFormat {
    /// For people
    Table,
    /// As Prometheus's HTTP API has it
    Json,
    /// A column per label
    Csv,
    /// Drawn with characters: lines of a range, bars of one time
    Plot,
}
