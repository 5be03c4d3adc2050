//! TLS to the nodes: whom to believe, and what to show.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::Error;
use crate::connect::{Connect, Stream};

/// What comes of TLS with a node in plain text.
pub const SPEAKS_NO_TLS: &str = "it speaks no TLS";

/// How nodes prove who they are, and how this client does. TLS looks at the system's clock.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// A certificate and its key, both in PEM, by which nodes know who asks.
pub struct Identity<'a> {
    /// The certificate, and any between it and its authority.
    pub cert: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
}

impl Tls {
    /// Believes nodes whose certificates an authority in `ca` (PEM) has made; shows `identity`, if there is one.
    pub fn new(ca: &[u8], identity: Option<Identity<'_>>) -> Result<Tls, Error> {
        let mut roots = RootCertStore::empty();
        for authority in certificates("the authority's certificate", ca)? {
            roots.add(authority).map_err(|error| bad("the authority's certificate", &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(|error| bad("TLS", &error))?.with_root_certificates(roots);
        let mut config = match identity {
            Some(Identity { cert, key }) => {
                let chain = certificates("the client's certificate", cert)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("the client's key", &error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| bad("the client's key", &error))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Tls(Arc::new(config)))
    }

    /// Connections that `inner` makes, with TLS on them.
    pub(crate) fn over(self, inner: Arc<dyn Connect>) -> Arc<dyn Connect> {
        Arc::new(Secured { inner, tls: self })
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| bad(what, &error))?;
    if found.is_empty() { Err(bad(what, &"there is no certificate in it")) } else { Ok(found) }
}

fn bad(what: &'static str, reason: &dyn std::fmt::Display) -> Error {
    Error::BadTls { what, reason: reason.to_string() }
}

struct Secured {
    inner: Arc<dyn Connect>,
    tls: Tls,
}

impl Connect for Secured {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (connecting, config) = (self.inner.connect(address.clone()), self.tls.0.clone());
        Box::pin(async move {
            let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host).trim_matches(['[', ']']).to_owned();
            let host = ServerName::try_from(host)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "its host cannot be in a certificate"))?;
            let stream = connecting.await?;
            let shaken = TlsConnector::from(config).connect(host, stream).await;
            Ok(Box::new(shaken.map_err(explained)?) as Box<dyn Stream>)
        })
    }
}

/// A failed handshake in words that say what to do.
fn explained(error: io::Error) -> io::Error {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return error };
    let text = match inner {
        InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "its certificate expired: make a new one for it (bwctl tls node)".to_owned()
        }
        InvalidCertificate(UnknownIssuer | BadSignature) => {
            "its certificate was not made by the authority that was given".to_owned()
        }
        InvalidCertificate(NotValidForName) => "its certificate is not for this host".to_owned(),
        InvalidCertificate(NotValidForNameContext { presented, .. }) => {
            format!("its certificate is not for this host but for {}", presented.join(", "))
        }
        InvalidMessage(_) => SPEAKS_NO_TLS.to_owned(),
        AlertReceived(AlertDescription::CertificateExpired) => "it says that our certificate expired".to_owned(),
        AlertReceived(AlertDescription::CertificateRequired) => "it wants a certificate of us".to_owned(),
        AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            "it does not know the authority of our certificate".to_owned()
        }
        other => other.to_string(),
    };
    io::Error::new(error.kind(), text)
}
