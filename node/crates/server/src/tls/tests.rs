//! Tests of TLS: what is taken, what is refused and with which words, and files that change.

use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::MemDisk;
use expect_test::{Expect, expect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{sleep, timeout};

use super::testing::{Authority, Pair, TestFiles, YEARS, place, year_ms};
use super::*;
use crate::testing::{NoNet, TestClock, env};

/// A node's files, and the clock that it goes by.
struct Machine {
    files: TestFiles,
    clock: Arc<TestClock>,
    config: TlsConfig,
}

impl Machine {
    fn new(authority: &Authority, pair: &Pair) -> Machine {
        let files = TestFiles::default();
        let config = place(&files, &authority.pem, pair);
        Machine { files, clock: Arc::default(), config }
    }

    async fn load(&self, host: &str) -> Result<Tls, TlsError> {
        let env = env(MemDisk::new(), self.clock.clone(), Arc::new(NoNet));
        let env = Env { files: Arc::new(self.files.clone()), ..env };
        Tls::load(&self.config, host, &env, &Registry::new()).await.map(|tls| tls.expect("files are named"))
    }

    #[track_caller]
    fn refused(tls: Result<Tls, TlsError>, expected: Expect) {
        expected.assert_eq(&tls.err().unwrap().to_string());
    }
}

/// Connects one node to another at `address`; returns what each side has of it.
async fn connect(
    client: &Tls,
    server: &Tls,
    address: &str,
) -> (Result<String, String>, Result<Option<Arc<Certificate>>, String>) {
    let (near, far) = duplex(1 << 16);
    let net = client.over(Arc::new(Wire(Mutex::new(Some(near)))));
    let served = async {
        let (mut stream, certificate) = server.accept(Box::new(far)).await.map_err(|error| error.to_string())?;
        stream.write_all(b"hello").await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        Ok(certificate)
    };
    let called = async {
        let mut stream = net.connect(address).await.map_err(|error| error.to_string())?;
        let mut heard = vec![0; 5];
        stream.read_exact(&mut heard).await.map_err(|error| explained(error, address).to_string())?;
        Ok(String::from_utf8(heard).unwrap())
    };
    timeout(Duration::from_secs(60), async { tokio::join!(called, served) }).await.unwrap()
}

/// One connection, made already.
struct Wire(Mutex<Option<tokio::io::DuplexStream>>);

impl Net for Wire {
    fn bind(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let stream = self.0.lock().take();
        Box::pin(async { Ok(Box::new(stream.ok_or(io::ErrorKind::ConnectionRefused)?) as Box<dyn Stream>) })
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_know_each_other_by_their_hosts() {
    let authority = Authority::new("ours");
    let first = Machine::new(&authority, &authority.node(&["10.0.0.1"], YEARS)).load("10.0.0.1").await.unwrap();
    let second = Machine::new(&authority, &authority.node(&["b.example"], YEARS)).load("b.example").await.unwrap();
    let (heard, shown) = connect(&first, &second, "b.example:9481").await;
    let shown = shown.unwrap().unwrap();
    assert_eq!((heard.as_deref(), shown.to_string().as_str()), (Ok("hello"), "CN=10.0.0.1"));
    assert!(second.is_of_node_at(&shown, "10.0.0.1:9481") && !second.is_of_node_at(&shown, "10.0.0.2:9481"));

    let (wrong, _) = connect(&first, &second, "c.example:9481").await;
    expect![[r#"the certificate of c.example:9481 is for DnsName("b.example"), not for c.example: advertise a host that it is for, make one for this host (bwctl tls node), or set tls.name to a name that all nodes' certificates have"#]]
        .assert_eq(&wrong.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn one_name_may_stand_for_all_hosts() {
    let authority = Authority::new("ours");
    let pair = authority.node(&["node.bellwether"], YEARS);
    let mut machine = Machine::new(&authority, &pair);
    assert!(machine.load("10.0.0.1").await.is_err());
    machine.config.name = "node.bellwether".to_owned();
    let tls = machine.load("10.0.0.1").await.unwrap();
    let (heard, shown) = connect(&tls, &tls, "10.0.0.2:9481").await;
    assert_eq!(heard.as_deref(), Ok("hello"));
    assert!(tls.is_of_node_at(&shown.unwrap().unwrap(), "10.0.0.9:1"));
}

#[tokio::test(start_paused = true)]
async fn an_administrator_is_let_in_and_is_no_node() {
    let authority = Authority::new("ours");
    let node = Machine::new(&authority, &authority.node(&["a"], YEARS)).load("a").await.unwrap();
    let machine = Machine::new(&authority, &authority.administrator());
    Machine::refused(
        machine.load("a").await,
        expect![[
            r#"the certificate in /cert.pem (configuration key "tls.cert") is not valid: certificate does not allow extended key usage for server authentication, allows client authentication"#
        ]],
    );
    let read = |pem: &str| {
        use rustls::pki_types::pem::PemObject;
        let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        Certificate::read(&der).unwrap()
    };
    assert!(!node.is_of_node_at(&read(&authority.administrator().cert), "a:1"));
    assert!(node.is_of_node_at(&read(&authority.node(&["a"], YEARS).cert), "a:1"));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_or_expired_certificate_is_refused_by_both_sides_with_what_to_do() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let node = Machine::new(&ours, &ours.node(&["a"], YEARS)).load("a").await.unwrap();
    let foreign = Machine::new(&theirs, &theirs.node(&["b"], YEARS)).load("b").await.unwrap();
    let (called, served) = connect(&node, &foreign, "b:1").await;
    expect!["the certificate of b:1 was not made by an authority of tls.ca: does it belong to another cluster?"]
        .assert_eq(&called.unwrap_err());
    expect!["the client does not know the authority of our certificate: does it belong to another cluster?"]
        .assert_eq(&served.unwrap_err());

    // Good when it was loaded, and not any more.
    let short = Machine::new(&ours, &ours.node(&["b"], (2020, 2027)));
    let expiring = short.load("b").await.unwrap();
    let late = Machine::new(&ours, &ours.node(&["a"], YEARS));
    late.clock.advance(year_ms(2028) - crate::testing::NOW_MS);
    let late = late.load("a").await.unwrap();
    let (called, _) = connect(&late, &expiring, "b:1").await;
    expect!["the certificate of b:1 expired on Jan  1 00:00:00 2027 +00:00: make a new one (bwctl tls node) and put it in its place"]
        .assert_eq(&called.unwrap_err());
    let (called, served) = connect(&expiring, &late, "a:1").await;
    expect!["a:1 says that our certificate expired: make a new one (bwctl tls node)"].assert_eq(&called.unwrap_err());
    expect!["the certificate of the client expired on Jan  1 00:00:00 2027 +00:00: make a new one (bwctl tls node) and put it in its place"]
        .assert_eq(&served.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn files_that_are_no_good_are_named() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let pair = ours.node(&["a"], YEARS);
    let machine = Machine::new(&ours, &pair);
    Machine::refused(
        machine.load("b").await,
        expect![[
            r#"the certificate in /cert.pem (configuration key "tls.cert") is for DnsName("a"), not for b: advertise a host that it is for, make one for this host (bwctl tls node), or set tls.name to a name that all nodes' certificates have"#
        ]],
    );
    machine.files.put("/key.pem", &ours.node(&["a"], YEARS).key);
    Machine::refused(
        machine.load("a").await,
        expect![[
            r#"the key in /key.pem (configuration key "tls.key") does not belong to the certificate in /cert.pem: keys may not be consistent: KeyMismatch"#
        ]],
    );
    machine.files.put("/key.pem", "nothing");
    Machine::refused(
        machine.load("a").await,
        expect![[r#"file /key.pem (configuration key "tls.key") holds no private key in PEM: no items found"#]],
    );
    machine.files.put("/ca.pem", &theirs.pem);
    machine.files.put("/key.pem", &pair.key);
    Machine::refused(
        machine.load("a").await,
        expect![[
            r#"the certificate in /cert.pem (configuration key "tls.cert") was not made by an authority of tls.ca: does it belong to another cluster?"#
        ]],
    );
    let mut nowhere = Machine::new(&ours, &pair);
    nowhere.config.ca = "/elsewhere.pem".to_owned();
    Machine::refused(
        nowhere.load("a").await,
        expect![[r#"file /elsewhere.pem (configuration key "tls.ca") cannot be read: entity not found"#]],
    );
    let expired = Machine::new(&ours, &ours.node(&["a"], (2020, 2021)));
    Machine::refused(
        expired.load("a").await,
        expect![[
            r#"the certificate in /cert.pem (configuration key "tls.cert") expired on Jan  1 00:00:00 2021 +00:00: make a new one (bwctl tls node) and put it in its place"#
        ]],
    );
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_used_without_a_restart_and_half_changed_ones_are_not() {
    let authority = Authority::new("ours");
    let (old, new) = (authority.node(&["a"], YEARS), authority.node(&["a"], (2020, 2030)));
    let machine = Machine::new(&authority, &old);
    let tls = machine.load("a").await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let following = tokio::spawn(tls.clone().follow(stopped));
    let before = tls.material().own.not_after_s();
    machine.files.put("/cert.pem", &new.cert);
    sleep(POLL_INTERVAL * 4).await;
    assert_eq!(tls.material().own.not_after_s(), before, "the key is still the old one");
    let (heard, _) = connect(&tls, &tls, "a:1").await;
    assert_eq!(heard.as_deref(), Ok("hello"));
    machine.files.put("/key.pem", &new.key);
    sleep(POLL_INTERVAL * 4).await;
    assert_ne!(tls.material().own.not_after_s(), before);
    let (heard, _) = connect(&tls, &tls, "a:1").await;
    assert_eq!(heard.as_deref(), Ok("hello"));
    stop.send_replace(true);
    timeout(POLL_INTERVAL * 2, following).await.unwrap().unwrap();
}
