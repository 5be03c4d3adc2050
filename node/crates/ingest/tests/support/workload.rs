//! Remote-write bodies as a fleet of hosts sends them, for benchmarks and end-to-end tests.
#![allow(dead_code, missing_docs)]

use bellwether_ingest::{
    CacheEntry, Distributed, Distributor, DistributorScratch, GroupTable, MetadataFilter, RefScope, SeriesCache,
};
use bellwether_model::{HashRange, RefEpoch, SeriesRef, Tenant};

use super::protobuf_writer::{RequestV2, labels_v1, put_bytes, sample};

pub const SERIES_PER_HOST: usize = 1000;
const START_MS: i64 = 1_790_000_000_000;

/// The labels of series number `at`: eight, about 250 bytes on the wire.
pub fn labels(at: usize) -> Vec<(&'static str, String)> {
    let (host, m) = (at / SERIES_PER_HOST, at % SERIES_PER_HOST);
    let address = format!("ip-10-{}-{}-{}", host / 65536, (host / 256) % 256, host % 256);
    let instance = format!("{address}.eu-west-1.compute.internal:9100");
    vec![
        ("__name__", format!("node_metric_family_{}_total", m / 8)),
        ("cluster", "payments-production-eu-west-1".to_owned()),
        ("cpu", format!("{}", m % 8)),
        ("env", "production".to_owned()),
        ("instance", instance),
        ("job", "node-exporter".to_owned()),
        ("mode", ["idle", "user", "system", "iowait"][m % 4].to_owned()),
        ("region", "eu-west-1".to_owned()),
    ]
}

/// A value of series number `at`: a quarter have two decimals, the rest are whole.
pub fn value(at: usize, round: usize) -> f64 {
    let noise = (at * 2_654_435_761 + round * 40_503) % 9973;
    match at % 4 {
        0 => (at % 1000 * 100 + noise * (round + 1)) as f64 / 100.0,
        1 => (at % 5000 + noise % 100 * round) as f64,
        2 => (noise % 8 / 7) as f64,
        _ => (noise as f64 - 5000.0) * 4096.0,
    }
}

/// The version 1.0 body with the given series in one round of scrapes.
pub fn body_v1(series: std::ops::Range<usize>, round: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for at in series {
        let labels = labels(at);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut series = labels_v1(&labels);
        put_bytes(&mut series, 2, &sample(START_MS + round as i64 * 15_000, value(at, round)));
        put_bytes(&mut body, 1, &series);
    }
    body
}

/// The version 2.0 body with the given series in one round of scrapes.
pub fn body_v2(series: std::ops::Range<usize>, round: usize) -> Vec<u8> {
    let mut request = RequestV2::default();
    for at in series {
        let labels = labels(at);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let metadata = request.metadata(1, "What it counts.", "");
        let series = request.push(&labels, &[(START_MS + round as i64 * 15_000, value(at, round))]);
        put_bytes(series, 5, &metadata);
    }
    request.body()
}

/// A gateway that resolves every miss at once.
pub struct Gateway {
    pub tenant: Tenant,
    pub cache: SeriesCache,
    pub metadata: MetadataFilter,
    pub groups: GroupTable,
    pub scratch: DistributorScratch,
    next_ref: Vec<u32>,
}

pub const SCOPE: RefScope = RefScope { epoch: RefEpoch(77), range_generation: 1 };

impl Gateway {
    pub fn new(groups: u16, cache_bytes: usize) -> Gateway {
        let cache = SeriesCache::new(42, cache_bytes);
        (0..groups).for_each(|group| cache.set_scope(group, SCOPE));
        let ranges = HashRange::split_ring(u32::from(groups)).into_iter().zip(0..).collect();
        Gateway {
            tenant: Tenant::default_tenant(),
            cache,
            metadata: MetadataFilter::default(),
            groups: GroupTable::new(ranges).expect("a ring that was split has no overlaps"),
            scratch: DistributorScratch::default(),
            next_ref: vec![0; usize::from(groups)],
        }
    }

    pub fn write_v1(&mut self, body: &[u8]) -> Distributed {
        let distributor = Distributor::new(&self.tenant, &self.cache, &self.metadata, &self.groups);
        distributor.distribute_v1(body, &mut self.scratch).expect("the body is well-formed")
    }

    pub fn write_v2(&mut self, body: &[u8]) -> Distributed {
        let distributor = Distributor::new(&self.tenant, &self.cache, &self.metadata, &self.groups);
        distributor.distribute_v2(body, &mut self.scratch).expect("the body is well-formed")
    }

    /// Gives every missed series a ref and remembers it.
    pub fn resolve(&mut self, distributed: &Distributed) {
        let tenant = Distributor::new(&self.tenant, &self.cache, &self.metadata, &self.groups).tenant_key();
        let entries: Vec<CacheEntry> = distributed
            .misses
            .iter()
            .map(|miss| {
                let next = &mut self.next_ref[usize::from(miss.group)];
                *next += 1;
                CacheEntry { key: miss.key, group: miss.group, scope: SCOPE, series_ref: SeriesRef(*next - 1) }
            })
            .collect();
        self.cache.insert(tenant, &entries);
    }
}
