//! A steady stream of samples, and what a node says of itself meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::{METRICS_PER_HOST, SAMPLES_PER_BODY, Target, series};
use crate::node_process::now_ms;

/// A sample of every series each interval, spread evenly over it.
pub async fn write_live(target: Arc<Target>, series_count: usize, interval: Duration) {
    let hosts = series_count / METRICS_PER_HOST;
    let hosts_per_body = SAMPLES_PER_BODY / METRICS_PER_HOST;
    let bodies = hosts.div_ceil(hosts_per_body);
    let began = Instant::now();
    let mut writes = JoinSet::new();
    for round in 0_u32.. {
        for body in 0..bodies {
            sleep_until(began + interval * round + interval * body as u32 / bodies as u32).await;
            let time = now_ms();
            let of_body = body * hosts_per_body..((body + 1) * hosts_per_body).min(hosts);
            let all = of_body.flat_map(|host| (0..METRICS_PER_HOST).map(move |number| (host, number)));
            let all = all.map(|(host, number)| series(host, number, std::iter::once(time))).collect();
            let target = target.clone();
            writes.spawn(async move { target.write(all).await });
            while let Some(written) = writes.try_join_next() {
                written.expect("what is written is taken");
            }
        }
    }
}

/// Ends [`write_live`] while the node still runs, so that no write under way finds it gone.
pub async fn stop(live: JoinHandle<()>) {
    live.abort();
    let ended = live.await;
    assert!(ended.is_err_and(|error| error.is_cancelled()), "all that was written meanwhile was taken");
}

/// What the node says of itself.
pub struct Readings(String);

impl Readings {
    pub async fn take(target: &Target) -> Readings {
        let answer = target.client.get(format!("http://{}/metrics", target.address)).send().await;
        Readings(answer.expect("the node answers").text().await.expect("a text"))
    }

    /// The value of a series; zero if there is none.
    pub fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// The bound of a histogram's bucket below which this part of its observations since `before` are.
    pub fn quantile(&self, before: &Readings, histogram: &str, quantile: f64) -> String {
        let bucket = format!("{histogram}_bucket{{le=\"");
        let bounds: Vec<&str> =
            self.0.lines().filter_map(|line| line.strip_prefix(&bucket)?.split('"').next()).collect();
        let count = |bound: &str| {
            let series = format!("{bucket}{bound}\"}}");
            self.value(&series) - before.value(&series)
        };
        let wanted = count("+Inf") * quantile;
        bounds.iter().find(|bound| count(bound) >= wanted).map_or("?".to_owned(), |bound| (*bound).to_owned())
    }
}
