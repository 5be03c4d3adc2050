//! Tests of clusters whose nodes other machines reach: certificates, tokens, and who may administer.

use std::io;
use std::time::Duration;

use bellwether_client::v1::{NodeState, TokenKind};
use bellwether_client::{Client, Connect, Error, Identity, Stream, series};
use rcgen::KeyPair;

use super::tests::{LONG, Machine, chain, settle};
use super::*;
use crate::Server;
use crate::config::{PeerList, Secret, TlsConfig};
use crate::env::{BoxFuture, Net};
use crate::peers::testing::TestNet;
use crate::testing::NOW_MS;
use crate::tls::testing::{Authority, Pair, TestFiles, YEARS, place};

fn grpc(at: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, at], 9481))
}

/// A machine on a network, with a certificate for its address.
fn machine(authority: &Authority, at: u8, join: &[u8]) -> Machine {
    let pair = authority.node(&[&format!("10.0.0.{at}")], YEARS);
    with_certificate(authority, &pair, at, join)
}

fn with_certificate(authority: &Authority, pair: &Pair, at: u8, join: &[u8]) -> Machine {
    let files = TestFiles::default();
    files.put("/join-token", "00000000000000ab.0123456789abcdef0123456789abcdef\n");
    let mut config = Config { shard_groups: 2, grpc: grpc(at), ..Config::default() };
    config.http = SocketAddr::from(([10, 0, 0, at], 9480));
    config.tls = place(&files, &authority.pem, pair);
    config.join = PeerList(join.iter().map(|at| grpc(*at).to_string()).collect());
    config.cluster.join_timeout = Duration::from_secs(10);
    config.self_collect.enabled = false;
    Machine::new(config, at.into(), files)
}

struct Connector(TestNet);

impl Connect for Connector {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let net = self.0.clone();
        Box::pin(async move { Ok(Box::new(net.connect(&address).await?) as Box<dyn Stream>) })
    }
}

/// A client of node `at` that shows a certificate, a token, or nothing.
fn client(net: &TestNet, authority: &Authority, at: u8, shows: Option<&Pair>, token: Option<&str>) -> Client {
    let identity = shows.map(|pair| Identity { cert: pair.cert.as_bytes(), key: pair.key.as_bytes() });
    let tls = bellwether_client::Tls::new(authority.pem.as_bytes(), identity).unwrap();
    let builder = Client::builder().addresses([format!("https://{}", grpc(at))]).connector(Connector(net.clone()));
    let builder = builder.tls(tls).seed(1).discovery_interval(None).attempts_max(3);
    match token {
        Some(token) => builder.token(token).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

async fn refusal(machine: &mut Machine, net: &TestNet) -> String {
    chain(&machine.start(net).await.err().expect("it does not start"))
}

fn refused<T>(result: Result<T, Error>) -> String {
    match result.err() {
        Some(Error::Refused { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

async fn founded(net: &TestNet, authority: &Authority) -> (Server, Client) {
    let founder = machine(authority, 1, &[]).start(net).await.unwrap();
    let admin = client(net, authority, 1, Some(&authority.administrator()), None);
    (founder, admin)
}

async fn token(admin: &Client, uses: u32) -> Secret {
    Secret(admin.cluster().create_token(TokenKind::Join, None, uses).await.unwrap().token)
}

#[tokio::test(start_paused = true)]
async fn three_nodes_join_with_certificates_and_a_token() {
    let (net, authority) = (TestNet::default(), Authority::new("ours"));
    let (founder, admin) = founded(&net, &authority).await;
    let two_uses = token(&admin, 2).await;
    let mut servers = vec![founder];
    for at in [2, 3] {
        let mut machine = machine(&authority, at, &[1]);
        machine.config.cluster.join_token = two_uses.clone();
        servers.push(machine.start(&net).await.unwrap());
    }
    settle(&servers.iter().collect::<Vec<_>>(), 3).await;
    // Whoever shows nothing may write and ask, and finds the nodes.
    let anybody = client(&net, &authority, 3, None, None);
    anybody.write(vec![series([("__name__", "up")], [(NOW_MS, 1.0)])]).await.unwrap();
    let known = admin.cluster().nodes().await.unwrap();
    assert!(known.iter().all(|node| node.up && node.state() == NodeState::Active) && known.len() == 3);

    let mut fourth = machine(&authority, 4, &[2]);
    assert!(refusal(&mut fourth, &net).await.starts_with("configuration key \"cluster.join_token\": is needed"));
    fourth.config.cluster.join_token = two_uses;
    let text = refusal(&mut fourth, &net).await;
    assert!(text.contains("the token was used already, as often as it can be (2)"), "{text}");
    fourth.config.cluster.join_token = Secret("00000000000000ff.0123456789abcdef0123456789abcdef".to_owned());
    let text = refusal(&mut fourth, &net).await;
    assert!(text.contains("there is no token 00000000000000ff here"), "{text}");
    let made = token(&admin, 1).await;
    admin.cluster().revoke_token(&made.0).await.unwrap();
    fourth.config.cluster.join_token = made;
    let text = refusal(&mut fourth, &net).await;
    assert!(text.contains("the token was revoked"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_or_is_somebody_else_is_refused() {
    let (net, authority) = (TestNet::default(), Authority::new("ours"));
    let (_founder, admin) = founded(&net, &authority).await;
    let made = token(&admin, 1).await;

    // It shows a certificate by which the others would not find it.
    let mut liar = machine(&authority, 2, &[1]);
    liar.config.cluster.join_token = made.clone();
    liar.config.cluster.advertise_grpc = "10.0.0.3:9481".to_owned();
    let text = refusal(&mut liar, &net).await;
    assert!(text.contains("(configuration key \"tls.cert\") is for"), "{text}");
    // A stranger's.
    let mut stranger = machine(&Authority::new("theirs"), 2, &[1]);
    stranger.config.cluster.join_token = made.clone();
    let text = refusal(&mut stranger, &net).await;
    assert!(text.contains("does it belong to another cluster?"), "{text}");
    // Reached from its own machine alone.
    let mut local = machine(&authority, 2, &[1]);
    (local.config.grpc, local.config.http) = ("127.0.0.1:9481".parse().unwrap(), "127.0.0.1:9480".parse().unwrap());
    let text = refusal(&mut local, &net).await;
    assert!(text.contains("cluster.advertise_grpc") && text.contains("this machine alone"), "{text}");
    // Without TLS nobody starts.
    let mut plain = machine(&authority, 2, &[1]);
    plain.config.tls = TlsConfig::default();
    let text = refusal(&mut plain, &net).await;
    assert!(text.contains("tls.ca, tls.cert and tls.key"), "{text}");
    // And the token is still good.
    let mut good = machine(&authority, 2, &[1]);
    good.config.cluster.join_token = made;
    let joined = good.start(&net).await.unwrap();
    assert_eq!(joined.meta().node(), NodeId(2));
}

#[tokio::test(start_paused = true)]
async fn administration_from_elsewhere_wants_a_certificate_or_a_token() {
    let (net, authority) = (TestNet::default(), Authority::new("ours"));
    let (_founder, admin) = founded(&net, &authority).await;
    let anybody = client(&net, &authority, 1, None, None);
    let text = refused(anybody.cluster().status().await);
    assert!(text.starts_with("administration from 10.0.0.1:9481 needs a client certificate"), "{text}");

    let made = admin.cluster().create_token(TokenKind::Admin, Some(LONG), 1).await.unwrap().token;
    let holder = client(&net, &authority, 1, None, Some(&made));
    for _ in 0..3 {
        holder.cluster().status().await.unwrap();
    }
    let wrong = client(&net, &authority, 1, None, Some(&format!("{}.{:032x}", &made[..16], 1)));
    assert!(refused(wrong.cluster().status().await).contains("is wrong: copy the token whole"));
    let joins = token(&admin, 1).await;
    let wrong = client(&net, &authority, 1, None, Some(&joins.0));
    assert!(refused(wrong.cluster().status().await).contains("the token is to join as a node, not to administer"));
    holder.cluster().revoke_token(&made).await.unwrap();
    assert!(refused(holder.cluster().status().await).contains("the token was revoked"));
    let shown = admin.cluster().tokens().await.unwrap();
    assert!(!format!("{shown:?}").contains(&made[17..]) && shown.len() == 2);

    // A certificate of another authority is no certificate.
    let foreign = Authority::new("theirs").administrator();
    assert!(KeyPair::from_pem(&foreign.key).is_ok());
    let stranger = client(&net, &authority, 1, Some(&foreign), None);
    assert!(matches!(stranger.cluster().status().await, Err(Error::Unreachable { .. } | Error::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_when_one_side_speaks_tls_and_the_other_does_not() {
    let (net, authority) = (TestNet::default(), Authority::new("ours"));
    let (_founder, _) = founded(&net, &authority).await;
    let plain = Client::builder().addresses([grpc(1).to_string()]).connector(Connector(net.clone())).seed(1);
    let plain = plain.discovery_interval(None).build().unwrap();
    let error = plain.cluster().status().await.unwrap_err();
    assert_eq!(error, Error::SpeaksTls { address: grpc(1).to_string() });

    let net = TestNet::default();
    let mut local = machine(&authority, 1, &[]);
    local.config.tls = TlsConfig::default();
    (local.config.grpc, local.config.http) = ("127.0.0.1:9481".parse().unwrap(), "127.0.0.1:9480".parse().unwrap());
    let address = local.config.grpc.to_string();
    let _server = local.start(&net).await.unwrap();
    let tls = bellwether_client::Tls::new(authority.pem.as_bytes(), None).unwrap();
    let secured = Client::builder().addresses([address.clone()]).connector(Connector(net.clone())).tls(tls).seed(1);
    let error = secured.discovery_interval(None).build().unwrap().cluster().status().await.unwrap_err();
    assert_eq!(error, Error::SpeaksNoTls { address });
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_started_alike_share_a_token_and_the_founder_makes_it_valid() {
    let (net, authority) = (TestNet::default(), Authority::new("ours"));
    let alike = |at: u8| {
        let others: Vec<u8> = (1..=3).filter(|other| *other != at).collect();
        let mut machine = machine(&authority, at, &others);
        machine.config.cluster.wait_for_init = true;
        machine
    };
    let starting = [1, 2, 3].map(|at| {
        let (mut machine, net) = (alike(at), net.clone());
        machine.config.cluster.join_token_file = "/join-token".into();
        tokio::spawn(async move { machine.start(&net).await })
    });
    let admin = client(&net, &authority, 2, Some(&authority.administrator()), None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(starting.iter().all(|starting| !starting.is_finished()), "nobody founds by itself");
    admin.cluster().init(0, &[], None).await.unwrap();
    let mut servers = Vec::new();
    for starting in starting {
        servers.push(starting.await.unwrap().unwrap());
    }
    settle(&servers.iter().collect::<Vec<_>>(), 3).await;
    let tokens = admin.cluster().tokens().await.unwrap();
    assert_eq!((tokens.len(), &*tokens[0].id, tokens[0].used), (1, "00000000000000ab", 2));

    // Without it a node waits to be told, and cannot join.
    let (mut without, of_task) = (alike(4), net.clone());
    let waiting = tokio::spawn(async move { without.start(&of_task).await });
    tokio::time::sleep(LONG).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    let mut lost = alike(5);
    lost.config.cluster.join_token_file = "/nowhere".into();
    let text = refusal(&mut lost, &net).await;
    assert!(text.starts_with("configuration key \"cluster.join_token_file\": cannot read /nowhere"), "{text}");
}
