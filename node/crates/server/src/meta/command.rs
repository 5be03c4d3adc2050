//! What can be proposed to the meta group, and what comes of it.
//!
//! Whoever proposes a command states what it saw where that matters (`expected_epoch`); the answer is an [`Outcome`], or
//! a [`Refusal`] that says what to do. A [`Request`] has an id: sent again after an unknown fate, it is not applied again.

use std::collections::BTreeSet;

use bellwether_model::{NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId, Timestamp};
use bellwether_placement::{NodeState, Placement, Replica};

use super::settings::SettingKey;
use super::state::{EventKind, NodeFacts, TokenKind};

/// A command on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Drawn once per command, the same when it is sent again.
    pub id: u128,
    /// The proposing leader's clock.
    pub proposed_ms: Timestamp,
    /// What is wanted.
    pub command: MetaCommand,
}

/// A change of the cluster's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaCommand {
    /// The first command of all: there is a cluster, and its founder is node 1 with replica 1 of the meta group.
    Found(Box<Founding>),
    /// A new node. The same nonce again gives the same ids.
    RegisterNode {
        /// What it draws before it joins, and keeps.
        nonce: u128,
        /// What it says of itself.
        facts: NodeFacts,
        /// Its rules' fingerprint.
        rules: u64,
        /// Its token, if it has one: used up by this.
        token: Option<TokenProof>,
    },
    /// A node says something else of itself than before.
    UpdateNode {
        /// The node.
        node: NodeId,
        /// All that it says.
        facts: NodeFacts,
        /// Its rules' fingerprint.
        rules: u64,
    },
    /// What is wanted of a node.
    SetNodeState {
        /// The node.
        node: NodeId,
        /// The new state.
        state: NodeState,
        /// Removes a node that still holds replicas: it is lost.
        force: bool,
    },
    /// A node is to get a replica, which learns.
    AllocateReplica {
        /// The group.
        group: ShardGroupId,
        /// The node that gets it.
        node: NodeId,
        /// The node whose replica goes in the end.
        replaces: Option<NodeId>,
        /// The Placement that the proposer saw.
        expected_epoch: u64,
    },
    /// These are the group's committed members. Replicas that are not named are struck off.
    SetReplicas {
        /// The group.
        group: ShardGroupId,
        /// Those that vote.
        voters: BTreeSet<ReplicaId>,
        /// Those that learn.
        learners: BTreeSet<ReplicaId>,
        /// The Placement that the proposer saw.
        expected_epoch: u64,
    },
    /// Gives a split its ids. The child owns nothing yet.
    BeginSplit {
        /// The parent.
        group: ShardGroupId,
        /// The child's first key.
        at: PlacementKey,
        /// The child's incarnation, drawn by the proposer.
        ref_epoch: RefEpoch,
        /// The Placement that the proposer saw.
        expected_epoch: u64,
    },
    /// The parent's log has committed its split.
    FinishSplit {
        /// The parent.
        group: ShardGroupId,
        /// The child.
        child: ShardGroupId,
    },
    /// The split is given up; the parent's log has not committed it.
    CancelSplit {
        /// The parent.
        group: ShardGroupId,
        /// The child that will not be.
        child: ShardGroupId,
    },
    /// A group has lost its majority for ever, and begins anew with what one node has of it, which is prepared there.
    RecoverGroup {
        /// The group.
        group: ShardGroupId,
        /// The node that has it.
        node: NodeId,
        /// Its new replica, the next id of the map that the proposer saw.
        replica: ReplicaId,
        /// The group's new incarnation, drawn by the proposer.
        ref_epoch: RefEpoch,
        /// What may be lost, for the event.
        text: String,
        /// The Placement that the proposer saw.
        expected_epoch: u64,
    },
    /// A new token.
    CreateToken {
        /// Drawn by the proposer.
        id: u64,
        /// What it permits.
        kind: TokenKind,
        /// SHA-256 of the secret.
        secret_hash: [u8; 32],
        /// From when on it is worth nothing.
        expires_ms: Timestamp,
        /// How often it can be used.
        uses: u32,
    },
    /// Uses a token up for something that is no command itself.
    UseToken {
        /// What it must permit.
        kind: TokenKind,
        /// The token.
        proof: TokenProof,
    },
    /// Makes a token worthless.
    RevokeToken {
        /// The token.
        id: u64,
    },
    /// Sets a setting.
    SetSetting {
        /// Which.
        key: SettingKey,
        /// To what.
        value: u64,
    },
    /// Gives a setting its default back.
    UnsetSetting {
        /// Which.
        key: SettingKey,
    },
    /// Keeps something that happened.
    RecordEvent {
        /// What it is about.
        kind: EventKind,
        /// For people.
        text: String,
    },
    /// All nodes use this version of what is replicated from now on. There is no way back.
    RaiseActiveVersion {
        /// The version.
        version: u32,
    },
}

/// What a cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The cluster's id.
    pub cluster: u128,
    /// What the founder says of itself.
    pub facts: NodeFacts,
    /// What the founder drew.
    pub nonce: u128,
    /// The founder's rules' fingerprint.
    pub rules: u64,
    /// The first map: all on node 1.
    pub placement: Placement,
}

/// That somebody has a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenProof {
    /// The token.
    pub id: u64,
    /// SHA-256 of the secret that was shown.
    pub secret_hash: [u8; 32],
}

/// The state machine's answer to a command.
pub type MetaReply = Result<Outcome, Refusal>;

/// What an accepted command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that is not known already.
    Done,
    /// A node's ids.
    Node {
        /// The node.
        node: NodeId,
        /// Its replica of the meta group.
        meta_replica: ReplicaId,
    },
    /// A new replica's id.
    Replica {
        /// The replica.
        replica: ReplicaId,
    },
    /// A split's ids.
    Split {
        /// The child.
        child: ShardGroupId,
        /// Its replicas.
        replicas: Vec<Replica>,
    },
}

/// Why a command changed nothing, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A second founding.
    #[error(
        "cluster {cluster:032x} is founded already: to add a node start it with --join and an empty data directory"
    )]
    Founded {
        /// The cluster that is.
        cluster: u128,
    },
    /// Nothing has been founded.
    #[error("no cluster has been founded here")]
    NotFounded,
    /// As many nodes as are allowed.
    #[error("the cluster has {limit} nodes, its limit: raise the setting nodes.max, or remove a node first")]
    NodeLimit {
        /// The limit.
        limit: u64,
    },
    /// The node's program computes something otherwise than the cluster.
    #[error(
        "the node follows other rules for hashing, placing or cutting data than the cluster (fingerprint {got:016x} \
         instead of {expected:016x}): start the same version of bellwether as the other nodes"
    )]
    Rules {
        /// The cluster's.
        expected: u64,
        /// The node's.
        got: u64,
    },
    /// The node's program is too old or too new.
    #[error(
        "the cluster uses format version {active}, the node's program knows {lowest} to {highest}: start a version of \
         bellwether that knows it"
    )]
    Version {
        /// What the cluster uses.
        active: u32,
        /// What the node knows, at least.
        lowest: u32,
        /// What the node knows, at most.
        highest: u32,
    },
    /// Some node could not follow.
    #[error(
        "version {version} cannot become active: it is not above {active}, or node {node} knows only up to {highest}; \
         upgrade that node or remove it first"
    )]
    VersionBehind {
        /// What was asked for.
        version: u32,
        /// What is active.
        active: u32,
        /// The node that knows least.
        node: NodeId,
        /// What it knows.
        highest: u32,
    },
    /// No such node.
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    /// The node is gone for ever.
    #[error(
        "node {0} was removed from the cluster: to use the machine again delete its data directory and start it with \
         --join"
    )]
    NodeRemoved(NodeId),
    /// The node may not be given anything.
    #[error("node {node} is {state}: only an active node can hold a new replica")]
    NodeNotActive {
        /// The node.
        node: NodeId,
        /// What it is.
        state: NodeState,
    },
    /// Too few nodes would stay.
    #[error(
        "without node {node} there are {left} active nodes, for {factor} copies: add a node first, or lower the setting \
         replication.factor"
    )]
    BelowReplication {
        /// The node.
        node: NodeId,
        /// Active nodes without it.
        left: u64,
        /// Copies that are wanted.
        factor: u64,
    },
    /// It holds the only copy that counts.
    #[error(
        "node {node} holds the last voter of shard group {group}: its data would be lost; wait until another node has \
         a copy"
    )]
    LastVoter {
        /// The node.
        node: NodeId,
        /// The group.
        group: ShardGroupId,
    },
    /// The group could not elect a leader any more.
    #[error(
        "without node {node} too few voters of shard group {group} are left to agree: bring another of its nodes back \
         first"
    )]
    QuorumLost {
        /// The node.
        node: NodeId,
        /// The group.
        group: ShardGroupId,
    },
    /// Not empty yet.
    #[error("node {node} still holds {replicas} replicas: drain it first, or force it if it is gone for ever")]
    StillHolds {
        /// The node.
        node: NodeId,
        /// How many.
        replicas: u64,
    },
    /// Nobody would be left.
    #[error("node {0} is the last active node: add another one first")]
    LastNode(NodeId),
    /// The proposer saw another map.
    #[error("the placement has epoch {current}, the change was made for {expected}: look again")]
    StaleEpoch {
        /// What the proposer saw.
        expected: u64,
        /// What holds.
        current: u64,
    },
    /// The proposer speaks of another split.
    #[error("shard group {group} is not being split into {child}")]
    OtherSplit {
        /// The parent.
        group: ShardGroupId,
        /// The child that was named.
        child: ShardGroupId,
    },
    /// The replica was never given out, or is struck off.
    #[error("shard group {group} has no replica {replica}")]
    UnknownReplica {
        /// The group.
        group: ShardGroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// The map does not allow it.
    #[error("{0}")]
    Placement(String),
    /// There is a limit on shard groups.
    #[error("the cluster has {limit} shard groups, its limit: raise the setting split.groups_max")]
    GroupLimit {
        /// The limit.
        limit: u64,
    },
    /// No such token.
    #[error("there is no token {0:016x} here: was it made by another cluster? Make one with bwctl token create")]
    TokenUnknown(u64),
    /// Its secret is another.
    #[error("the secret of token {0:016x} is wrong: copy the token whole, or make another with bwctl token create")]
    TokenWrong(u64),
    /// It is for something else.
    #[error("the token is {is}, not {wanted}: make another with bwctl token create")]
    TokenKind {
        /// What it permits.
        is: TokenKind,
        /// What it should permit.
        wanted: TokenKind,
    },
    /// Too late.
    #[error("the token expired: make another with bwctl token create")]
    TokenExpired,
    /// Somebody used it.
    #[error("the token was used already, as often as it can be ({uses}): make another with bwctl token create")]
    TokenUsed {
        /// How often.
        uses: u32,
    },
    /// Somebody made it worthless.
    #[error("the token was revoked: make another with bwctl token create")]
    TokenRevoked,
    /// The cluster wants one.
    #[error(
        "this cluster takes new nodes with a token only: make one with bwctl token create, and set it as the \
         configuration key cluster.join_token"
    )]
    TokenNeeded,
    /// It could never be used.
    #[error("a token can be used {min} to {max} times, not {uses}")]
    TokenUses {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
        /// What was asked for.
        uses: u32,
    },
    /// Too many.
    #[error("there are {TOKENS} tokens that can still be used, no more are given out: revoke some", TOKENS = super::state::TOKENS_MAX)]
    TooManyTokens,
    /// The id is taken.
    #[error("there is a token {0:x} already")]
    TokenExists(u64),
    /// The value is outside of what the setting allows.
    #[error("setting {name} takes {min} to {max}, not {value}")]
    SettingRange {
        /// The setting.
        name: &'static str,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
        /// What was asked for.
        value: u64,
    },
    /// A text is too long or empty.
    #[error("the {what} of a node must have 1 to {NAME} bytes", NAME = super::state::NAME_BYTES_MAX)]
    BadName {
        /// Which.
        what: &'static str,
    },
}
