//! The node: reads its configuration, makes the real [`Env`], starts a [`Server`] and waits for a signal,
//! or until the cluster has no such node any more.
//!
//! Everything that touches the operating system is in this directory and nowhere else: threads ([`threads`]), sockets
//! ([`network`]), object stores ([`objects`]), the disk's space ([`volume`]), the clock ([`clock`]), the allocator ([`allocator`]), the host's
//! metrics ([`host_metrics`]).

mod allocator;
mod arguments;
mod clock;
mod host_metrics;
mod logging;
mod machine;
mod network;
mod objects;
mod real_env;
mod threads;
mod volume;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use bellwether_server::{Config, Server};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bellwether: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (mut config, unknown) = arguments.configuration()?;
    logging::start(&config.log)?;
    for name in unknown {
        tracing::warn!(name, "environment variable looks like ours and names no configuration key");
    }
    machine::fill_in(&mut config);
    let runtimes = threads::Runtimes::new().context("cannot start threads")?;
    let result = runtimes.main.block_on(serve(config, &runtimes));
    runtimes.shutdown();
    result
}

async fn serve(config: Config, runtimes: &threads::Runtimes) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let env = real_env::make(&config, runtimes)?;
    let schemes =
        [config.http_is_plain(), !config.tls.is_set()].map(|is_plain| if is_plain { "http" } else { "https" });
    let server = tokio::select! {
        biased;
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        server = Server::start(config, env) => server?,
    };
    announce(&server, schemes)?;
    let (reason, result) = tokio::select! {
        biased;
        _ = terminate.recv() => ("SIGTERM".to_owned(), Ok(())),
        _ = interrupt.recv() => ("SIGINT".to_owned(), Ok(())),
        removed = server.removed() => (removed.to_string(), Err(removed.into())),
    };
    tracing::info!(reason, "stopping; a signal from now on stops at once");
    tokio::select! {
        biased;
        _ = terminate.recv() => tracing::warn!("stopped by a second signal: the next start replays the log"),
        _ = interrupt.recv() => tracing::warn!("stopped by a second signal: the next start replays the log"),
        stopped = server.shutdown() => stopped?,
    }
    result
}

/// One line for people and scripts, once requests are answered.
fn announce(server: &Server, [http, grpc]: [&str; 2]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (http_address, grpc_address) = (server.http_address(), server.grpc_address());
    writeln!(out, "bellwether is ready: http={http}://{http_address} grpc={grpc}://{grpc_address}")?;
    out.flush()?;
    Ok(())
}
