//! What administers a cluster: its nodes, shard groups, settings, backups and certificates.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::times::parse_duration;

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

/// Reads a key of the ring, as `bwctl cluster shards` prints it.
fn key(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| "a key has up to 16 hexadecimal digits".to_owned())
}
