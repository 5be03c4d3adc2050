//! TLS: what this node shows others and what it wants of them, from three files that may change while it runs.
//!
//! Nodes show each other certificates of the cluster's own authority, each for the host that the node is reached at or for
//! the name that all nodes' certificates have. Clients check the node's; they may show one of their own. Connections that
//! exist go on with what they began with.
//!
//! Reading order: [`TlsError`], `certificate`, `material` (the files' contents), then [`Tls`].

mod certificate;
mod error;
mod material;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus::{IntCounter, IntGauge, Registry};
use rustls::pki_types::ServerName;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use certificate::Certificate;
pub use error::TlsError;
pub(crate) use material::EnvTime;

use self::certificate::{date, explained};
use self::material::{Contents, Material, Purpose};
use crate::config::{TlsConfig, host_of};
use crate::env::{BoxFuture, Env, ExecutorHandle, Files, Listener, Net, Stream, WallClock};
use crate::replication::Stopping;

/// How long a client may take for its part of the handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How often the files are looked at. What has changed is used once it was found the same twice.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// So long before its end a certificate is warned of.
const EXPIRY_WARNING_S: i64 = 14 * 24 * 3600;
/// Refused certificates are logged no more often.
const REFUSAL_LOG_PAUSE: Duration = Duration::from_secs(10);

/// A node's TLS. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    config: TlsConfig,
    host: String,
    files: Arc<dyn Files>,
    background: ExecutorHandle,
    clock: Arc<dyn WallClock>,
    current: RwLock<Arc<Material>>,
    /// Of the files that were looked at last.
    fingerprint: Mutex<u128>,
    refusal_logged: Mutex<Option<Instant>>,
    expiry: IntGauge,
    failed: IntCounter,
}

/// What was said of the certificate's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Soon,
    Expired,
}

impl Tls {
    /// Reads the files; `None` where the configuration names none. `host` is what others reach this node by.
    pub async fn load(config: &TlsConfig, host: &str, env: &Env, registry: &Registry) -> Result<Option<Tls>, TlsError> {
        if !config.is_set() {
            return Ok(None);
        }
        let expiry = IntGauge::new(
            "bellwether_tls_certificate_expiry_timestamp_seconds",
            "When the node's certificate expires, in seconds since the Unix epoch.",
        )?;
        let failed = IntCounter::new(
            "bellwether_tls_handshakes_failed_total",
            "Connections to this node's listeners that did not get through the TLS handshake.",
        )?;
        registry.register(Box::new(expiry.clone()))?;
        registry.register(Box::new(failed.clone()))?;
        let background = env.executors.background.clone();
        let contents = read(&env.files, &background, config).await?;
        let material = Material::new(&contents, Purpose { config, host, clock: env.clock.clone() })?;
        expiry.set(material.own.not_after_s());
        Ok(Some(Tls(Arc::new(Inner {
            config: config.clone(),
            host: host.to_owned(),
            files: env.files.clone(),
            background,
            clock: env.clock.clone(),
            current: RwLock::new(Arc::new(material)),
            fingerprint: Mutex::new(contents.fingerprint()),
            refusal_logged: Mutex::default(),
            expiry,
            failed,
        }))))
    }

    /// The other side of a connection that was accepted, and the certificate that it showed.
    pub async fn accept(&self, stream: Box<dyn Stream>) -> io::Result<(Box<dyn Stream>, Option<Arc<Certificate>>)> {
        let acceptor = TlsAcceptor::from(self.material().server.clone());
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake within {HANDSHAKE_WAIT:?}"));
        let shaken = timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await.unwrap_or_else(|_| Err(late()));
        let stream = shaken.map_err(|error| {
            self.0.failed.inc();
            explained(error, "the client")
        })?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.and_then(Certificate::read).map(Arc::new);
        Ok((Box::new(stream), certificate))
    }

    /// Whether a refused connection may be logged as more than a detail: strangers could fill the log.
    pub fn may_log(&self) -> bool {
        let (mut last, now) = (self.0.refusal_logged.lock(), Instant::now());
        let may = last.is_none_or(|last| now.duration_since(last) >= REFUSAL_LOG_PAUSE);
        if may {
            *last = Some(now);
        }
        may
    }

    /// A network on which every connection that is made begins with TLS. Listeners stay as they are.
    pub fn over(&self, net: Arc<dyn Net>) -> Arc<dyn Net> {
        Arc::new(TlsNet { net, tls: self.clone() })
    }

    /// Whether a certificate is that of the node that is reached at `address`.
    pub fn is_of_node_at(&self, certificate: &Certificate, address: &str) -> bool {
        let named = || !self.0.config.name.is_empty() && certificate.is_for(&self.0.config.name);
        certificate.is_node() && (certificate.is_for(host_of(address)) || named())
    }

    /// Takes changed files into use, and warns of a certificate's end, until told to stop.
    pub async fn follow(self, mut stopped: watch::Receiver<bool>) {
        let (mut pending, mut trouble, mut said) = (None, None, Said::Nothing);
        loop {
            self.warn_of_expiry(&mut said);
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = sleep(POLL_INTERVAL) => {}
            }
            let outcome = self.look(&mut pending).await.err().map(|error| error.to_string());
            if let Some(error) = outcome.as_ref().filter(|error| trouble.as_ref() != Some(*error)) {
                tracing::error!(%error, "TLS goes on with the files as they were");
            }
            trouble = outcome;
        }
    }

    /// Looks at the files once.
    async fn look(&self, pending: &mut Option<u128>) -> Result<(), TlsError> {
        let Inner { config, host, files, background, clock, .. } = &*self.0;
        let contents = read(files, background, config).await?;
        let found = contents.fingerprint();
        if found == *self.0.fingerprint.lock() {
            *pending = None;
            return Ok(());
        }
        // A certificate is there before its key, or half of it is: the next look knows.
        if pending.replace(found) != Some(found) {
            return Ok(());
        }
        let material = Material::new(&contents, Purpose { config, host, clock: clock.clone() })?;
        tracing::info!(certificate = %material.own, until = date(material.own.not_after_s()), "new TLS files are in use");
        self.0.expiry.set(material.own.not_after_s());
        *self.0.current.write() = Arc::new(material);
        *self.0.fingerprint.lock() = found;
        Ok(())
    }

    fn warn_of_expiry(&self, said: &mut Said) {
        let not_after_s = self.material().own.not_after_s();
        let left_s = not_after_s - self.0.clock.now_ms() / 1000;
        let now = match left_s {
            ..0 => Said::Expired,
            0..EXPIRY_WARNING_S => Said::Soon,
            _ => Said::Nothing,
        };
        if now != *said {
            let (file, end) = (&self.0.config.cert, date(not_after_s));
            match now {
                Said::Nothing => {}
                Said::Soon => {
                    tracing::warn!(file, end, "the certificate expires soon: make a new one (bwctl tls node)")
                }
                Said::Expired => {
                    tracing::error!(
                        file,
                        end,
                        "the certificate expired, nobody takes it: make a new one (bwctl tls node)"
                    );
                }
            }
            *said = now;
        }
    }

    fn material(&self) -> Arc<Material> {
        self.0.current.read().clone()
    }
}

async fn read(files: &Arc<dyn Files>, background: &ExecutorHandle, config: &TlsConfig) -> Result<Contents, TlsError> {
    let (files, config) = (files.clone(), config.clone());
    let read = move || -> Result<Contents, TlsError> {
        let read = |key, path: &str| {
            files.read(Path::new(path)).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
        };
        Ok(Contents {
            ca: read("tls.ca", &config.ca)?,
            cert: read("tls.cert", &config.cert)?,
            key: read("tls.key", &config.key)?,
        })
    };
    background.run(read).await.map_err(|_| Stopping)?
}

struct TlsNet {
    net: Arc<dyn Net>,
    tls: Tls,
}

impl Net for TlsNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        self.net.bind(address)
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("{address} names no host for TLS"));
            let host = ServerName::try_from(host_of(address).to_owned()).map_err(invalid)?;
            let stream = self.net.connect(address).await?;
            let connector = TlsConnector::from(self.tls.material().client.clone());
            let shaken = connector.connect(host, stream).await;
            Ok(Box::new(shaken.map_err(|error| explained(error, address))?) as Box<dyn Stream>)
        })
    }
}
