//! The node's metrics about itself and its host, written like anybody's samples: the first query of a new node finds data.
//!
//! At every interval the registry becomes samples of job `bellwether`, the host's readings samples of job `node`, with
//! `up` and the other series that Prometheus adds to a scrape. A series that vanishes is ended by a stale marker.

mod families;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{
    Labels, LabelsBuilder, METRIC_NAME, MetricKind, MetricMetadata, Sample, Timestamp, stale_marker,
};
use prometheus::{IntCounter, Registry};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::SelfCollectConfig;
use crate::env::{ExecutorHandle, HostMetrics, HostSample, WallClock};
use crate::write::WritePath;

/// The job of the node's own metrics.
const NODE_JOB: &str = "bellwether";
/// The job of the host's metrics, as node_exporter is usually called.
const HOST_JOB: &str = "node";
/// Metrics of this process are read with the host's, but are the node's.
const PROCESS_PREFIX: &str = "process_";

/// What a collection reads and where it writes.
pub struct SelfCollect {
    /// Whether, how often and for whom.
    pub config: SelfCollectConfig,
    /// The node's HTTP address: label `instance` of its metrics.
    pub instance: String,
    /// The node's metrics.
    pub registry: Registry,
    /// The host, if there is one.
    pub host: Option<Arc<dyn HostMetrics>>,
    /// Reading the host blocks.
    pub background: ExecutorHandle,
    /// Where samples go.
    pub write: Arc<WritePath>,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
}

/// Collects until `stop` is true. The first collection is at once.
pub async fn run(collect: SelfCollect, mut stop: watch::Receiver<bool>) {
    let failures = IntCounter::new("bellwether_self_collect_failures_total", "Collections that could not be stored.")
        .expect("the name is valid");
    collect.registry.register(Box::new(failures.clone())).expect("a registry has one self-collection");
    let mut ticks = tokio::time::interval(collect.config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut collection = Collection::default();
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        match collection.collect(&collect).await {
            Ok(()) => failing = false,
            Err(reason) => {
                failures.inc();
                // Once for each spell of failures: the reason is often that the disk is full.
                if !failing {
                    tracing::warn!(%reason, "the node's own metrics were not stored");
                }
                failing = true;
            }
        }
    }
}

/// What is remembered between collections.
#[derive(Default)]
struct Collection {
    /// Series that were written and not ended.
    live: BTreeSet<Labels>,
    /// What was already said about metrics.
    described: BTreeMap<String, MetricMetadata>,
    /// The host's name, once it is known.
    host_name: Option<String>,
}

/// What one target gave.
#[derive(Default)]
struct Target {
    readings: Vec<Reading>,
    metadata: BTreeMap<String, MetricMetadata>,
}

/// One number of a target.
struct Reading {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Target {
    fn extend(&mut self, samples: Vec<HostSample>) {
        for HostSample { name, labels, value, kind, help } in samples {
            if !self.metadata.contains_key(&name) {
                let metadata = MetricMetadata { kind, help: help.to_owned(), unit: String::new() };
                self.metadata.insert(name.clone(), metadata);
            }
            self.readings.push(Reading { name, labels, value });
        }
    }
}

/// Samples of one collection.
#[derive(Default)]
struct Batch {
    timestamp: Timestamp,
    samples: Vec<(Labels, Sample)>,
    metadata: BTreeMap<String, MetricMetadata>,
}

impl Collection {
    async fn collect(&mut self, from: &SelfCollect) -> Result<(), String> {
        let mut batch = Batch { timestamp: from.clock.now_ms(), ..Batch::default() };
        let began = Instant::now();
        let mut process = Vec::new();
        if let Some(host) = from.host.clone() {
            let mut samples = from.background.run(move || host.collect()).await.map_err(|error| error.to_string())?;
            process = samples.extract_if(.., |sample| sample.name.starts_with(PROCESS_PREFIX)).collect();
            let name = host_name(&samples).or_else(|| self.host_name.take()).unwrap_or_else(|| from.instance.clone());
            let mut host = Target::default();
            host.extend(samples);
            batch.add_target(HOST_JOB, &name, host, began.elapsed());
            self.host_name = Some(name);
        }
        let began = Instant::now();
        let mut own = families::target(&from.registry.gather());
        own.extend(process);
        batch.add_target(NODE_JOB, &from.instance, own, began.elapsed());
        self.write(from, batch).await
    }

    async fn write(&mut self, from: &SelfCollect, mut batch: Batch) -> Result<(), String> {
        let now: BTreeSet<Labels> = batch.samples.iter().map(|(labels, _)| labels.clone()).collect();
        let ended = Sample { timestamp: batch.timestamp, value: stale_marker() };
        batch.samples.extend(self.live.difference(&now).map(|labels| (labels.clone(), ended)));
        let news: Vec<_> = batch
            .metadata
            .iter()
            .filter(|(metric, metadata)| self.described.get(*metric) != Some(*metadata))
            .map(|(metric, metadata)| (metric.clone(), metadata.clone()))
            .collect();
        match from.write.write_samples(&from.config.tenant, batch.samples, news).await {
            Ok(outcome) => {
                self.live = now;
                self.described = batch.metadata;
                if outcome.refused.is_empty() { Ok(()) } else { Err(outcome.refused.to_string()) }
            }
            Err(error) => {
                // Some of it may have been stored: all of it must be ended when it vanishes.
                self.live.extend(now);
                Err(error.to_string())
            }
        }
    }
}

fn host_name(samples: &[HostSample]) -> Option<String> {
    let uname = samples.iter().find(|sample| sample.name == "node_uname_info")?;
    uname.labels.iter().find(|(name, _)| name == "nodename").map(|(_, value)| value.clone())
}

impl Batch {
    /// Adds what one target gave, and the series that Prometheus adds to a scrape.
    fn add_target(&mut self, job: &str, instance: &str, target: Target, took: Duration) {
        for reading in &target.readings {
            let labels = reading.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            self.add(job, instance, &reading.name, labels, reading.value);
        }
        self.metadata.extend(target.metadata);
        for (name, value, help) in [
            ("up", 1.0, "Whether the target was read."),
            ("scrape_duration_seconds", took.as_secs_f64(), "Time that reading the target took."),
            ("scrape_samples_scraped", target.readings.len() as f64, "Samples that the target gave."),
        ] {
            self.add(job, instance, name, std::iter::empty(), value);
            let metadata = MetricMetadata { kind: MetricKind::Gauge, help: help.to_owned(), unit: String::new() };
            self.metadata.insert(name.to_owned(), metadata);
        }
    }

    fn add<'a>(
        &mut self,
        job: &str,
        instance: &str,
        metric: &str,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        value: f64,
    ) {
        let mut builder = LabelsBuilder::default();
        builder.push(METRIC_NAME, metric).push("job", job).push("instance", instance);
        for (name, value) in labels {
            match name {
                // As Prometheus does where a target's label has the name of one of its own.
                "job" => builder.push("exported_job", value),
                "instance" => builder.push("exported_instance", value),
                _ => builder.push(name, value),
            };
        }
        match builder.build_series() {
            Ok(labels) => self.samples.push((labels, Sample { timestamp: self.timestamp, value })),
            Err(error) => tracing::debug!(metric, %error, "a metric of our own is left out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> HostSample {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HostSample { name: name.to_owned(), labels, value, kind: MetricKind::Gauge, help: "Help." }
    }

    #[test]
    fn a_target_gets_its_job_and_instance_and_what_a_scrape_adds() {
        let mut batch = Batch { timestamp: 5, ..Batch::default() };
        let mut target = Target::default();
        target.extend(vec![sample("node_load1", &[], 0.5), sample("odd", &[("job", "x")], 1.0), sample("", &[], 1.0)]);
        batch.add_target("node", "host-1", target, Duration::from_millis(250));
        let shown: Vec<String> =
            batch.samples.iter().map(|(labels, sample)| format!("{labels} {}", sample.value)).collect();
        assert_eq!(
            shown,
            [
                r#"node_load1{instance="host-1", job="node"} 0.5"#,
                r#"odd{exported_job="x", instance="host-1", job="node"} 1"#,
                r#"up{instance="host-1", job="node"} 1"#,
                r#"scrape_duration_seconds{instance="host-1", job="node"} 0.25"#,
                r#"scrape_samples_scraped{instance="host-1", job="node"} 3"#,
            ]
        );
        assert_eq!(batch.metadata["node_load1"].help, "Help.");
        assert!(batch.samples.iter().all(|(_, sample)| sample.timestamp == 5));
    }

    #[test]
    fn the_host_names_itself() {
        assert_eq!(host_name(&[sample("node_uname_info", &[("nodename", "a")], 1.0)]).as_deref(), Some("a"));
        assert_eq!(host_name(&[sample("node_load1", &[], 1.0)]), None);
    }
}
