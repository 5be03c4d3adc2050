//! A world for the tests of this module: far ends that follow scripts, and one attempt to tell them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bellwether_alert::notify::Config;
use bellwether_alert::notify::templates::Library;
use bellwether_alert::notify::timeline::Timeline;
use bellwether_kv::MemDisk;
use parking_lot::Mutex;
use prometheus::Registry;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, duplex};
use tokio_rustls::TlsAcceptor;

use super::{Failure, Notification, Sender};
use crate::env::{BoxFuture, Env, Listener, Net, Stream};
use crate::testing::{TestClock, env};
use crate::tls::testing::{Pair, TestFiles};

/// What a far end does with a connection.
pub type Script = Box<dyn FnOnce(Box<dyn Stream>) -> BoxFuture<'static, ()> + Send>;

/// A network whose connections go to scripts, in order; to nobody once there are none.
#[derive(Default)]
pub struct ScriptedNet {
    scripts: Mutex<VecDeque<Script>>,
    /// The addresses that were asked for.
    pub asked: Mutex<Vec<String>>,
}

impl ScriptedNet {
    pub fn new(scripts: Vec<Script>) -> Arc<ScriptedNet> {
        Arc::new(ScriptedNet { scripts: Mutex::new(scripts.into()), asked: Mutex::default() })
    }
}

impl Net for ScriptedNet {
    fn bind(&self, _address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::Error::other("nobody listens here")) })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        self.asked.lock().push(address.to_owned());
        let script = self.scripts.lock().pop_front();
        Box::pin(async move {
            let script = script.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = duplex(64 << 10);
            tokio::spawn(script(Box::new(far)));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// What far ends were told, one entry for each request.
pub type Heard = Arc<Mutex<Vec<String>>>;

/// Reads a request, notes it, and says this.
pub fn answering(heard: &Heard, answer: &str) -> Script {
    let (heard, answer) = (heard.clone(), answer.to_owned());
    Box::new(move |stream| Box::pin(async move { answer_once(stream, &heard, &answer).await }))
}

/// The same after a handshake.
pub fn answering_over_tls(pair: &Pair, heard: &Heard, answer: &str) -> Script {
    let (heard, answer, acceptor) = (heard.clone(), answer.to_owned(), acceptor(pair));
    Box::new(move |stream| {
        Box::pin(async move {
            // Whoever does not like the certificate goes.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            answer_once(Box::new(stream), &heard, &answer).await;
        })
    })
}

pub fn acceptor(pair: &Pair) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

pub async fn answer_once(stream: Box<dyn Stream>, heard: &Heard, answer: &str) {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await;
    heard.lock().push(request);
    // Whoever has heard enough goes.
    let _ = stream.get_mut().write_all(answer.as_bytes()).await;
    let _ = stream.get_mut().shutdown().await;
}

pub async fn read_request(stream: &mut BufReader<Box<dyn Stream>>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap() == 0 {
            return head;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head.replace('\r', "") + &String::from_utf8(body).unwrap()
}

/// Tells the only integration of a configuration's receivers that an alert fires.
pub struct World {
    pub net: Arc<ScriptedNet>,
    pub files: TestFiles,
    pub registry: Registry,
    pub clock: Arc<TestClock>,
}

impl World {
    pub fn new(scripts: Vec<Script>) -> World {
        let net = ScriptedNet::new(scripts);
        World { net, files: TestFiles::default(), registry: Registry::new(), clock: Arc::default() }
    }

    /// `integration` is what stands in a receiver.
    pub async fn tell(&self, integration: &str) -> Result<(), Failure> {
        let config =
            format!("route: {{receiver: r}}\nreceivers:\n- name: r\n  {}\n", integration.replace('\n', "\n  "));
        let config = Config::read(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
        let timeline = "begin: 2026-11-20T08:00:00Z\nuntil: 1m\nevents: [{at: 0s, firing: {alertname: 'Straße'}}]\n";
        let messages = Timeline::read(timeline).unwrap().run(&config).unwrap();
        let (at, message) = &messages[0];
        let env = env(MemDisk::new(), self.clock.clone(), self.net.clone());
        let env = Env { files: Arc::new(self.files.clone()), ..env };
        let sender = Sender::new(self.net.clone(), Some("/f".into()), &env, &self.registry).unwrap();
        let integration = &config.receivers["r"].integrations[0];
        let library = Library::default();
        let external_url = "http://me";
        let (library, dedup_key) = (&library, "default-1");
        sender
            .send(&Notification {
                integration,
                message,
                extras: &Default::default(),
                library,
                external_url,
                interval_ms: 60_000,
                at: *at,
                dedup_key,
            })
            .await
    }
}
