//! TLS towards receivers: with what `tls_config` says, else with the authorities that the system trusts. It has nothing to do
//! with the nodes' own certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::notify::config::settings::Settings;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::failure::{Failure, Reason};
use super::files::SettingFiles;
use crate::env::{Env, ExecutorHandle, Files, Stream, WallClock};
use crate::tls::EnvTime;

/// Where systems keep the authorities that they trust; the first that is there holds
/// (<https://go.dev/src/crypto/x509/root_linux.go>).
const SYSTEM_ROOTS: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// After that time they are read again.
const ROOTS_KEPT: Duration = Duration::from_secs(3600);

/// Makes connections private.
pub struct TlsClients {
    files: Arc<dyn Files>,
    background: ExecutorHandle,
    clock: Arc<dyn WallClock>,
    roots: Mutex<Option<(Instant, Arc<RootCertStore>)>>,
}

/// How one receiver is to be spoken to.
#[derive(Clone)]
pub struct TlsSetup {
    config: Arc<ClientConfig>,
    /// The name that its certificate must be for, if it is not the host's.
    name: Option<String>,
}

impl TlsClients {
    /// In a world.
    pub fn new(env: &Env) -> TlsClients {
        TlsClients {
            files: env.files.clone(),
            background: env.executors.background.clone(),
            clock: env.clock.clone(),
            roots: Mutex::default(),
        }
    }

    /// As `tls_config` says.
    pub async fn setup(&self, settings: Option<&Settings>, files: &SettingFiles) -> Result<TlsSetup, Failure> {
        let none = Settings::default();
        let settings = settings.unwrap_or(&none);
        if let Some(refusal) = refusal(settings) {
            return Err(Failure::lasting(Reason::Configuration, refusal));
        }
        let roots = match pem(settings, "ca", files).await? {
            Some(pem) => Arc::new(authorities("tls_config's ca", &pem)?),
            None => self.system_roots().await?,
        };
        let (certificate, key) = (pem(settings, "cert", files).await?, pem(settings, "key", files).await?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let setup = |error: &dyn std::fmt::Display| Failure::of_settings(format!("tls_config: {error}"));
        let time = Arc::new(EnvTime::new(self.clock.clone()));
        let builder = ClientConfig::builder_with_details(provider.clone(), time)
            .with_protocol_versions(versions(settings))
            .map_err(|error| setup(&error))?;
        let builder = if settings.flag("insecure_skip_verify") {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| setup(&error))?)
        };
        let config = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
                let chain = chain.map_err(|_| setup(&"cert is no certificate (PEM)"))?;
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| setup(&"key is no private key (PEM)"))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| setup(&error))?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = settings.text("server_name").filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(TlsSetup { config: Arc::new(config), name })
    }

    async fn system_roots(&self) -> Result<Arc<RootCertStore>, Failure> {
        if let Some((read_at, roots)) = &*self.roots.lock()
            && read_at.elapsed() < ROOTS_KEPT
        {
            return Ok(roots.clone());
        }
        let files = self.files.clone();
        let read = move || SYSTEM_ROOTS.iter().find_map(|path| files.read(Path::new(path)).ok());
        let pem = self.background.run(read).await.map_err(|failed| Failure::of_settings(failed.to_string()))?;
        let pem = pem.ok_or_else(|| {
            let places = SYSTEM_ROOTS.join(", ");
            Failure::of_settings(format!(
                "this node knows no authorities: none of {places} is there; write tls_config.ca"
            ))
        })?;
        let roots = Arc::new(authorities("the system's authorities", &pem)?);
        *self.roots.lock() = Some((Instant::now(), roots.clone()));
        Ok(roots)
    }
}

impl TlsSetup {
    /// The private connection over one that is not.
    pub async fn connect(&self, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, Failure> {
        let name = self.name.as_deref().unwrap_or(host);
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
            Failure::lasting(Reason::Configuration, "the receiver's name is none that a certificate has")
        })?;
        let connected = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        Ok(Box::new(connected.map_err(|error| Failure::of_network("TLS", &error))?))
    }
}

/// What of `tls_config` is not done.
pub fn refusal(settings: &Settings) -> Option<String> {
    if let Some(setting) = ["ca_ref", "cert_ref", "key_ref"].iter().find(|name| settings.is_set(name)) {
        return Some(format!("tls_config.{setting} is not supported: there is no store of secrets"));
    }
    let max = settings.text("max_version").unwrap_or_default();
    ["TLS10", "TLS11"]
        .contains(&max)
        .then(|| format!("tls_config.max_version {max} is not supported: TLS12 is the least"))
}

fn versions(settings: &Settings) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (settings.text("min_version"), settings.text("max_version")) {
        (Some("TLS13"), _) => &BOTH[..1],
        (_, Some("TLS12")) => &BOTH[1..],
        _ => &BOTH,
    }
}

/// What stands in a setting or in the file of `{name}_file`.
async fn pem(settings: &Settings, name: &str, files: &SettingFiles) -> Result<Option<Vec<u8>>, Failure> {
    let inline = settings.text(name).or_else(|| settings.secret(name).map(|secret| secret.reveal()));
    if let Some(text) = inline.filter(|text| !text.is_empty()) {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    match settings.text(&format!("{name}_file")).filter(|file| !file.is_empty()) {
        Some(file) => files.read(file).await.map(Some),
        None => Ok(None),
    }
}

fn authorities(what: &str, pem: &[u8]) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    // Of the system's some may be of forms that nobody uses.
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        Err(Failure::of_settings(format!("{what}: there is no certificate (PEM) in it")))
    } else {
        Ok(roots)
    }
}

/// Takes every certificate; whoever shows it must have its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
