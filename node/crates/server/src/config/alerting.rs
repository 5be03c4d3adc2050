//! What alerting is set up with on a node.

use std::net::SocketAddr;
use std::time::Duration;

use bellwether_model::{Labels, LabelsBuilder};

use super::Config;
use super::setting::Setting;

/// `alerting.*`. The same on all nodes: whichever evaluates a rule or tells of an alert takes its own.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingConfig {
    /// How often rule groups are evaluated that do not say it.
    pub evaluation_interval: Duration,
    /// Where people reach the cluster.
    pub external_url: String,
    /// What the cluster is told from others by.
    pub external_labels: ExternalLabels,
    /// Where files are that notification settings name; empty: they may name none.
    pub files_dir: String,
}

impl Default for AlertingConfig {
    fn default() -> AlertingConfig {
        AlertingConfig {
            evaluation_interval: Duration::from_secs(15),
            external_url: String::new(),
            external_labels: ExternalLabels::default(),
            files_dir: String::new(),
        }
    }
}

impl Config {
    /// Where people reach the cluster, as far as a node knows whose HTTP API listens at `http`.
    pub fn external_url(&self, http: SocketAddr) -> String {
        let scheme = if self.http_is_plain() { "http" } else { "https" };
        match (&*self.alerting.external_url, &*self.cluster.advertise_http) {
            ("", "") => format!("{scheme}://{http}"),
            ("", advertised) => format!("{scheme}://{advertised}"),
            (url, _) => url.trim_end_matches('/').to_owned(),
        }
    }
}

/// Labels, written `region=eu,cluster=a`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalLabels(pub Labels);

impl Setting for ExternalLabels {
    const KIND: &'static str = "labels";

    fn parse(text: &str) -> Result<ExternalLabels, String> {
        let mut labels = LabelsBuilder::default();
        for label in text.split(',').map(str::trim).filter(|label| !label.is_empty()) {
            let (name, value) =
                label.split_once('=').ok_or_else(|| format!("has {label:?}, which is no label such as region=eu"))?;
            labels.push(name.trim(), value.trim());
        }
        let labels = labels.build().map_err(|error| format!("are no labels: {error}"))?;
        Ok(ExternalLabels(labels))
    }

    fn print(&self) -> String {
        let labels: Vec<String> = self.0.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
        labels.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_are_printed() {
        let labels = ExternalLabels::parse(" region=eu , cluster=a=b").unwrap();
        assert_eq!(labels.print(), "cluster=a=b,region=eu");
        assert_eq!(ExternalLabels::parse(&labels.print()).unwrap(), labels);
        assert_eq!(ExternalLabels::parse("").unwrap(), ExternalLabels::default());
        assert!(ExternalLabels::parse("region").unwrap_err().contains("\"region\""));
        assert!(ExternalLabels::parse("a=1,a=2").is_err());
    }
}
