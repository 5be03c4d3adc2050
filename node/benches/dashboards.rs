//! Dashboards beside ingest, open loop: `cargo bench -p bellwether --bench dashboards`.
//!
//! Starts the binary, gives some hosts a day of history, then writes a steady stream of samples for many more series and asks
//! at a steady rate, whether or not earlier answers have come: a latency counts from the moment at which the question was
//! due. Prints percentiles, and the node's own CPU; what this process uses is not part of it.

#[allow(clippy::unwrap_used, clippy::panic, reason = "a part of the tests")]
#[path = "../tests/node_process/mod.rs"]
mod node_process;
mod remote_write;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use node_process::{Node, now_ms};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use remote_write::live::{stop, write_live};
use remote_write::{METRICS_PER_HOST, SAMPLES_PER_BODY, Target, metric, series};
use tokio::time::{Instant, sleep, sleep_until};

const INTERVAL: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Steps of a range query, as of a graph.
const STEPS: u64 = 250;
/// Questions without an answer; more of them are not asked and count as late.
const WAITING_MAX: usize = 2_000;
const HISTORY_WRITERS: usize = 4;

#[derive(Parser, Clone)]
struct Options {
    /// Questions a second.
    #[arg(long, default_value_t = 1000)]
    queries: u64,
    /// Samples a second, one of each series every ten seconds.
    #[arg(long, default_value_t = 100_000)]
    samples: usize,
    /// Hosts of fifty series that have a day of history.
    #[arg(long, default_value_t = 40)]
    hosts: usize,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Another binary's address than that of the one started here.
    #[arg(long)]
    address: Option<String>,
    /// More arguments for the binary.
    #[arg(long = "arg", allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[arg(long, hide = true)]
    bench: bool,
}

/// Whether it was answered with success.
async fn ask(target: &Target, question: &[(&str, String)]) -> bool {
    let base = format!("http://{}/api/v1/query_range", target.address);
    let url = reqwest::Url::parse_with_params(&base, question).expect("an address");
    let Ok(answer) = target.client.get(url).send().await else { return false };
    let is_good = answer.status().is_success();
    answer.bytes().await.is_ok() && is_good
}

/// A day of every series of the first hosts, oldest first.
async fn write_history(target: &Arc<Target>, options: &Options, until: i64) {
    let interval = INTERVAL.as_millis() as i64;
    let steps = DAY.as_millis() as i64 / interval;
    let per_body = (SAMPLES_PER_BODY / METRICS_PER_HOST) as i64;
    let next = Arc::new(AtomicUsize::new(0));
    let writers = (0..HISTORY_WRITERS).map(|_| {
        let (target, next, hosts) = (target.clone(), next.clone(), options.hosts);
        tokio::spawn(async move {
            loop {
                let host = next.fetch_add(1, Ordering::Relaxed);
                if host >= hosts {
                    return;
                }
                for first in (0..steps).step_by(per_body as usize) {
                    let times = (first..steps.min(first + per_body)).map(|step| until - (steps - step) * interval);
                    let all = (0..METRICS_PER_HOST).map(|number| series(host, number, times.clone())).collect();
                    target.write(all).await;
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it writes");
    }
}

/// What a panel of a dashboard asks: up to fifty series, over an hour or a day.
fn question(random: &mut StdRng, hosts: usize) -> [(&'static str, String); 4] {
    let (host, number) = (random.random_range(0..hosts), random.random_range(0..METRICS_PER_HOST));
    let some = metric(number);
    let expression = match random.random_range(0..6) {
        0 => format!("{some}{{host=\"host-{host:05}\"}}"),
        1 => format!("rate({some}{{host=\"host-{host:05}\"}}[5m])"),
        2 => format!("sum by (region) (rate({some}{{host=~\"host-000[0-3].\"}}[5m]))"),
        3 => format!("max(max_over_time({some}{{host=\"host-{host:05}\"}}[5m]))"),
        4 => format!("topk(5, rate({some}{{host=~\"host-000[0-3].\"}}[5m]))"),
        _ => format!("sum by (__name__) ({{host=\"host-{host:05}\",__name__=~\"bench_metric_.*\"}})"),
    };
    let range = if random.random_range(0..4) == 0 { DAY } else { HOUR };
    let end = now_ms() / 1000;
    [
        ("query", expression),
        ("start", (end - range.as_secs() as i64).to_string()),
        ("end", end.to_string()),
        ("step", (range.as_secs() / STEPS).max(1).to_string()),
    ]
}

#[derive(Default)]
struct Seen {
    seconds: Mutex<Vec<f64>>,
    failed: AtomicUsize,
    waiting: AtomicUsize,
    not_asked: AtomicUsize,
}

async fn ask_all(target: &Arc<Target>, options: &Options) -> Arc<Seen> {
    let seen = Arc::<Seen>::default();
    let mut random = StdRng::seed_from_u64(1);
    let began = Instant::now();
    for at in 0..options.queries * options.seconds {
        let due = began + Duration::from_secs(1) * u32::try_from(at).expect("it is bounded") / options.queries as u32;
        sleep_until(due).await;
        let question = question(&mut random, options.hosts);
        if seen.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            seen.not_asked.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        seen.waiting.fetch_add(1, Ordering::Relaxed);
        let (target, seen) = (target.clone(), seen.clone());
        tokio::spawn(async move {
            match ask(&target, &question).await {
                true => seen.seconds.lock().push(due.elapsed().as_secs_f64()),
                false => drop(seen.failed.fetch_add(1, Ordering::Relaxed)),
            }
            seen.waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
    while seen.waiting.load(Ordering::Relaxed) > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    seen
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let directory = tempfile::tempdir().expect("a directory");
    let started = options.address.is_none().then(|| {
        let arguments: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
        Node::start(directory.path(), &arguments)
    });
    let own = || started.as_ref().map_or(0.0, Node::cpu_seconds);
    let address =
        options.address.clone().or_else(|| Some(started.as_ref()?.address().to_owned())).expect("one of them");
    // The client wants one, though nothing here is encrypted.
    rustls::crypto::ring::default_provider().install_default().expect("nobody else did");
    let client = reqwest::Client::builder().pool_max_idle_per_host(256).build().expect("a client");
    let target = Arc::new(Target { client, address });

    let began = Instant::now();
    write_history(&target, &options, now_ms()).await;
    println!("history: {} series, a day each, written in {:.1?}", options.hosts * METRICS_PER_HOST, began.elapsed());
    let live_series = options.samples * INTERVAL.as_secs() as usize;
    let live = tokio::spawn(write_live(target.clone(), live_series, INTERVAL));
    // Two rounds, so that no series is new any more.
    sleep(2 * INTERVAL).await;
    let (before, began) = (own(), Instant::now());
    let seen = ask_all(&target, &options).await;
    let (used, took) = (own() - before, began.elapsed().as_secs_f64());
    stop(live).await;

    let mut seconds = std::mem::take(&mut *seen.seconds.lock());
    seconds.sort_by(f64::total_cmp);
    let (failed, not_asked) = (seen.failed.load(Ordering::Relaxed), seen.not_asked.load(Ordering::Relaxed));
    println!("{} samples/s beside {} queries/s for {took:.1} s", options.samples, options.queries);
    println!("answered {}, failed {failed}, not asked because {WAITING_MAX} waited {not_asked}", seconds.len());
    for percent in [50.0, 90.0, 99.0, 99.9] {
        let at = (seconds.len() as f64 * percent / 100.0) as usize;
        let found = seconds.get(at.min(seconds.len().saturating_sub(1))).copied().unwrap_or(f64::NAN);
        println!("p{percent}: {:.1} ms", found * 1e3);
    }
    println!("the node used {:.2} cores", used / took);
}
