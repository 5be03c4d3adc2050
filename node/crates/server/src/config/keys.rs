//! The table of configuration keys. Everything that lists keys (files, environment, documentation) reads it.

use super::Config;
use super::setting::Setting;

/// What environment variables of ours begin with.
pub const ENVIRONMENT_PREFIX: &str = "BELLWETHER_";

/// One configuration key.
pub struct KeyInfo {
    /// `section.name`.
    pub name: &'static str,
    /// What values look like.
    pub kind: &'static str,
    /// What it is for.
    pub help: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> String,
}

impl KeyInfo {
    /// The environment variable that sets it.
    pub fn environment(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Its value in a configuration, as it would be written.
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }
}

fn kind_of<T: Setting>(_field: fn(&Config) -> &T) -> &'static str {
    T::KIND
}

macro_rules! keys {
    ($($name:literal => $($field:ident).+, $help:literal;)*) => {
        /// All keys, in the order of the documentation.
        pub fn keys() -> Vec<KeyInfo> {
            vec![$(KeyInfo {
                name: $name,
                kind: kind_of(|config| &config.$($field).+),
                help: $help,
                set: |config, text| {
                    config.$($field).+ = Setting::parse(text)?;
                    Ok(())
                },
                get: |config| Setting::print(&config.$($field).+),
            }),*]
        }
    };
}

keys! {
    "data_dir" => data_dir, "where everything is stored";
    "http" => http, "address of the HTTP API; port 0 takes a free one and prints it";
    "grpc" => grpc, "address of the gRPC API; port 0 takes a free one and prints it";
    "hosts" => hosts, "names that requests may address a listener on loopback by, beside localhost and loopback addresses";
    "cors_origin" => cors_origin, "regular expression: origins whose pages may read answers; `.*` lets all, an empty one none";
    "insecure_listen" => insecure_listen, "serve HTTP in plain text, on other addresses than loopback too: whoever reaches it can read and write";
    "join" => join, "gRPC addresses of nodes of the cluster to join, for a start with an empty data directory; none: such a start founds a cluster";
    "cluster.zone" => cluster.zone, "nodes of one zone fail together: copies are spread over the zones";
    "cluster.advertise_grpc" => cluster.advertise_grpc, "host:port at which others reach the gRPC API; empty: where it listens";
    "cluster.advertise_http" => cluster.advertise_http, "host:port at which others reach the HTTP API; empty: where it listens";
    "cluster.capacity" => cluster.capacity, "disk space that the node offers to the cluster; 0 takes the size of its file system";
    "cluster.join_timeout" => cluster.join_timeout, "how long a start tries to join before it fails; 0 tries until it succeeds";
    "cluster.join_token" => cluster.join_token, "token to show when joining";
    "cluster.join_token_file" => cluster.join_token_file, "file with that token; a node that bwctl cluster init makes the founder lets others join with its own";
    "cluster.wait_for_init" => cluster.wait_for_init, "with an empty data directory found nothing by itself: wait for bwctl cluster init here, or for a node to join";
    "tls.ca" => tls.ca, "file: certificates (PEM) of the authorities that nodes and administrators have theirs from";
    "tls.cert" => tls.cert, "file: this node's certificate (PEM), for the host that it is reached at; changed files are used without a restart";
    "tls.key" => tls.key, "file: the key (PEM) of that certificate";
    "tls.name" => tls.name, "name that all nodes' certificates have, where they are not for the nodes' hosts";
    "tls.client_certificates" => tls.client_certificates, "turn clients away that show no certificate of an authority in tls.ca";
    "shard_groups" => shard_groups, "shard groups of a new cluster; later starts use what is stored";
    "retention" => retention, "how long samples are kept";
    "memory_limit" => memory_limit, "memory to stay within; 0 takes half of what the machine or its cgroup has";
    "self_collect.enabled" => self_collect.enabled, "store metrics about the node and its host";
    "self_collect.interval" => self_collect.interval, "time between collections";
    "self_collect.tenant" => self_collect.tenant, "tenant that they are stored for";
    "query.timeout" => query.timeout, "longest time a query may run";
    "query.max_samples" => query.max_samples, "samples that a query may read";
    "query.max_series" => query.max_series, "series that a query may touch";
    "query.max_bytes" => query.max_bytes, "memory that a query may hold: series, samples, its result until that is sent";
    "query.max_total_bytes" => query.max_total_bytes, "memory that all queries together may hold; 0 takes a quarter of memory_limit";
    "query.cache_bytes" => query.cache_bytes, "memory of the results of range queries that are kept for when they are asked for again, at most a sixteenth of memory_limit; 0 keeps none";
    "query.max_concurrent" => query.max_concurrent, "queries that run at a time; more wait, within their timeout";
    "query.send_timeout" => query.send_timeout, "longest time that a client may take to receive a long answer; a slower one is cut off";
    "query.slow_after" => query.slow_after, "queries that take longer are logged; 0s logs none";
    "query.lookback_delta" => query.lookback_delta, "how far back an instant selector looks for a sample";
    "query.delayed_name_removal" => query.delayed_name_removal, "names of metrics that functions and operators drop can be grouped, matched and copied by until the query ends; the same on all nodes";
    "ingest.max_body_bytes" => ingest.max_body_bytes, "bytes of a request's body as received";
    "ingest.max_decompressed_bytes" => ingest.max_decompressed_bytes, "bytes of a request's body once decompressed";
    "ingest.max_inflight_bytes" => ingest.max_inflight_bytes, "decompressed bytes of all writes in flight; above: 503";
    "ingest.max_tenant_inflight_bytes" => ingest.max_tenant_inflight_bytes, "the same for one tenant";
    "ingest.max_new_series_per_second" => ingest.max_new_series_per_second, "new series per second that a tenant may create; above: refused";
    "ingest.max_series" => ingest.max_series, "series that a tenant may have; above: refused";
    "ingest.cache_bytes" => ingest.cache_bytes, "memory of the cache of known series";
    "ingest.timeout" => ingest.timeout, "longest time a write may take; after that: 503, result unknown";
    "storage.flush_log_bytes" => storage.flush_log_bytes, "unflushed log that triggers a flush, at least";
    "storage.flush_log_bytes_per_series" => storage.flush_log_bytes_per_series, "the same per active series; the larger holds";
    "storage.flush_age" => storage.flush_age, "age of unflushed data that triggers a flush";
    "storage.min_free_bytes" => storage.min_free_bytes, "free disk space under which writes are refused with 503";
    "storage.min_free_percent" => storage.min_free_percent, "the same in per cent of the file system; the larger holds";
    "storage.ballast_bytes" => storage.ballast_bytes, "size of the file `ballast`, which keeps room to flush and purge on a full disk";
    "storage.cache_bytes" => storage.cache_bytes, "memory of the cache of decoded packs; 0 takes an eighth of memory_limit";
    "alerting.evaluation_interval" => alerting.evaluation_interval, "how often rule groups are evaluated that do not say it; the same on all nodes";
    "alerting.external_url" => alerting.external_url, "where people reach the cluster, for links in notifications, the same on all nodes; empty: the node's own HTTP address";
    "alerting.external_labels" => alerting.external_labels, "labels that tell the cluster from others, such as region=eu, for templates; the same on all nodes";
    "alerting.files_dir" => alerting.files_dir, "directory of the files that notification settings may name (passwords, addresses, certificates), relative to it; empty: none, since whoever may set them could have any file sent";
    "log.level" => log.level, "error, warn, info, debug or trace; or a filter such as `info,bellwether_raft=debug`";
    "log.format" => log.format, "text, or json: one object per line";
}

/// The key of a name.
pub fn find(name: &str) -> Option<KeyInfo> {
    keys().into_iter().find(|key| key.name == name)
}

/// `; did you mean ..?` where a key looks alike, else empty.
pub fn hint(name: &str) -> String {
    let wanted = last_part(name);
    match keys().into_iter().find(|key| last_part(key.name) == wanted) {
        Some(key) => format!("; did you mean {:?}?", key.name),
        None => String::new(),
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
