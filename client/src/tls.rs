//! TLS to the nodes: whom to believe, and what to show.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
            Ok(Box::new(Explaining(shaken.map_err(explained)?)) as Box<dyn Stream>)
        })
    }
}

/// A connection that says why the node ended it. The handshake ends on this side before the node has looked at the client's
/// certificate: what it says of that comes later, when a write may have failed already because nobody is there any more.
struct Explaining<S>(S);

/// Bytes read at a time in search of the node's last word.
const LAST_WORDS_BYTES: usize = 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Explaining<S> {
    /// The node's last word, if there is one, or else what went wrong on this side.
    fn last_word(&mut self, error: io::Error, context: &mut Context<'_>) -> io::Error {
        loop {
            let mut bytes = [0; LAST_WORDS_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.0).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                Poll::Ready(Err(said)) if said.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                    return explained(said);
                }
                Poll::Ready(_) | Poll::Pending => return error,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Explaining<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to).map_err(explained)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Explaining<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(context, bytes);
        written.map_err(|error| self.last_word(error, context))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.0).poll_flush(context);
        flushed.map_err(|error| self.last_word(error, context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.0).poll_shutdown(context);
        ended.map_err(|error| self.last_word(error, context))
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
        AlertReceived(AlertDescription::CertificateExpired) => {
            "it says that our certificate expired: make a new one (bwctl tls admin)".to_owned()
        }
        AlertReceived(AlertDescription::CertificateRequired) => "it wants a certificate of us".to_owned(),
        AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            "it does not know the authority of our certificate".to_owned()
        }
        other => other.to_string(),
    };
    io::Error::new(error.kind(), text)
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    struct Ready(parking_lot::Mutex<Option<DuplexStream>>);

    impl Connect for Ready {
        fn connect(&self, _address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
            let stream = self.0.lock().take().expect("asked for once");
            Box::pin(async move { Ok(Box::new(stream) as Box<dyn Stream>) })
        }
    }

    #[tokio::test]
    async fn a_client_whose_certificate_expired_is_told_so() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let made = |until| {
            let mut params = CertificateParams::new(vec!["node".to_owned()]).unwrap();
            params.not_after = date_time_ymd(until, 1, 1);
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let ((node, node_key), (admin, admin_key)) = (made(4000), made(2020));
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let node_key = PrivateKeyDer::try_from(node_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
        let builder = builder.with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(vec![node.der().clone()], node_key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];

        let (near, far) = duplex(1 << 16);
        let accepting = tokio::spawn(TlsAcceptor::from(Arc::new(config)).accept(far).into_fallible());
        let (cert, key) = (admin.pem(), admin_key.serialize_pem());
        let identity = Identity { cert: cert.as_bytes(), key: key.as_bytes() };
        let tls = Tls::new(ca.pem().as_bytes(), Some(identity)).unwrap();
        let mut stream = tls.over(Arc::new(Ready(Some(near).into()))).connect("node:1".to_owned()).await.unwrap();
        // The node says why, and is gone.
        drop(accepting.await.unwrap().map(drop).unwrap_err());
        let told = "it says that our certificate expired: make a new one (bwctl tls admin)";
        assert_eq!(stream.write_all(b"hello").await.unwrap_err().to_string(), told);
        assert!(stream.read_u8().await.is_err());
    }
}
