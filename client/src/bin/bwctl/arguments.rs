//! The command line. Completion and man pages are made from the same definitions.

mod alerts;
mod cluster;
mod notify;
mod query;
mod rules;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use alerts::{
    AlertsCommand, HistoryArguments, OncallCommand, OverrideArguments, SilenceArguments, SilenceCommand, SpanOptions,
};
pub use cluster::{
    BackupCommand, ClusterCommand, ConfigCommand, GroupCommand, NodeCommand, OperationCommand, RestoreArguments,
    ShardCommand, TlsCommand, TokenCommand, TokenPurpose,
};
pub use notify::{NotifyCommand, RouteArguments};
pub use query::{QueryCommand, QueryFormat, QueryOptions};
pub use rules::{LoadArguments, ReplayArguments, RulesCommand};

use crate::times::parse_duration;

/// Administers and asks a Bellwether cluster.
#[derive(Debug, Parser)]
#[command(name = "bwctl", version, about, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Arguments {
    /// gRPC address of a node; may be repeated: whichever answers is asked
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "BWCTL_ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:9481"
    )]
    pub address: Vec<String>,
    /// Speak TLS: a file with the certificate (PEM) of the nodes' authority
    #[arg(long, global = true, value_name = "FILE", env = "BWCTL_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// A file with the certificate (PEM) to show; with one by the nodes' authority one may administer
    #[arg(long, global = true, value_name = "FILE", env = "BWCTL_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// A file with the key (PEM) of that certificate
    #[arg(long, global = true, value_name = "FILE", env = "BWCTL_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// A token to show instead: one made by `bwctl token create --kind admin`
    #[arg(long, global = true, value_name = "TOKEN", env = "BWCTL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not ask before dangerous things
    #[arg(long, global = true)]
    pub yes: bool,
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Ends with 0 when all went well, 1 when something was refused, failed or was cancelled, 2 when \
                          the command line is wrong, 3 when no node could be reached, 130 when it was interrupted: what \
                          it had begun goes on in the cluster.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// What is wrong or will be soon, and what to do about it; ends with 1 if something is
    Doctor,
    /// Add, drain, remove and replace nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Move, split and lead shard groups
    #[command(subcommand)]
    Shard(ShardCommand),
    /// Shard groups in need
    #[command(subcommand)]
    Group(GroupCommand),
    /// Wait until replicas and leaderships are spread evenly: the cluster moves them by itself
    Rebalance {
        /// Only say what will be moved, and why
        #[arg(long, conflicts_with = "detach")]
        dry_run: bool,
        /// Do not wait: bwctl operation watch does later
        #[arg(long)]
        detach: bool,
    },
    /// Backups of the whole cluster, in a directory that all nodes share or an S3-compatible store
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Write a backup into this cluster, whatever its nodes and shard groups
    Restore(RestoreArguments),
    /// What takes long and goes on by itself: backups, restores, drains, moves
    #[command(subcommand)]
    Operation(OperationCommand),
    /// The settings of the whole cluster
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Tokens, with which nodes join and people administer
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make certificates by which nodes and administrators are known, without asking any node
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Evaluate PromQL expressions
    #[command(subcommand)]
    Query(QueryCommand),
    /// Alerting and recording rules: check and test files without asking any node, load and look at those of the cluster
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Whom alerts are told to: check Alertmanager's configuration files without asking any node, load and look at the cluster's
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Alerts that fire or are pending
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// Who is on call
    #[command(subcommand)]
    Oncall(OncallCommand),
    /// Keep alerts quiet for a time
    #[command(subcommand)]
    Silence(SilenceCommand),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man {
        /// Write a page for each command into this directory instead
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct TenantOption {
    /// Whose; a node follows this where it listens on loopback alone
    #[arg(long)]
    pub tenant: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_command_line_is_read() {
        let arguments = Arguments::try_parse_from([
            "bwctl",
            "query",
            "range",
            "up",
            "--start",
            "-2h",
            "--address",
            "a:1,b:2",
            "--json",
        ])
        .unwrap();
        assert_eq!(arguments.address, ["a:1", "b:2"]);
        assert!(arguments.json && !arguments.yes);
        assert!(Arguments::try_parse_from(["bwctl", "config", "set", "nodes.max"]).is_err());
        let split = |at| Arguments::try_parse_from(["bwctl", "shard", "split", "3", "--at", at]);
        let Command::Shard(ShardCommand::Split { at, .. }) = split("80000000ffffffff").unwrap().command else {
            panic!("a split")
        };
        assert_eq!(at, Some(0x8000_0000_ffff_ffff));
        assert!(split("0x1ffffffffffffffff").is_err() && split("half").is_err());
    }
}
