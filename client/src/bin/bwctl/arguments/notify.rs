//! Whom alerts are told to.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::TenantOption;
use crate::times::{TimeArgument, parse_time};

#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Say whether configuration files are right, and where they are not
    Check {
        /// Configuration files as Alertmanager has them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Say which receivers an alert goes to, in which group, and whether anybody is told
    Route(RouteArguments),
    /// Say what templates make of each message, if alerts fired as a timeline says
    Render {
        /// A configuration file as Alertmanager has it, whose files with templates the text may call
        file: PathBuf,
        /// A timeline, as bwctl notify simulate takes it
        timeline: PathBuf,
        /// The text, such as '{{ template "title" . }}'; without, what each receiver's own settings make of the message
        text: Option<String>,
    },
    /// Say who would be told what, and when, if alerts fired as a timeline says
    Simulate {
        /// A configuration file as Alertmanager has it
        file: PathBuf,
        /// A timeline: begin, until, and events with at and firing or resolved (and annotations) or silence (with for)
        timeline: PathBuf,
    },
    /// Load a configuration into the cluster, with the files of templates that it names: it holds from then on
    Load {
        /// A configuration file as Alertmanager has it
        file: PathBuf,
        #[command(flatten)]
        of: TenantOption,
    },
    /// Print the cluster's configuration, secrets included
    Show {
        #[command(flatten)]
        of: TenantOption,
    },
    /// Say how each receiver fares: when it was told last, why not since, and what waits
    Status {
        /// Those that fail alone, and end with 1 if there are any
        #[arg(long)]
        failing: bool,
        #[command(flatten)]
        of: TenantOption,
    },
    /// Delete the cluster's configuration: nobody is told
    Delete {
        #[command(flatten)]
        of: TenantOption,
    },
}

impl NotifyCommand {
    /// Whether a node is asked.
    pub fn asks(&self) -> bool {
        matches!(
            self,
            NotifyCommand::Load { .. }
                | NotifyCommand::Show { .. }
                | NotifyCommand::Status { .. }
                | NotifyCommand::Delete { .. }
        )
    }
}

#[derive(Debug, Args)]
pub struct RouteArguments {
    /// A configuration file as Alertmanager has it
    pub file: PathBuf,
    /// The alert's labels
    #[arg(value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// Draw the tree of routes instead; with labels, mark where the alert ends
    #[arg(long, conflicts_with_all = ["firing", "at", "expect"])]
    pub tree: bool,
    /// When: time intervals may mute routes
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub at: Option<TimeArgument>,
    /// The labels of another alert that fires meanwhile and may inhibit this one; may be repeated
    #[arg(long, value_name = "NAME=VALUE,...")]
    pub firing: Vec<String>,
    /// End with 1 unless the alert goes to these receivers, in this order
    #[arg(long, value_name = "RECEIVER,...")]
    pub expect: Option<String>,
}
