//! The command line. Completion and man pages are made from the same definitions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use regex::Regex;

use crate::times::{TimeArgument, parse_duration, parse_time};

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

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Found a cluster on a node that waits for it (started with --wait-for-init); others that wait beside join it
    Init {
        /// Shard groups to begin with; without, as the node is configured
        #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
        shard_groups: u32,
        /// A setting of the new cluster, as bwctl config set has it; may be repeated
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// For how long others can join with the token that the node's own configuration names; without, an hour
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        join_token_valid: Option<Duration>,
    },
    /// The cluster in a few numbers
    Status,
    /// The nodes
    Nodes {
        /// Removed nodes as well
        #[arg(long)]
        all: bool,
    },
    /// The shard groups, where their replicas are, and how far behind
    Shards {
        /// Only those with a replica on this node
        #[arg(long, value_name = "NODE")]
        node: Option<u64>,
    },
    /// What happened, oldest first
    Events {
        /// Go on with what happens
        #[arg(long, short)]
        follow: bool,
        /// Of what has happened only the newest
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        limit: u32,
        /// Only events with higher numbers
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
    },
    /// End an upgrade: use the newest format that all nodes know; older programs cannot come back
    Finalize,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Say how to start another node, with a token where one is needed
    Add {
        /// Make a token even where the cluster needs none
        #[arg(long)]
        with_token: bool,
        /// Wait until it has joined
        #[arg(long)]
        wait: bool,
    },
    /// Empty a node: its replicas move to others, while it serves
    Drain {
        /// The node's id
        node: u64,
        /// Wait until it is empty
        #[arg(long)]
        wait: bool,
    },
    /// End a drain: the node is a full member again
    Undrain {
        /// The node's id
        node: u64,
    },
    /// Remove an empty node for ever
    Remove {
        /// The node's id
        node: u64,
        /// Even if it holds replicas: it is gone, its copies are made again elsewhere
        #[arg(long)]
        force: bool,
    },
    /// Put a new node in the place of another, and wait until every copy is made; a node that answers is emptied first
    Replace {
        /// The id of the node that goes
        old: u64,
        /// The id of the new one, which has joined
        new: u64,
        /// Do not wait: a node that is gone is removed at once, one that answers begins to drain
        #[arg(long)]
        detach: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ShardCommand {
    /// Give a replica to another node in place of one that has it
    Move {
        /// The shard group
        group: u32,
        /// The node whose replica goes
        #[arg(long, value_name = "NODE")]
        from: u64,
        /// The node that gets one
        #[arg(long, value_name = "NODE")]
        to: u64,
        /// Wait until it is done
        #[arg(long)]
        wait: bool,
    },
    /// Cut a shard group in two: a new one takes the upper part of its range
    Split {
        /// The shard group
        group: u32,
        /// The first key of the new group, in hexadecimal; where half of the series lie if not given
        #[arg(long, value_name = "HASH", value_parser = key)]
        at: Option<u64>,
        /// Wait until it is done
        #[arg(long)]
        wait: bool,
    },
    /// Hand the leadership of a shard group over
    TransferLeader {
        /// The shard group
        group: u32,
        /// The node that is to lead; it must hold a replica that votes
        node: u64,
    },
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Begin a shard group that has lost its majority for ever anew, with what one node has of it
    Recover {
        /// The shard group
        group: u32,
        /// What only the lost replicas had is lost; without this it is only said what there is
        #[arg(long = "unsafe")]
        is_unsafe: bool,
        /// The node whose copy is taken; without, the one that has come furthest
        #[arg(long)]
        node: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Make a backup of everything acknowledged so far; what is at the place already is not sent again
    Create {
        /// Where: file:///path, the same directory for all nodes, or s3://bucket/prefix
        url: String,
        /// Do not wait for its end
        #[arg(long)]
        detach: bool,
    },
    /// The backups at a place, oldest first
    List {
        /// The place
        url: String,
    },
    /// Read every byte of a backup and compare it
    Verify {
        /// The place
        url: String,
        /// Which; without, the newest
        id: Option<String>,
        /// Do not wait for its end
        #[arg(long)]
        detach: bool,
    },
    /// Delete a backup, and what no other one needs
    Delete {
        /// The place
        url: String,
        /// Which
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Where the backup is: file:///path or s3://bucket/prefix
    pub url: String,
    /// Which; without, the newest
    pub id: Option<String>,
    /// Also into a cluster that is older than the backup: the backup's samples replace others of the same times
    #[arg(long)]
    pub merge: bool,
    /// Do not read the whole backup before the first of it is written
    #[arg(long)]
    pub skip_verify: bool,
    /// Leave the settings of the cluster as they are
    #[arg(long)]
    pub skip_settings: bool,
    /// Do not wait for its end
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// The operations that the nodes remember
    List,
    /// Watch one to its end
    Watch {
        /// Its id
        id: String,
    },
    /// End one: the same command begins it again where it was; a drain or a move is taken back
    Cancel {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print settings; without names all
    Get {
        /// Names of settings
        names: Vec<String>,
    },
    /// Set a setting
    Set {
        /// Its name
        name: String,
        /// Its value, with a unit where it has one: 3, 64GB, 15m, true
        #[arg(required_unless_present = "default", allow_hyphen_values = true)]
        value: Option<String>,
        /// Give it its default back
        #[arg(long, conflicts_with = "value")]
        default: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token
    Create {
        /// What it permits
        #[arg(long, value_enum, default_value_t = TokenPurpose::Join)]
        kind: TokenPurpose,
        /// For how long it can be used
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
        valid: Duration,
        /// How many nodes can join with it; to administer it works until it expires
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        uses: u32,
    },
    /// The tokens that are known, without their secrets
    List,
    /// Make a token worthless
    Revoke {
        /// What stands before its dot
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Make an authority for a new cluster
    Ca {
        /// Where everything of it is kept
        #[arg(long, value_name = "DIR", default_value = "tls")]
        dir: PathBuf,
        /// For how long it is good
        #[arg(long, value_name = "DURATION", default_value = "10y", value_parser = parse_duration)]
        valid: Duration,
    },
    /// Make a certificate for a node
    Node {
        /// Names and addresses by which the others reach it, as it advertises them, without ports
        #[arg(value_name = "HOST", required = true)]
        hosts: Vec<String>,
        /// Where the authority is, and the certificate will be
        #[arg(long, value_name = "DIR", default_value = "tls")]
        dir: PathBuf,
        /// For how long it is good
        #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = parse_duration)]
        valid: Duration,
    },
    /// Make a token that the nodes of a new cluster share: those that are started alike, with --wait-for-init, join with it
    JoinToken {
        /// Where it will be, as the file join-token
        #[arg(long, value_name = "DIR", default_value = "tls")]
        dir: PathBuf,
    },
    /// Make a certificate for somebody who administers
    Admin {
        /// Who that is
        name: String,
        /// Where the authority is, and the certificate will be
        #[arg(long, value_name = "DIR", default_value = "tls")]
        dir: PathBuf,
        /// For how long it is good
        #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = parse_duration)]
        valid: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenPurpose {
    /// To join as a node
    Join,
    /// To administer
    Admin,
}

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
pub struct TenantOption {
    /// Whose; a node follows this where it listens on loopback alone
    #[arg(long)]
    pub tenant: Option<String>,
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
    /// From when; without, from now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub begin: Option<TimeArgument>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "duration")]
    pub end: Option<TimeArgument>,
    /// Who wants it
    #[arg(long, default_value = "bwctl")]
    pub author: String,
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
    /// From when; without, from now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub begin: Option<TimeArgument>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "duration")]
    pub end: Option<TimeArgument>,
    /// Who wants it
    #[arg(long, default_value = "bwctl")]
    pub author: String,
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

/// Reads a key of the ring, as `bwctl cluster shards` prints it.
fn key(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| "a key has up to 16 hexadecimal digits".to_owned())
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
