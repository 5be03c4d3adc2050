//! Who can reach a node, and what it must have for that: what stays on this machine may be in plain text, all else may not.

use std::net::{IpAddr, SocketAddr};

use super::setting::is_host_and_port;
use super::{Config, ConfigError};

/// `tls.*`: files in PEM; none of them or all three.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsConfig {
    /// Certificates of the authorities that nodes and administrators have theirs from.
    pub ca: String,
    /// This node's certificate, and any between it and its authority.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// A name that all nodes' certificates have, where they are not for the nodes' hosts.
    pub name: String,
    /// Whether clients without a certificate are turned away.
    pub client_certificates: bool,
}

impl TlsConfig {
    /// Whether there is TLS.
    pub fn is_set(&self) -> bool {
        !self.ca.is_empty() && !self.cert.is_empty() && !self.key.is_empty()
    }
}

/// The host in `host:port`, an IPv6 address without its brackets.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a host can be meant by nobody but this machine.
pub fn is_loopback_host(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let host = host.to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

const MAKE_FILES: &str = "`bwctl tls ca` and `bwctl tls node` make the files";

impl Config {
    /// The host by which others reach this node's gRPC interface.
    pub fn grpc_host(&self) -> String {
        match self.cluster.advertise_grpc.as_str() {
            "" => self.grpc.ip().to_string(),
            advertised => host_of(advertised).to_owned(),
        }
    }

    /// Whether HTTP is served in plain text.
    pub fn http_is_plain(&self) -> bool {
        self.insecure_listen || !self.tls.is_set()
    }

    /// Checks that whoever can reach the node meets what protects it.
    pub(super) fn validate_reach(&self) -> Result<(), ConfigError> {
        self.validate_tls_keys()?;
        self.validate_advertised()?;
        let invalid = |key, reason: String| Err(ConfigError::Invalid { key, reason });
        let is_beyond = |listens: SocketAddr, advertised: &str| {
            if !listens.ip().is_loopback() {
                return Some(listens.to_string());
            }
            let is_beyond = !advertised.is_empty() && !is_loopback_host(host_of(advertised));
            is_beyond.then(|| advertised.to_owned())
        };
        let has_tls = self.tls.is_set();
        if let Some(address) = is_beyond(self.grpc, &self.cluster.advertise_grpc).filter(|_| !has_tls) {
            let key = if self.grpc.ip().is_loopback() { "cluster.advertise_grpc" } else { "grpc" };
            return invalid(
                key,
                format!(
                    "{address} is not a loopback address, so nodes must prove who they are: set tls.ca, tls.cert and \
                     tls.key; {MAKE_FILES}"
                ),
            );
        }
        let is_open = !has_tls && !self.insecure_listen;
        if let Some(address) = is_beyond(self.http, &self.cluster.advertise_http).filter(|_| is_open) {
            let key = if self.http.ip().is_loopback() { "cluster.advertise_http" } else { "http" };
            return invalid(
                key,
                format!(
                    "{address} is not a loopback address: set tls.ca, tls.cert and tls.key ({MAKE_FILES}), or \
                     insecure_listen (--insecure-listen) to let anybody who reaches it read and write in plain text"
                ),
            );
        }
        let own = self.grpc_host();
        let elsewhere = self.join.0.iter().find(|address| !is_loopback_host(host_of(address)));
        if let Some(other) = elsewhere.filter(|_| is_loopback_host(&own)) {
            return invalid(
                "cluster.advertise_grpc",
                format!(
                    "{own} can be reached from this machine alone, but the cluster to join is elsewhere, at {other}: \
                     set grpc, or cluster.advertise_grpc, to an address that the other nodes can reach"
                ),
            );
        }
        Ok(())
    }

    fn validate_tls_keys(&self) -> Result<(), ConfigError> {
        let files = [("tls.ca", &self.tls.ca), ("tls.cert", &self.tls.cert), ("tls.key", &self.tls.key)];
        let set = files.iter().find(|(_, path)| !path.is_empty()).map(|(key, _)| *key);
        let missing = files.iter().find(|(_, path)| path.is_empty()).map(|(key, _)| *key);
        let Some((set, key)) = set.zip(missing) else { return Ok(()) };
        Err(ConfigError::Invalid { key, reason: format!("is needed where {set} is set; {MAKE_FILES}") })
    }

    fn validate_advertised(&self) -> Result<(), ConfigError> {
        for (key, advertised, address, is_needed) in [
            ("cluster.advertise_grpc", &self.cluster.advertise_grpc, self.grpc, true),
            ("cluster.advertise_http", &self.cluster.advertise_http, self.http, !self.join.0.is_empty()),
        ] {
            let invalid = |reason| Err(ConfigError::Invalid { key, reason });
            if advertised.is_empty() && address.ip().is_unspecified() && is_needed {
                return invalid(format!("is needed: other nodes cannot reach {address}"));
            }
            if !advertised.is_empty() && !is_host_and_port(advertised) {
                return invalid(format!("{advertised:?} is not host:port"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_and_known_for_loopback() {
        for (address, host, is_loopback) in [
            ("127.0.0.1:9481", "127.0.0.1", true),
            ("127.3.2.1:9481", "127.3.2.1", true),
            ("[::1]:9481", "::1", true),
            ("[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", true),
            ("LocalHost:1", "LocalHost", true),
            ("10.0.0.1:9481", "10.0.0.1", false),
            ("[fd00::1]:9481", "fd00::1", false),
            ("0.0.0.0:9481", "0.0.0.0", false),
            ("a.localhost:1", "a.localhost", true),
            ("localhost.example:1", "localhost.example", false),
        ] {
            assert_eq!((host_of(address), is_loopback_host(host_of(address))), (host, is_loopback), "{address}");
        }
    }
}
