//! Registry blocks: the labels of consecutive series, as stored.
//!
//! A block names each text, each (tenant, name, value) and each tenant once; a series is a list of positions in those tables, written as
//! differences to the series before it. Hashes are not stored: they are computed again, which also proves the labels. A series that has
//! expired is a row without labels.
//! Byte diagram: `node/docs/format/shard.md`.

use bellwether_chunk::DecodeError;
use bellwether_chunk::varint::{read_bytes, read_i64, read_u64, write_i64, write_u64};
use bellwether_model::{Label, Labels, SeriesHash, Tenant, limits};
use std::collections::BTreeSet;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3Builder;

use crate::index::{Index, PairId, TenantId};
use crate::record::RECORD_BYTES_MAX;

/// Format of a block: version 1 knew no expired series.
pub const REGISTRY_VERSION: u8 = 2;
/// Series per block, at most.
const SERIES_PER_BLOCK: u32 = 2048;
/// A block is closed once its texts have this many bytes.
const TEXT_BYTES_PER_BLOCK: usize = 4 << 20;

// With one more series of the largest labels and all of a block's rows it still is a record.
const _: () = assert!(
    TEXT_BYTES_PER_BLOCK
        + limits::LABELS_PER_SERIES_MAX * (limits::LABEL_NAME_BYTES_MAX + limits::LABEL_VALUE_BYTES_MAX)
        + SERIES_PER_BLOCK as usize * limits::LABELS_PER_SERIES_MAX * 20
        < RECORD_BYTES_MAX
);

/// Gives each distinct key the next position.
struct Table<K> {
    at: HashMap<K, u64, Xxh3Builder>,
    keys: Vec<K>,
}

impl<K: std::hash::Hash + Eq + Copy> Table<K> {
    fn new() -> Table<K> {
        Table { at: HashMap::default(), keys: Vec::new() }
    }

    fn position(&mut self, key: K) -> u64 {
        let next = self.keys.len() as u64;
        *self.at.entry(key).or_insert_with(|| {
            self.keys.push(key);
            next
        })
    }
}

/// Writes series from `first` on, to before `end` or until the block is full. Returns the block and the first series that is not in it.
/// Series in `later` expired after the moment that is stored: then they lived.
pub fn encode(index: &Index, first: u32, end: u32, later: &BTreeSet<u32>) -> (Vec<u8>, u32) {
    let mut texts: Table<&str> = Table::new();
    let mut tenants: Table<TenantId> = Table::new();
    let mut pairs: Table<PairId> = Table::new();
    let mut rows = Vec::new();
    let mut previous: Vec<i64> = Vec::new();
    let mut previous_metric = 0i64;
    let mut tenant_firsts = Vec::new();
    let mut pair_tables = Vec::new();

    let mut text_bytes = 0;
    let mut next = first;
    while next < end && next - first < SERIES_PER_BLOCK && text_bytes < TEXT_BYTES_PER_BLOCK {
        let series = next;
        next += 1;
        if !index.is_living(series) && !later.contains(&series) {
            write_u64(&mut rows, 0);
            continue;
        }
        let sort = index.sort_key(bellwether_model::SeriesRef(series));
        let own = index.pairs_of(series);
        write_u64(&mut rows, own.len() as u64);
        write_i64(&mut rows, i64::from(sort.metric) - previous_metric);
        previous_metric = i64::from(sort.metric);
        for (at, pair) in own.iter().enumerate() {
            let known = pairs.keys.len() as u64;
            let position = pairs.position(*pair);
            if position == known {
                let tenant = tenants.position(index.tenant_of(series));
                if tenant == tenant_firsts.len() as u64 {
                    let name = index.tenant_name(index.tenant_of(series)).as_str();
                    tenant_firsts.push((texts.position(name), sort.tenant));
                }
                let (name, value) = index.pair_text(*pair);
                text_bytes += name.len() + value.len();
                pair_tables.push((tenant, texts.position(name), texts.position(value)));
            }
            let before = previous.get(at).copied().unwrap_or_default();
            write_i64(&mut rows, position as i64 - before);
            match previous.get_mut(at) {
                Some(before) => *before = position as i64,
                None => previous.push(position as i64),
            }
        }
    }

    let mut out = Vec::with_capacity(rows.len() * 2);
    write_u64(&mut out, u64::from(next - first));
    write_u64(&mut out, texts.keys.len() as u64);
    for text in &texts.keys {
        write_u64(&mut out, text.len() as u64);
    }
    for text in &texts.keys {
        out.extend_from_slice(text.as_bytes());
    }
    write_u64(&mut out, tenant_firsts.len() as u64);
    for (name, first) in tenant_firsts {
        write_u64(&mut out, name);
        write_u64(&mut out, u64::from(first));
    }
    write_u64(&mut out, pair_tables.len() as u64);
    for (tenant, name, value) in pair_tables {
        write_u64(&mut out, tenant);
        write_u64(&mut out, name);
        write_u64(&mut out, value);
    }
    out.extend_from_slice(&rows);
    (out, next)
}

fn counted(input: &mut &[u8], what: &'static str) -> Result<usize, DecodeError> {
    let count = read_u64(input)?;
    if count > input.len() as u64 {
        return Err(DecodeError::Invalid { what, got: count });
    }
    Ok(count as usize)
}

fn at<T: Copy>(table: &[T], position: u64, what: &'static str) -> Result<T, DecodeError> {
    let found = usize::try_from(position).ok().and_then(|position| table.get(position));
    found.copied().ok_or(DecodeError::Invalid { what, got: position })
}

/// Adds the series of a block to the index, in order.
pub fn decode_into(mut input: &[u8], index: &mut Index) -> Result<(), DecodeError> {
    let input = &mut input;
    let series_count = read_u64(input)?;
    if series_count > u64::from(SERIES_PER_BLOCK) {
        return Err(DecodeError::Invalid { what: "number of series", got: series_count });
    }

    let text_count = counted(input, "number of texts")?;
    let lengths = (0..text_count).map(|_| read_u64(input)).collect::<Result<Vec<u64>, _>>()?;
    let mut texts = Vec::with_capacity(text_count);
    for length in lengths {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = read_bytes(input, length, "text")?;
        let text = std::str::from_utf8(bytes);
        texts.push(text.map_err(|error| DecodeError::Invalid { what: "UTF-8 text", got: error.valid_up_to() as u64 })?);
    }
    let symbols: Vec<_> = texts.iter().map(|text| index.intern(text)).collect();

    let tenant_count = counted(input, "number of tenants")?;
    let mut tenants = Vec::with_capacity(tenant_count);
    for _ in 0..tenant_count {
        let (name, first) = (read_u64(input)?, read_u64(input)?);
        let tenant = Tenant::new(at(&texts, name, "tenant's text")?);
        let tenant = tenant.map_err(|_| DecodeError::Invalid { what: "tenant", got: name })?;
        let first =
            u32::try_from(first).map_err(|_| DecodeError::Invalid { what: "tenant's first ref", got: first })?;
        tenants.push((index.tenant_or_new(&tenant, first), first));
    }

    let pair_count = counted(input, "number of pairs")?;
    let mut pairs = Vec::with_capacity(pair_count);
    for _ in 0..pair_count {
        let (tenant, name, value) = (read_u64(input)?, read_u64(input)?, read_u64(input)?);
        let (tenant, first) = at(&tenants, tenant, "tenant")?;
        let text = (at(&texts, name, "label name")?, at(&texts, value, "label value")?);
        let pair = index.pair_or_new(tenant, at(&symbols, name, "name")?, at(&symbols, value, "value")?);
        pairs.push((pair, tenant, first, text));
    }

    let mut previous: Vec<i64> = Vec::new();
    let mut metric = 0i64;
    let mut own = Vec::new();
    for _ in 0..series_count {
        let count = read_u64(input)?;
        if count == 0 {
            index.add_forgotten();
            continue;
        }
        if count > limits::LABELS_PER_SERIES_MAX as u64 {
            return Err(DecodeError::Invalid { what: "number of labels", got: count });
        }
        metric = metric.wrapping_add(read_i64(input)?);
        own.clear();
        for label in 0..count as usize {
            if previous.len() <= label {
                previous.push(0);
            }
            previous[label] = previous[label].wrapping_add(read_i64(input)?);
            own.push(at(&pairs, previous[label] as u64, "pair")?);
        }
        let names_ascend = own.windows(2).all(|two| two[0].3.0 < two[1].3.0);
        let one_tenant = own.iter().all(|pair| pair.1 == own[0].1);
        let filled = own.iter().all(|pair| !pair.3.0.is_empty() && !pair.3.1.is_empty());
        let metric = u32::try_from(metric).ok().filter(|metric| *metric <= index.len());
        let (Some(metric), true, true, true) = (metric, names_ascend, one_tenant, filled) else {
            return Err(DecodeError::Invalid { what: "series", got: u64::from(index.len()) });
        };
        let labels = Labels::from_sorted(own.iter().map(|pair| Label { name: pair.3.0, value: pair.3.1 }));
        let (tenant, first) = (own[0].1, own[0].2);
        let hash = SeriesHash::of(index.tenant_name(tenant), &labels);
        let ids: Vec<PairId> = own.iter().map(|pair| pair.0).collect();
        index.add_stored(hash, tenant, &ids, (first, metric));
    }
    if input.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { excess: input.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_model::SeriesRef;

    fn index() -> Index {
        let mut index = Index::default();
        for (tenant, metric, host) in
            [("a", "cpu", "h1"), ("a", "mem", "h1"), ("b", "cpu", "h1"), ("a", "cpu", "h2"), ("b", "up", "")]
        {
            let tenant = Tenant::new(tenant).unwrap();
            let labels = Labels::of(&[("__name__", metric), ("host", host), ("zone", "z")]);
            index.add(SeriesHash::of(&tenant, &labels), &tenant, &labels, 0);
        }
        index
    }

    #[test]
    fn blocks_round_trip_with_refs_hashes_and_order() {
        let original = index();
        let mut read = Index::default();
        decode_into(&encode(&original, 0, 2, &BTreeSet::new()).0, &mut read).unwrap();
        decode_into(&encode(&original, 2, 5, &BTreeSet::new()).0, &mut read).unwrap();
        assert_eq!(read.len(), original.len());
        for series in (0..5).map(SeriesRef) {
            assert_eq!(read.labels(series), original.labels(series));
            assert_eq!(read.sort_key(series), original.sort_key(series));
            let hash = SeriesHash::of(read.tenant_of_series(series), &read.labels(series));
            assert_eq!((read.find(hash), original.find(hash)), (Some(series), Some(series)));
        }
    }

    #[test]
    fn an_expired_series_is_a_row_without_labels_unless_it_expired_later() {
        let mut original = index();
        original.expire(&[0, 2, 3]);
        let (block, end) = encode(&original, 0, 5, &BTreeSet::from([2]));
        let mut read = Index::default();
        decode_into(&block, &mut read).unwrap();
        assert_eq!((end, read.len(), read.living()), (5, 5, 3));
        assert!([0, 3].iter().all(|series| !read.is_living(*series)));
        for series in [1, 2, 4].map(SeriesRef) {
            assert_eq!(read.labels(series), original.labels(series));
            assert_eq!(read.sort_key(series), original.sort_key(series));
        }
    }

    #[test]
    fn stored_form_is_golden() {
        let hex: String = encode(&index(), 0, 2, &BTreeSet::new()).0.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["02080108030402040103615f5f6e616d655f5f637075686f737468317a6f6e657a6d656d0100000400010200030400050600010703000002040302060000"].assert_eq(&hex);
    }

    #[test]
    fn damaged_blocks_are_errors() {
        let (block, _) = encode(&index(), 0, 5, &BTreeSet::new());
        for at in 0..block.len() {
            assert!(decode_into(&block[..at], &mut Index::default()).is_err());
            for bit in 0..8 {
                let mut damaged = block.clone();
                damaged[at] ^= 1 << bit;
                let _ = decode_into(&damaged, &mut Index::default());
            }
        }
    }
}
