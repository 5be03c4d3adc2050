//! `bwctl tls`: an authority of a cluster's own, certificates by it, and the token by which its first nodes join. Asks no node;
//! everything is in one directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use time::OffsetDateTime;

use crate::arguments::TlsCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::times::now_ms;

const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const JOIN_TOKEN: &str = "join-token";
/// A certificate begins to be valid so much before it is made: clocks differ.
const CLOCK_SLACK_S: i64 = 3600;
/// Every node's certificate is for these as well, so that whoever sits at its machine can reach it by them.
const OWN_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The mode of a file that only its owner may read.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

pub fn run(output: Output, command: TlsCommand) -> Result<(), Failure> {
    match command {
        TlsCommand::Ca { dir, valid } => authority(output, &dir, valid),
        TlsCommand::Node { hosts, dir, valid } => {
            let first = hosts.first().expect("the command line demands a host").clone();
            let names = hosts.into_iter().chain(OWN_MACHINE.map(str::to_owned)).collect();
            let purposes = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let made = give(&dir, &format!("node-{}", file_name(&first)), &first, names, &purposes, valid)?;
            let [ca, cert, key] = made.absolute()?;
            let text = format!(
                "{}: for the node at {first}. Bring it there with {} and {CA_CERT}, and start the node with\n  --set \
                 tls.ca={ca} --set tls.cert={cert} --set tls.key={key}",
                made.cert.display(),
                made.key.display()
            );
            made.say(output, &text)
        }
        TlsCommand::JoinToken { dir } => join_token(output, &dir),
        TlsCommand::Admin { name, dir, valid } => {
            let stem = format!("admin-{}", file_name(&name));
            let made = give(&dir, &stem, &name, Vec::new(), &[ExtendedKeyUsagePurpose::ClientAuth], valid)?;
            let [ca, cert, key] = made.absolute()?;
            let text = format!(
                "{}: who has it and its key may administer:\n  bwctl --tls-ca {ca} --tls-cert {cert} --tls-key {key} \
                 cluster status",
                made.cert.display()
            );
            made.say(output, &text)
        }
    }
}

/// What was made.
struct Made {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Made {
    fn absolute(&self) -> Result<[String; 3], Failure> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map(|path| path.display().to_string());
        Ok([absolute(&self.ca)?, absolute(&self.cert)?, absolute(&self.key)?])
    }

    fn say(&self, output: Output, text: &str) -> Result<(), Failure> {
        let [ca, cert, key] = self.absolute()?;
        Ok(output.print_line(text, &json!({"ca": ca, "cert": cert, "key": key}))?)
    }
}

fn authority(output: Output, dir: &Path, valid: Duration) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| failed("make the directory", dir, &error))?;
    let made = Made { ca: dir.join(CA_CERT), cert: dir.join(CA_CERT), key: dir.join(CA_KEY) };
    let mut params = params(Vec::new(), "Bellwether cluster authority", valid)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(|error| refused(&error))?;
    let cert = params.self_signed(&key).map_err(|error| refused(&error))?;
    write_new(&made.key, &key.serialize_pem(), SECRET)?;
    write_new(&made.cert, &cert.pem(), PUBLIC)?;
    let text = format!(
        "{}: the authority. Keep {} away from the nodes: whoever has it can make nodes and administrators\n  bwctl tls node \
         HOST --dir {}     for each node",
        made.cert.display(),
        made.key.display(),
        dir.display()
    );
    made.say(output, &text)
}

/// The cluster keeps its hash alone.
#[expect(clippy::disallowed_methods, reason = "a secret is of the system's entropy")]
fn join_token(output: Output, dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| failed("make the directory", dir, &error))?;
    let path = dir.join(JOIN_TOKEN);
    let (id, secret): (u64, u128) = (rand::random(), rand::random());
    write_new(&path, &format!("{id:016x}.{secret:032x}\n"), SECRET)?;
    let absolute = std::path::absolute(&path)?.display().to_string();
    let text = format!(
        "{}: bring it to every node, and start all with\n  --wait-for-init --join OTHERS --set \
         cluster.join_token_file={absolute}\nthen, to one of them: bwctl cluster init. Others join with it for an hour",
        path.display()
    );
    Ok(output.print_line(&text, &json!({"token_file": absolute}))?)
}

fn give(
    dir: &Path,
    stem: &str,
    subject: &str,
    names: Vec<String>,
    purposes: &[ExtendedKeyUsagePurpose],
    valid: Duration,
) -> Result<Made, Failure> {
    let made =
        Made { ca: dir.join(CA_CERT), cert: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}-key.pem")) };
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = format!("{} is not there: make an authority first, with bwctl tls ca", path.display());
                Failure::Refused(text)
            }
            _ => failed("read", path, &error),
        })
    };
    let (ca, ca_key) = (read(&made.ca)?, read(&dir.join(CA_KEY))?);
    let ca_key = KeyPair::from_pem(&ca_key).map_err(|error| failed("use", &dir.join(CA_KEY), &error))?;
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).map_err(|error| failed("use", &made.ca, &error))?;
    let mut params = params(names, subject, valid)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = purposes.to_vec();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(|error| refused(&error))?;
    let cert = params.signed_by(&key, &issuer).map_err(|error| refused(&error))?;
    write_new(&made.key, &key.serialize_pem(), SECRET)?;
    write_new(&made.cert, &cert.pem(), PUBLIC)?;
    Ok(made)
}

fn params(names: Vec<String>, subject: &str, valid: Duration) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(names).map_err(|error| refused(&error))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    let now_s = now_ms() / 1000;
    let until_s = now_s.saturating_add_unsigned(valid.as_secs());
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| refused(&error));
    (params.not_before, params.not_after) = (at(now_s - CLOCK_SLACK_S)?, at(until_s)?);
    Ok(params)
}

/// Addresses have colons, which not every file system takes.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' }).collect()
}

/// Never overwrites: a key that is lost cannot be made again.
fn write_new(path: &Path, content: &str, mode: u32) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Refused(format!("{} is there already: move it away, or name another --dir", path.display()))
        }
        _ => failed("write", path, &error),
    })
}

fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Refused(format!("cannot {what} {}: {error}", path.display()))
}

fn refused(error: &dyn std::fmt::Display) -> Failure {
    Failure::Refused(error.to_string())
}
