//! Joining a cluster: to ask its nodes, one after the other, until one says yes or one says no.

use std::time::Duration;

use bellwether_kv::KvDisk;
use bellwether_model::{NodeId, ReplicaId};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::founding::draw;
use super::rules;
use super::state::{MetaState, NodeFacts};
use super::tokens::TokenText;
use crate::common_group::Pauses;
use crate::common_group::propose::RemoteError;
use crate::env::Env;
use crate::replication::{Stopping, is_full, once_there_is_room};

/// Keeps what the node drew before it joined: asked again after a crash, the cluster gives the same id.
pub const NONCE_FILE: &str = "JOINING";

/// How long one node may take to answer.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Nodes that may send us on to another in a row.
const HOPS_MAX: usize = 4;
/// Pauses between rounds.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whom to ask, and for how long.
#[derive(Debug, Clone, Default)]
pub struct JoinPlan {
    /// gRPC addresses of nodes of the cluster; none: there is nothing to join.
    pub addresses: Vec<String>,
    /// The token to show.
    pub token: Option<TokenText>,
    /// When to give up; `None`: never.
    pub patience: Option<Duration>,
}

/// What a node says that wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAsk {
    /// What it drew; the same again is the same node.
    pub nonce: u128,
    /// What it says of itself.
    pub facts: NodeFacts,
    /// Its rules' fingerprint.
    pub rules: u64,
    /// The token that it shows.
    pub token: Option<TokenText>,
}

/// What a node is given that joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinGrant {
    /// Its id from now on.
    pub node: NodeId,
    /// Its replica of the meta group.
    pub meta_replica: ReplicaId,
    /// The cluster as it is.
    pub state: MetaState,
}

/// The way into a cluster, for a node that is of none.
pub trait Doors: Send + Sync {
    /// Asks the node at an address to let this one join.
    fn knock<'a>(
        &'a self,
        address: &'a str,
        ask: &'a JoinAsk,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<JoinGrant, RemoteError>>;
}

/// Why no cluster took the node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It cannot ask as it is.
    #[error(
        "configuration key \"cluster.join_token\": is needed to join a cluster over the network; bwctl token create, on a \
         node of the cluster, makes one"
    )]
    TokenNeeded,
    /// The cluster does not want it.
    #[error("the cluster at {address} refuses this node: {reason}")]
    Refused {
        /// Who said so.
        address: String,
        /// Why.
        reason: String,
    },
    /// Nobody said yes in time.
    #[error("no node answered the request to join within {waited:?}; the last one tried, {address}: {reason}")]
    Deadline {
        /// How long was tried.
        waited: Duration,
        /// The last one.
        address: String,
        /// What came of it.
        reason: String,
    },
    /// The file that keeps the draw.
    #[error("file {NONCE_FILE}")]
    Storage(#[from] bellwether_kv::Error),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Asks until there is an answer. The plan names at least one address.
pub(super) async fn join(
    env: &Env,
    facts: &NodeFacts,
    plan: &JoinPlan,
    doors: &dyn Doors,
) -> Result<JoinGrant, JoinError> {
    let drawn = draw(env.seed.split(&env.clock.now_ms().to_string()).split(&facts.grpc), "node nonce");
    let disk = env.disk.clone();
    let nonce = once_there_is_room(env, move || keep_nonce(&*disk, drawn), is_full).await??;
    let ask = JoinAsk { nonce, facts: facts.clone(), rules: rules::fingerprint(), token: plan.token.clone() };
    let started = Instant::now();
    let mut pauses = Pauses::new(env.seed.split("join"), PAUSE_MIN, PAUSE_MAX);
    loop {
        let mut last = None;
        for address in &plan.addresses {
            match ask_from(address, &ask, doors).await {
                Ok(granted) => return Ok(granted),
                Err((address, RemoteError::Refused(reason))) => return Err(JoinError::Refused { address, reason }),
                Err((address, error)) => {
                    tracing::warn!(address, %error, "cannot join yet");
                    last = Some((address, error.to_string()));
                }
            }
        }
        let waited = started.elapsed();
        if plan.patience.is_some_and(|patience| waited >= patience) {
            let (address, reason) = last.unwrap_or_default();
            return Err(JoinError::Deadline { waited, address, reason });
        }
        sleep(pauses.next()).await;
    }
}

/// Asks a node, and whomever it names instead of itself.
async fn ask_from(first: &str, ask: &JoinAsk, doors: &dyn Doors) -> Result<JoinGrant, (String, RemoteError)> {
    let mut address = first.to_owned();
    for _ in 0..HOPS_MAX {
        match doors.knock(&address, ask, CALL_DEADLINE).await {
            Ok(granted) => return Ok(granted),
            Err(RemoteError::NotLeader { address: Some(leader), .. }) if leader != address => address = leader,
            Err(error) => return Err((address, error)),
        }
    }
    Err((address, RemoteError::Transient("the nodes do not agree who leads the meta group".to_owned())))
}

fn keep_nonce(disk: &dyn KvDisk, drawn: u128) -> Result<u128, bellwether_kv::Error> {
    let kept = disk.read_small_file(NONCE_FILE)?;
    let kept = kept.and_then(|bytes| u128::from_str_radix(std::str::from_utf8(&bytes).ok()?, 16).ok());
    if let Some(nonce) = kept {
        return Ok(nonce);
    }
    disk.write_small_file(NONCE_FILE, format!("{drawn:032x}").as_bytes())?;
    Ok(drawn)
}
