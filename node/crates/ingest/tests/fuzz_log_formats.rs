//! Hostile frames, entries and replies: whatever the bytes, an answer or an error, and memory in proportion to them.

use bellwether_ingest::{
    Command, Compression, ControlCommand, Entry, EntryBuffer, EntryBuilder, EntryCompressor, EntryLimits, FrameReader,
    FrameReply, MatcherText, RefScope, RowColumns, ShardBatch, exemplars,
};
use bellwether_model::{Exemplar, Labels, MatchOp, RefEpoch, Sample, SeriesHash, SeriesRef, Tenant, TimeRange, limits};

#[path = "support/mutation.rs"]
mod mutation;

use mutation::mutated;

const SCOPE: RefScope = RefScope { epoch: RefEpoch(1), range_generation: 2 };

fn valid_frame() -> Vec<u8> {
    let mut batch = ShardBatch::new(SCOPE);
    for at in 0..20 {
        batch.push(SeriesRef(at * 100), 1_790_000_000_000 + i64::from(at % 3), f64::from(at) / 3.0);
    }
    let labels = Labels::of(&[("__name__", "up"), ("job", "node")]);
    batch.push_histogram(SeriesRef(5), 1_790_000_000_000, &[1, 2, 3]);
    batch.register(SeriesHash(7), labels, &[Sample { timestamp: 1, value: 2.0 }]);
    batch.push_registered_histogram(3, &[4; 20]);
    let labels = Labels::of(&[("trace_id", "a7")]);
    let exemplar = exemplars::encode(&Exemplar { labels, value: 0.5, timestamp: 0 });
    batch.push_exemplar(SeriesRef(5), 1_790_000_000_000, &exemplar);
    batch.push_registered_exemplar(3, &exemplar);
    batch.encode(&Tenant::default_tenant()).remove(0).bytes
}

fn valid_entries() -> Vec<Vec<u8>> {
    let stamped = EntryLimits { version: 2, oldest: 0, newest: 1, tenant_series_max: 2 };
    let entry = |frames: usize| {
        let mut builder = EntryBuilder::default();
        (0..frames).for_each(|_| assert!(builder.push(&valid_frame())));
        builder.finish(5, stamped, Compression::WhenItPays(&mut EntryCompressor::default()))
    };
    let matcher = MatcherText { op: MatchOp::Regex, name: "job".to_owned(), value: "a.*".to_owned() };
    let delete =
        ControlCommand::Delete { tenant: Tenant::default_tenant(), matchers: vec![matcher], range: TimeRange::ALL };
    vec![entry(2), entry(100), delete.encode(1, 5)]
}

fn read_frame(bytes: &[u8], columns: &mut RowColumns) {
    let Ok(frame) = FrameReader::new(bytes) else { return };
    let _ = frame.read_rows(columns);
    let _ = frame.read_registered_rows(columns);
    let _ = frame.tenant();
    for registration in frame.registrations() {
        let registration = registration.expect("making the reader has checked the list");
        let _ = Labels::from_canonical(registration.labels);
    }
    for row in frame.histograms().chain(frame.registered_histograms()) {
        let row = row.expect("making the reader has checked the list");
        let _ = bellwether_chunk::decode_histograms(row.chunk, 1, &mut Vec::new());
    }
    for row in frame.exemplars().chain(frame.registered_exemplars()) {
        let row = row.expect("making the reader has checked the list");
        let _ = exemplars::decode(row.timestamp, row.chunk);
    }
    assert!(columns.values.capacity() <= 64 + 4 * bytes.len());
}

#[test]
fn fuzz_frame() {
    let valid = valid_frame();
    let mut columns = RowColumns::default();
    bolero::check!().for_each(|input: &[u8]| {
        for bytes in [input, &mutated(&valid, input)] {
            columns = RowColumns::default();
            read_frame(bytes, &mut columns);
        }
    });
}

#[test]
fn fuzz_entry() {
    let valid = valid_entries();
    let mut buffer = EntryBuffer::default();
    bolero::check!().for_each(|input: &[u8]| {
        let mutants = valid.iter().map(|valid| mutated(valid, input));
        for bytes in std::iter::once(input.to_vec()).chain(mutants) {
            if let Ok(Entry { command: Command::Samples(samples), .. }) = Entry::read(&bytes, &mut buffer, 2) {
                samples.frames().for_each(|frame| read_frame(frame.expect("checked"), &mut RowColumns::default()));
            }
            assert!(buffer.capacity() <= 2 * limits::RAFT_ENTRY_BYTES_MAX);
        }
    });
}

#[test]
fn fuzz_reply() {
    let mut valid = Vec::new();
    let mut reply = FrameReply::new(SCOPE);
    reply.refs = vec![Some(SeriesRef(5)), None];
    reply.encode(&mut valid);
    bolero::check!().for_each(|input: &[u8]| {
        let _ = FrameReply::decode(input);
        let _ = FrameReply::decode(&mutated(&valid, input));
    });
}
