//! Buffers of requests that are done, for the next ones.

use bellwether_ingest::DistributorScratch;
use parking_lot::Mutex;

/// Scratches kept; more requests at a time than this make their own.
const SCRATCHES_MAX: usize = 16;
/// A body buffer that has grown beyond this is not kept.
const BODY_BYTES_KEPT_MAX: usize = 4 << 20;

/// The same for what the walk fills: a request of a hundred thousand samples takes as much.
const DISTRIBUTOR_BYTES_KEPT_MAX: usize = 4 << 20;

/// What decoding one request needs.
#[derive(Default)]
pub struct Scratch {
    /// The decompressed body.
    pub body: Vec<u8>,
    /// What the walk over it fills.
    pub distributor: DistributorScratch,
}

/// Scratches that nobody uses at the moment.
#[derive(Default)]
pub struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
}

impl ScratchPool {
    /// One of the pool, or a new one.
    pub fn take(&self) -> Scratch {
        self.idle.lock().pop().unwrap_or_default()
    }

    /// Gives one back.
    pub fn give_back(&self, mut scratch: Scratch) {
        if scratch.body.capacity() > BODY_BYTES_KEPT_MAX {
            scratch.body = Vec::new();
        }
        if scratch.distributor.bytes() > DISTRIBUTOR_BYTES_KEPT_MAX {
            scratch.distributor = DistributorScratch::default();
        }
        let mut idle = self.idle.lock();
        if idle.len() < SCRATCHES_MAX {
            idle.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use bellwether_ingest::{Distributor, GroupTable, MetadataFilter, SeriesCache};
    use bellwether_model::{HashRange, Labels, Sample, Tenant};
    use bellwether_proto::v1;
    use prost::Message;

    use super::*;

    #[test]
    fn what_a_large_request_filled_is_not_kept() {
        let (tenant, cache, metadata) =
            (Tenant::default_tenant(), SeriesCache::new(1, 1 << 16), MetadataFilter::default());
        let groups = GroupTable::new(vec![(HashRange::ALL, 0)]).unwrap();
        let distributor = Distributor::new(&tenant, &cache, &metadata, &groups);
        let pool = ScratchPool::default();
        for (samples, is_kept) in [(100, true), (300_000, false)] {
            let samples = (0..samples).map(|timestamp| Sample { timestamp, value: 1.0 });
            let series = v1::Series::new(&Labels::of(&[("__name__", "m")]), samples);
            let body = v1::WriteRequest { series: vec![series] }.encode_to_vec();
            let mut scratch = pool.take();
            distributor.distribute_v1(&body, &mut scratch.distributor).unwrap();
            let held = scratch.distributor.bytes();
            scratch.body.reserve(if is_kept { 100 } else { BODY_BYTES_KEPT_MAX + 1 });
            pool.give_back(scratch);
            let scratch = pool.take();
            assert_eq!(scratch.distributor.bytes(), if is_kept { held } else { 0 }, "{held} bytes");
            assert_eq!(scratch.body.capacity() > 0, is_kept);
        }
    }
}
