//! A certificate that somebody showed, and what is wrong with one, for people.

use std::fmt;
use std::io;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, Error};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// A certificate whose owner and authority were checked.
#[derive(Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject: String,
    is_node: bool,
    not_after_s: i64,
}

impl Certificate {
    /// Reads it; `None` where it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
        let (_, parsed) = parse_x509_certificate(der).ok()?;
        // An authority that says nothing of purposes means all of them.
        let is_node = match parsed.extended_key_usage().ok()? {
            Some(usage) => usage.value.server_auth || usage.value.any,
            None => true,
        };
        Some(Certificate {
            subject: parsed.subject().to_string(),
            is_node,
            not_after_s: parsed.validity().not_after.timestamp(),
            der: der.clone().into_owned(),
        })
    }

    /// Whether it is a node's, and not an administrator's or a client's: it is one to be served with.
    pub fn is_node(&self) -> bool {
        self.is_node
    }

    /// Whether it is valid for a host's name or address.
    pub fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        ParsedCertificate::try_from(&self.der).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// The last second of its life, since the Unix epoch.
    pub fn not_after_s(&self) -> i64 {
        self.not_after_s
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject)
    }
}

/// A time as people read it.
pub(super) fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

fn date_of(time: &UnixTime) -> String {
    date(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// What is wrong with a certificate, as the end of a sentence that names it, and what to do.
pub(super) fn wrong(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "expired: make a new one (bwctl tls node) and put it in its place".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}: make a new one (bwctl tls node) and put it in its place", date_of(not_after))
        }
        CertificateError::NotValidYet => "is not valid yet: is the clock right?".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}: is the clock right?", date_of(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "is for {}, not for {}: advertise a host that it is for, make one for this host (bwctl tls node), or set \
             tls.name to a name that all nodes' certificates have",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "was not made by an authority of tls.ca: does it belong to another cluster?".to_owned()
        }
        other => format!("is not valid: {other}"),
    }
}

/// A failed handshake with whoever is at an address, in words that say what to do.
pub(super) fn explained(error: io::Error, address: &str) -> io::Error {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return error };
    let text = match inner {
        Error::InvalidCertificate(error) => format!("the certificate of {address} {}", wrong(error)),
        Error::InvalidMessage(_) => format!("{address} speaks no TLS: it needs tls.ca, tls.cert and tls.key as well"),
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            format!("{address} says that our certificate expired: make a new one (bwctl tls node)")
        }
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            format!("{address} does not know the authority of our certificate: does it belong to another cluster?")
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => format!("{address} wants a certificate of us"),
        other => format!("TLS with {address}: {other}"),
    };
    io::Error::new(error.kind(), text)
}
