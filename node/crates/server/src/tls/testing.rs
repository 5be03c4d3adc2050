//! Certificates for tests: an authority, and what it gives out, on files in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bellwether_model::Timestamp;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

use crate::config::TlsConfig;
use crate::env::Files;

/// Files in memory. Clones are the same.
#[derive(Clone, Default)]
pub struct TestFiles(Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>);

impl TestFiles {
    pub fn put(&self, path: &str, content: &str) {
        self.0.lock().insert(path.into(), content.as_bytes().to_vec());
    }
}

impl Files for TestFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }
}

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// Years in which certificates are valid whose years do not matter; tests are in 2026.
pub const YEARS: (i32, i32) = (2020, 2040);

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// For a node at these hosts, from the first day of a year to the first day of another.
    pub fn node(&self, hosts: &[&str], (from, until): (i32, i32)) -> Pair {
        let purposes = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.give(hosts, &purposes, (from, until))
    }

    /// For an administrator.
    pub fn administrator(&self) -> Pair {
        self.give(&[], &[ExtendedKeyUsagePurpose::ClientAuth], YEARS)
    }

    fn give(&self, hosts: &[&str], purposes: &[ExtendedKeyUsagePurpose], (from, until): (i32, i32)) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, hosts.first().map_or("administrator", String::as_str));
        params.extended_key_usages = purposes.to_vec();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

/// A time on the first day of a year.
pub fn year_ms(year: i32) -> Timestamp {
    date_time_ymd(year, 1, 2).unix_timestamp() * 1000
}

/// Puts a certificate at the usual place, and says where that is.
pub fn place(files: &TestFiles, authority: &str, pair: &Pair) -> TlsConfig {
    files.put("/ca.pem", authority);
    files.put("/cert.pem", &pair.cert);
    files.put("/key.pem", &pair.key);
    TlsConfig { ca: "/ca.pem".into(), cert: "/cert.pem".into(), key: "/key.pem".into(), ..TlsConfig::default() }
}
