//! `Join`: a node that has no identity yet asks to be one of the cluster.

use bellwether_proto::peer::v1::{self, Failure, JoinAnswer, JoinRequest};
use bellwether_raft::Applied;
use tonic::{Request, Status};

use super::PeerService;
use crate::meta::META_GROUP;
use crate::meta::admit::AdmitError;
use crate::meta::codec::states;
use crate::meta::joining::JoinAsk;
use crate::meta::state::NodeFacts;
use crate::meta::tokens::TokenText;

impl PeerService {
    pub(super) async fn admit(&self, request: Request<JoinRequest>) -> Result<JoinAnswer, Status> {
        let meta = self.meta()?;
        let far_end = request.extensions().get().cloned();
        let ask = ask(request.into_inner());
        let ask = ask.map_err(|what| rejected(format!("the request to join has no valid {what}")))?;
        self.passes.check_node_at(far_end.as_ref(), &ask.facts.grpc).map_err(rejected)?;
        let granted = meta.admit(ask).await.map_err(|error| failure(&error).into_status())?;
        Ok(JoinAnswer {
            node: granted.node.0,
            meta_replica: granted.meta_replica.0,
            state: states::encode(Some(&granted.state), &Applied::default()).into(),
        })
    }
}

fn ask(request: JoinRequest) -> Result<JoinAsk, &'static str> {
    let token = match request.token {
        Some(token) => Some(TokenText::of_parts(token.id, &token.secret).map_err(|_| "token")?),
        None => None,
    };
    Ok(JoinAsk {
        nonce: request.nonce.as_ref().try_into().map(u128::from_be_bytes).map_err(|_| "nonce")?,
        facts: NodeFacts {
            grpc: request.grpc_address,
            http: request.http_address,
            zone: request.zone,
            version: request.version,
            lowest_format: request.lowest_format,
            highest_format: request.highest_format,
            capacity_bytes: request.capacity_bytes,
        },
        rules: request.rules,
        token,
    })
}

fn failure(error: &AdmitError) -> Failure {
    let message = error.to_string();
    match error {
        AdmitError::NotLeader { node, address } => {
            let (node, address) = (node.map_or(0, |node| node.0), address.clone().unwrap_or_default());
            Failure::new(message, v1::NotLeader { node, replica: 0, address, group: None })
        }
        AdmitError::Unavailable(_) => Failure::new(message, v1::Unavailable { group: META_GROUP.0 }),
        AdmitError::Refused(_) => Failure::new(message, v1::Rejected {}),
    }
}

fn rejected(message: String) -> Status {
    Failure::new(message, v1::Rejected {}).into_status()
}
