//! Stands before the service: who calls is checked before anything of the call is read.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Request, Response};
use bellwether_proto::peer::v1::{self, Failure};
use futures::future::BoxFuture;
use tower::Service;

use super::Admits;
use crate::peers::identity::{Caller, Identity};

/// The call that a node without an identity may make.
const JOIN: &str = "/Join";

/// A service behind its guard.
#[derive(Clone)]
pub struct Guard<S> {
    service: S,
    own: Identity,
    admits: Admits,
}

impl<S> Guard<S> {
    /// Guards a service.
    pub fn new(service: S, own: Identity, admits: Admits) -> Guard<S> {
        Guard { service, own, admits }
    }

    fn check(&self, request: &Request<Body>) -> Result<Caller, Failure> {
        let caller = self.own.check(request.headers())?;
        match caller.node {
            Some(node) if !(self.admits)(node) => {
                let message = format!("node {node} was removed from the cluster");
                Err(Failure::new(message, v1::NodeRemoved {}))
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
