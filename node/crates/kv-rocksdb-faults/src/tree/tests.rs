//! The cases of the model: what survives which loss of power.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use super::*;

fn write(tree: &mut Tree, path: &str, content: &[u8]) -> NodeId {
    let node = tree.open(path, Mode::Append).unwrap();
    tree.append(node, content).unwrap();
    node
}

fn read(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    tree.stat(path).ok().map(|stat| tree.content(stat.node).unwrap().to_vec())
}

#[test]
fn a_file_survives_with_its_synced_bytes_if_its_name_was_synced() {
    let mut tree = Tree::new();
    tree.make_directory("/d").unwrap();
    tree.sync_directory("/").unwrap();
    let node = write(&mut tree, "/d/both", b"kept");
    tree.sync(node).unwrap();
    write(&mut tree, "/d/name", b"lost");
    tree.sync_directory("/d").unwrap();
    let node = write(&mut tree, "/d/content", b"lost");
    tree.sync(node).unwrap();
    write(&mut tree, "/d/both", b" and lost");
    tree.lose_power(&Loss::TOTAL);
    assert_eq!(tree.files(), [("/d/both".to_owned(), 4), ("/d/name".to_owned(), 0)]);
    assert_eq!(read(&tree, "/d/both").unwrap(), b"kept");
}

#[test]
fn a_torn_end_is_a_first_part_and_the_same_for_the_same_seed() {
    let mut lengths = BTreeSet::new();
    for seed in 0..50u64 {
        let kept = || {
            let mut tree = Tree::new();
            let node = write(&mut tree, "/f", b"01234");
            tree.sync(node).unwrap();
            tree.sync_directory("/").unwrap();
            tree.append(node, b"56789").unwrap();
            tree.lose_power(&Loss { seed, bytes: Kept::Some, names: Kept::Some });
            read(&tree, "/f").unwrap()
        };
        assert!(b"0123456789".starts_with(&kept()[..]));
        assert_eq!(kept(), kept());
        lengths.insert(kept().len());
    }
    assert_eq!(lengths, (5..=10).collect());
}

#[test]
fn a_rename_replaces_whole_or_not_at_all() {
    for seed in 0..50u64 {
        let mut tree = Tree::new();
        for directory in ["/a", "/b"] {
            tree.make_directory(directory).unwrap();
        }
        tree.sync_directory("/").unwrap();
        for (path, content) in [("/a/new", b"new"), ("/b/f", b"old")] {
            let node = write(&mut tree, path, content);
            tree.sync(node).unwrap();
        }
        tree.sync_directory("/a").unwrap();
        tree.sync_directory("/b").unwrap();
        tree.rename("/a/new", "/b/f").unwrap();
        if seed.is_multiple_of(5) {
            // Either directory's sync is enough.
            tree.sync_directory(if seed.is_multiple_of(2) { "/a" } else { "/b" }).unwrap();
        }
        tree.lose_power(&Loss { seed, bytes: Kept::Nothing, names: Kept::Some });
        let (left, content) = (read(&tree, "/a/new"), read(&tree, "/b/f").unwrap());
        assert!((left.is_none() && content == b"new") || (left.is_some() && content == b"old"), "{left:?}");
        assert!(!seed.is_multiple_of(5) || left.is_none());
    }
}

#[test]
fn names_survive_in_the_order_in_which_they_came() {
    for seed in 0..50u64 {
        let mut tree = Tree::new();
        for number in 0..8 {
            write(&mut tree, &format!("/{number}"), b"");
        }
        tree.lose_power(&Loss { seed, bytes: Kept::Nothing, names: Kept::Some });
        let names = tree.names("/").unwrap();
        assert_eq!(names, (0..names.len()).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_link_outlives_the_name_it_was_made_from() {
    let mut tree = Tree::new();
    let node = write(&mut tree, "/one", b"content");
    tree.sync(node).unwrap();
    tree.link("/one", "/other").unwrap();
    assert_eq!(tree.links(node), 2);
    tree.remove_file("/one").unwrap();
    tree.sync_directory("/").unwrap();
    tree.lose_power(&Loss::TOTAL);
    assert_eq!(read(&tree, "/other").unwrap(), b"content");
    assert_eq!(read(&tree, "/one"), None);
}

#[test]
fn what_a_failed_sync_covered_is_lost_though_a_later_one_succeeds() {
    let mut tree = Tree::new();
    let node = write(&mut tree, "/f", b"kept");
    tree.sync(node).unwrap();
    tree.sync_directory("/").unwrap();
    tree.append(node, b" lost").unwrap();
    tree.fail_sync(node).unwrap();
    tree.sync(node).unwrap();
    tree.lose_power(&Loss { seed: 1, bytes: Kept::Everything, names: Kept::Everything });
    assert_eq!(read(&tree, "/f").unwrap(), b"kept");
}
