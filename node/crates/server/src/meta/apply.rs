//! How a command changes the state: a function of the two. No clock, no randomness, no configuration: whatever else a
//! command depends on is in it.

use std::collections::BTreeSet;

use bellwether_model::{NodeId, ReplicaId, ShardGroupId, Timestamp};
use bellwether_placement::{ChangeError, NodeState, PlacedGroup, Placement, ReplicaRole};
use bellwether_probe::{Bug, planted, reached};

use super::command::{Founding, MetaCommand, MetaReply, Outcome, Refusal, Request, TokenProof};
use super::settings::{SettingKey, Settings};
use super::state::{
    EventKind, MetaState, NAME_BYTES_MAX, NodeFacts, NodeRecord, REMOVED_NODES_MAX, REQUESTS_MAX, TOKEN_USES_MAX,
    TOKENS_MAX, Token, TokenKind,
};

/// The first node of a cluster, and the first replica of its meta group.
pub const FOUNDER: NodeId = NodeId(1);
/// See [`FOUNDER`].
pub const FOUNDER_REPLICA: ReplicaId = ReplicaId(1);

/// Applies the request of log entry `index` and says what came of it. A refused one changes nothing.
pub fn apply(state: &mut Option<MetaState>, request: Request, index: u64) -> MetaReply {
    let Request { id, proposed_ms, command } = request;
    let Some(known) = state else {
        let MetaCommand::Found(founding) = command else { return Err(Refusal::NotFounded) };
        *state = Some(found(*founding, id, proposed_ms, index)?);
        return Ok(Outcome::Done);
    };
    if let Some((_, outcome)) = known.requests.iter().find(|(seen, _)| *seen == id) {
        return Ok(outcome.clone());
    }
    let outcome = known.change(command, proposed_ms)?;
    known.requests.push_back((id, outcome.clone()));
    if known.requests.len() > REQUESTS_MAX {
        known.requests.pop_front();
    }
    known.index = index;
    Ok(outcome)
}

fn found(founding: Founding, request: u128, now: Timestamp, index: u64) -> Result<MetaState, Refusal> {
    let Founding { cluster, facts, nonce, rules, placement } = founding;
    check_names(&facts)?;
    let active_version = facts.highest_format;
    let text = format!("founded by node {FOUNDER} at {} with {} shard groups", facts.grpc, placement.groups().len());
    let founder = NodeRecord { facts, state: NodeState::Active, joined_ms: now, meta_replica: FOUNDER_REPLICA, nonce };
    let mut state = MetaState {
        cluster,
        founded_ms: now,
        rules,
        active_version,
        nodes: [(FOUNDER, founder)].into(),
        placement,
        settings: Settings::default(),
        tokens: Default::default(),
        events: Default::default(),
        next_node: NodeId(FOUNDER.0 + 1),
        next_meta_replica: ReplicaId(FOUNDER_REPLICA.0 + 1),
        next_event: 1,
        requests: [(request, Outcome::Done)].into(),
        index,
    };
    state.note(now, EventKind::Cluster, text);
    Ok(state)
}

impl MetaState {
    fn change(&mut self, command: MetaCommand, now: Timestamp) -> MetaReply {
        match command {
            MetaCommand::Found(_) => Err(Refusal::Founded { cluster: self.cluster }),
            MetaCommand::RegisterNode { nonce, facts, rules, token } => self.register(nonce, facts, rules, token, now),
            MetaCommand::UpdateNode { node, facts, rules } => self.update(node, facts, rules, now),
            MetaCommand::SetNodeState { node, state, force } => self.set_node_state(node, state, force, now),
            MetaCommand::AllocateReplica { group, node, replaces, expected_epoch } => {
                self.check_epoch(expected_epoch)?;
                self.check_active(node)?;
                let replica = self.placement.add_learner(group, node, replaces)?;
                let text = format!("node {node} is given replica {replica} of shard group {group}");
                self.note(now, EventKind::Placement, text);
                Ok(Outcome::Replica { replica })
            }
            MetaCommand::SetReplicas { group, voters, learners, expected_epoch } => {
                self.check_epoch(expected_epoch)?;
                self.set_replicas(group, &voters, &learners, now)
            }
            MetaCommand::BeginSplit { group, at, ref_epoch, expected_epoch } => {
                self.check_epoch(expected_epoch)?;
                let limit = self.settings.get(SettingKey::GroupsMax);
                if self.placement.groups().len() as u64 >= limit {
                    return Err(Refusal::GroupLimit { limit });
                }
                self.placement.begin_split(group, at, ref_epoch)?;
                let split = self.group(group)?.split.as_ref().expect("a split that has begun is on the map");
                let (child, replicas) = (split.child, split.replicas.clone());
                self.note(
                    now,
                    EventKind::Placement,
                    format!("shard group {group} is being split at {at} into {child}"),
                );
                Ok(Outcome::Split { child, replicas })
            }
            MetaCommand::FinishSplit { group, child } => {
                self.check_split(group, child)?;
                self.placement.finish_split(group)?;
                self.note(now, EventKind::Placement, format!("shard group {group} was split, {child} is the new one"));
                Ok(Outcome::Done)
            }
            MetaCommand::CancelSplit { group, child } => {
                self.check_split(group, child)?;
                self.placement.cancel_split(group)?;
                self.note(now, EventKind::Placement, format!("the split of shard group {group} was given up"));
                Ok(Outcome::Done)
            }
            MetaCommand::RecoverGroup { group, node, replica, ref_epoch, text, expected_epoch } => {
                self.check_epoch(expected_epoch)?;
                self.placement.begin_anew(group, node, replica, ref_epoch)?;
                self.note(now, EventKind::Trouble, text);
                Ok(Outcome::Replica { replica })
            }
            MetaCommand::CreateToken { id, kind, secret_hash, expires_ms, uses } => {
                let fresh = Token {
                    kind,
                    secret_hash,
                    created_ms: now,
                    expires_ms,
                    uses,
                    used: 0,
                    used_ms: None,
                    revoked_ms: None,
                };
                self.create_token(id, fresh, now)
            }
            MetaCommand::UseToken { kind, proof } => {
                self.use_token(kind, proof, now)?;
                Ok(Outcome::Done)
            }
            MetaCommand::RevokeToken { id } => {
                let token = self.tokens.get_mut(&id).ok_or(Refusal::TokenUnknown(id))?;
                if token.revoked_ms.is_none() {
                    token.revoked_ms = Some(now);
                    self.note(now, EventKind::Token, format!("token {id:016x} was revoked"));
                }
                Ok(Outcome::Done)
            }
            MetaCommand::SetSetting { key, value } => {
                let info = key.info();
                let (name, min, max) = (info.name, info.min, info.max);
                if !(min..=max).contains(&value) {
                    return Err(Refusal::SettingRange { name, min, max, value });
                }
                self.settings.chosen.insert(key, value);
                self.note(now, EventKind::Setting, format!("{name} was set to {}", info.print(value)));
                Ok(Outcome::Done)
            }
            MetaCommand::UnsetSetting { key } => {
                if self.settings.chosen.remove(&key).is_some() {
                    let info = key.info();
                    let text = format!("{} is {} again, its default", info.name, info.print(info.default));
                    self.note(now, EventKind::Setting, text);
                }
                Ok(Outcome::Done)
            }
            MetaCommand::RecordEvent { kind, text } => {
                self.note(now, kind, text);
                Ok(Outcome::Done)
            }
            MetaCommand::RaiseActiveVersion { version } => self.raise_version(version, now),
        }
    }

    fn register(
        &mut self,
        nonce: u128,
        facts: NodeFacts,
        rules: u64,
        token: Option<TokenProof>,
        now: Timestamp,
    ) -> MetaReply {
        self.check_facts(&facts, rules)?;
        let is_known = |record: &NodeRecord| {
            record.nonce == nonce || planted(Bug::RejoinAsBefore) && record.facts.grpc == facts.grpc
        };
        if let Some((&node, record)) = self.nodes.iter_mut().find(|(_, record)| is_known(record)) {
            if record.state == NodeState::Removed {
                return Err(Refusal::NodeRemoved(node));
            }
            record.facts = facts;
            return Ok(Outcome::Node { node, meta_replica: record.meta_replica });
        }
        let limit = self.settings.get(SettingKey::NodesMax);
        if self.present_nodes().count() as u64 >= limit {
            return Err(Refusal::NodeLimit { limit });
        }
        match token {
            Some(proof) => self.use_token(TokenKind::Join, proof, now)?,
            None if self.settings.get(SettingKey::JoinNeedsToken) != 0 => return Err(Refusal::TokenNeeded),
            None => {}
        }
        let (node, meta_replica) = (self.next_node, self.next_meta_replica);
        let text = format!("node {node} joined at {}", facts.grpc);
        let record = NodeRecord { facts, state: NodeState::Active, joined_ms: now, meta_replica, nonce };
        self.nodes.insert(node, record);
        self.next_node = NodeId(node.0 + 1);
        self.next_meta_replica = ReplicaId(meta_replica.0 + 1);
        self.note(now, EventKind::Node, text);
        self.empty_displaced(node, now);
        Ok(Outcome::Node { node, meta_replica })
    }

    /// Who was where a new node is now has lost its disk, or is somewhere else without having said so: its copies are made
    /// again at once, not after a grace period. It can be made active again.
    fn empty_displaced(&mut self, new: NodeId, now: Timestamp) {
        let address = self.nodes[&new].facts.grpc.clone();
        let displaced = self.active_nodes().filter(|(id, record)| *id != new && record.facts.grpc == address);
        for node in displaced.map(|(id, _)| id).collect::<Vec<_>>() {
            self.record_mut(node).state = NodeState::Draining;
            reached("a node joined where another was");
            let text = format!(
                "node {node} was at {address}, where node {new} is now: it is taken for lost and emptied; bwctl node \
                 remove {node} once it is, or undrain {node} if it lives elsewhere"
            );
            self.note(now, EventKind::Trouble, text);
        }
    }

    fn update(&mut self, node: NodeId, facts: NodeFacts, rules: u64, now: Timestamp) -> MetaReply {
        self.check_facts(&facts, rules)?;
        let record = self.present(node)?;
        if record.facts == facts {
            return Ok(Outcome::Done);
        }
        let text = format!("node {node} is at {} with version {}", facts.grpc, facts.version);
        self.record_mut(node).facts = facts;
        self.note(now, EventKind::Node, text);
        Ok(Outcome::Done)
    }

    fn set_node_state(&mut self, node: NodeId, wanted: NodeState, force: bool, now: Timestamp) -> MetaReply {
        let current = self.present(node)?.state;
        if current == wanted {
            return Ok(Outcome::Done);
        }
        let left = self.active_nodes().filter(|(id, _)| *id != node).count() as u64;
        match wanted {
            NodeState::Joining | NodeState::Active => {}
            NodeState::Draining => {
                let factor = self.settings.get(SettingKey::ReplicationFactor);
                if left < factor {
                    return Err(Refusal::BelowReplication { node, left, factor });
                }
            }
            NodeState::Removed => {
                if left == 0 {
                    return Err(Refusal::LastNode(node));
                }
                self.check_removal(node)?;
                let replicas = self.replicas_on(node) as u64;
                if replicas > 0 && !force {
                    return Err(Refusal::StillHolds { node, replicas });
                }
            }
        }
        self.record_mut(node).state = wanted;
        self.note(now, EventKind::Node, format!("node {node} was {current} and is {wanted}"));
        self.forget_old_removed();
        Ok(Outcome::Done)
    }

    /// Whether every group could go on without `node`.
    fn check_removal(&self, node: NodeId) -> Result<(), Refusal> {
        for group in self.placement.groups().iter().filter(|group| group.voters().any(|voter| voter.node == node)) {
            let all = group.voters().count();
            let left = group.voters().filter(|voter| voter.node != node && !self.is_removed(voter.node)).count();
            if all == 1 {
                return Err(Refusal::LastVoter { node, group: group.id });
            }
            if left <= all / 2 {
                return Err(Refusal::QuorumLost { node, group: group.id });
            }
        }
        Ok(())
    }

    /// Forgets the oldest removed nodes that nothing names any more, when they are too many.
    fn forget_old_removed(&mut self) {
        let removed = self.nodes.iter().filter(|(_, record)| record.state == NodeState::Removed);
        let removed: Vec<NodeId> = removed.map(|(id, _)| *id).collect();
        for node in removed.iter().take(removed.len().saturating_sub(REMOVED_NODES_MAX)) {
            if self.replicas_on(*node) == 0 {
                self.nodes.remove(node);
            }
        }
    }

    fn set_replicas(
        &mut self,
        group: ShardGroupId,
        voters: &BTreeSet<ReplicaId>,
        learners: &BTreeSet<ReplicaId>,
        now: Timestamp,
    ) -> MetaReply {
        let placed = self.group(group)?;
        let known = |replica: &ReplicaId| placed.replicas.iter().any(|found| found.id == *replica);
        if let Some(&replica) = voters.union(learners).find(|replica| !known(replica)) {
            return Err(Refusal::UnknownReplica { group, replica });
        }
        let nodes_of = |wanted: &dyn Fn(&ReplicaId) -> bool| -> BTreeSet<NodeId> {
            placed.replicas.iter().filter(|replica| wanted(&replica.id)).map(|replica| replica.node).collect()
        };
        let vote = nodes_of(&|replica| voters.contains(replica));
        let go = nodes_of(&|replica| !voters.contains(replica) && !learners.contains(replica));
        let votes_now: BTreeSet<NodeId> = placed.voters().map(|voter| voter.node).collect();
        // On a copy: the second of two changes may be refused.
        let mut changed: Placement = self.placement.clone();
        if vote != votes_now {
            changed.change_voters(group, &vote)?;
        }
        for node in &go {
            changed.remove_replica(group, *node)?;
        }
        if changed.epoch() != self.placement.epoch() {
            self.placement = changed;
            let text = format!("shard group {group} {}", members_text(self.group(group)?));
            self.note(now, EventKind::Placement, text);
        }
        Ok(Outcome::Done)
    }

    fn create_token(&mut self, id: u64, token: Token, now: Timestamp) -> MetaReply {
        if self.tokens.contains_key(&id) {
            return Err(Refusal::TokenExists(id));
        }
        let (uses, min, max) = (token.uses, 1, TOKEN_USES_MAX);
        if !(min..=max).contains(&uses) {
            return Err(Refusal::TokenUses { min, max, uses });
        }
        if self.tokens.len() >= TOKENS_MAX {
            self.tokens.retain(|_, token| token.check(now).is_ok());
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens);
        }
        let token_kind = token.kind;
        self.tokens.insert(id, token);
        self.note(now, EventKind::Token, format!("token {id:016x} {token_kind} was given out"));
        Ok(Outcome::Done)
    }

    fn use_token(&mut self, kind: TokenKind, proof: TokenProof, now: Timestamp) -> Result<(), Refusal> {
        self.find_token(kind, &proof, now)?;
        let token = self.tokens.get_mut(&proof.id).expect("the token was found before");
        token.used += 1;
        token.used_ms = Some(now);
        self.note(now, EventKind::Token, format!("token {:016x} was used", proof.id));
        Ok(())
    }

    fn raise_version(&mut self, version: u32, now: Timestamp) -> MetaReply {
        let active = self.active_version;
        if version == active {
            return Ok(Outcome::Done);
        }
        let least = self.present_nodes().map(|(id, node)| (node.facts.highest_format, id)).min();
        let (highest, node) = least.expect("a cluster has a node");
        if version < active || version > highest {
            return Err(Refusal::VersionBehind { version, active, node, highest });
        }
        self.active_version = version;
        self.note(now, EventKind::Cluster, format!("format version {version} is active"));
        Ok(Outcome::Done)
    }

    fn check_facts(&self, facts: &NodeFacts, rules: u64) -> Result<(), Refusal> {
        check_names(facts)?;
        if rules != self.rules {
            return Err(Refusal::Rules { expected: self.rules, got: rules });
        }
        check_formats(facts, self.active_version)
    }

    fn check_epoch(&self, expected: u64) -> Result<(), Refusal> {
        let current = self.placement.epoch();
        if expected == current { Ok(()) } else { Err(Refusal::StaleEpoch { expected, current }) }
    }

    fn check_active(&self, node: NodeId) -> Result<(), Refusal> {
        match self.present(node)?.state {
            NodeState::Active => Ok(()),
            state => Err(Refusal::NodeNotActive { node, state }),
        }
    }

    fn check_split(&self, group: ShardGroupId, child: ShardGroupId) -> Result<(), Refusal> {
        let split = self.group(group)?.split.as_ref();
        let is_this = split.is_some_and(|split| split.child == child);
        if is_this { Ok(()) } else { Err(Refusal::OtherSplit { group, child }) }
    }

    fn group(&self, group: ShardGroupId) -> Result<&PlacedGroup, Refusal> {
        self.placement.group(group).ok_or_else(|| ChangeError::UnknownGroup(group).into())
    }

    /// A node that has not been removed.
    fn present(&self, node: NodeId) -> Result<&NodeRecord, Refusal> {
        match self.nodes.get(&node) {
            _ if self.is_removed(node) => Err(Refusal::NodeRemoved(node)),
            Some(record) => Ok(record),
            None => Err(Refusal::UnknownNode(node)),
        }
    }

    fn record_mut(&mut self, node: NodeId) -> &mut NodeRecord {
        self.nodes.get_mut(&node).expect("the node was found before")
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Refusal {
        Refusal::Placement(error.to_string())
    }
}

fn check_names(facts: &NodeFacts) -> Result<(), Refusal> {
    // The zone without a name is a zone like any other.
    let named = [("gRPC address", &facts.grpc, 1), ("HTTP address", &facts.http, 1), ("version", &facts.version, 1)];
    let all = named.into_iter().chain([("zone", &facts.zone, 0)]);
    let mut wrong = all.filter(|(_, text, min)| !(*min..=NAME_BYTES_MAX).contains(&text.len()));
    wrong.next().map_or(Ok(()), |(what, ..)| Err(Refusal::BadName { what }))
}

fn check_formats(facts: &NodeFacts, active: u32) -> Result<(), Refusal> {
    let (lowest, highest) = (facts.lowest_format, facts.highest_format);
    if (lowest..=highest).contains(&active) { Ok(()) } else { Err(Refusal::Version { active, lowest, highest }) }
}

/// `is on nodes 1, 2 (learns)`
fn members_text(group: &PlacedGroup) -> String {
    let member = |replica: &bellwether_placement::Replica| match replica.role {
        ReplicaRole::Voter => replica.node.to_string(),
        ReplicaRole::Learner => format!("{} (learns)", replica.node),
    };
    let members: Vec<String> = group.replicas.iter().map(member).collect();
    format!("is on nodes {}", members.join(", "))
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
