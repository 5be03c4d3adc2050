//! The token that a node joins with, where it is in a file: nodes that are started alike share it, and who founds the cluster
//! lets the others in with it.

use std::path::PathBuf;

use crate::cluster::{Cluster, ClusterError};
use crate::config::{Config, Secret};
use crate::env::Env;
use crate::meta::tokens::{NoToken, TokenText};
use crate::replication::Stopping;

/// Why the token is not known.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// The file cannot be read.
    #[error("configuration key \"cluster.join_token_file\": cannot read {path}")]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something else is in it.
    #[error("configuration key \"cluster.join_token_file\": {path} holds no token; bwctl tls join-token makes one")]
    NoToken {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: NoToken,
    },
    /// Nobody can say whether it is needed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The configuration with the token that its file holds. The file is not looked at where the node is one of a cluster already.
pub async fn filled_in(mut config: Config, env: &Env) -> Result<Config, JoinTokenError> {
    let path = PathBuf::from(&config.cluster.join_token_file);
    if config.cluster.join_token_file.is_empty() || config.cluster.join_token.is_set() || Cluster::is_known(env).await?
    {
        return Ok(config);
    }
    let (files, of_job) = (env.files.clone(), path.clone());
    let read = env.executors.background.run(move || files.read(&of_job)).await;
    let bytes = read.map_err(|_| ClusterError::from(Stopping))?;
    let bytes = bytes.map_err(|source| JoinTokenError::Unreadable { path: path.clone(), source })?;
    let token = TokenText::parse(&String::from_utf8_lossy(&bytes));
    let token = token.map_err(|source| JoinTokenError::NoToken { path, source })?;
    config.cluster.join_token = Secret(token.print());
    Ok(config)
}
