//! Alerts that fire, silences, and who is on call.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::TenantOption;
use crate::times::{TimeArgument, parse_duration, parse_time};

#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Alerts that fire or are pending, those from outside included, and who is told of them
    List {
        /// What they must meet, such as severity=critical
        #[arg(value_name = "MATCHER")]
        matchers: Vec<String>,
        #[command(flatten)]
        of: TenantOption,
    },
    /// What became of alerts of rules, the latest last
    History(HistoryArguments),
    /// Say that somebody takes care of alerts that fire: nobody is reminded of them
    Acknowledge {
        /// What they must meet, such as alertname=DiskFull
        #[arg(required = true, value_name = "MATCHER")]
        matchers: Vec<String>,
        /// Who takes care
        #[arg(long, value_name = "NAME", env = "USER", default_value = "")]
        author: String,
        #[command(flatten)]
        of: TenantOption,
    },
}

#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// What they must meet, such as severity=critical
    #[arg(value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// From when; without, as far as it is remembered
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub begin: Option<TimeArgument>,
    /// Until when; without, until now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub end: Option<TimeArgument>,
    /// So many at most, the latest
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    #[command(flatten)]
    pub of: TenantOption,
}

#[derive(Debug, Subcommand)]
pub enum OncallCommand {
    /// Who is on call by each schedule, with overrides
    Show {
        /// At another time than now
        #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
        at: Option<TimeArgument>,
        #[command(flatten)]
        of: TenantOption,
    },
    /// Have somebody on call instead of another for a while; prints the override's id
    Override(OverrideArguments),
    /// End overrides
    Delete {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        of: TenantOption,
    },
}

#[derive(Debug, Args)]
pub struct OverrideArguments {
    /// The schedule
    pub schedule: String,
    /// Who is on call: a receiver
    pub user: String,
    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "8h")]
    pub duration: Duration,
    #[command(flatten)]
    pub span: SpanOptions,
    #[command(flatten)]
    pub of: TenantOption,
}

#[derive(Debug, Subcommand)]
pub enum SilenceCommand {
    /// Silence alerts; prints the silence's id
    Add(SilenceArguments),
    /// Silences that hold or will
    List {
        /// Those that are over, too
        #[arg(long)]
        expired: bool,
        #[command(flatten)]
        of: TenantOption,
    },
    /// End silences now
    Expire {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        of: TenantOption,
    },
}

#[derive(Debug, Args)]
pub struct SilenceArguments {
    /// What alerts must meet, all of it, such as alertname=HostDown or 'host=~db.*'
    #[arg(required = true, value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
    pub duration: Duration,
    #[command(flatten)]
    pub span: SpanOptions,
    /// Only while an alert fires that meets this, all of it, such as alertname=Maintenance
    #[arg(long = "while", value_name = "MATCHER")]
    pub while_firing: Vec<String>,
    /// Why
    #[arg(long, default_value = "")]
    pub comment: String,
    /// The silence to change; without, a new one is made
    #[arg(long)]
    pub id: Option<String>,
    #[command(flatten)]
    pub of: TenantOption,
}

/// When something holds that somebody wants, beside its `duration`.
#[derive(Debug, Args)]
pub struct SpanOptions {
    /// From when; without, from now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub begin: Option<TimeArgument>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "duration")]
    pub end: Option<TimeArgument>,
    /// Who wants it
    #[arg(long, default_value = "bwctl")]
    pub author: String,
}
