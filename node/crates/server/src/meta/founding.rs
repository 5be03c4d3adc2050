//! How a node comes by its identity: an empty directory founds a cluster or joins one, any other goes on being who it is.
//!
//! The identity is written last: a directory without it holds nothing that counts, and whatever it took to get there is
//! done again.

use bellwether_model::{NodeId, RefEpoch, ReplicaId};
use bellwether_placement::Placement;

use super::apply::{self, FOUNDER, FOUNDER_REPLICA};
use super::command::{Founding, MetaCommand, Refusal, Request};
use super::joining::{Doors, JoinError, JoinPlan, join};
use super::machine::{META_PATH, StateFileError, write_told};
use super::rules;
use super::state::{MetaState, NodeFacts};
use crate::config::{host_of, is_loopback_host};
use crate::env::{BALLAST_FILE, Env, Seed};
use crate::replication::{Stopping, is_full, once_there_is_room};
use crate::shards::identity::{IdentityError, NodeIdentity};

/// What may lie in a directory that is founded: of an earlier founding that did not end, of the file system, of nobody.
const NOT_DATA: &[&str] = &[META_PATH, super::joining::NONCE_FILE, BALLAST_FILE, "cache", "lost+found"];

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The directory is not ours, newer, or damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state that it begins with could not be written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// What the node says of itself is not good enough to found a cluster.
    #[error("a cluster cannot be founded: {0}")]
    Founding(#[source] Refusal),
    /// No cluster took the node.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl EnterError {
    fn is_disk_full(&self) -> bool {
        match self {
            EnterError::Identity(IdentityError::Storage(error)) | EnterError::State(StateFileError::Storage(error)) => {
                is_full(error)
            }
            _ => false,
        }
    }
}

/// Who the directory belongs to; nobody, if it is empty.
pub async fn known(env: &Env) -> Result<Option<NodeIdentity>, EnterError> {
    let disk = env.disk.clone();
    Ok(env.executors.scan.run(move || NodeIdentity::read(&*disk, NOT_DATA)).await.map_err(|_| Stopping)??)
}

/// Reads who the directory belongs to, or makes it somebody's.
pub async fn enter(
    env: &Env,
    facts: &NodeFacts,
    shard_groups: u32,
    plan: &JoinPlan,
    doors: &dyn Doors,
) -> Result<NodeIdentity, EnterError> {
    if let Some(identity) = known(env).await? {
        if !plan.addresses.is_empty() {
            tracing::info!(
                cluster = %format!("{:032x}", identity.cluster),
                node = identity.node,
                "the data directory belongs to a node already: the addresses to join are not used"
            );
        }
        return Ok(identity);
    }
    if !plan.addresses.is_empty() && plan.token.is_none() && !is_loopback_host(host_of(&facts.grpc)) {
        return Err(JoinError::TokenNeeded.into());
    }
    let (identity, state) = if plan.addresses.is_empty() {
        let state = found(env, facts, shard_groups).map_err(EnterError::Founding)?;
        tracing::info!(cluster = %format!("{:032x}", state.cluster), groups = shard_groups, "founded a new cluster");
        let identity = NodeIdentity { cluster: state.cluster, node: FOUNDER.0, meta_replica: FOUNDER_REPLICA.0 };
        (identity, state)
    } else {
        let granted = join(env, facts, plan, doors).await?;
        let (NodeId(node), ReplicaId(meta_replica)) = (granted.node, granted.meta_replica);
        tracing::info!(cluster = %format!("{:032x}", granted.state.cluster), node, "joined a cluster");
        (NodeIdentity { cluster: granted.state.cluster, node, meta_replica }, granted.state)
    };
    let disk = env.disk.clone();
    let write = move || -> Result<(), EnterError> {
        write_told(&*disk, &state)?;
        identity.write(&*disk)?;
        // It has served; left behind it would harm nobody.
        Ok(disk.remove(super::joining::NONCE_FILE).map_err(IdentityError::from)?)
    };
    once_there_is_room(env, write, EnterError::is_disk_full).await??;
    Ok(identity)
}

/// The first map of a new cluster.
pub fn initial_placement(shard_groups: u32, seed: Seed) -> Placement {
    Placement::initial(shard_groups, FOUNDER, |group| RefEpoch(seed.split(&format!("ref epoch {group}")).0))
}

/// A number of 128 bits that is the seed's and the name's.
pub fn draw(seed: Seed, name: &str) -> u128 {
    let seed = seed.split(name);
    u128::from(seed.split("high").0) << 64 | u128::from(seed.split("low").0)
}

/// What the new cluster's state is going to be.
fn found(env: &Env, facts: &NodeFacts, shard_groups: u32) -> Result<MetaState, Refusal> {
    let founding = Founding {
        cluster: draw(env.seed, "cluster id"),
        facts: facts.clone(),
        nonce: draw(env.seed, "node nonce"),
        rules: rules::fingerprint(),
        placement: initial_placement(shard_groups, env.seed.split("placement")),
    };
    let command = MetaCommand::Found(Box::new(founding));
    let request = Request { id: draw(env.seed, "founding"), proposed_ms: env.clock.now_ms(), command };
    let mut state = None;
    apply::apply(&mut state, request, 0)?;
    Ok(state.expect("a founding that is not refused gives a state"))
}

/// The founding that the state of a founder, as it was told, stands for.
pub fn founding_of(state: &MetaState) -> Option<Founding> {
    let founder = state.nodes.get(&FOUNDER)?;
    Some(Founding {
        cluster: state.cluster,
        facts: founder.facts.clone(),
        nonce: founder.nonce,
        rules: state.rules,
        placement: state.placement.clone(),
    })
}
