//! Receivers are told by whoever leads, whatever becomes of leaders and receivers.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bellwether_alert::alert_group::{Command, IntegrationHealth, ReceivedAlert};
use bellwether_alert::notify::config::IntegrationAt;
use bellwether_alert::notify::config::kinds::Kind;
use bellwether_kv::Faults;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::*;
use crate::alerting::AlertGroup;
use crate::alerting::notifier::HAND_OVER_PAUSE;
use crate::env::WallClock;
use crate::peers::testing::listen;

/// Clocks that go on with the test's time, until this goes.
pub struct Clocks(AbortHandle);

impl Drop for Clocks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub fn run_clocks(machines: &[Machine]) -> Clocks {
    const STEP_MS: u64 = 50;
    let clocks: Vec<Arc<TestClock>> = machines.iter().map(|machine| machine.clock.clone()).collect();
    let run = async move {
        loop {
            sleep(Duration::from_millis(STEP_MS)).await;
            clocks.iter().for_each(|clock| clock.advance(STEP_MS as i64));
        }
    };
    Clocks(tokio::spawn(run).abort_handle())
}

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    /// Takes it, and says so after so long.
    TakesWithin(Duration),
    Refuses,
    Hangs,
}

/// A receiver of webhooks.
#[derive(Clone)]
pub struct Receiver {
    mood: watch::Sender<Mood>,
    /// What it was told: the key, the body, and whether it was taken.
    heard: Arc<Mutex<Vec<(String, Value, bool)>>>,
    listening: Arc<Mutex<Listening>>,
}

/// How many requests have no answer yet, and the most there were at a time.
#[derive(Debug, Default)]
struct Listening {
    now: usize,
    most: usize,
}

/// A request that has no answer yet, until the answer is there or the sender is gone.
struct Request(Arc<Mutex<Listening>>);

impl Request {
    fn new(listening: &Arc<Mutex<Listening>>) -> Request {
        let mut counts = listening.lock();
        counts.now += 1;
        counts.most = counts.most.max(counts.now);
        Request(listening.clone())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.lock().now -= 1;
    }
}

impl Receiver {
    pub async fn listen(net: &TestNet, at: u8) -> Receiver {
        let mood = watch::Sender::new(Mood::Takes);
        let receiver = Receiver { mood, heard: Arc::default(), listening: Arc::default() };
        let routes = Router::new().route("/", post(hear)).with_state(receiver.clone());
        let (stop, stopped) = watch::channel(false);
        listen(net, SocketAddr::from(([10, 9, 9, at], 80)), routes, stopped).await;
        // It listens until the test ends.
        std::mem::forget(stop);
        receiver
    }

    /// What it was told, in order.
    pub fn bodies(&self) -> Vec<Value> {
        self.heard.lock().iter().map(|(_, body, _)| body.clone()).collect()
    }

    /// What it was told of, in order.
    fn statuses(&self) -> Vec<String> {
        self.heard.lock().iter().map(|(_, body, _)| body["status"].as_str().unwrap().to_owned()).collect()
    }

    /// How often each key was taken.
    fn taken(&self) -> BTreeMap<String, usize> {
        let mut taken = BTreeMap::new();
        for (key, _, _) in self.heard.lock().iter().filter(|(.., was_taken)| *was_taken) {
            *taken.entry(key.clone()).or_default() += 1;
        }
        taken
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.heard.lock().iter().map(|(key, ..)| key.clone()).collect();
        keys.dedup();
        keys
    }
}

async fn hear(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let _request = Request::new(&receiver.listening);
    let mood = *receiver.mood.borrow();
    let is_taken = matches!(mood, Mood::Takes | Mood::TakesWithin(_));
    receiver.heard.lock().push((key, serde_json::from_str(&body).unwrap(), is_taken));
    match mood {
        Mood::Takes => StatusCode::OK,
        Mood::TakesWithin(time) => {
            sleep(time).await;
            StatusCode::OK
        }
        Mood::Refuses => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Hangs => std::future::pending().await,
    }
}

/// Groups by host; `a` tells the first receiver, `b` the second.
const CONFIG: &str = "
route:
  receiver: a
  group_by: [host]
  group_wait: 100ms
  group_interval: 10s
  routes: [{receiver: b, matchers: [team=b]}]
receivers:
- {name: a, webhook_configs: [{url: 'http://10.9.9.1/'}]}
- {name: b, webhook_configs: [{url: 'http://10.9.9.2/'}]}
";

async fn configure(server: &Server) {
    let tenant = Tenant::default_tenant();
    let (config, templates) = (CONFIG.to_owned(), BTreeMap::new());
    let command = Command::SetNotifications { tenant: tenant.clone(), config, templates };
    server.alerting().propose(&tenant, command).await.unwrap();
}

async fn alert(server: &Server, labels: &[(&str, &str)], ends_at: Option<i64>) {
    let tenant = Tenant::default_tenant();
    let labels = Labels::of(labels);
    let (annotations, generator_url) = (Labels::default(), "/graph?g0.expr=up".to_owned());
    let alert = ReceivedAlert { labels, annotations, begins_at: None, ends_at, generator_url };
    let command = Command::Receive { tenant: tenant.clone(), alerts: vec![alert] };
    server.alerting().propose(&tenant, command).await.unwrap();
}

fn group(server: &Server) -> &AlertGroup {
    server.alerting().group(&Tenant::default_tenant())
}

fn health(server: &Server, receiver: &str) -> IntegrationHealth {
    let tenant = Tenant::default_tenant();
    let key = (receiver.to_owned(), IntegrationAt { kind: Kind::Webhook, number: 0 });
    let health = group(server).read(|state| state.tenants.get(&tenant)?.integrations.get(&key).cloned());
    health.unwrap_or_default()
}

fn intents(server: &Server) -> usize {
    group(server).read(|state| state.tenants.values().map(|known| known.intents.len()).sum())
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_told_and_so_is_its_end() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let mut machines = [machine(1, &[])];
    machines[0].config.alerting.external_url = "http://cluster.example".to_owned();
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    configure(&server).await;
    let begun = tokio::time::Instant::now();
    alert(&server, &[("alertname", "A"), ("host", "x")], None).await;
    until("it is told", || health(&server, "a").sent_at.is_some()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let now = machines[0].clock.now_ms();
    alert(&server, &[("alertname", "A"), ("host", "x")], Some(now)).await;
    until("its end is told", || receiver.heard.lock().len() == 2).await;
    let heard = receiver.heard.lock().clone();
    assert_ne!(heard[0].0, heard[1].0);
    let told = |at: usize| {
        (heard[at].1["status"].as_str().unwrap(), heard[at].1["alerts"][0]["generatorURL"].as_str().unwrap())
    };
    assert_eq!(told(0), ("firing", "http://cluster.example/graph?g0.expr=up"));
    assert_eq!(told(1).0, "resolved");
    until("nothing is left to tell", || intents(&server) == 0).await;
    server.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_leader_did_not_bring_the_next_one_brings() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let (machines, mut servers) = three(&net).await;
    let _clocks = run_clocks(&machines);
    receiver.mood.send_replace(Mood::Refuses);
    configure(&servers[0]).await;
    alert(&servers[0], &[("alertname", "A"), ("host", "x")], None).await;
    until("it was tried twice", || receiver.heard.lock().len() >= 2).await;
    let leader = servers.iter().position(|server| group(server).leads()).unwrap();
    servers.remove(leader).shutdown().await.unwrap();
    receiver.mood.send_replace(Mood::Takes);
    until("it is told", || servers.iter().all(|server| health(server, "a").sent_at.is_some())).await;
    assert_eq!(receiver.keys().len(), 1, "{:?}", receiver.keys());
    assert_eq!(receiver.taken().into_values().collect::<Vec<_>>(), [1]);
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_leaves_nothing_to_be_told_twice() {
    const HOSTS: usize = 120;
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let (machines, mut servers) = three(&net).await;
    let _clocks = run_clocks(&machines);
    configure(&servers[0]).await;
    for host in 0..HOSTS {
        alert(&servers[host % 3], &[("alertname", "A"), ("host", &host.to_string())], None).await;
    }
    until("some are told", || receiver.heard.lock().len() > 20).await;
    assert!(receiver.heard.lock().len() < HOSTS, "a lane has its pace");
    let leader = servers.iter().position(|server| group(server).leads()).unwrap();
    servers.remove(leader).shutdown().await.unwrap();
    until("all are told", || receiver.taken().len() == HOSTS).await;
    sleep(Duration::from_secs(8)).await;
    assert!(receiver.taken().values().all(|times| *times == 1), "{:?}", receiver.taken());
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_for_ever_is_shown_and_keeps_no_other_waiting() {
    let net = TestNet::default();
    let (hanging, other) = (Receiver::listen(&net, 1).await, Receiver::listen(&net, 2).await);
    hanging.mood.send_replace(Mood::Hangs);
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    configure(&server).await;
    for host in 0..300 {
        alert(&server, &[("alertname", "A"), ("host", &host.to_string())], None).await;
    }
    alert(&server, &[("alertname", "B"), ("team", "b"), ("host", "x")], None).await;
    let begun = tokio::time::Instant::now();
    until("the other is told", || health(&server, "b").sent_at.is_some()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(other.heard.lock().len(), 1);
    until("it is given up", || health(&server, "a").failures > 0).await;
    let error = health(&server, "a").last_error.unwrap();
    assert_eq!(error, "receiver \"a\", webhook[0]: not done within 30s");
    hanging.mood.send_replace(Mood::Takes);
    until("all are told", || hanging.taken().len() >= 300).await;
    assert_eq!(health(&server, "a").last_error, None);
    server.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_a_message_waits_until_that_is_cut_off() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    configure(&server).await;
    receiver.mood.send_replace(Mood::Hangs);
    let begun = tokio::time::Instant::now();
    alert(&server, &[("alertname", "A"), ("host", "x")], None).await;
    until("it is tried", || receiver.heard.lock().len() == 1).await;
    receiver.mood.send_replace(Mood::Takes);
    alert(&server, &[("alertname", "A"), ("host", "x")], Some(machines[0].clock.now_ms())).await;
    until("its end is told", || health(&server, "a").sent_at.is_some()).await;
    assert_eq!(receiver.statuses(), ["firing", "resolved"]);
    assert_eq!(receiver.listening.lock().most, 1, "one after the other");
    assert!(begun.elapsed() < Duration::from_secs(15), "nobody waits for an attempt that is for nothing");
    server.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_when_its_sender_stops_is_not_told_again() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let (machines, mut servers) = three(&net).await;
    let _clocks = run_clocks(&machines);
    configure(&servers[0]).await;
    receiver.mood.send_replace(Mood::TakesWithin(Duration::from_secs(4)));
    alert(&servers[0], &[("alertname", "A"), ("host", "x")], None).await;
    until("it is under way", || receiver.heard.lock().len() == 1).await;
    let leader = servers.iter().position(|server| group(server).leads()).unwrap();
    servers.remove(leader).shutdown().await.unwrap();
    until("it is told", || servers.iter().all(|server| health(server, "a").sent_at.is_some())).await;
    assert_eq!(receiver.statuses(), ["firing"]);
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_further_attempt() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    configure(&server).await;
    receiver.mood.send_replace(Mood::Refuses);
    alert(&server, &[("alertname", "A"), ("host", "x")], None).await;
    until("it was tried some times", || receiver.heard.lock().len() >= 4).await;
    let stopping = tokio::time::Instant::now();
    server.shutdown().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(1), "{:?}", stopping.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hands_over_ends_what_it_has_begun() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let (machines, servers) = three(&net).await;
    let _clocks = run_clocks(&machines);
    configure(&servers[0]).await;
    receiver.mood.send_replace(Mood::TakesWithin(HAND_OVER_PAUSE / 2));
    alert(&servers[0], &[("alertname", "A"), ("host", "x")], None).await;
    until("it is under way", || receiver.heard.lock().len() == 1).await;
    let leader = servers.iter().find(|server| group(server).leads()).unwrap();
    leader.shards().hand_over(Duration::from_secs(5)).await;
    until("it is told", || servers.iter().all(|server| health(server, "a").sent_at.is_some())).await;
    assert!(!group(leader).leads());
    assert_eq!(receiver.statuses(), ["firing"]);
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_for_long_is_noted_once_it_can() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    configure(&server).await;
    receiver.mood.send_replace(Mood::TakesWithin(Duration::from_secs(5)));
    alert(&server, &[("alertname", "A"), ("host", "x")], None).await;
    until("it is under way", || receiver.heard.lock().len() == 1).await;
    let disk = &machines[0].disk;
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
    // What meets the full disk first waits for room; what comes after is refused.
    let (tenant, config, templates) = (Tenant::default_tenant(), format!("{CONFIG} "), BTreeMap::new());
    let first = Command::SetNotifications { tenant: tenant.clone(), config, templates };
    server.alerting().propose(&tenant, first).await.unwrap_err();
    sleep(Duration::from_secs(90)).await;
    assert!(health(&server, "a").sent_at.is_none() && intents(&server) == 1);
    disk.set_faults(Faults::default());
    until("it is noted", || health(&server, "a").sent_at.is_some() && intents(&server) == 0).await;
    assert_eq!(receiver.statuses(), ["firing"]);
    server.shutdown().await.unwrap();
}
