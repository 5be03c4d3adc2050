//! `bwctl`: administers and asks a Bellwether cluster from the command line.
//!
//! Results go to standard output, as tables for people or with `--json` for programs; progress, warnings and errors go to
//! standard error. It ends with 0 when all went well, 1 when something was refused, failed or was cancelled, 2 when the command
//! line is wrong, 3 when no node could be reached, 130 when it was interrupted while it watched something that goes on.
//!
//! Reading order: [`arguments`], then one file per command. Clock, terminal and standard output are used here, in [`ask`],
//! [`output`] and [`times`].

mod arguments;
mod ask;
mod cluster;
mod config;
mod documents;
mod failure;
mod group;
mod json;
mod names;
mod node;
mod operation;
mod output;
mod query;
mod shard;
mod table;
mod times;
mod watch;

use std::process::ExitCode;

use bellwether_client::Client;
use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;
use output::Output;

/// How often each address is tried before nobody is there.
const ROUNDS_MAX: u32 = 2;

/// What every command needs.
struct Context {
    client: Client,
    output: Output,
    /// Dangerous things are not asked about.
    yes: bool,
    addresses: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { address: addresses, json, yes, timeout, command } = arguments;
    let output = Output { json };
    let command = match command {
        Command::Completion { shell } => return documents::completion(shell),
        Command::Man { dir } => return documents::man(dir.as_deref()),
        command => command,
    };
    let client = Client::builder()
        .addresses(addresses.clone())
        .timeout(timeout)
        .attempt_timeout(timeout)
        .unreachable_rounds_max(Some(ROUNDS_MAX))
        .discovery_interval(None)
        .build()?;
    let context = Context { client, output, yes, addresses };
    match command {
        Command::Cluster(command) => cluster::run(&context, command).await,
        Command::Doctor => cluster::doctor(&context).await,
        Command::Node(command) => node::run(&context, command).await,
        Command::Shard(command) => shard::run(&context, command).await,
        Command::Group(command) => group::run(&context, command).await,
        Command::Rebalance { dry_run } => shard::rebalance(&context, dry_run).await,
        Command::Backup(command) => operation::backup(&context, command).await,
        Command::Restore(arguments) => operation::restore(&context, arguments).await,
        Command::Operation(command) => operation::run(&context, command).await,
        Command::Config(command) => config::run(&context, command).await,
        Command::Token(command) => config::token(&context, command).await,
        Command::Query(command) => query::run(&context, command).await,
        Command::Completion { .. } | Command::Man { .. } => Ok(()),
    }
}
