//! Tests of the manifest: its bytes, and whatever is not exactly those.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn manifest() -> Manifest {
    let file = |name: &str, content: &[u8]| FilePart {
        name: name.to_owned(),
        bytes: content.len() as u64,
        object: ObjectHash::of(content),
    };
    let group = |id, first, last| GroupPart {
        group: ShardGroupId(id),
        range: HashRange { first: PlacementKey(first), last: PlacementKey(last) },
        ref_epoch: RefEpoch(0xab),
        node: NodeId(2),
        replica: ReplicaId(7),
        term: 3,
        index: 1000,
        series: 12,
        samples: 3456,
        files: vec![file("000012.sst", b"hello"), file("CURRENT", b"")],
    };
    Manifest {
        id: BackupId::new(1_795_192_800_000, 0xdead_beef),
        cluster: 0xabc,
        started_ms: 1_795_192_800_000,
        finished_ms: 1_795_192_801_500,
        active_version: 1,
        program: "0.1.0".to_owned(),
        settings: BTreeMap::from([("replication.factor".to_owned(), "3".to_owned())]),
        nodes: vec![(NodeId(1), "127.0.0.1:9481".to_owned(), "rack 1".to_owned())],
        groups: vec![group(1, 0, 0x7fff_ffff_ffff_ffff), group(0, 0x8000_0000_0000_0000, u64::MAX)],
    }
}

#[test]
fn a_manifest_is_golden_and_read_back() {
    let text = manifest().print();
    expect![[r#"
        bellwether backup
        format 1
        id 20261120T164000Z-deadbeef
        cluster 00000000000000000000000000000abc
        started_ms 1795192800000
        finished_ms 1795192801500
        version 1
        program 0.1.0
        setting replication.factor 3
        node 1 127.0.0.1:9481 rack 1
        group 1 0000000000000000-7fffffffffffffff 00000000000000ab 2 7 3 1000 12 3456 2
        file 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 5 000012.sst
        file e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 CURRENT
        group 0 8000000000000000-ffffffffffffffff 00000000000000ab 2 7 3 1000 12 3456 2
        file 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 5 000012.sst
        file e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 CURRENT
        end d1eb8599ff652f82b543b047945f25c9411e74a0ec2d7602ab557484b498fbcd
    "#]]
    .assert_eq(&text);
    assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest()));
    assert_eq!((manifest().objects().len(), manifest().bytes()), (2, 10));
}

#[test]
fn whatever_is_cut_off_or_changed_is_refused() {
    let text = manifest().print().into_bytes();
    // Only the last line's end may be missing.
    for length in 0..text.len() - 1 {
        assert!(Manifest::parse(&text[..length]).is_err(), "{length}");
    }
    for at in 0..text.len() - 1 {
        let mut changed = text.clone();
        changed[at] ^= 1;
        assert!(Manifest::parse(&changed).is_err(), "{at}");
    }
}

#[test]
fn a_newer_format_and_a_ring_with_a_hole_are_named() {
    let newer = Manifest::parse(b"bellwether backup\nformat 9\nwhatever\n").unwrap_err();
    assert_eq!(newer.to_string(), "it has format version 9, this program reads up to 1: use a newer bellwether");
    let mut partial = manifest();
    partial.groups.pop();
    let error = Manifest::parse(partial.print().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "it is damaged: its shard groups do not own every key once");
}

#[test]
fn ids_are_dates() {
    for (ms, expected) in [(0, "19700101T000000Z-00000001"), (951_782_400_000, "20000229T000000Z-00000001")] {
        assert_eq!(BackupId::new(ms, 1).as_str(), expected);
    }
    for bad in ["", "a/b", "..", "a b", &"a".repeat(65)] {
        assert_eq!(BackupId::parse(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::parse(&bytes);
    }
}
