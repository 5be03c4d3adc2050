//! Configuration: one table of keys; a file, environment variables and flags set them, in this order, later wins.
//!
//! A key is `section.name`. In the TOML file it is written as TOML does; in the environment it is `BELLWETHER_` and the
//! key in capitals, dots as underscores. Every error names the key and the source it came from. This file reads neither
//! files nor the environment: it is handed their contents.

mod alerting;
mod keys;
mod memory;
mod reach;
mod setting;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_model::{Tenant, limits};

pub use alerting::{AlertingConfig, ExternalLabels};
pub use keys::{KeyInfo, keys};
pub use memory::HEADS_MEMORY_MAX_PERCENT;
pub use reach::{TlsConfig, host_of, is_loopback_host};
pub use setting::{ByteSize, HostList, LogFormat, OriginPattern, PeerList, Secret, Setting, duration_text};

use crate::meta::tokens::TokenText;

/// How a node is set up. Every field is a key of the table in `keys.rs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// Address of the HTTP API.
    pub http: SocketAddr,
    /// Address of the gRPC API.
    pub grpc: SocketAddr,
    /// Names that requests may address a listener on loopback by, beside those of loopback.
    pub hosts: HostList,
    /// Whose pages a browser lets read answers.
    pub cors_origin: OriginPattern,
    /// Serves HTTP in plain text, on addresses other than loopback too.
    pub insecure_listen: bool,
    /// Nodes of a cluster to join.
    pub join: PeerList,
    /// What the node is to the others.
    pub cluster: ClusterConfig,
    /// What the node proves who it is by.
    pub tls: TlsConfig,
    /// Shard groups of a new cluster.
    pub shard_groups: u32,
    /// How long samples are kept.
    pub retention: Duration,
    /// Memory to stay within; zero leaves the choice to the node.
    pub memory_limit: ByteSize,
    /// The node's metrics about itself and its host.
    pub self_collect: SelfCollectConfig,
    /// Limits of queries.
    pub query: QueryConfig,
    /// Limits of writes.
    pub ingest: IngestConfig,
    /// Flush, seal and disk space.
    pub storage: StorageConfig,
    /// Rules and alerts.
    pub alerting: AlertingConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// `cluster.*`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterConfig {
    /// Nodes of one zone fail together.
    pub zone: String,
    /// Where others reach the gRPC API; empty: where it listens.
    pub advertise_grpc: String,
    /// Where others reach the HTTP API; empty: where it listens.
    pub advertise_http: String,
    /// Disk space that the node offers; zero: the size of its file system.
    pub capacity: ByteSize,
    /// How long to try to join; zero: until it succeeds.
    pub join_timeout: Duration,
    /// Shown to the cluster to join.
    pub join_token: Secret,
    /// A file with the same; empty: none.
    pub join_token_file: String,
    /// Go on alone with the meta group, which has lost its majority for ever. No key: it is said once, by a flag.
    pub recover_meta_group: bool,
    /// Found nothing by itself: wait to be told, and try to join beside.
    pub wait_for_init: bool,
}

/// `self_collect.*`
#[derive(Debug, Clone, PartialEq)]
pub struct SelfCollectConfig {
    /// Whether the node stores metrics about itself and its host.
    pub enabled: bool,
    /// Time between collections.
    pub interval: Duration,
    /// Tenant that they are stored for.
    pub tenant: Tenant,
}

/// `query.*`
#[derive(Debug, Clone, PartialEq)]
pub struct QueryConfig {
    /// Longest time a query may run.
    pub timeout: Duration,
    /// Samples a query may read.
    pub max_samples: u64,
    /// Series a selector may touch.
    pub max_series: u64,
    /// Bytes a query may hold: series, samples, its result.
    pub max_bytes: ByteSize,
    /// Bytes all queries together may hold; zero derives it from the memory limit.
    pub max_total_bytes: ByteSize,
    /// Memory of results that are kept for queries that come again; zero keeps none.
    pub cache_bytes: ByteSize,
    /// Queries that run at a time; more wait, within their timeout.
    pub max_concurrent: u32,
    /// Longest time that a client may take to receive a long answer.
    pub send_timeout: Duration,
    /// Queries that take longer are logged; zero logs none.
    pub slow_after: Duration,
    /// How far back an instant selector looks for a sample.
    pub lookback_delta: Duration,
    /// Metric names that a query drops can be used until it ends.
    pub delayed_name_removal: bool,
}

/// `ingest.*`
#[derive(Debug, Clone, PartialEq)]
pub struct IngestConfig {
    /// Bytes of a request's body as received.
    pub max_body_bytes: ByteSize,
    /// Bytes of a request's body once decompressed.
    pub max_decompressed_bytes: ByteSize,
    /// Decompressed bytes of all requests in flight.
    pub max_inflight_bytes: ByteSize,
    /// Decompressed bytes of one tenant's requests in flight.
    pub max_tenant_inflight_bytes: ByteSize,
    /// New series per second that a tenant may create.
    pub max_new_series_per_second: u64,
    /// Series that a tenant may have.
    pub max_series: u64,
    /// Memory of the cache of known series.
    pub cache_bytes: ByteSize,
    /// Longest time a write may take before it is answered 503.
    pub timeout: Duration,
}

/// `storage.*`
#[derive(Debug, Clone, PartialEq)]
pub struct StorageConfig {
    /// Unflushed log that triggers a flush, at least.
    pub flush_log_bytes: ByteSize,
    /// Unflushed log per active series that triggers a flush, if that is more.
    pub flush_log_bytes_per_series: ByteSize,
    /// Age of unflushed data that triggers a flush.
    pub flush_age: Duration,
    /// Free space under which writes are refused.
    pub min_free_bytes: ByteSize,
    /// The same in per cent of the file system; the larger of the two holds.
    pub min_free_percent: u32,
    /// Size of the file that keeps room to flush when the disk is full.
    pub ballast_bytes: ByteSize,
    /// Memory of the cache of decoded packs; zero derives it from the memory limit.
    pub cache_bytes: ByteSize,
}

/// `log.*`
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Least severe level that is logged, or a filter such as `info,bellwether_raft=debug`.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// Where a value came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag, as written.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("configuration {from}: {reason}")]
    NotToml {
        /// The file.
        from: Source,
        /// What the parser says.
        reason: String,
    },
    /// No such key.
    #[error("unknown configuration key {key:?} in {from}{hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it was set.
        from: Source,
        /// A similar key, as `; did you mean ..?`, else empty.
        hint: String,
    },
    /// The value does not fit the key.
    #[error("configuration key {key:?} from {from}: {value:?} {reason}")]
    Value {
        /// The key.
        key: String,
        /// Where it was set.
        from: Source,
        /// The value as written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two keys do not go together, or a value is out of range.
    #[error("configuration key {key:?}: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("data"),
            http: SocketAddr::from(([127, 0, 0, 1], 9480)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 9481)),
            hosts: HostList::default(),
            cors_origin: OriginPattern::default(),
            insecure_listen: false,
            join: PeerList::default(),
            cluster: ClusterConfig::default(),
            tls: TlsConfig::default(),
            shard_groups: 8,
            retention: Duration::from_millis(limits::RETENTION_MS_DEFAULT as u64),
            memory_limit: ByteSize(0),
            self_collect: SelfCollectConfig {
                enabled: true,
                interval: Duration::from_secs(5),
                tenant: Tenant::default_tenant(),
            },
            query: QueryConfig {
                timeout: Duration::from_secs(120),
                max_samples: 50_000_000,
                max_series: 1_000_000,
                max_bytes: ByteSize(1 << 30),
                max_total_bytes: ByteSize(0),
                cache_bytes: ByteSize(64 << 20),
                max_concurrent: 20,
                send_timeout: Duration::from_secs(120),
                slow_after: Duration::from_secs(5),
                lookback_delta: Duration::from_secs(300),
                delayed_name_removal: false,
            },
            ingest: IngestConfig {
                max_body_bytes: ByteSize(limits::REQUEST_BODY_BYTES_MAX as u64),
                max_decompressed_bytes: ByteSize(limits::REQUEST_DECOMPRESSED_BYTES_MAX as u64),
                max_inflight_bytes: ByteSize(256 << 20),
                max_tenant_inflight_bytes: ByteSize(256 << 20),
                max_new_series_per_second: 1_000_000,
                max_series: 10_000_000,
                cache_bytes: ByteSize(256 << 20),
                timeout: Duration::from_secs(30),
            },
            storage: StorageConfig {
                flush_log_bytes: ByteSize(64 << 20),
                flush_log_bytes_per_series: ByteSize(200),
                flush_age: Duration::from_secs(3600),
                min_free_bytes: ByteSize(1 << 30),
                min_free_percent: 5,
                ballast_bytes: ByteSize(128 << 20),
                cache_bytes: ByteSize(0),
            },
            alerting: AlertingConfig::default(),
            log: LogConfig { level: "info".to_owned(), format: LogFormat::Text },
        }
    }
}

impl Config {
    /// Sets one key.
    pub fn set(&mut self, key: &str, value: &str, from: Source) -> Result<(), ConfigError> {
        let Some(entry) = keys::find(key) else {
            return Err(ConfigError::UnknownKey { key: key.to_owned(), hint: keys::hint(key), from });
        };
        (entry.set)(self, value).map_err(|reason| ConfigError::Value {
            key: key.to_owned(),
            from,
            value: value.to_owned(),
            reason,
        })
    }

    /// Sets every key of a TOML file's text.
    pub fn set_from_toml(&mut self, text: &str, path: PathBuf) -> Result<(), ConfigError> {
        let from = Source::File(path);
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::NotToml { from: from.clone(), reason: error.to_string() })?;
        self.set_table("", &table, &from)
    }

    fn set_table(&mut self, prefix: &str, table: &toml::Table, from: &Source) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) => self.set_table(&format!("{key}."), inner, from)?,
                toml::Value::String(text) => self.set(&key, text, from.clone())?,
                toml::Value::Array(items) => {
                    let items: Vec<String> = items
                        .iter()
                        .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                        .collect();
                    self.set(&key, &items.join(","), from.clone())?;
                }
                other => self.set(&key, &other.to_string(), from.clone())?,
            }
        }
        Ok(())
    }

    /// Sets the keys that environment variables name; returns variables that look like ours and name no key.
    pub fn set_from_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Vec<String>, ConfigError> {
        let mut unknown = Vec::new();
        for (name, value) in variables.filter(|(name, _)| name.starts_with(keys::ENVIRONMENT_PREFIX)) {
            match keys().iter().find(|key| key.environment() == name) {
                Some(key) => self.set(key.name, &value, Source::Environment(name))?,
                None => unknown.push(name),
            }
        }
        Ok(unknown)
    }

    /// Checks what concerns more than one key. Call once all sources are in.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |key, reason: String| Err(ConfigError::Invalid { key, reason });
        self.validate_reach()?;
        if let Some(reason) =
            TokenText::parse(&self.cluster.join_token.0).err().filter(|_| self.cluster.join_token.is_set())
        {
            return invalid("cluster.join_token", reason.to_string());
        }
        if !(1..=SHARD_GROUPS_MAX).contains(&self.shard_groups) {
            return invalid("shard_groups", format!("{} is outside 1 to {SHARD_GROUPS_MAX}", self.shard_groups));
        }
        if self.retention.as_millis() < limits::WINDOW_MS as u128 {
            return invalid("retention", "is shorter than a storage window (2h)".to_owned());
        }
        if self.self_collect.interval < Duration::from_secs(1) {
            return invalid("self_collect.interval", "is shorter than 1s".to_owned());
        }
        for (key, value) in [
            ("query.timeout", self.query.timeout),
            ("query.send_timeout", self.query.send_timeout),
            ("ingest.timeout", self.ingest.timeout),
        ] {
            if value.is_zero() {
                return invalid(key, "may not be zero".to_owned());
            }
        }
        if self.query.max_concurrent == 0 {
            return invalid("query.max_concurrent", "may not be zero".to_owned());
        }
        if self.alerting.evaluation_interval < Duration::from_secs(1) {
            return invalid("alerting.evaluation_interval", "is shorter than 1s".to_owned());
        }
        self.validate_write_limits()?;
        if self.storage.min_free_percent > 50 {
            return invalid("storage.min_free_percent", "is above 50".to_owned());
        }
        Ok(())
    }

    /// A request that is within its own limits must fit into those of all requests together.
    fn validate_write_limits(&self) -> Result<(), ConfigError> {
        let ingest = &self.ingest;
        let invalid = |key, reason: String| Err(ConfigError::Invalid { key, reason });
        for (key, value) in [
            ("ingest.max_body_bytes", ingest.max_body_bytes),
            ("ingest.max_decompressed_bytes", ingest.max_decompressed_bytes),
        ] {
            if value.0 == 0 {
                return invalid(key, "may not be zero".to_owned());
            }
        }
        let limit = ByteSize(limits::REQUEST_DECOMPRESSED_BYTES_MAX as u64);
        if ingest.max_decompressed_bytes > limit {
            return invalid("ingest.max_decompressed_bytes", format!("is above the limit of {limit}"));
        }
        if ingest.max_body_bytes > ingest.max_inflight_bytes {
            let (one, all) = (ingest.max_body_bytes, ingest.max_inflight_bytes);
            return invalid(
                "ingest.max_body_bytes",
                format!("{one} is more than ingest.max_inflight_bytes, {all}: a large body could never be taken"),
            );
        }
        let new_series = ByteSize(bellwether_ingest::distribute::NEW_SERIES_BYTES_MAX as u64);
        for (key, all) in [
            ("ingest.max_inflight_bytes", ingest.max_inflight_bytes),
            ("ingest.max_tenant_inflight_bytes", ingest.max_tenant_inflight_bytes),
        ] {
            let one = ingest.max_decompressed_bytes;
            if all.0 < one.0.saturating_add(new_series.0) {
                return invalid(
                    key,
                    format!(
                        "{all} is less than ingest.max_decompressed_bytes, {one}, and the {new_series} that a \
                         request's new series may take: a large body could never be taken"
                    ),
                );
            }
        }
        Ok(())
    }
}

/// Shard groups that a cluster may be founded with.
pub(crate) const SHARD_GROUPS_MAX: u32 = 256;

#[cfg(test)]
mod tests;
