//! Administration: what there is, how it fares, what an operator may change. The messages are those of `cluster.proto`.

use std::time::Duration;

use tonic::transport::Channel;

use crate::Error;
use crate::call::{Client, Repeat, ask};
use crate::told::Told;
use crate::v1::cluster_client::ClusterClient;
use crate::v1::founding_client::FoundingClient;
use crate::v1::{
    ClusterStatusRequest, ClusterStatusResponse, CreateTokenRequest, CreateTokenResponse, DoctorRequest, Event,
    EventsRequest, FinalizeRequest, FinalizeResponse, Finding, GetSettingsRequest, InitRequest, InitSetting,
    ListTokensRequest, MoveShardRequest, MoveShardResponse, NodeInfo, NodeState, NodesRequest, PlanRequest,
    PlanResponse, RecoverGroupRequest, RecoverGroupResponse, RevokeTokenRequest, SetNodeStateRequest,
    SetNodeStateResponse, SetSettingRequest, Setting, ShardsRequest, ShardsResponse, SplitShardRequest,
    SplitShardResponse, TokenInfo, TokenKind, TransferLeaderRequest, TransferLeaderResponse,
};

/// The cluster, for whoever administers it. From [`Client::cluster`].
pub struct Cluster<'a>(&'a Client);

/// Events as they come.
pub type EventStream = Told<Event>;

impl Client {
    /// The cluster, for whoever administers it.
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster(self)
    }
}

impl Cluster<'_> {
    /// The cluster in a few numbers.
    pub async fn status(&self) -> Result<ClusterStatusResponse, Error> {
        Ok(ask!(self, Always, status, ClusterStatusRequest {})?.0)
    }

    /// Makes a node that waits for it the first of a new cluster, with so many shard groups (0: as it is configured) and
    /// these settings. For so long (an hour, if not said) others can join with the token in its own configuration. Returns once
    /// that is decided.
    pub async fn init(
        &self,
        shard_groups: u32,
        settings: &[(String, String)],
        join_token_valid: Option<Duration>,
    ) -> Result<(), Error> {
        let setting = |(name, value): &(String, String)| InitSetting { name: name.clone(), value: value.clone() };
        let join_token_valid_ms = join_token_valid.map_or(0, milliseconds);
        let request =
            InitRequest { shard_groups, settings: settings.iter().map(setting).collect(), join_token_valid_ms };
        let made = self.0.call(Repeat::IfUnsent, &request, |channel, request| {
            let mut client = FoundingClient::new(channel);
            async move { client.init(request).await }
        });
        made.await.map(drop)
    }

    /// The nodes, the removed ones that are still remembered included, by id.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        Ok(ask!(self, Always, nodes, NodesRequest {})?.0.nodes)
    }

    /// The shard groups in the order of their ranges.
    pub async fn shards(&self) -> Result<ShardsResponse, Error> {
        Ok(ask!(self, Always, shards, ShardsRequest {})?.0)
    }

    /// What is wrong or will be soon, worst first.
    pub async fn doctor(&self) -> Result<Vec<Finding>, Error> {
        Ok(ask!(self, Always, doctor, DoctorRequest {})?.0.findings)
    }

    /// What happened, oldest first: with numbers above `after`, the newest `limit` of them (0: all), and with `follow`
    /// what happens from now on.
    pub async fn events(&self, after: u64, limit: u32, follow: bool) -> Result<EventStream, Error> {
        let (events, address) = ask!(self, Always, events, EventsRequest { after, limit, follow })?;
        Ok(Told::new(events, address))
    }

    /// Says what is wanted of a node: active (ends a drain), draining, or removed; the latter with `force` even if it still
    /// holds replicas.
    pub async fn set_node_state(
        &self,
        node: u64,
        state: NodeState,
        force: bool,
    ) -> Result<SetNodeStateResponse, Error> {
        Ok(ask!(self, Always, set_node_state, SetNodeStateRequest { node, state: state.into(), force })?.0)
    }

    /// Hands the leadership of a shard group to another node's replica.
    pub async fn transfer_leader(&self, group: u32, node: u64) -> Result<TransferLeaderResponse, Error> {
        Ok(ask!(self, Always, transfer_leader, TransferLeaderRequest { group, node })?.0)
    }

    /// Gives a replica of a shard group to the node `to` in place of the one on `from`. Returns once that is decided;
    /// [`shards`](Self::shards) tells how far it has come.
    pub async fn move_shard(&self, group: u32, from: u64, to: u64) -> Result<MoveShardResponse, Error> {
        Ok(ask!(self, IfUnsent, move_shard, MoveShardRequest { group, from, to })?.0)
    }

    /// Begins a shard group that has lost its majority for ever anew, with the copy of `node`, or the one that has come
    /// furthest. What only the lost replicas had is lost. With `look_only` nothing is done.
    pub async fn recover_group(
        &self,
        group: u32,
        node: Option<u64>,
        look_only: bool,
    ) -> Result<RecoverGroupResponse, Error> {
        let request = RecoverGroupRequest { group, node: node.unwrap_or(0), look_only };
        Ok(ask!(self, IfUnsent, recover_group, request)?.0)
    }

    /// Cuts a shard group in two, at a key or where half of its series lie. Returns once that is decided;
    /// [`shards`](Self::shards) tells when the new group owns its part.
    pub async fn split_shard(&self, group: u32, at: Option<u64>) -> Result<SplitShardResponse, Error> {
        Ok(ask!(self, IfUnsent, split_shard, SplitShardRequest { group, at })?.0)
    }

    /// What will be moved, and why.
    pub async fn plan(&self) -> Result<PlanResponse, Error> {
        Ok(ask!(self, Always, plan, PlanRequest {})?.0)
    }

    /// Settings by name; all, if none is named.
    pub async fn settings(&self, names: &[String]) -> Result<Vec<Setting>, Error> {
        Ok(ask!(self, Always, get_settings, GetSettingsRequest { names: names.to_vec() })?.0.settings)
    }

    /// Sets a setting; `None` is its default.
    pub async fn set_setting(&self, name: &str, value: Option<&str>) -> Result<Setting, Error> {
        let request = SetSettingRequest { name: name.to_owned(), value: value.map(str::to_owned) };
        let (answer, address) = ask!(self, Always, set_setting, request)?;
        answer.setting.ok_or(Error::Malformed { address, missing: "the setting" })
    }

    /// Makes a token; without `valid` it can be used for an hour. So many nodes can join with it; to administer it works
    /// until it expires.
    pub async fn create_token(
        &self,
        kind: TokenKind,
        valid: Option<Duration>,
        uses: u32,
    ) -> Result<CreateTokenResponse, Error> {
        let valid_ms = valid.map_or(0, milliseconds);
        Ok(ask!(self, IfUnsent, create_token, CreateTokenRequest { kind: kind.into(), valid_ms, uses })?.0)
    }

    /// The tokens that are kept, without their secrets, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, Error> {
        Ok(ask!(self, Always, list_tokens, ListTokensRequest {})?.0.tokens)
    }

    /// Makes a token worthless.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        ask!(self, Always, revoke_token, RevokeTokenRequest { id: id.to_owned() })?;
        Ok(())
    }

    /// Ends an upgrade: all nodes use the newest version that all of them know.
    pub async fn finalize(&self) -> Result<FinalizeResponse, Error> {
        Ok(ask!(self, Always, finalize, FinalizeRequest {})?.0)
    }

    fn service(&self, channel: Channel) -> ClusterClient<Channel> {
        ClusterClient::new(channel).max_decoding_message_size(self.0.options().answer_bytes_max)
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
