//! What an operator changes.

use std::sync::atomic::Ordering;

use bellwether_model::{NodeId, PlacementKey, ShardGroupId};
use bellwether_placement::{self as placement, PlacedGroup, Replica, ReplicaRole};
use bellwether_proto::peer::v1::MembershipRequest;
use bellwether_proto::peer::v1::membership_request::Change;
use bellwether_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, FinalizeResponse, GetSettingsResponse, ListTokensResponse,
    MoveShardRequest, MoveShardResponse, NodeState, RevokeTokenRequest, RevokeTokenResponse, SetNodeStateRequest,
    SetNodeStateResponse, SetSettingRequest, SetSettingResponse, Setting, SplitShardRequest, SplitShardResponse,
    TokenInfo, TokenKind, TokenState, TransferLeaderRequest, TransferLeaderResponse,
};
use tonic::Status;

use super::ClusterService;
use super::doctor::list;
use crate::balance::split;
use crate::common_group::CommonGroup;
use crate::meta::propose::Unanswered;
use crate::meta::settings::{SETTINGS, SettingInfo, SettingKey};
use crate::meta::state::{Token, TokenKind as Kind};
use crate::meta::tokens::{TOKEN_VALID_MS_MAX, TokenText};
use crate::meta::{MetaCommand, MetaError, MetaState, Outcome, Refusal};
use crate::routing::Again;

/// For how long a token can be used if nothing else is said.
const TOKEN_VALID_MS: u64 = 3_600_000;

impl ClusterService {
    async fn propose(&self, command: MetaCommand) -> Result<Outcome, Status> {
        self.meta.propose(command).await.map_err(status)
    }

    /// Says what is wanted of a node.
    pub(super) async fn change_node_state(
        &self,
        request: &SetNodeStateRequest,
    ) -> Result<SetNodeStateResponse, Status> {
        let node = NodeId(request.node);
        let state = match request.state() {
            NodeState::Active => placement::NodeState::Active,
            NodeState::Draining => placement::NodeState::Draining,
            NodeState::Removed => placement::NodeState::Removed,
            NodeState::Unspecified | NodeState::Joining => {
                return Err(Status::invalid_argument("a node can be made active, draining or removed"));
            }
        };
        match (state, request.force) {
            (placement::NodeState::Removed, true) => self.check_quorums_without(node).await?,
            (placement::NodeState::Removed, false) if self.meta.now().replicas_on(node) == 0 => {
                if let Some(group) = self.votes_in(node) {
                    return Err(Status::failed_precondition(format!(
                        "node {node} votes in {group}: leave it running and drain it, its vote goes to a node that can \
                         take it (bwctl cluster status shows who votes)"
                    )));
                }
            }
            _ => {}
        }
        self.propose(MetaCommand::SetNodeState { node, state, force: request.force }).await?;
        let replicas = self.meta.now().replicas_on(node) as u32;
        Ok(SetNodeStateResponse { state: request.state, replicas })
    }

    /// A group of all nodes in which a node votes, as far as is known here.
    pub(super) fn votes_in(&self, node: NodeId) -> Option<String> {
        let votes = |group: &&CommonGroup| group.replica().state().voters.values().any(|voter| *voter == node.0);
        self.common_groups().find(votes).map(|group| group.name().to_owned())
    }

    /// Refuses what would leave a group without a quorum for ever. What is replicated does not say who answers.
    async fn check_quorums_without(&self, node: NodeId) -> Result<(), Status> {
        let picture = self.look().await;
        let lost = picture.groups_lost_without(node);
        if !lost.is_empty() {
            let groups = lost.iter().map(ShardGroupId::to_string).collect::<Vec<_>>().join(", ");
            return Err(Status::failed_precondition(format!(
                "without node {node} no majority of the voters of shard groups {groups} is there: bring their other \
                 nodes back, or wait until copies are made elsewhere (bwctl cluster shards shows them)"
            )));
        }
        if let Some(group) = picture.common_group_lost_without(node) {
            return Err(Status::failed_precondition(format!(
                "without node {node} no majority of the voters of {group} answers: bring others of them back (bwctl \
                 cluster status shows who votes)"
            )));
        }
        Ok(())
    }

    /// Hands a leadership over.
    pub(super) async fn hand_over(&self, request: &TransferLeaderRequest) -> Result<TransferLeaderResponse, Status> {
        let state = self.meta.now();
        let group = group(&state, request.group)?;
        let replica = replica(group, request.node)?;
        if replica.role != ReplicaRole::Voter {
            let text = format!("the copy of shard group {} on node {} does not vote", group.id, request.node);
            return Err(Status::failed_precondition(text));
        }
        let change = MembershipRequest {
            group: group.id.0,
            expected: None,
            mover_epoch: self.meta.group().state().term,
            change: Some(Change::TransferTo(replica.id.0)),
        };
        match self.router.membership(group.id, change).await {
            Ok(_) => Ok(TransferLeaderResponse {}),
            Err(error) => {
                let text = format!("node {} does not lead shard group {}: {error}", request.node, group.id);
                Err(match error.again() {
                    Again::No => Status::failed_precondition(text),
                    Again::At(_) | Again::Later => Status::unavailable(text),
                })
            }
        }
    }

    /// Gives a node a replica in place of another one's. The mover does the rest.
    pub(super) async fn give_copy(&self, request: &MoveShardRequest) -> Result<MoveShardResponse, Status> {
        let state = self.meta.now();
        let group = group(&state, request.group)?;
        let from = replica(group, request.from)?.node;
        let command = MetaCommand::AllocateReplica {
            group: group.id,
            node: NodeId(request.to),
            replaces: Some(from),
            expected_epoch: state.placement.epoch(),
        };
        match self.propose(command).await? {
            Outcome::Replica { replica } => Ok(MoveShardResponse { replica: replica.0 }),
            other => Err(Status::internal(format!("the meta group answered {other:?}"))),
        }
    }

    /// Begins to cut a group in two. The mover does the rest.
    pub(super) async fn cut(&self, request: &SplitShardRequest) -> Result<SplitShardResponse, Status> {
        let state = self.meta.now();
        let group = group(&state, request.group)?;
        let at = match request.at {
            Some(at) => PlacementKey(at),
            None => self.middle(group).await?,
        };
        let begun = split::begin(&self.meta, self.seed, &state, group.id, at).await;
        Ok(SplitShardResponse { child: begun.map_err(status)?.0, at: at.0 })
    }

    /// Where half of a group's series lie.
    async fn middle(&self, group: &PlacedGroup) -> Result<PlacementKey, Status> {
        let picture = self.look().await;
        let (leader, _) = picture.leader(group.id).ok_or_else(|| {
            Status::unavailable(format!("shard group {} has no leader that answers: say where to cut it", group.id))
        })?;
        let middle = match leader == self.meta.node() {
            true => self.reporter.middle_of(group.id).await,
            false => split::middle_there(&self.peers, leader, group.id).await,
        };
        middle.filter(|at| group.can_split_at(*at)).ok_or_else(|| {
            let text = format!("shard group {} has too few series to tell its middle: say where to cut it", group.id);
            Status::failed_precondition(text)
        })
    }

    /// Settings by name; all, if none is named.
    pub(super) fn settings(&self, names: &[String]) -> Result<GetSettingsResponse, Status> {
        let state = self.meta.now();
        let settings = if names.is_empty() {
            SETTINGS.iter().map(|info| setting(&state, info)).collect()
        } else {
            let named = |name: &String| Ok(setting(&state, key(name)?.info()));
            names.iter().map(named).collect::<Result<_, Status>>()?
        };
        Ok(GetSettingsResponse { settings })
    }

    /// Sets a setting, or gives it its default back.
    pub(super) async fn choose_setting(&self, request: SetSettingRequest) -> Result<SetSettingResponse, Status> {
        let key = key(&request.name)?;
        let info = key.info();
        let command = match &request.value {
            None => MetaCommand::UnsetSetting { key },
            Some(text) => {
                let wrong = |reason| Status::invalid_argument(format!("setting {}: {text:?} {reason}", info.name));
                MetaCommand::SetSetting { key, value: info.parse(text).map_err(wrong)? }
            }
        };
        self.propose(command).await?;
        Ok(SetSettingResponse { setting: Some(setting(&self.meta.now(), info)) })
    }

    /// Makes a token.
    pub(super) async fn make_token(&self, request: &CreateTokenRequest) -> Result<CreateTokenResponse, Status> {
        let kind = match request.kind() {
            TokenKind::Join => Kind::Join,
            TokenKind::Admin => Kind::Admin,
            TokenKind::Unspecified => return Err(Status::invalid_argument("a token is to join or to administer")),
        };
        let valid_ms = match request.valid_ms {
            0 => TOKEN_VALID_MS,
            valid_ms => valid_ms.min(TOKEN_VALID_MS_MAX),
        };
        let token = TokenText::draw(&self.key, self.tokens.fetch_add(1, Ordering::Relaxed));
        let proof = token.proof();
        let expires_ms = self.clock.now_ms().saturating_add_unsigned(valid_ms);
        let (id, secret_hash, uses) = (proof.id, proof.secret_hash, request.uses.max(1));
        self.propose(MetaCommand::CreateToken { id, kind, secret_hash, expires_ms, uses }).await?;
        Ok(CreateTokenResponse { token: token.print(), expires_ms })
    }

    /// The tokens that are kept, oldest first.
    pub(super) fn tokens_made(&self) -> ListTokensResponse {
        let (state, now) = (self.meta.now(), self.clock.now_ms());
        let info = |(id, token): (&u64, &Token)| TokenInfo {
            id: format!("{id:016x}"),
            kind: match token.kind {
                Kind::Join => TokenKind::Join,
                Kind::Admin => TokenKind::Admin,
            }
            .into(),
            state: match token.check(now) {
                Ok(()) => TokenState::Valid,
                Err(Refusal::TokenRevoked) => TokenState::Revoked,
                Err(Refusal::TokenUsed { .. }) => TokenState::Used,
                Err(_) => TokenState::Expired,
            }
            .into(),
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
            uses: token.uses,
            used: token.used,
        };
        let mut tokens: Vec<TokenInfo> = state.tokens.iter().map(info).collect();
        tokens.sort_by_key(|token| token.created_ms);
        ListTokensResponse { tokens }
    }

    /// Makes a token worthless.
    pub(super) async fn withdraw_token(&self, request: &RevokeTokenRequest) -> Result<RevokeTokenResponse, Status> {
        let text = request.id.trim();
        let id = text.split_once('.').map_or(text, |(id, _)| id);
        let id = u64::from_str_radix(id, 16).map_err(|_| {
            Status::invalid_argument("a token's id is 16 hexadecimal digits: bwctl token list shows them")
        })?;
        self.propose(MetaCommand::RevokeToken { id }).await?;
        Ok(RevokeTokenResponse {})
    }

    /// Has all nodes use the newest version that all of them know.
    pub(super) async fn raise_version(&self) -> Result<FinalizeResponse, Status> {
        let picture = self.look().await;
        let (previous_version, version) = (picture.state.active_version, picture.finalize_version());
        let behind = picture.nodes_behind();
        if version == previous_version && !behind.is_empty() {
            let text = format!(
                "format version {} cannot be used yet, {} would not understand it: upgrade {} first (bwctl cluster nodes shows \
                 what they run), or remove what will not come back",
                picture.newest_version(),
                list(behind.iter().copied()),
                if behind.len() == 1 { "it" } else { "them" }
            );
            return Err(Status::failed_precondition(text));
        }
        if version > previous_version {
            self.propose(MetaCommand::RaiseActiveVersion { version }).await?;
        }
        Ok(FinalizeResponse { previous_version, active_version: version })
    }
}

pub(super) fn group(state: &MetaState, id: u32) -> Result<&PlacedGroup, Status> {
    let unknown = || Status::not_found(format!("there is no shard group {id}: see bwctl cluster shards"));
    state.placement.group(ShardGroupId(id)).ok_or_else(unknown)
}

pub(super) fn replica(group: &PlacedGroup, node: u64) -> Result<&Replica, Status> {
    let held = || group.replicas.iter().map(|replica| replica.node.to_string()).collect::<Vec<_>>().join(", ");
    let missing = || {
        let text = format!("node {node} holds no copy of shard group {}; these nodes do: {}", group.id, held());
        Status::failed_precondition(text)
    };
    group.on(NodeId(node)).ok_or_else(missing)
}

fn key(name: &str) -> Result<SettingKey, Status> {
    let unknown = || Status::not_found(format!("there is no setting {name:?}: bwctl config get lists them"));
    SettingKey::named(name).ok_or_else(unknown)
}

fn setting(state: &MetaState, info: &SettingInfo) -> Setting {
    Setting {
        name: info.name.to_owned(),
        value: info.print(state.settings.get(info.key)),
        default_value: info.print(info.default),
        min: info.print(info.min),
        max: info.print(info.max),
        chosen: state.settings.chosen.contains_key(&info.key),
        help: info.help.to_owned(),
    }
}

pub(super) fn status(error: MetaError) -> Status {
    let message = error.to_string();
    match error {
        MetaError::Refused(Refusal::UnknownNode(_) | Refusal::TokenUnknown(_)) => Status::not_found(message),
        MetaError::Refused(Refusal::SettingRange { .. } | Refusal::TokenUses { .. }) => {
            Status::invalid_argument(message)
        }
        // Somebody else changed the map at the same moment: the caller may try again.
        MetaError::Refused(Refusal::StaleEpoch { .. }) | MetaError::Unanswered(Unanswered::Unavailable { .. }) => {
            Status::unavailable(message)
        }
        MetaError::Refused(_) | MetaError::Unanswered(Unanswered::Rejected(_)) => Status::failed_precondition(message),
    }
}
