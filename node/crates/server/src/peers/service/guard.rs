//! Stands before the service: who calls is checked before anything of the call is read.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Request, Response};
use bellwether_model::NodeId;
use bellwether_probe::reached;
use bellwether_proto::peer::v1::{self, Failure};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tower::Service;

use crate::far_end::{FarEnd, Security};
use crate::meta::MetaState;
use crate::peers::identity::{Caller, Identity};
use crate::program::Versions;
use crate::tls::Tls;

/// The call that a node without an identity may make.
const JOIN: &str = "/Join";
/// The call with which a node says that it is elsewhere now.
const PROPOSE_META: &str = "/ProposeMeta";

/// Who may call: members that were not removed, and where there is TLS, those whose certificate is for the host at which
/// the cluster knows them.
#[derive(Clone, Default)]
pub struct Passes {
    /// The cluster, if the node knows it.
    pub state: Option<watch::Receiver<Arc<MetaState>>>,
    /// What certificates are checked with.
    pub tls: Option<Tls>,
}

impl Passes {
    fn check(&self, node: NodeId, call: &str, far_end: Option<&FarEnd>) -> Result<(), Failure> {
        let address = match &self.state {
            Some(state) => {
                let state = state.borrow();
                if state.is_removed(node) {
                    reached("a removed node was turned away");
                    let message = format!("node {node} was removed from the cluster");
                    return Err(Failure::new(message, v1::NodeRemoved {}));
                }
                state.nodes.get(&node).map(|record| record.facts.grpc.clone())
            }
            None => None,
        };
        // Who has moved, and who is newer than what is known here, is no stranger if its certificate is a node's.
        let address = address.filter(|_| !call.ends_with(PROPOSE_META));
        self.check_certificate(far_end, address.as_deref())
            .map_err(|reason| Failure::new(format!("node {node}: {reason}"), v1::Rejected {}))
    }

    /// Whether the certificate at the far end is that of the node that is reached at `address`.
    pub fn check_node_at(&self, far_end: Option<&FarEnd>, address: &str) -> Result<(), String> {
        self.check_certificate(far_end, Some(address))
    }

    fn check_certificate(&self, far_end: Option<&FarEnd>, address: Option<&str>) -> Result<(), String> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let Some(Security::Tls(Some(certificate))) = far_end.map(|far_end| &far_end.security) else {
            return Err("a node must show its certificate: set tls.cert and tls.key there".to_owned());
        };
        match address {
            _ if !certificate.is_node() => {
                Err(format!("the certificate of {certificate} is no node's: make one with bwctl tls node"))
            }
            Some(address) if !tls.is_of_node_at(certificate, address) => Err(format!(
                "the certificate of {certificate} is not for {address}, where the node says that it is reached: make one \
                 for that host (bwctl tls node), or set tls.name to a name that all nodes' certificates have"
            )),
            _ => Ok(()),
        }
    }
}

/// A service behind its guard.
#[derive(Clone)]
pub struct Guard<S> {
    service: S,
    own: Identity,
    spoken: Versions,
    passes: Passes,
}

impl<S> Guard<S> {
    /// Guards a service.
    pub fn new(service: S, own: Identity, spoken: Versions, passes: Passes) -> Guard<S> {
        Guard { service, own, spoken, passes }
    }

    fn check(&self, request: &Request<Body>) -> Result<Caller, Failure> {
        let caller = self.own.check(request.headers(), self.spoken)?;
        match caller.node {
            Some(node) => {
                self.passes.check(node, request.uri().path(), request.extensions().get())?;
                Ok(caller)
            }
            None if !request.uri().path().ends_with(JOIN) => {
                Err(Failure::new("the call does not say which cluster it belongs to", v1::Rejected {}))
            }
            _ => Ok(caller),
        }
    }
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<tonic::body::Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.check(&request) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Box::pin(self.service.call(request))
            }
            Err(failure) => {
                tracing::debug!(reason = failure.message, call = request.uri().path(), "a call was refused");
                Box::pin(std::future::ready(Ok(failure.into_status().into_http())))
            }
        }
    }
}
