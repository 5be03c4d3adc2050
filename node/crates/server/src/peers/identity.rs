//! How nodes introduce themselves: metadata of every call, written by the caller and checked by who is called.

use std::sync::Arc;

use axum::http::HeaderMap;
use bellwether_model::NodeId;
use bellwether_proto::peer::v1::{self, Failure};
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::program::Versions;

const CLUSTER: &str = "bw-cluster";
const NODE: &str = "bw-node";
const TO: &str = "bw-to";
const VERSIONS: &str = "bw-versions";

/// Who a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: u128,
    /// Its number there.
    pub node: NodeId,
}

/// Adds a caller's metadata to its calls.
#[derive(Clone)]
pub struct Introduction(Arc<[(MetadataKey<Ascii>, MetadataValue<Ascii>)]>);

impl Introduction {
    /// Of a node, or of one that has no identity yet, to a node or to whoever is there.
    pub fn new(own: Option<Identity>, to: Option<NodeId>, spoken: Versions) -> Introduction {
        let mut said = vec![(VERSIONS, spoken.to_string())];
        if let Some(Identity { cluster, node }) = own {
            said.push((CLUSTER, format!("{cluster:032x}")));
            said.push((NODE, node.to_string()));
        }
        said.extend(to.map(|node| (TO, node.to_string())));
        let said = said.into_iter().map(|(key, value)| {
            (MetadataKey::from_static(key), value.parse().expect("digits and dashes are legal in metadata"))
        });
        Introduction(said.collect())
    }
}

impl Interceptor for Introduction {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in &*self.0 {
            request.metadata_mut().insert(key.clone(), value.clone());
        }
        Ok(request)
    }
}

/// Who calls, as checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The node; none where it has no identity yet.
    pub node: Option<NodeId>,
    /// The version that both speak.
    pub version: u32,
}

impl Identity {
    /// Checks a caller's metadata; `ours` are the versions spoken here. Whether the node is still a member is for others to
    /// say.
    pub fn check(&self, headers: &HeaderMap, ours: Versions) -> Result<Caller, Failure> {
        let said = |key: &str| headers.get(key).map(|value| value.to_str().unwrap_or_default());
        let rejected = |message: String| Failure::new(message, v1::Rejected {});
        let Some(theirs) = said(VERSIONS).and_then(Versions::parse) else {
            return Err(rejected(format!("the call does not say which versions its caller speaks ({VERSIONS})")));
        };
        let Some(version) = ours.common(theirs) else {
            let message = format!("node {} speaks versions {ours} between nodes, the caller {theirs}", self.node);
            return Err(Failure::new(message, v1::NoCommonVersion { lowest: ours.lowest, highest: ours.highest }));
        };
        if let Some(to) = said(TO).filter(|to| **to != *self.node.to_string()) {
            let message = format!("the call is for node {to}, this is node {}", self.node);
            return Err(Failure::new(message, v1::WrongNode { node: self.node.0 }));
        }
        let Some(cluster) = said(CLUSTER) else { return Ok(Caller { node: None, version }) };
        if cluster != format!("{:032x}", self.cluster) {
            let message =
                format!("node {} belongs to cluster {:032x}, the caller to {cluster}", self.node, self.cluster);
            return Err(Failure::new(message, v1::WrongCluster {}));
        }
        let Some(node) = said(NODE).and_then(|node| node.parse().ok()) else {
            return Err(rejected(format!("the call does not say which node it comes from ({NODE})")));
        };
        Ok(Caller { node: Some(NodeId(node)), version })
    }
}

#[cfg(test)]
mod tests {
    use bellwether_proto::peer::v1::failure::Reason;

    use super::*;

    const SPOKEN: Versions = Versions { lowest: 1, highest: 1 };
    const OWN: Identity = Identity { cluster: 0xabc, node: NodeId(1) };

    fn headers(own: Option<Identity>, to: Option<NodeId>) -> HeaderMap {
        let request = Introduction::new(own, to, SPOKEN).call(Request::new(())).unwrap();
        request.metadata().clone().into_headers()
    }

    fn refusal(headers: &HeaderMap) -> (String, Reason) {
        let failure = OWN.check(headers, SPOKEN).unwrap_err();
        (failure.message, failure.reason.unwrap())
    }

    #[test]
    fn a_node_of_the_cluster_and_one_without_identity_are_told_apart() {
        let caller = OWN.check(&headers(Some(Identity { node: NodeId(2), ..OWN }), Some(NodeId(1))), SPOKEN).unwrap();
        assert_eq!(caller, Caller { node: Some(NodeId(2)), version: 1 });
        let stranger = OWN.check(&headers(None, None), SPOKEN).unwrap();
        assert_eq!(stranger, Caller { node: None, version: 1 });
    }

    #[test]
    fn a_foreign_cluster_is_refused_by_name() {
        let (message, reason) = refusal(&headers(Some(Identity { cluster: 0xdef, node: NodeId(2) }), None));
        assert!(matches!(reason, Reason::WrongCluster(_)));
        assert!(message.contains("00abc") && message.contains("00def"), "{message}");
    }

    #[test]
    fn a_call_for_the_node_that_was_here_before_is_refused() {
        let (message, reason) = refusal(&headers(Some(OWN), Some(NodeId(9))));
        assert!(matches!(reason, Reason::WrongNode(v1::WrongNode { node: 1 })));
        assert_eq!(message, "the call is for node 9, this is node 1");
    }

    #[test]
    fn versions_without_overlap_are_refused_with_both() {
        let mut newer = headers(Some(OWN), None);
        newer.insert(VERSIONS, "7-9".parse().unwrap());
        let (message, reason) = refusal(&newer);
        assert!(matches!(reason, Reason::NoCommonVersion(_)));
        assert_eq!(message, "node 1 speaks versions 1-1 between nodes, the caller 7-9");
        newer.insert(VERSIONS, "1-9".parse().unwrap());
        assert_eq!(OWN.check(&newer, SPOKEN).unwrap().version, 1);
    }

    #[test]
    fn hostile_metadata_is_refused() {
        for (key, value) in [(VERSIONS, "9-7"), (VERSIONS, "x"), (NODE, "-1"), (NODE, ""), (CLUSTER, ""), (TO, "")] {
            let mut damaged = headers(Some(OWN), Some(NodeId(1)));
            damaged.insert(key, value.parse().unwrap());
            assert!(OWN.check(&damaged, SPOKEN).is_err(), "{key}: {value:?}");
        }
        let mut binary = headers(Some(OWN), None);
        binary.insert(CLUSTER, axum::http::HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap());
        assert!(OWN.check(&binary, SPOKEN).is_err());
        assert!(OWN.check(&HeaderMap::new(), SPOKEN).is_err());
    }
}
