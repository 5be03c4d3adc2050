//! Many rules beside ingest: `cargo bench -p bellwether --bench rules`.
//!
//! Starts the binary, writes a steady stream of samples, loads rule groups, waits until each was evaluated, and then looks for
//! some time at what the node says of itself: rules evaluated, evaluations missed, how late they began, and the node's own CPU. What
//! this process uses is not part of it.

#[allow(clippy::unwrap_used, clippy::panic, reason = "a part of the tests")]
#[path = "../tests/node_process/mod.rs"]
mod node_process;
mod remote_write;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use node_process::Node;
use remote_write::live::{Readings, stop, write_live};
use remote_write::{METRICS_PER_HOST, Target, metric};
use tokio::time::{Instant, sleep};

#[derive(Parser, Clone)]
struct Options {
    /// Rule groups.
    #[arg(long, default_value_t = 1000)]
    groups: usize,
    /// Rules of each.
    #[arg(long, default_value_t = 100)]
    rules: usize,
    /// Seconds from one evaluation of a group to the next.
    #[arg(long, default_value_t = 30)]
    interval: u64,
    /// Series that are written.
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Seconds from one sample of a series to the next.
    #[arg(long, default_value_t = 15)]
    scrape: u64,
    /// For how long it is looked at.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// More arguments for the binary.
    #[arg(long = "arg", allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[arg(long, hide = true)]
    bench: bool,
}

/// A group as people have them: of a hundred rules seventy look at the newest sample of a series, twenty at a rate, nine record
/// one, and one looks at a metric of all hosts. Of those that look at a sample one in fifty fires.
fn group(number: usize, options: &Options) -> String {
    let hosts = options.series / METRICS_PER_HOST;
    let mut text = format!("name: group-{number:04}\ninterval: {}s\nrules:\n", options.interval);
    for rule in 0..options.rules {
        let at = number * options.rules + rule;
        let (metric, host) = (metric(at % METRICS_PER_HOST), format!("host-{:05}", at / METRICS_PER_HOST % hosts));
        let written = match rule % 100 {
            0 => writeln!(text, "- {{alert: All{rule}, expr: 'sum({metric}) < 0', for: 5m}}"),
            1..10 => writeln!(
                text,
                "- {{record: 'group{number}:rate{rule}', expr: 'rate({metric}{{host=\"{host}\"}}[5m])'}}"
            ),
            10..30 => {
                writeln!(text, "- {{alert: Rate{rule}, expr: 'rate({metric}{{host=\"{host}\"}}[5m]) > 1e6', for: 5m}}")
            }
            _ => {
                let bound = if rule.is_multiple_of(50) { "1" } else { "1e18" };
                writeln!(
                    text,
                    "- {{alert: Level{rule}, expr: '{metric}{{host=\"{host}\"}} > {bound}', for: 1m, \
                     annotations: {{summary: '{{{{ $labels.host }}}} has {{{{ $value | humanize }}}}'}}}}"
                )
            }
        };
        written.expect("a string takes any text");
    }
    text
}

async fn load(target: &Target, options: &Options) {
    for number in 0..options.groups {
        let url = format!("http://{}/api/v1/rules/bench", target.address);
        let request = target.client.post(url).header("content-type", "application/yaml");
        let answer = request.body(group(number, options)).send().await.expect("the node answers");
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
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

    let live = tokio::spawn(write_live(target.clone(), options.series, Duration::from_secs(options.scrape)));
    sleep(Duration::from_secs(2 * options.scrape)).await;
    let (idle, began) = (node.cpu_seconds(), Instant::now());
    sleep(Duration::from_secs(options.scrape)).await;
    println!("without rules the node uses {:.2} cores", (node.cpu_seconds() - idle) / began.elapsed().as_secs_f64());
    let began = Instant::now();
    load(&target, &options).await;
    println!("{} groups of {} rules loaded in {:.1?}", options.groups, options.rules, began.elapsed());
    sleep(Duration::from_secs(2 * options.interval)).await;

    let before = Readings::take(&target).await;
    let (cpu, began) = (node.cpu_seconds(), Instant::now());
    sleep(Duration::from_secs(options.seconds)).await;
    let (used, took) = (node.cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    let after = Readings::take(&target).await;
    stop(live).await;
    let counted = |series: &str| after.value(series) - before.value(series);
    println!("the node used {:.2} cores for {took:.0} s", used / took);
    let evaluations = counted("bellwether_rule_evaluations_total");
    let wanted = (options.groups * options.rules) as f64 / options.interval as f64;
    println!("{:.0} rules/s evaluated of {wanted:.0} rules/s", evaluations / took);
    for name in ["rule_evaluation_failures", "rule_group_missed_ticks", "rule_group_uncommitted"] {
        println!("{name}: {}", counted(&format!("bellwether_{name}_total")));
    }
    for (name, histogram) in [
        ("an evaluation begins late by", "bellwether_rule_group_lag_seconds"),
        ("an evaluation of a group takes", "bellwether_rule_group_seconds"),
    ] {
        let [half, most] = [0.5, 0.99].map(|quantile| after.quantile(&before, histogram, quantile));
        println!("{name} p50 <= {half} s, p99 <= {most} s");
    }
    let (seconds, queries) =
        ("bellwether_query_seconds_sum{kind=\"rule\"}", "bellwether_query_seconds_count{kind=\"rule\"}");
    println!("a query takes {:.0} us on average", counted(seconds) / counted(queries) * 1e6);
}
