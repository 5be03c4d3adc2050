//! Command line: flags over environment over file.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use bellwether_server::Config;
use bellwether_server::config::Source;
use clap::Parser;

/// Bellwether: a clustered database for metrics.
#[derive(Debug, Parser)]
#[command(name = "bellwether", version, about, max_term_width = 110)]
pub struct Arguments {
    /// Configuration file (TOML); node/docs/CONFIG.md lists the keys
    #[arg(long, value_name = "FILE", env = "BELLWETHER_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is stored [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the HTTP API; port 0 takes a free one and prints it [default: 127.0.0.1:9480]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Address of the gRPC API; port 0 takes a free one and prints it [default: 127.0.0.1:9481]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// A node of the cluster to join; may be repeated
    #[arg(long, value_name = "ADDR")]
    join: Vec<String>,
    /// With an empty data directory found nothing by itself: wait for `bwctl cluster init`, or for a node to join
    #[arg(long)]
    wait_for_init: bool,
    /// Once, on one node: the meta group has lost its majority for ever and goes on with what this node has of it
    #[arg(long)]
    recover_meta_group: bool,
    /// Do not store metrics about the node and its host
    #[arg(long)]
    no_self_collect: bool,
    /// Serve HTTP in plain text, on other addresses than loopback too
    #[arg(long)]
    insecure_listen: bool,
    /// Set any configuration key; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Arguments {
    /// The validated configuration, and environment variables that look like ours and name no key.
    pub fn configuration(&self) -> anyhow::Result<(Config, Vec<String>)> {
        let mut config = Config::default();
        if let Some(path) = &self.config {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read configuration file {}", path.display()))?;
            config.set_from_toml(&text, path.clone())?;
        }
        let mut unknown = config.set_from_environment(std::env::vars())?;
        unknown.retain(|name| name != "BELLWETHER_CONFIG");
        for (key, flag, value) in self.flags()? {
            config.set(&key, &value, Source::Flag(flag))?;
        }
        config.cluster.recover_meta_group = self.recover_meta_group;
        config.validate()?;
        Ok((config, unknown))
    }

    /// Keys that flags set, with the flag and the value.
    fn flags(&self) -> anyhow::Result<Vec<(String, String, String)>> {
        let given =
            |key: &str, flag: &str, value: Option<String>| value.map(|value| (key.to_owned(), flag.to_owned(), value));
        let join = (!self.join.is_empty()).then(|| self.join.join(","));
        let mut flags: Vec<_> = [
            given("data_dir", "--data-dir", self.data_dir.clone()),
            given("http", "--http", self.http.clone()),
            given("grpc", "--grpc", self.grpc.clone()),
            given("join", "--join", join),
            given("cluster.wait_for_init", "--wait-for-init", self.wait_for_init.then(|| "true".to_owned())),
            given("self_collect.enabled", "--no-self-collect", self.no_self_collect.then(|| "false".to_owned())),
            given("insecure_listen", "--insecure-listen", self.insecure_listen.then(|| "true".to_owned())),
        ]
        .into_iter()
        .flatten()
        .collect();
        for setting in &self.set {
            let (key, value) =
                setting.split_once('=').with_context(|| format!("flag --set: {setting:?} is not KEY=VALUE"))?;
            flags.push((key.to_owned(), format!("--set {key}"), value.to_owned()));
        }
        Ok(flags)
    }
}
