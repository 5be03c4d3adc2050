//! `bwctl`: administers and asks a Bellwether cluster from the command line.
//!
//! Results go to standard output, as tables for people or with `--json` for programs; progress, warnings and errors go to
//! standard error. It ends with 0 when all went well, 1 when something was refused, failed or was cancelled, 2 when the command
//! line is wrong, 3 when no node could be reached, 130 when it was interrupted while it watched something that goes on.
//!
//! Reading order: [`arguments`], then one file per command. Clock, terminal and standard output are used here, in [`ask`],
//! [`output`] and [`times`].

mod alerting;
mod arguments;
mod ask;
mod cluster;
mod config;
mod documents;
mod excerpt;
mod explain;
mod failure;
mod group;
mod json;
mod names;
mod node;
mod notify;
mod operation;
mod output;
mod plot;
mod query;
mod rules;
mod shard;
mod table;
mod times;
mod tls;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use bellwether_client::{Client, Identity, Tls};
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
    let Arguments { address: addresses, tls_ca, tls_cert, tls_key, token, json, yes, timeout, command } = arguments;
    let output = Output { json };
    let command = match command {
        Command::Completion { shell } => return documents::completion(shell),
        Command::Man { dir } => return documents::man(dir.as_deref()),
        Command::Tls(command) => return tls::run(output, command),
        Command::Rules(command) if !command.asks() => return rules::run(output, command),
        Command::Notify(command) if !command.asks() => return notify::run(output, command),
        command => command,
    };
    let tls = tls_of(tls_ca.as_deref(), tls_cert.as_deref(), tls_key.as_deref())?;
    let mut builder = Client::builder()
        .addresses(addresses.clone())
        .timeout(timeout)
        .attempt_timeout(timeout)
        .unreachable_rounds_max(Some(ROUNDS_MAX))
        .discovery_interval(None);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    if let Some(token) = token {
        builder = builder.token(token);
    }
    let context = Context { client: builder.build()?, output, yes, addresses };
    match command {
        Command::Cluster(command) => cluster::run(&context, command).await,
        Command::Doctor => cluster::doctor(&context).await,
        Command::Node(command) => node::run(&context, command).await,
        Command::Shard(command) => shard::run(&context, command).await,
        Command::Group(command) => group::run(&context, command).await,
        Command::Rebalance { dry_run, detach } => shard::rebalance(&context, dry_run, detach).await,
        Command::Backup(command) => operation::backup(&context, command).await,
        Command::Restore(arguments) => operation::restore(&context, arguments).await,
        Command::Operation(command) => operation::run(&context, command).await,
        Command::Config(command) => config::run(&context, command).await,
        Command::Token(command) => config::token(&context, command).await,
        Command::Query(command) => query::run(&context, command).await,
        Command::Rules(command) => alerting::rules::run(&context, command).await,
        Command::Notify(command) => alerting::notifications::run(&context, command).await,
        Command::Alerts(command) => alerting::run(&context, command).await,
        Command::Oncall(command) => alerting::on_call::run(&context, command).await,
        Command::Silence(command) => alerting::silences::run(&context, command).await,
        Command::Completion { .. } | Command::Man { .. } | Command::Tls(_) => Ok(()),
    }
}

/// TLS, if files for it are named.
fn tls_of(ca: Option<&Path>, cert: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>, Failure> {
    let read = |flag: &str, path: &Path| {
        std::fs::read(path).map_err(|error| Failure::Usage(format!("{flag}: cannot read {}: {error}", path.display())))
    };
    let Some(ca) = ca else {
        return match cert.or(key) {
            Some(_) => Err(Failure::Usage("--tls-cert and --tls-key need --tls-ca, to know the nodes by".to_owned())),
            None => Ok(None),
        };
    };
    let ca = read("--tls-ca", ca)?;
    let tls = match (cert, key) {
        (None, None) => Tls::new(&ca, None)?,
        (Some(cert), Some(key)) => {
            let (cert, key) = (read("--tls-cert", cert)?, read("--tls-key", key)?);
            Tls::new(&ca, Some(Identity { cert: &cert, key: &key }))?
        }
        _ => return Err(Failure::Usage("--tls-cert and --tls-key go together".to_owned())),
    };
    Ok(Some(tls))
}
