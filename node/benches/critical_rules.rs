//! Critical rules beside ingest: `cargo bench -p bellwether --bench critical_rules`.
//!
//! Starts the binary, writes a steady stream of samples that does not wait for answers, loads critical rules over parts of it, and one over probes of
//! its own. Then it writes a probe again and again, and looks how long it takes from the acknowledgement of the probe's sample to
//! the webhook's request that tells of it.

#[allow(clippy::unwrap_used, clippy::panic, reason = "a part of the tests")]
#[path = "../tests/node_process/mod.rs"]
mod node_process;
mod remote_write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use node_process::{Node, now_ms};
use parking_lot::Mutex;
use remote_write::live::{Readings, stop, write_live};
use remote_write::{Label, METRICS_PER_HOST, Sample, Series, Target, metric};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

#[derive(Parser, Clone)]
struct Options {
    /// Series that are written.
    #[arg(long, default_value_t = 200_000)]
    series: usize,
    /// Milliseconds from one sample of a series to the next.
    #[arg(long, default_value_t = 1_000)]
    scrape_ms: u64,
    /// Critical rules that read a rate of one series.
    #[arg(long, default_value_t = 100)]
    narrow: usize,
    /// Critical rules that read a metric of all hosts.
    #[arg(long, default_value_t = 1)]
    wide: usize,
    /// Probes.
    #[arg(long, default_value_t = 300)]
    probes: usize,
    /// Milliseconds from one probe to the next.
    #[arg(long, default_value_t = 200)]
    probe_ms: u64,
    /// More arguments for the binary.
    #[arg(long = "arg", allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[arg(long, hide = true)]
    bench: bool,
}

const PROBE: &str = "bench_probe";
/// How long a probe is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// When each probe was first told of.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<usize, Instant>>>);

impl Told {
    /// Takes whatever comes.
    async fn listen(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            let told = self.clone();
            // An error is the client's end.
            tokio::spawn(async move { drop(told.serve(stream).await) });
        }
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).await? > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            if line.is_empty() {
                return Ok(());
            }
            let began = Instant::now();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let body: serde_json::Value = serde_json::from_slice(&body)?;
            for alert in body["alerts"].as_array().into_iter().flatten() {
                let probe = alert["labels"]["probe"].as_str().and_then(|probe| probe.parse().ok());
                if let Some(probe) = probe {
                    self.0.lock().entry(probe).or_insert(began);
                }
            }
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }

    async fn at(&self, probe: usize) -> Option<Instant> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(at) = self.0.lock().get(&probe) {
                return Some(*at);
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }
}

async fn write_probe(target: &Target, probe: usize, value: f64) {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let labels = vec![label("__name__", PROBE.to_owned()), label("probe", probe.to_string())];
    let samples = vec![Sample { value, timestamp: now_ms() }];
    target.write(vec![Series { labels, samples }]).await;
}

/// From the acknowledgement to the request; none if that does not come.
async fn probe(target: Arc<Target>, told: Told, number: usize) -> Option<Duration> {
    write_probe(&target, number, 1.0).await;
    let acknowledged = Instant::now();
    let at = told.at(number).await;
    // So that rules do not have more and more alerts.
    write_probe(&target, number, 0.0).await;
    at.map(|at| at.saturating_duration_since(acknowledged))
}

async fn post(target: &Target, path: &str, body: String) {
    let request = target.client.post(format!("http://{}{path}", target.address));
    let answer = request.header("content-type", "application/yaml").body(body).send().await;
    let answer = answer.expect("the node answers");
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
}

async fn load(target: &Target, options: &Options, receiver: &str) {
    let config = format!(
        "route: {{receiver: bench, group_by: [alertname, probe]}}\nreceivers:\n- name: bench\n  webhook_configs:\n  - {{url: 'http://{receiver}/', \
         send_resolved: false}}\n"
    );
    post(target, "/api/v1/alertmanager/config", config).await;
    let hosts = (options.series / METRICS_PER_HOST).max(1);
    let narrow = (0..options.narrow).map(|at| {
        let host = format!("host-{:05}", at * 7 % hosts);
        (format!("narrow-{at}"), format!("rate({}{{host=\"{host}\"}}[1m]) > 1e9", metric(at % METRICS_PER_HOST)))
    });
    let wide = (0..options.wide).map(|at| {
        (format!("wide-{at}"), format!("sum by (region) (rate({}[1m])) > 1e12", metric(at % METRICS_PER_HOST)))
    });
    let probes = ("probes".to_owned(), format!("{PROBE} > 0"));
    for (name, expr) in narrow.chain(wide).chain([probes]) {
        let rules =
            format!("name: {name}\ninterval: 15s\nrules:\n- {{alert: {name}, expr: '{expr}', critical: true}}\n");
        post(target, "/api/v1/rules/bench", rules).await;
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let directory = tempfile::tempdir().expect("a directory");
    let arguments: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    let node = Node::start(directory.path(), &arguments);
    // The client wants one, though nothing here is encrypted.
    rustls::crypto::ring::default_provider().install_default().expect("nobody else did");
    let client = reqwest::Client::builder().pool_max_idle_per_host(64).build().expect("a client");
    let target = Arc::new(Target { client, address: node.address().to_owned() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let receiver = listener.local_addr().expect("it is bound").to_string();
    let told = Told::default();
    tokio::spawn(told.clone().listen(listener));

    let live = tokio::spawn(write_live(target.clone(), options.series, Duration::from_millis(options.scrape_ms)));
    // All series are known, and the rates have something to read.
    sleep(Duration::from_secs(20)).await;
    load(&target, &options, &receiver).await;
    sleep(Duration::from_secs(10)).await;
    let before = Readings::take(&target).await;
    let (cpu, began) = (node.cpu_seconds(), Instant::now());
    let mut probes = Vec::new();
    for number in 0..options.probes {
        sleep_until(began + Duration::from_millis(options.probe_ms) * number as u32).await;
        probes.push(tokio::spawn(probe(target.clone(), told.clone(), number)));
    }
    let (used, took) = (node.cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    let after = Readings::take(&target).await;
    let mut latencies = Vec::new();
    for probe in probes {
        latencies.push(probe.await.expect("a probe ends").expect("the receiver is told of each probe"));
    }
    stop(live).await;
    let counted = |series: &str| after.value(series) - before.value(series);
    let samples = counted("bellwether_write_samples_total");
    println!(
        "{:.0} samples/s were acknowledged, the node used {:.2} cores for {took:.0} s",
        samples / took,
        used / took
    );
    let evaluations = counted("bellwether_critical_rule_evaluations_total");
    println!("critical rules were evaluated {:.0} times a second between their ticks", evaluations / took);
    let [half, most] =
        [0.5, 0.99].map(|quantile| after.quantile(&before, "bellwether_critical_rule_seconds", quantile));
    println!("from a stored sample to its evaluation p50 <= {half} s, p99 <= {most} s, over all rules");
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize];
    println!(
        "from the acknowledgement to the request of {} probes p50 {:.0?}, p90 {:.0?}, p99 {:.0?}, at most {:.0?}",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}
