//! What the three files give: how this node serves and how it connects, once they have proved good.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use xxhash_rust::xxh3::Xxh3;

use super::certificate::{Certificate, wrong};
use super::error::TlsError;
use crate::config::TlsConfig;
use crate::env::WallClock;

/// The bytes of the files.
pub struct Contents {
    pub ca: Vec<u8>,
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
}

impl Contents {
    /// Differs when a file does.
    pub fn fingerprint(&self) -> u128 {
        let mut hash = Xxh3::new();
        for file in [&self.ca, &self.cert, &self.key] {
            hash.update(&(file.len() as u64).to_le_bytes());
            hash.update(file);
        }
        hash.digest128()
    }
}

/// See the module.
pub struct Material {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    pub own: Certificate,
}

/// What the files are for.
pub struct Purpose<'a> {
    pub config: &'a TlsConfig,
    /// The host by which others reach this node.
    pub host: &'a str,
    pub clock: Arc<dyn WallClock>,
}

impl Material {
    /// Reads the files' contents, and makes sure that others will take what this node shows them.
    pub fn new(contents: &Contents, purpose: Purpose<'_>) -> Result<Material, TlsError> {
        let Purpose { config, host, clock } = purpose;
        let authorities = certificates("tls.ca", &config.ca, &contents.ca)?;
        let chain = certificates("tls.cert", &config.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| TlsError::Content {
            key: "tls.key",
            path: config.key.clone(),
            what: "private key",
            reason: error.to_string(),
        })?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| TlsError::Content {
                key: "tls.ca",
                path: config.ca.clone(),
                what: "usable certificate",
                reason: error.to_string(),
            })?;
        }
        let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
        let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        let verifier = NodeVerifier::new(roots.clone(), provider.clone(), &config.name)?;
        let time = Arc::new(EnvTime(clock));
        let own = verifier.check_own(&chain, host, &time, &config.cert)?;

        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let clients = if config.client_certificates { clients } else { clients.allow_unauthenticated() };
        let clients = clients.build().map_err(|error| setup(&error))?;
        let unfit = |error: Error| TlsError::Key {
            key: config.key.clone(),
            cert: config.cert.clone(),
            reason: error.to_string(),
        };
        let mut server = ServerConfig::builder_with_details(provider.clone(), time.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| setup(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(unfit)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Whoever comes back shows a certificate again: it may have expired.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| setup(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(unfit)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Material { server: Arc::new(server), client: Arc::new(client), own })
    }
}

fn certificates(key: &'static str, path: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::Content { key, path: path.to_owned(), what: "certificate", reason };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("there is none in it".to_owned())) } else { Ok(found) }
}

/// The node's clock, as TLS wants it.
#[derive(Clone)]
pub struct EnvTime(Arc<dyn WallClock>);

impl EnvTime {
    /// Of a clock.
    pub fn new(clock: Arc<dyn WallClock>) -> EnvTime {
        EnvTime(clock)
    }
}

impl fmt::Debug for EnvTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvTime")
    }
}

impl TimeProvider for EnvTime {
    fn current_time(&self) -> Option<UnixTime> {
        let ms = u64::try_from(self.0.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

/// Checks the certificate of a node that this one connects to: for its host, or for the name that all nodes' have.
#[derive(Debug)]
struct NodeVerifier {
    inner: Arc<WebPkiServerVerifier>,
    name: Option<ServerName<'static>>,
}

impl NodeVerifier {
    fn new(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>, name: &str) -> Result<NodeVerifier, TlsError> {
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let inner = inner.map_err(|error| TlsError::Setup(error.to_string()))?;
        let name = match name {
            "" => None,
            name => Some(ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Host(name.to_owned()))?),
        };
        Ok(NodeVerifier { inner, name })
    }

    /// What others would say of this node's own certificate.
    fn check_own(
        &self,
        chain: &[CertificateDer<'_>],
        host: &str,
        time: &EnvTime,
        path: &str,
    ) -> Result<Certificate, TlsError> {
        let refused = |reason| TlsError::Certificate { path: path.to_owned(), reason };
        let host = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(host.to_owned()))?;
        let now = time.current_time().ok_or_else(|| TlsError::Setup("the clock is before 1970".to_owned()))?;
        let (own, intermediates) = chain.split_first().expect("a file without certificates was refused");
        self.verify_server_cert(own, intermediates, &host, &[], now).map_err(|error| match error {
            Error::InvalidCertificate(error) => refused(wrong(&error)),
            other => refused(format!("is not usable: {other}")),
        })?;
        Certificate::read(own).ok_or_else(|| refused("cannot be read".to_owned()))
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |name| self.inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        match (verify(server_name), &self.name) {
            (
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )),
                Some(name),
            ) => verify(name),
            (verified, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
