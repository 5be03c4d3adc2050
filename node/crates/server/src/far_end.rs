//! Who is at the far end of a connection, and whether he may administer.
//!
//! Administration is for those who sit at this machine, who have a certificate of the cluster's authority, or who know the
//! secret of a token for it. Where a node listens says nothing of who calls.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Request, header};
use bellwether_model::Timestamp;
use tokio::sync::watch;

use crate::config::HostList;
use crate::env::WallClock;
use crate::gateway::Hosts;
use crate::meta::MetaState;
use crate::meta::state::TokenKind;
use crate::meta::tokens::TokenText;
use crate::tls::Certificate;

/// Who is at the far end. Every request that came over a listener carries one.
#[derive(Debug, Clone)]
pub struct FarEnd {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What protects the connection.
    pub security: Security,
}

/// What protects a connection.
#[derive(Debug, Clone)]
pub enum Security {
    /// Nothing.
    Plain,
    /// TLS, with the certificate that the other side showed.
    Tls(Option<Arc<Certificate>>),
}

impl FarEnd {
    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    fn certificate(&self) -> Option<&Certificate> {
        match &self.security {
            Security::Tls(certificate) => certificate.as_deref(),
            Security::Plain => None,
        }
    }
}

/// Tells who may administer.
#[derive(Clone)]
pub struct Administrators {
    hosts: Hosts,
    tokens: Option<watch::Receiver<Arc<MetaState>>>,
    clock: Arc<dyn WallClock>,
}

/// Why somebody may not administer, and what he needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Nobody knows where the request comes from.
    #[error("administration is served over a node's listeners alone")]
    Unknown,
    /// He is elsewhere and shows nothing.
    #[error(
        "administration from {0} needs a client certificate (bwctl --tls-cert and --tls-key) or a token (bwctl --token, \
         made by bwctl token create --kind admin)"
    )]
    Stranger(SocketAddr),
    /// The token could be read on its way.
    #[error("tokens are taken over TLS or from this machine only: this one was readable on its way, revoke it")]
    ReadableToken,
    /// The token is not good.
    #[error("{0}")]
    Token(String),
    /// A page in a browser here asks by its own name.
    #[error("{0}")]
    Host(String),
}

impl Administrators {
    /// `hosts` are names by which this machine's own requests may call the node, beside loopback's; `tokens` has the
    /// cluster's tokens.
    pub fn new(
        hosts: &HostList,
        tokens: Option<watch::Receiver<Arc<MetaState>>>,
        clock: Arc<dyn WallClock>,
    ) -> Administrators {
        Administrators { hosts: Hosts::of_loopback(hosts), tokens, clock }
    }

    /// Whether the sender of a request may administer.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), NotAllowed> {
        let far_end = request.extensions().get::<FarEnd>().ok_or(NotAllowed::Unknown)?;
        if far_end.certificate().is_some() {
            return Ok(());
        }
        if let Some(token) = bearer(request.headers()) {
            if matches!(far_end.security, Security::Plain) && !far_end.is_local() {
                return Err(NotAllowed::ReadableToken);
            }
            return self.check_token(token, self.clock.now_ms());
        }
        if !far_end.is_local() {
            return Err(NotAllowed::Stranger(far_end.address));
        }
        // A page of anywhere may have its own name resolved to loopback, whatever the listener's address is.
        self.hosts.check(request).map_err(NotAllowed::Host)
    }

    fn check_token(&self, text: &str, now: Timestamp) -> Result<(), NotAllowed> {
        let refused = |reason: &dyn std::fmt::Display| NotAllowed::Token(reason.to_string());
        let proof = TokenText::parse(text).map_err(|error| refused(&error))?.proof();
        let Some(state) = &self.tokens else { return Err(refused(&"this node knows no tokens")) };
        let state = state.borrow();
        state.find_token(TokenKind::Admin, &proof, now).map(|_| ()).map_err(|refusal| refused(&refusal))
    }
}

/// The secret in `Authorization: Bearer ..`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}
