//! What the meta group replicates: the nodes, the Placement, settings, tokens, and what happened.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bellwether_model::{NodeId, ReplicaId, Timestamp};
use bellwether_placement::{NodeState, Placement};

use super::command::{Outcome, Refusal, TokenProof};
use super::settings::Settings;
use super::tokens::same_bytes;

/// Nodes that a cluster may have: all are members of the meta group, and a Raft membership has a bound.
pub const NODES_MAX: usize = bellwether_raft::limits::MEMBERS_MAX;
/// Removed nodes that are remembered by name; of an older one it is only known that it is gone.
pub const REMOVED_NODES_MAX: usize = 256;
/// Tokens that are kept, used and expired ones included.
pub const TOKENS_MAX: usize = 256;
/// How often a token can be used at most.
pub const TOKEN_USES_MAX: u32 = NODES_MAX as u32;
/// Events that are kept.
pub const EVENTS_MAX: usize = 512;
/// Bytes of an event's text.
pub const EVENT_TEXT_BYTES_MAX: usize = 512;
/// Requests whose outcome is remembered, so that one that is sent again is not applied again.
pub const REQUESTS_MAX: usize = 256;
/// Bytes of an address, a zone or a version.
pub const NAME_BYTES_MAX: usize = 255;

/// The state of the whole cluster, as of one entry of the meta group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaState {
    /// The cluster.
    pub cluster: u128,
    /// When it was founded.
    pub founded_ms: Timestamp,
    /// Fingerprint of the rules that every node must follow alike, see [`super::rules`].
    pub rules: u64,
    /// The version of what is replicated that all nodes use; rises by [`super::MetaCommand::RaiseActiveVersion`] alone.
    pub active_version: u32,
    /// The nodes, the latest removed ones included.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Which group owns what, and where its replicas are meant to be.
    pub placement: Placement,
    /// What an operator chose.
    pub settings: Settings,
    /// By id.
    pub tokens: BTreeMap<u64, Token>,
    /// What happened, oldest first.
    pub events: VecDeque<Event>,
    /// The next node gets this id.
    pub next_node: NodeId,
    /// The next replica of the meta group gets this id.
    pub next_meta_replica: ReplicaId,
    /// The next event gets this number.
    pub next_event: u64,
    /// Latest requests and what came of them, oldest first.
    pub requests: VecDeque<(u128, Outcome)>,
    /// Index of the last command in the log that changed anything.
    pub index: u64,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// What it said of itself.
    pub facts: NodeFacts,
    /// What is wanted of it.
    pub state: NodeState,
    /// When it joined.
    pub joined_ms: Timestamp,
    /// Its replica of the meta group.
    pub meta_replica: ReplicaId,
    /// What it drew before it joined: the same again is the same node.
    pub nonce: u128,
}

/// What a node says of itself; may change at every start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Where its gRPC interface is, `host:port`, for clients and nodes.
    pub grpc: String,
    /// Where its HTTP interface is.
    pub http: String,
    /// Nodes of one zone fail together.
    pub zone: String,
    /// The program's version.
    pub version: String,
    /// The lowest version of what is replicated that it can work with.
    pub lowest_format: u32,
    /// The highest one.
    pub highest_format: u32,
    /// Disk space that it offers.
    pub capacity_bytes: u64,
}

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// To join as a node.
    Join,
    /// To administer.
    Admin,
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenKind::Join => "to join as a node",
            TokenKind::Admin => "to administer",
        })
    }
}

/// Permission for one act. Only the secret's hash is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it permits.
    pub kind: TokenKind,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_ms: Timestamp,
    /// From when on it is worth nothing.
    pub expires_ms: Timestamp,
    /// How often it can be used; of no account for administration, which lasts until it expires.
    pub uses: u32,
    /// How often it was.
    pub used: u32,
    /// When it was used last.
    pub used_ms: Option<Timestamp>,
    /// When it was made worthless.
    pub revoked_ms: Option<Timestamp>,
}

impl Token {
    /// Why it permits nothing more, if so.
    pub fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.revoked_ms.is_some() {
            return Err(Refusal::TokenRevoked);
        }
        if self.expires_ms <= now {
            return Err(Refusal::TokenExpired);
        }
        if self.kind == TokenKind::Join && self.used >= self.uses {
            return Err(Refusal::TokenUsed { uses: self.uses });
        }
        Ok(())
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Rises by one with each event.
    pub number: u64,
    /// When.
    pub at_ms: Timestamp,
    /// What it was about.
    pub kind: EventKind,
    /// For people.
    pub text: String,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The cluster as a whole: founding, versions.
    Cluster,
    /// A node.
    Node,
    /// A replica or a group.
    Placement,
    /// A setting.
    Setting,
    /// A token.
    Token,
    /// Anything that an operator must look at.
    Trouble,
}

impl MetaState {
    /// Nodes that are members, by id: neither removed nor draining.
    pub fn active_nodes(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        self.nodes.iter().filter(|(_, node)| node.state == NodeState::Active).map(|(id, node)| (*id, node))
    }

    /// Nodes that have not been removed, by id.
    pub fn present_nodes(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        self.nodes.iter().filter(|(_, node)| node.state != NodeState::Removed).map(|(id, node)| (*id, node))
    }

    /// Whether a node was once given this id and is no part of the cluster any more.
    pub fn is_removed(&self, node: NodeId) -> bool {
        match self.nodes.get(&node) {
            Some(record) => record.state == NodeState::Removed,
            None => node < self.next_node,
        }
    }

    /// The token of which somebody knows the secret, if it permits this now.
    pub fn find_token(&self, kind: TokenKind, proof: &TokenProof, now: Timestamp) -> Result<&Token, Refusal> {
        let token = self.tokens.get(&proof.id).ok_or(Refusal::TokenUnknown(proof.id))?;
        // Nothing is said of a token to whoever does not know its secret.
        if !same_bytes(&token.secret_hash, &proof.secret_hash) {
            return Err(Refusal::TokenWrong(proof.id));
        }
        if token.kind != kind {
            return Err(Refusal::TokenKind { is: token.kind, wanted: kind });
        }
        token.check(now)?;
        Ok(token)
    }

    /// How many shard replicas a node holds.
    pub fn replicas_on(&self, node: NodeId) -> usize {
        self.placement.groups().iter().filter(|group| group.on(node).is_some()).count()
    }

    /// Adds an event; the oldest goes when they are too many.
    pub(super) fn note(&mut self, at_ms: Timestamp, kind: EventKind, mut text: String) {
        if text.len() > EVENT_TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        }
        self.events.push_back(Event { number: self.next_event, at_ms, kind, text });
        self.next_event += 1;
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }
}
