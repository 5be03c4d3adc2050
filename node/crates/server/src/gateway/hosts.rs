//! Which names a request may call the node by.
//!
//! A page of anywhere may have its own name resolved to 127.0.0.1 and then reads, as its own origin, whatever listens
//! there (DNS rebinding). Its browser tells: the request's host is the page's name. So a listener on loopback serves only
//! requests for loopback's names and addresses, and for those that the configuration allows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{ApiError, ErrorKind};
use crate::config::HostList;

/// The hosts of one listener.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// `None` where every name is allowed.
    allowed: Option<Arc<[String]>>,
}

impl Hosts {
    /// Of a listener on `address`: one that others reach has any name that they gave it.
    pub fn new(address: SocketAddr, allowed: &HostList) -> Hosts {
        Hosts { allowed: address.ip().is_loopback().then(|| allowed.0.as_slice().into()) }
    }

    /// Of requests that come from this machine.
    pub fn of_loopback(allowed: &HostList) -> Hosts {
        Hosts { allowed: Some(allowed.0.as_slice().into()) }
    }

    /// What is wrong with the host that a request names. One that names none comes from no browser.
    pub fn check<B>(&self, request: &axum::http::Request<B>) -> Result<(), String> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let header = request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
        let authority = request.uri().authority().map(|authority| authority.as_str().into());
        match header.into_iter().chain(authority).find(|host| !is_allowed(host, allowed)) {
            None => Ok(()),
            Some(host) => Err(format!(
                "host {host:?} is not one that this node is called by; it listens on loopback, so requests must name \
                 localhost, a loopback address or a name of the configuration key \"hosts\""
            )),
        }
    }
}

/// Refuses requests for other hosts.
pub(super) async fn refuse_other_hosts(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(message) => ApiError::new(ErrorKind::Forbidden, message).into_response(),
    }
}

/// `host` is a name or an address, with or without a port.
fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bracketed = without_port.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bracketed.unwrap_or(without_port).parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = without_port.strip_suffix('.').unwrap_or(without_port).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listener: &str, host: &str) -> bool {
        let hosts = Hosts::new(listener.parse().unwrap(), &HostList(vec!["metrics.example".to_owned()]));
        let by_header = axum::http::Request::get("/").header(header::HOST, host).body(()).unwrap();
        let by_authority = axum::http::Request::get(format!("http://{host}/")).body(()).unwrap();
        assert_eq!(hosts.check(&by_header), hosts.check(&by_authority), "{host}");
        hosts.check(&by_header).is_ok()
    }

    #[test]
    fn a_listener_on_loopback_is_called_by_names_of_loopback_and_configured_ones() {
        for host in
            ["localhost", "LocalHost:9480", "localhost.", "a.localhost:1", "127.0.0.1:9480", "127.9.9.9", "[::1]:9480"]
        {
            assert!(check("127.0.0.1:9480", host), "{host}");
        }
        assert!(check("[::1]:9480", "Metrics.Example:443"));
        for host in [
            "evil.example",
            "evil.example:9480",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:1",
        ] {
            assert!(!check("127.0.0.1:9480", host), "{host}");
            assert!(check("0.0.0.0:9480", host), "{host}");
        }
    }

    #[test]
    fn a_request_that_names_no_host_passes() {
        let hosts = Hosts::new("127.0.0.1:1".parse().unwrap(), &HostList::default());
        assert_eq!(hosts.check(&axum::http::Request::get("/").body(()).unwrap()), Ok(()));
    }
}
